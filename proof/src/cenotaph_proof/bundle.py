"""The proof file: everything an offline verifier needs, one canonical JSON object a line.

A header, then every entry of the operator's log in order, the cosigned checkpoints by size, the detached
parts by digest, and time stamps (spec/proof-file.md). It carries the whole log, so that no attempt of this
operator can be left out of sight (docs/adr/0001). Every byte is covered: the file is read strictly, entries
by their signatures and the root, checkpoints by theirs, detached parts by their digest.

A file may be far larger than a reader's memory. It is read twice: once for its form, once, line by line, to
replay it. What the second reading finds is judged anew, so that nothing hangs on the file staying as it was.
"""

from __future__ import annotations

import functools
import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, BinaryIO

from cenotaph_proof import ahead, canonical, envelope, note, statements
from cenotaph_proof.case import Case
from cenotaph_proof.errors import FormatError, OrderError, SignatureError
from cenotaph_proof.keys import ROLES
from cenotaph_proof.lines import Parts, Reader, base64_length, base64_line
from cenotaph_proof.stamp import MAX_TOKEN, Stamp
from cenotaph_proof.trust import Trust

FORMAT = "cenotaph-proof/v1"
MAX_LINES = 250_000
MAX_BYTES = 512 << 20
MAX_HEADER = 4_096
MAX_NOTE_LINE = 1 << 20
MAX_STAMPS = 1_000
MAX_STAMP_LINE = MAX_NOTE_LINE + 90_000
_MEMBERS = {"format", "case", "entries", "checkpoints", "attachments"}


@dataclass(frozen=True, slots=True)
class Bundle:
    """The contents of a proof file. `checkpoints` are notes, ascending by tree size, and `stamps` too.

    What `read` returned reads its parts from the stream when they are asked for, which must stay open.
    """

    case: str
    entries: Sequence[bytes]
    checkpoints: Sequence[bytes]
    attachments: Mapping[str, bytes]
    stamps: Sequence[Stamp] = ()


def write(bundle: Bundle) -> bytes:
    """The bytes of a proof file."""
    return b"".join(lines(bundle))


def lines(bundle: Bundle) -> Iterator[bytes]:
    """The lines of a proof file, one at a time."""
    yield _line({"format": FORMAT, "case": bundle.case, **_counts(bundle)})
    for entry in bundle.entries:
        yield _line({"entry": envelope.encode_base64(entry)})
    for checkpoint in bundle.checkpoints:
        yield _line({"checkpoint": checkpoint.decode()})
    for digest in sorted(bundle.attachments):
        yield _line({"attachment": envelope.encode_base64(bundle.attachments[digest])})
    for stamp in sorted(bundle.stamps, key=_place):
        token = envelope.encode_base64(stamp.token)
        yield _line({"timestamp": {"note": stamp.note.decode(), "token": token}})


def read(stream: BinaryIO) -> Bundle:
    """Read a proof file strictly. Raises: FormatError naming the line."""
    try:
        return _read(Reader(stream, MAX_BYTES))
    except FormatError as error:
        error.step = error.step or "verify 1"
        raise


def _read(reader: Reader) -> Bundle:
    header = _header(reader)
    entry = base64_line("entry", envelope.MAX_BYTES)
    entries = reader.part("entry", header["entries"], base64_length(envelope.MAX_BYTES), entry)
    checkpoints = reader.part("checkpoint", header["checkpoints"], MAX_NOTE_LINE, _note_line)
    digests: list[str] = []
    attachments = reader.part(
        "attachment",
        header["attachments"],
        base64_length(statements.ATTACHMENT_LIMIT),
        base64_line("attachment", statements.ATTACHMENT_LIMIT),
        lambda data: digests.append(hashlib.sha256(data).hexdigest()),
    )
    _ascend("attachments", digests)
    places: list[tuple[int, bytes]] = []
    stamps = reader.part(
        "timestamp",
        header.get("timestamps", 0),
        MAX_STAMP_LINE,
        _stamp_line,
        lambda stamp: places.append(_place(stamp)),
    )
    _ascend("time stamps", places)
    if reader.line(0):
        raise FormatError("the proof file goes on after its end")
    return Bundle(header["case"], entries, checkpoints, Parts(digests, attachments), stamps)


def replay(bundle: Bundle, trust: Trust | None = None, helpers: int = 0) -> Case:
    """Replay the log up to the bundle's end, with so many other processes that check signatures ahead.

    Raises: ProofError of the rule that is broken.
    """
    case = Case(trust)
    charter = _charter(bundle)
    notes = array("Q", (_size(n) for n in bundle.checkpoints))
    stamps = array("Q", (_size(s.note) for s in bundle.stamps))
    _ascend("checkpoints", notes)
    if any(size <= charter or size > len(bundle.entries) for size in (*notes[:1], *notes[-1:], *stamps)):
        raise FormatError("a checkpoint covers something other than this case's part of the log")
    used: set[str] = set()
    at, stamped = 0, 0
    with ExitStack() as helped:
        for index, detached in _fed(case, bundle, charter):
            used.add(detached)
            if index == charter:
                keys = {party.key_id: party for party in case.parties(*ROLES)}
                signatures = ahead.signatures(bundle.entries, charter + 1, keys, helpers)
                case.vouched = helped.enter_context(signatures)
            if at < len(notes) and notes[at] == index + 1:
                _judge(functools.partial(case.observe, bundle.checkpoints[at]))
                at += 1
            while stamped < len(stamps) and stamps[stamped] == index + 1:
                _judge(functools.partial(case.stamp, bundle.stamps[stamped]))
                stamped += 1
    case.vouched = ahead.nobody
    if set(bundle.attachments) - used:
        raise FormatError("the proof file carries a detached part that no statement names")
    return case


def _fed(case: Case, bundle: Bundle, charter: int) -> Iterator[tuple[int, str]]:
    """Feeds the case one entry after the other: each one's index, and the detached part that it used."""
    mine = hashlib.sha256(bundle.entries[charter]).hexdigest()
    for index, data in enumerate(bundle.entries):
        sealed = envelope.open_(data)
        outline = statements.outline(sealed.payload)
        if index == charter or (index > charter and _speaks_of(case, outline, mine)):
            case.admit(data, bundle.attachments, (sealed, outline))
            yield index, outline.detached or ""
        else:
            again = functools.partial(bundle.entries.__getitem__, index)
            case.skip(data, outline.kind, outline.charter, again)
            yield index, ""


def _speaks_of(case: Case, outline: statements.Outline, charter: str) -> bool:
    """Whether an entry belongs to the case: by any of its cites, so that none is passed over as foreign."""
    return any(cite.digest == charter or cite.digest in case.by_digest for cite in outline.cites)


def _judge(check: Callable[[], object]) -> None:
    try:
        check()
    except (FormatError, SignatureError) as error:
        error.step = error.step or "verify 5"  # a checkpoint's, not a statement's
        raise


def _charter(bundle: Bundle) -> int:
    """Where the charter of the case stands. Raises: OrderError where there is none, or a second one."""
    found = []
    for index, data in enumerate(bundle.entries):
        payload = envelope.open_(data).payload
        if _CHARTER in payload:  # few are: the others need no reading yet
            outline = statements.outline(payload)
            if outline.kind == "charter" and outline.case == bundle.case:
                found.append(index)
    if len(found) != 1:
        raise OrderError(f"the log holds {len(found)} charters of this case, not one")
    return found[0]


_CHARTER = b'"predicateType":"urn:cenotaph:v1:charter"'


def _size(checkpoint: bytes) -> int:
    return note.Checkpoint.parse(note.parse_note(checkpoint).body).size


def _place(stamp: Stamp) -> tuple[int, bytes]:
    """Where a time stamp stands among others."""
    return _size(stamp.note), hashlib.sha256(stamp.token).digest()


def _counts(bundle: Bundle) -> dict[str, int]:
    counts = {
        "entries": len(bundle.entries),
        "checkpoints": len(bundle.checkpoints),
        "attachments": len(bundle.attachments),
    }
    return {**counts, "timestamps": len(bundle.stamps)} if bundle.stamps else counts


def _line(value: canonical.JsonLike) -> bytes:
    return canonical.dumps(value) + b"\n"


def _header(reader: Reader) -> dict[str, Any]:
    """The first line. Raises: FormatError when this is no proof file."""
    line = reader.line(MAX_HEADER)
    value = canonical.loads(line[:-1], depth=1) if line else None
    if not isinstance(value, dict) or set(value) - {"timestamps"} != _MEMBERS:
        raise FormatError("this is not a cenotaph proof file")
    if value["format"] != FORMAT:
        raise FormatError("the proof file is of a format this version does not know")
    counts = [(value[k], MAX_LINES) for k in ("entries", "checkpoints", "attachments")]
    counts += [(value["timestamps"], MAX_STAMPS)] if "timestamps" in value else []
    good = all(type(n) is int and 0 <= n <= most for n, most in counts) and value.get("timestamps") != 0
    if not good or not isinstance(value["case"], str):
        raise FormatError("the proof file's first line is malformed")
    return value


def _note_line(line: bytes) -> bytes:
    value = canonical.loads(line[:-1], depth=1)
    if (
        not isinstance(value, dict)
        or set(value) != {"checkpoint"}
        or not isinstance(value["checkpoint"], str)
    ):
        raise FormatError("the line holds no checkpoint")
    return value["checkpoint"].encode()


def _stamp_line(line: bytes) -> Stamp:
    value = canonical.loads(line[:-1], limit=MAX_STAMP_LINE, depth=2)
    stamp = value.get("timestamp") if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(stamp, dict) or set(stamp) != {"note", "token"}:
        raise FormatError("the line holds no time stamp")
    checkpoint, token = stamp["note"], stamp["token"]
    if not isinstance(checkpoint, str) or not isinstance(token, str):
        raise FormatError("the line holds no time stamp")
    data = envelope.decode_base64(token)
    if len(data) > MAX_TOKEN:
        raise FormatError(f"a time-stamp token has {len(data)} bytes; at most {MAX_TOKEN} are read")
    return Stamp(checkpoint.encode(), data)


def _ascend(what: str, keys: Iterable[Any]) -> None:
    if any(one >= other for one, other in pairwise(keys)):
        raise FormatError(f"the {what} are not in ascending order")
