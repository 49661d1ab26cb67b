"""The archive of the write-ahead log: found, waited for, and destroyed up to where the rows were gone.

What surprised the author: an archive command may report success for what it never wrote; a segment that
waits in pg_wal is archived after everything else was destroyed, and brings everybody back; and archives of
several servers lie side by side, with the same file names.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import stat
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cenotaph.durable import Beneath, is_tombstone
from cenotaph.errors import PermanentStoreError
from cenotaph.residue import lanes
from cenotaph.store import Command, Copy, Disposition, Extent, Surroundings
from cenotaph.stores.postgres.beneath import raw
from cenotaph.stores.postgres.commands import CHECKPOINT, SWITCH
from cenotaph.stores.postgres.outside import backups, beside, standby
from cenotaph.stores.postgres.session import Denied, Session
from cenotaph.stores.postgres.work import Outlook, Work

KIND, UNKNOWN = "wal archive", "wal archive, place not known"
ARCHIVED_WITHIN = 30.0  # seconds for the archiver to take what it was given
_PAUSE = 0.1
_PACKED = rb"(?:\.(?:gz|zst|lz4|bz2|xz))?"
_SEGMENT = re.compile(rb"([0-9A-F]{8})([0-9A-F]{16})(?:\.partial)?" + _PACKED)
_LABEL = re.compile(rb"([0-9A-F]{8})([0-9A-F]{16})\.[0-9A-F]{8}\.backup" + _PACKED)
_HISTORY = re.compile(rb"([0-9A-F]{8})\.history" + _PACKED)
_HEAD = 1 << 20  # bytes in which the first page of a compressed segment is decoded


def found(session: Session, around: Surroundings) -> Iterator[Copy]:
    """The archives that the case names or the server's settings tell, and whether there is one besides."""
    for path in places(session, around):
        if path is None:
            yield Copy(UNKNOWN, "archive_command", 0, Disposition.REACH_NOT)
        elif (size := sum(file.size for file in files(path))) or _archives(session):
            yield Copy(KIND, path, size, Disposition.REACH_NOT)


def extents(session: Session, around: Surroundings) -> Iterator[Extent]:
    """Every file of the archives that can be read."""
    for path in filter(None, places(session, around)):
        yield from _extents(path)


def remains(around: Surroundings) -> Iterator[Extent]:
    """Every file of the archives that the case names."""
    for path in sorted({os.path.realpath(copy.place) for copy in around.copies if copy.kind == KIND}):
        yield from _extents(path)


def _extents(path: str) -> Iterator[Extent]:
    for file in files(path):
        yield beside.extent(KIND, os.path.join(path, os.fsdecode(file.name)), file.size)


def restored_name(name: bytes) -> str | None:
    """As what a server asks for a file of an archive, packed or not; None for what it does not ask for."""
    if _SEGMENT.fullmatch(name):
        return os.fsdecode(name[:24])
    return os.fsdecode(name[:16]) if _HISTORY.fullmatch(name) else None


def places(session: Session, around: Surroundings) -> list[str | None]:
    """Folders, each once; None for an archive of which nobody says where it is."""
    given = {os.path.realpath(copy.place) for copy in around.copies if copy.kind == KIND}
    told = _told(session, around) if _archives(session) else None
    known = sorted(given | ({told} if told else set()))
    return [*known, None] if _archives(session) and not known else [*known]


def destroy(work: Work) -> None:
    """Destroy every segment, backup label and history in the archives from before now.

    Who keeps base backups cannot bring them to any state after their own any more.
    """
    paths = list(filter(None, places(work.writer, work.around)))
    if not paths:
        return
    if backups.kept_for_holds(work.writer, work.selection, work.around):
        work.limits.append("the wal archive stays: a base backup that a hold keeps may need it")
        return
    try:
        mark, last, waits = _settle(work)
    except Denied:
        raise PermanentStoreError(
            "the shared action wal_archive takes the right to switch the log and to see what waits for its"
            " archive",
            hint="GRANT it pg_checkpoint, pg_monitor and EXECUTE ON FUNCTION pg_switch_wal()",
        ) from None
    if waits:
        work.limits.append(f"the wal archive stays: {waits}")
        return
    if behind := _standbys_behind(work.writer):
        work.limits.append(f"the wal archive stays: {behind} standbys have not yet read what lies in it")
        return
    if needed := standby.not_yet(work, _end_of(work.writer, mark)):
        work.limits.append(f"the wal archive stays: {needed}")
        return
    identifier = int(work.writer.one("SELECT system_identifier FROM pg_control_system()"))
    left = _left(work, mark)
    tally, there = beside.Tally(), last is None
    for path in paths:
        try:
            with beside.folder(path) as place:
                there = there or any(last and name.startswith(os.fsencode(last)) for name in _names(place))
                _destroy_in(place, _Mark.of(mark, left), identifier, work, tally)
        except PermanentStoreError as error:
            work.limits.append(f"the wal archive: {error.message}")
    if not there:
        work.limits.append(
            "the wal archive is not, or not only, where the case or the server says: what the server archived"
            " last is not there"
        )
    beside.report(
        work,
        tally,
        "files of the wal archive went; recovery to before now went with them",
        "files of the wal archive were unlinked, and not overwritten",
    )


def destroying(outlook: Outlook) -> Iterator[Command]:
    """What `destroy` runs."""
    yield from (CHECKPOINT, SWITCH)
    yield Command(
        "",
        "Waits for the archiver, then overwrites and unlinks every segment, backup label and older history in"
        " the archive from before that. No base backup can be recovered to a time before now any more.",
        reaches="The archive of the write-ahead log.",
    )


class _Mark(NamedTuple):
    """Up to which segment everything goes."""

    timeline: bytes
    place: bytes
    left: Mapping[bytes, bytes]  # older timelines, and the segment in which this server left each

    @classmethod
    def of(cls, segment: str, left: Mapping[bytes, bytes]) -> _Mark:
        return cls(segment[:8].encode(), segment[8:24].encode(), left)

    def covers(self, timeline: bytes, place: bytes) -> bool:
        """Raises: PermanentStoreError for what this server neither wrote nor came from: the one that it was
        made a copy of has its identifier, and may archive to the same place."""
        if timeline == self.timeline:
            return place <= self.place
        if timeline > self.timeline or place > self.left.get(timeline, b""):
            raise PermanentStoreError(
                "it has segments of a timeline to which this server did not come, or which it had left:"
                " another server may archive there, and nothing in it was destroyed"
            )
        return True


def _left(work: Work, mark: str) -> dict[bytes, bytes]:
    """The timelines from which the server came, each with the segment in which it was left (its history, a
    file with a line for each: number, place, why)."""
    data = raw.data_directory(work.writer, work.around)
    if mark.startswith("00000001") or isinstance(data, raw.NoAccess):
        return {}
    try:
        with open(os.path.join(data, "pg_wal", f"{mark[:8]}.history"), encoding="ascii") as history:
            lines = [line.split() for line in history if line.strip() and not line.startswith("#")]
        return {
            b"%08X" % int(number): str(work.writer.one(_SEGMENT_OF, place))[8:24].encode()
            for number, place, *_ in lines
        }
    except (OSError, ValueError):
        return {}


def _settle(work: Work) -> tuple[str, str | None, str]:
    """Have everything up to now archived: the last segment of it, the last that the server says it has
    archived, and, where some is not, why."""
    writer = work.writer
    mark = str(writer.one("SELECT pg_walfile_name(pg_current_wal_insert_lsn())"))
    if not _archives(writer):
        return mark, None, ""
    writer.run(CHECKPOINT)  # which writes a record, without which the switch would do nothing
    writer.run(SWITCH)
    deadline = time.monotonic() + ARCHIVED_WITHIN
    while (waits := int(writer.one(_WAITS, mark))) and time.monotonic() < deadline and not _failing(writer):
        time.sleep(_PAUSE)
    told = ""
    if waits:  # it would bring everybody back; or another server's segments are in its way
        why = "its command fails" if _failing(writer) else "it is too slow"
        told = f"{waits} segments of the log still wait for the archiver: {why}"
    last = _last(writer)
    while not waits and last < mark and time.monotonic() < deadline:  # before 15 it hears of it later
        time.sleep(_PAUSE)
        last = _last(writer)
    return mark, last, told


def _end_of(session: Session, segment: str) -> str:
    """The place in the log at which a segment ends, or up to which there is any of it."""
    now = str(session.one("SELECT pg_current_wal_flush_lsn()::text"))
    size = int(session.one("SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'"))
    end = (int(segment[8:16], 16) << 32) + (int(segment[16:24], 16) + 1) * size
    written = int("".join(f"{int(part, 16):08X}" for part in now.split("/")), 16)
    return f"{min(end, written) >> 32:X}/{min(end, written) & 0xFFFFFFFF:X}"


def _last(session: Session) -> str:
    """What the server says it archived last; empty where it says nothing."""
    return str(session.one("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver"))


def _destroy_in(place: Beneath, mark: _Mark, identifier: int, work: Work, tally: beside.Tally) -> None:
    """Look at every file first, and destroy none where one of them is another server's."""
    mine, strange = [], 0
    for file in beside.listed(place, _is_ours):
        with beside.opened(place, file.name):
            pass
        if is_tombstone(file.name):
            mine.append(file.name)
            continue
        server = _server(place, file) if _SEGMENT.fullmatch(file.name) else identifier
        if server is not None and server != identifier:
            raise PermanentStoreError("it has segments of another server: nothing in it was destroyed")
        if not _older(file.name, mark):
            continue
        mine += [file.name] if server is not None else []
        strange += server is None
    for name in mine:
        beside.destroy(place, name, tally)
    if strange:
        work.limits.append(f"{strange} files in the wal archive have names of segments, and are none")
    links = sum(1 for name in _names(place) if _is_ours(name) and _is_link(place, name))
    if links:
        work.limits.append(f"{links} symlinks in the wal archive were not followed")
    if others := sum(1 for name in _names(place) if not _is_ours(name)):
        work.notes.append(f"{others} other files or folders in the wal archive's folder were left alone")


def _older(name: bytes, mark: _Mark) -> bool:
    """Whether a file is from before the mark. Raises: PermanentStoreError where it cannot be told."""
    if history := _HISTORY.fullmatch(name):
        return bool(history[1] < mark.timeline)
    found = _SEGMENT.fullmatch(name) or _LABEL.fullmatch(name)
    assert found is not None
    return mark.covers(found[1], found[2])


def _server(place: Beneath, file: beside.Found) -> int | None:
    """The system identifier in a segment's first page (XLogLongPageHeaderData); None where it has none."""
    with beside.opened(place, file.name) as fd:
        head = os.pread(fd, _HEAD, 0)
    head = _decoded(head) if _magic(head) else head
    if len(head) < 40 or head[1] != 0xD1 or not head[2] & 2:
        return None
    return int.from_bytes(head[24:32], "little", signed=True)


def _magic(head: bytes) -> lanes.Magic | None:
    """How compressed bytes begin."""
    return next((magic for magic in lanes.MAGICS if head.startswith(magic.begin)), None)


def _decoded(head: bytes) -> bytes:
    magic = _magic(head)
    decoder = magic.open(head[:64]) if magic is not None else None
    if decoder is None or isinstance(decoder, str):
        return b""
    with contextlib.suppress(lanes.Stop):
        for piece in decoder.feed(head):
            return piece
    return b""


def files(path: str) -> list[beside.Found]:
    """What lies directly in an archive and is of one, by its name; nothing where it cannot be read."""
    try:
        with beside.folder(path) as place:
            return list(beside.listed(place, _is_ours))
    except PermanentStoreError:
        return []


def _names(place: Beneath) -> list[bytes]:
    return [os.fsencode(entry) for entry in os.listdir(place.fd)]  # noqa: PTH208 (a descriptor)


def _is_ours(name: bytes) -> bool:
    return is_tombstone(name) or any(kind.fullmatch(name) for kind in (_SEGMENT, _LABEL, _HISTORY))


def _is_link(place: Beneath, name: bytes) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return stat.S_ISLNK(os.stat(name, dir_fd=place.fd, follow_symlinks=False).st_mode)
    return False


# --- what the server says of it --------------------------------------------------------------


def _archives(session: Session) -> bool:
    return str(session.one("SELECT current_setting('archive_mode')")) != "off"


def _failing(session: Session) -> bool:
    return bool(session.rows(_FAILED))


def _standbys_behind(session: Session) -> int:
    """How many standbys still have to read what is in the log now, and may look for it in the archive."""
    now = str(session.one("SELECT pg_current_wal_flush_lsn()::text"))
    deadline = time.monotonic() + ARCHIVED_WITHIN
    while (behind := int(session.one(_BEHIND, now))) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    return behind


def _told(session: Session, around: Surroundings) -> str | None:
    """The folder that the server archives to, where its settings say so plainly and it is on this machine."""
    data = raw.data_directory(session, around)
    if isinstance(data, raw.NoAccess):
        return None
    if session.one("SELECT coalesce(current_setting('archive_library', true), '')") == "basic_archive":
        into = session.one("SELECT coalesce(current_setting('basic_archive.archive_directory', true), '')")
    else:
        into = plain(str(session.one("SELECT current_setting('archive_command')")))
    return os.path.realpath(os.path.join(data, str(into))) if into else None


def plain(command: str) -> str | None:
    """The folder that an archive command copies to, where it is one of the plain ones; else None.

    `cp %p DIR/%f`, `install %p DIR/%f`, `rsync %p DIR/%f`, each also behind `test ! -f DIR/%f &&`.
    """
    if _STRANGE.search(command.replace("&&", "")):
        return None
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    if "&&" in words:
        at = words.index("&&")
        tested, words = words[:at], words[at + 1 :]
        if not words or tested not in _tests(words[-1]):
            return None
    if len(words) < 3 or words[-2] != "%p" or os.path.basename(words[0]) not in _COPIERS:
        return None
    if not all(word.startswith("-") for word in words[1:-2]) or not words[-1].endswith("/%f"):
        return None
    folder = words[-1].removesuffix("/%f")
    return None if not folder or "%" in folder or ":" in folder or folder.startswith("-") else folder


def _tests(target: str) -> tuple[list[str], list[str]]:
    """How it is tested that a file is not there yet."""
    return ["test", "!", "-f", target], ["[", "!", "-f", target, "]"]


_COPIERS = ("cp", "install", "rsync")
_STRANGE = re.compile(r"[$`;|<>*?~{}()\\\n#&]")
# Names of segments are compared as the server makes them: a timeline's are in the order of the log.
_WAITS = """
SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name ~ '^[0-9A-F]{24}(\\.partial)?\\.ready$'
    AND substr(name, 1, 24) COLLATE "C" <= $1
"""
_SEGMENT_OF = "SELECT pg_walfile_name($1::text::pg_lsn)"
_FAILED = """
SELECT 1 FROM pg_stat_archiver WHERE last_failed_time IS NOT NULL
    AND last_failed_time > coalesce(last_archived_time, '-infinity')
"""
_BEHIND = """
SELECT count(*) FROM pg_stat_replication r
WHERE coalesce(r.replay_lsn < $1::text::pg_lsn, true) AND NOT EXISTS (
    SELECT FROM pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')
    AND r.application_name NOT IN ('pg_basebackup', 'pg_receivewal')
"""
