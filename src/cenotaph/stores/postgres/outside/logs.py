"""What the server wrote of statements: its log, wherever that goes, and the texts in pg_stat_statements.

What surprised the author: without any logging of statements a log still has values of people, in the details
of violated keys and in the statements that failed; and a server that does not collect its log itself tells no
one where it goes, while the kernel does, of its standard error.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cenotaph.errors import PermanentStoreError
from cenotaph.store import NOTHING_AROUND, Command, Copy, Disposition, Extent, Surroundings
from cenotaph.stores.postgres.beneath import raw
from cenotaph.stores.postgres.outside import beside
from cenotaph.stores.postgres.session import Denied, Session, quoted
from cenotaph.stores.postgres.work import Outlook, Work
from cenotaph.stores.postgres.writing import Writer

KIND, UNKNOWN, STATEMENTS = "server log", "server log, place not known", "statement statistics"
# As logrotate(8) names them, and no wider: logs of other servers lie in the same folder.
_ROTATED = r"(?:\.[0-9]{1,5}|-[0-9]{8}(?:-[0-9]{1,10})?)?(?:\.(?:gz|zst|lz4|bz2|xz))?"
_OF_A_FOLDER = re.compile(rf"(.+)\.(log|csv|json){_ROTATED}")


@dataclass(frozen=True, slots=True)
class Log:
    """A file of the log."""

    path: str = field(repr=False)
    size: int
    current: bool  # somebody may be writing to it


def found(session: Session, around: Surroundings) -> Iterator[Copy]:
    """The log where statements are written to it or the case names it, or where nobody knows its place."""
    logs, unknown = known(session, around)
    given = any(copy.kind == KIND for copy in around.copies)
    if given or session.rows(_WRITES):
        yield from (Copy(KIND, log.path, log.size, Disposition.REACH_NOT) for log in logs if log.size)
    if unknown:
        yield Copy(UNKNOWN, unknown, 0, Disposition.REACH_NOT)
    if session.rows(_COLLECTED):
        yield Copy(STATEMENTS, "pg_stat_statements", 0, Disposition.REACH_NOT)


def extents(session: Session, around: Surroundings) -> Iterator[Extent]:
    """Every file of the log that does not lie among the server's own files."""
    data = raw.data_directory(session, around)
    tops = [] if isinstance(data, raw.NoAccess) else [data, *_collected_in(session, data)]
    for log in known(session, around)[0]:
        if not any(log.path.startswith(os.path.realpath(top) + "/") for top in tops):
            yield beside.extent(KIND, log.path, log.size)


def remains(around: Surroundings) -> Iterator[Extent]:
    """Every file of the logs that the case names."""
    for copy in around.copies:
        if copy.kind == KIND:
            yield from (beside.extent(KIND, log.path, log.size) for log in _given(copy.place))


def known(session: Session, around: Surroundings) -> tuple[list[Log], str]:
    """The files of the log, each once, and where else it goes, if anywhere: then nobody knows the place."""
    logs = {log.path: log for copy in around.copies if copy.kind == KIND for log in _given(copy.place)}
    given = bool(logs)
    told, unknown = _told(session, around)
    logs |= {log.path: log for log in told}
    return [logs[path] for path in sorted(logs)], "" if given and unknown != "syslog" else unknown


def forget(work: Work) -> None:
    """Empty the log that is being written, destroy what was rotated, and reset the texts of statements."""
    forget_of(work, work.writer, work.around)


def copied(primary: Session, standby: Session) -> list[Log]:
    """What a standby has of its primary's log: the base backup that it was made of took it along."""
    data, pattern = raw.data_directory(standby), collected(_setting(primary, "log_filename"))
    if isinstance(data, raw.NoAccess) or pattern is None:
        return []
    top = os.path.realpath(data)
    folder = os.path.realpath(os.path.join(top, _setting(primary, "log_directory")))
    if not folder.startswith(top + "/"):
        return []  # it lies elsewhere, and may be another server's
    own = {log.path for log in known(standby, NOTHING_AROUND)[0]}
    return [log for log in _matching(folder, pattern) if log.path not in own]


def forget_of(work: Work, writer: Writer, around: Surroundings, more: Sequence[Log] = ()) -> None:
    """As `forget`, of the server of this session, and of more logs."""
    _reset(work, writer)
    tally = beside.Tally()
    for log in (*_sure(work, writer, around), *more):
        try:
            _forget(log, tally)
        except PermanentStoreError as error:
            work.limits.append(f"the server log: {error.message}")
    beside.report(
        work,
        tally,
        "files of the server log were emptied or destroyed",
        "files of the server log were freed, and not overwritten",
    )


def _sure(work: Work, writer: Writer, around: Surroundings) -> list[Log]:
    """The files that are this server's. In a folder to which it is told to write, only those of names that it
    gives; and none of a folder in which one of them is another program's."""
    logs, data = known(writer, around)[0], raw.data_directory(writer, around)
    told = {log.path for log in _told(writer, around)[0]}
    named = {os.path.realpath(copy.place) for copy in around.copies if copy.kind == KIND}
    named |= {log.path for path in named if not os.path.isdir(path) for log in _with_rotated(path)}
    folders = {os.path.dirname(path) for path in told}
    sure = [log for log in logs if log.path in told | named or os.path.dirname(log.path) not in folders]
    if len(sure) < len(logs):
        work.limits.append(
            f"{len(logs) - len(sure)} files in the server log's folder have other names than the server"
            " gives: name each that is its own"
        )
    if isinstance(data, raw.NoAccess):
        return sure
    strange = beside.written_elsewhere(data)
    theirs = {os.path.dirname(log.path) for log in sure if beside.at(log.path) in strange}
    if theirs:
        work.limits.append(
            "the server log stays: another program writes to a file of it, or to one in its folder that is"
            " named like it"
        )
    return [log for log in sure if os.path.dirname(log.path) not in theirs]


def forgetting(outlook: Outlook) -> Iterator[Command]:
    """What `forget` runs."""
    if schema := _extension(outlook.session):
        yield _resetting(schema)
    yield Command(
        "",
        "Overwrites the server's log: files that were rotated are unlinked, the one that is written is cut to"
        " nothing. It holds lines of all databases.",
        reaches="The server's log.",
    )


def _forget(log: Log, tally: beside.Tally) -> None:
    parent, name = beside.split(log.path)
    with beside.folder(parent) as place:
        if log.current:
            beside.empty(place, name, tally)
        else:
            beside.destroy(place, name, tally)


def _reset(work: Work, writer: Writer) -> None:
    schema = _extension(writer)
    if schema is None:
        if writer.rows(_COLLECTED):
            work.limits.append(
                "pg_stat_statements keeps texts of statements, and is not installed in this database to reset"
            )
        return
    try:
        writer.run(_resetting(schema))
    except Denied:
        raise PermanentStoreError(
            "the shared action logs takes the right to reset pg_stat_statements",
            hint="GRANT EXECUTE ON FUNCTION pg_stat_statements_reset TO it",
        ) from None


def _extension(session: Session) -> str | None:
    """The schema in which pg_stat_statements has its functions."""
    rows = session.rows(_EXTENSION)
    return str(rows[0][0]) if rows else None


def _resetting(schema: str) -> Command:
    return Command(
        f"SELECT {quoted(schema)}.pg_stat_statements_reset()",
        "Forgets the texts and figures of all statements, of every database of the server.",
        reaches="pg_stat_statements, and the file of its texts.",
    )


# --- where the log is ------------------------------------------------------------------------


def _given(path: str) -> Iterator[Log]:
    """A file with what was rotated from it, or the log files directly in a folder."""
    path = os.path.realpath(path)
    if os.path.isdir(path):
        logs = [
            (log, _OF_A_FOLDER.fullmatch(os.path.basename(log.path))) for log in _matching(path, _OF_A_FOLDER)
        ]
        stems = {name[1] for _, name in logs if name and name[2] == "log"}
        for log, name in logs:
            if name and name[1] in stems:  # other tables may lie there
                yield Log(log.path, log.size, log.path.endswith((".log", ".csv", ".json")))
    else:
        yield from _with_rotated(path)


def _with_rotated(path: str) -> Iterator[Log]:
    """A file that may be written to, and what logrotate(8) made of it."""
    folder, name = os.path.split(path)
    for log in _matching(folder, re.compile(re.escape(name) + _ROTATED)):
        yield Log(log.path, log.size, log.path == path)


def _told(session: Session, around: Surroundings) -> tuple[list[Log], str]:
    """What the server's settings and the kernel tell."""
    into = {word.strip() for word in _setting(session, "log_destination").split(",")}
    elsewhere = "syslog" if into & {"syslog", "eventlog"} else ""
    data = raw.data_directory(session, around)
    if isinstance(data, raw.NoAccess):
        return [], elsewhere or "log"
    if _setting(session, "logging_collector") == "on":
        pattern = collected(_setting(session, "log_filename"))
        if pattern is None:
            return [], elsewhere or "log_filename"
        return list(_collected(session, data, pattern)), elsewhere
    if "stderr" not in into:
        return [], elsewhere
    path = _standard_error(data)
    if path is None:
        return [], elsewhere or "standard error"
    return list(_with_rotated(path)) if path else [], elsewhere


def collected(name: str) -> re.Pattern[str] | None:
    """The names that the server's own collector gives its files, by `log_filename`; None where they cannot be
    told from those of others. Escapes are strftime(3)'s; days and months have English names (pg_strftime)."""
    parts = re.split(r"(%.)", name)
    if any(part.startswith("%") and part not in _ESCAPES for part in parts):
        return None
    own = "".join(part for part in parts if not part.startswith("%")).removesuffix(".log")
    if sum(map(str.isalpha, own)) < 2:
        return None  # any program's file that has a date for its name could be one
    pattern = "".join(_ESCAPES.get(part) or re.escape(part) for part in parts)
    return re.compile(pattern.removesuffix(r"\.log") + r"(?:\.log|\.csv|\.json)?" + _ROTATED)


_DAYS, _MONTHS = "Mon Tue Wed Thu Fri Sat Sun", "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"
_ESCAPES = {
    **dict.fromkeys(("%d", "%H", "%I", "%m", "%M", "%S", "%y", "%U", "%V", "%W"), "[0-9]{2}"),
    **{"%Y": "[0-9]{4}", "%j": "[0-9]{3}", "%u": "[0-7]", "%w": "[0-7]", "%s": "[0-9]{9,11}", "%p": "[AP]M"},
    **{"%a": f"(?:{_DAYS.replace(' ', '|')})", "%b": f"(?:{_MONTHS.replace(' ', '|')})"},
    **{"%F": "[0-9]{4}-[0-9]{2}-[0-9]{2}", "%T": "[0-9]{2}:[0-9]{2}:[0-9]{2}"},
}


def _collected(session: Session, data: str, pattern: re.Pattern[str]) -> Iterator[Log]:
    """The files of the server's own collector."""
    current = set()
    for (name,) in session.rows(_CURRENT):
        current.add(os.path.realpath(os.path.join(data, str(name))))
    folder = os.path.join(data, _setting(session, "log_directory"))
    for log in _matching(os.path.realpath(folder), pattern):
        yield Log(log.path, log.size, log.path in current)


def _collected_in(session: Session, data: str) -> list[str]:
    on = _setting(session, "logging_collector") == "on"
    return [os.path.join(data, _setting(session, "log_directory"))] if on else []


def _standard_error(data: str) -> str | None:
    """The file that the server's standard error is; empty where it goes nowhere, None where nobody knows."""
    try:
        with open(os.path.join(data, "postmaster.pid"), encoding="ascii", errors="replace") as running:
            process = f"/proc/{int(running.readline())}"
        if os.path.realpath(f"{process}/cwd") != os.path.realpath(data):
            return None  # a process of another number space
        target, info = os.readlink(f"{process}/fd/2"), os.stat(f"{process}/fd/2")
        if target == "/dev/null":
            return ""
        same = stat.S_ISREG(info.st_mode) and os.path.samestat(info, os.lstat(target))
    except (OSError, ValueError):
        return None
    return target if same else None


def _matching(folder: str, pattern: re.Pattern[str]) -> Iterator[Log]:
    with contextlib.suppress(PermanentStoreError), beside.folder(folder) as place:
        for file in beside.listed(place, lambda name: bool(pattern.fullmatch(os.fsdecode(name)))):
            yield Log(os.path.join(folder, os.fsdecode(file.name)), file.size, False)


def _setting(session: Session, name: str) -> str:
    """Empty where this role may not see it (pg_monitor may)."""
    rows = session.rows("SELECT setting FROM pg_settings WHERE name = $1", name)
    return str(rows[0][0]) if rows else ""


_WRITES = """
SELECT 1 FROM pg_settings WHERE name = 'log_statement' AND setting <> 'none'
OR name IN ('log_min_duration_statement', 'log_min_duration_sample') AND setting <> '-1'
OR name = 'log_transaction_sample_rate' AND setting <> '0'
"""
_COLLECTED = """
SELECT 1 FROM pg_extension WHERE extname = 'pg_stat_statements' UNION ALL
SELECT 1 FROM pg_settings WHERE name = 'shared_preload_libraries' AND setting ~ '\\ypg_stat_statements\\y'
"""
_EXTENSION = """
SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_stat_statements'
"""
_CURRENT = """
SELECT name FROM unnest(ARRAY['stderr', 'csvlog'] || CASE WHEN current_setting('server_version_num')::int4
    >= 150000 THEN ARRAY['jsonlog'] ELSE '{}' END) AS kind, pg_current_logfile(kind) AS name
WHERE has_function_privilege('pg_current_logfile(text)', 'EXECUTE') AND name IS NOT NULL
"""
