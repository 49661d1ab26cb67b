"""The proof file: everything an offline verifier needs, one canonical JSON object a line.

A header, then every entry of the operator's log in order, the cosigned checkpoints by size, and the
detached parts by digest (spec/proof-file.md). It carries the whole log, so that no attempt of this
operator can be left out of sight (docs/adr/0001). Every byte is covered: the file is read strictly,
entries by their signatures and the root, checkpoints by theirs, detached parts by their digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from cenotaph_proof import canonical, envelope, note, statements
from cenotaph_proof.case import Case
from cenotaph_proof.errors import FormatError, OrderError, SignatureError
from cenotaph_proof.trust import Trust

FORMAT = "cenotaph-proof/v1"
LINE_LIMIT = 96 << 20
MAX_LINES = 1_000_000
MAX_BYTES = 512 << 20


@dataclass(frozen=True, slots=True)
class Bundle:
    """The contents of a proof file. `checkpoints` are notes, ascending by tree size."""

    case: str
    entries: tuple[bytes, ...]
    checkpoints: tuple[bytes, ...]
    attachments: Mapping[str, bytes]


def write(bundle: Bundle) -> bytes:
    """The bytes of a proof file."""
    lines: list[dict[str, Any]] = [
        {
            "format": FORMAT,
            "case": bundle.case,
            "entries": len(bundle.entries),
            "checkpoints": len(bundle.checkpoints),
            "attachments": len(bundle.attachments),
        }
    ]
    lines += [{"entry": envelope.encode_base64(e)} for e in bundle.entries]
    lines += [{"checkpoint": c.decode()} for c in bundle.checkpoints]
    lines += [
        {"attachment": envelope.encode_base64(bundle.attachments[d])} for d in sorted(bundle.attachments)
    ]
    return b"".join(canonical.dumps(line) + b"\n" for line in lines)


def read(stream: BinaryIO) -> Bundle:
    """Read a proof file strictly. Raises: FormatError naming the line."""
    lines = _lines(stream)
    header = next(lines, None)
    if header is None or set(header) != {"format", "case", "entries", "checkpoints", "attachments"}:
        raise FormatError("this is not a cenotaph proof file", step="verify 1")
    if header["format"] != FORMAT:
        raise FormatError("the proof file is of a format this version does not know", step="verify 1")
    counts = [header[k] for k in ("entries", "checkpoints", "attachments")]
    if not all(type(n) is int and 0 <= n <= MAX_LINES for n in counts) or not isinstance(header["case"], str):
        raise FormatError("the proof file's first line is malformed", step="verify 1")
    entries = tuple(envelope.decode_base64(v) for v in _take(lines, "entry", counts[0]))
    checkpoints = tuple(v.encode() for v in _take(lines, "checkpoint", counts[1]))
    attached = [envelope.decode_base64(v) for v in _take(lines, "attachment", counts[2])]
    if next(lines, None) is not None:
        raise FormatError("the proof file goes on after its end", step="verify 1")
    attachments = {hashlib.sha256(a).hexdigest(): a for a in attached}
    if list(attachments) != sorted(attachments) or len(attachments) != len(attached):
        raise FormatError("the proof file's attachments are not in order", step="verify 1")
    return Bundle(header["case"], entries, checkpoints, attachments)


def replay(bundle: Bundle, trust: Trust | None = None) -> Case:
    """Replay the log up to the bundle's end. Raises: ProofError of the rule that is broken."""
    case = Case(trust)
    outlines = [statements.outline(envelope.open_(e).payload) for e in bundle.entries]
    charter = _charter(bundle, outlines)
    notes = {note.Checkpoint.parse(note.parse_note(n).body).size: n for n in bundle.checkpoints}
    if len(notes) != len(bundle.checkpoints) or list(notes) != sorted(notes):
        raise FormatError("the checkpoints are not in ascending order of size")
    if notes and (min(notes) <= charter or max(notes) > len(bundle.entries)):
        raise FormatError("a checkpoint covers something other than this case's part of the log")
    mine = hashlib.sha256(bundle.entries[charter]).hexdigest()
    used: set[str] = set()
    for index, (data, outline) in enumerate(zip(bundle.entries, outlines, strict=True)):
        if index == charter or (index > charter and _speaks_of(case, outline, mine)):
            case.admit(data, bundle.attachments)
            used.add(outline.detached or "")
        else:
            case.skip(data, outline.kind, outline.charter)
        if index + 1 in notes:
            _observe(case, notes[index + 1])
    if set(bundle.attachments) - used:
        raise FormatError("the proof file carries a detached part that no statement names")
    return case


def _speaks_of(case: Case, outline: statements.Outline, charter: str) -> bool:
    """Whether an entry belongs to the case: by any of its cites, so that none is passed over as foreign."""
    return any(cite.digest == charter or cite.digest in case.by_digest for cite in outline.cites)


def _observe(case: Case, checkpoint: bytes) -> None:
    try:
        case.observe(checkpoint)
    except (FormatError, SignatureError) as error:
        error.step = error.step or "verify 5"  # a checkpoint's, not a statement's
        raise


def _charter(bundle: Bundle, outlines: Sequence[statements.Outline]) -> int:
    found = [i for i, o in enumerate(outlines) if o.kind == "charter" and o.case == bundle.case]
    if len(found) != 1:
        raise OrderError(f"the log holds {len(found)} charters of this case, not one")
    return found[0]


def _lines(stream: BinaryIO) -> Iterator[dict[str, Any]]:
    total = 0
    while line := stream.readline(LINE_LIMIT):
        total += len(line)
        if not line.endswith(b"\n") or total > MAX_BYTES:
            raise FormatError("the proof file is cut off, or too large", step="verify 1")
        value = canonical.loads(line[:-1], limit=LINE_LIMIT)
        if not isinstance(value, dict):
            raise FormatError("a line of the proof file is not an object", step="verify 1")
        yield value


def _take(lines: Iterator[dict[str, Any]], key: str, count: int) -> Iterator[str]:
    for number in range(count):
        line = next(lines, None)
        if line is None or set(line) != {key} or not isinstance(line[key], str):
            raise FormatError(
                f"{key} {number + 1} of {count} is missing from the proof file", step="verify 1"
            )
        yield line[key]
