"""What a certificate on paper says: the same words for whoever prints it and for whoever checks it.

All of it follows from the proof file alone (spec/paper.md). The keys are therefore those that the operator
named, and every signer is "a key calling itself …": a paper cannot know the trust file of its reader.

Nothing here knows of PDF: `typeset` sets the pages, `pdf` and `text` read them, and
`check` compares.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cenotaph_proof import bundle as bundles
from cenotaph_proof import facts, merkle, verdict, verify
from cenotaph_proof.case import Case
from cenotaph_proof.casebook import Entry
from cenotaph_proof.statements import Certificate, Destruction, Inventory, Plan, Probe
from cenotaph_proof.verdict import Fact, Verdict
from cenotaph_proof.words import Words, phrase, several, text, time

FORMAT = "cenotaph-paper/v1"
ON_THE_FACE = 8  # stores and volumes that the first page has room for
SCANNED = "cenotaph-certificate/v1"
Choice = Literal["both", "en", "zh"]
CHOICES: dict[Choice, tuple[str, ...]] = {"both": ("zh", "en"), "en": ("en",), "zh": ("zh",)}
Style = Literal["plain", "code", "grade"]


@dataclass(frozen=True, slots=True)
class Cell:
    """Words, and how they are set: as text, as a number to be compared, as a grade that was reached."""

    text: str
    style: Style = "plain"


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a section. `rows` of one cell each, but in a table, whose `name` tells its columns."""

    kind: Literal["text", "note", "heading", "points", "code", "table"]
    rows: tuple[tuple[Cell, ...], ...]
    head: tuple[str, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class Face:
    """The first page of a language, which is what one frames."""

    issuer: str
    title: str
    subtitle: str
    statement: str
    totals: tuple[tuple[str, str], ...]
    blocks: tuple[Block, ...]
    marks: tuple[tuple[str, Cell], ...]
    qr: str  # for those who hear the page


@dataclass(frozen=True, slots=True)
class Section:
    heading: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Part:
    language: str
    face: Face
    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True)
class Paper:
    """All that is printed, in reading order, and what is attached."""

    title: str
    author: str
    issued: int
    parts: tuple[Part, ...]
    footer: str
    scanned: str  # what the QR code holds
    leaf: bytes
    attachment: str  # the proof file's name
    described: str
    proof: bytes


@dataclass(frozen=True, slots=True)
class _Told:
    """What a page is made from: a replayed case, its verdict, and words."""

    case: Case
    verdict: Verdict
    certificate: Certificate
    entry: Entry
    leaf: bytes
    proof: bytes
    words: Words

    def say(self, code: str, **args: Any) -> str:
        return plain(self.words.say(code, args))

    def value(self, value: Any) -> str:
        return plain(self.words.value(value))


@dataclass(frozen=True, slots=True)
class Source:
    """A proof file that verified, without a trust file: what a paper is made from."""

    case: Case
    verdict: Verdict
    entry: Entry
    leaf: bytes
    proof: bytes


def source(proof: bytes) -> Source:
    """Verify a proof file, to make papers from. Raises: ProofError when it does not verify."""
    case = verify.replayed(io.BytesIO(proof), None)
    entry = case.require(Certificate)
    leaf = merkle.leaf_hash(bundles.read(io.BytesIO(proof)).entries[entry.index])
    return Source(case, verdict.of(case), entry, leaf, proof)


def of(made_from: Source | bytes, choice: Choice = "both") -> Paper:
    """The paper of a proof file, or of what `source` made of one.

    Raises: ProofError when the proof file does not verify.
    """
    base = source(made_from) if isinstance(made_from, bytes) else made_from
    case, entry, leaf = base.case, base.entry, base.leaf
    body = entry.body(Certificate)
    told = [
        _Told(case, base.verdict, body, entry, leaf, base.proof, Words(language))
        for language in CHOICES[choice]
    ]
    name, mark = case.charter.name, base64.b64encode(leaf).decode()
    return Paper(
        title=" · ".join([*(t.say("paper.title") for t in told), plain(name)]),
        author=plain(case.charter.operator),
        issued=body.issued,
        parts=tuple(_part(t) for t in told),
        footer=plain(f"{name} · № {entry.index} · {mark}"),
        scanned="".join(f"{line}\n" for line in (SCANNED, case.charter.origin, str(entry.index), mark)),
        leaf=leaf,
        attachment=_file_name(name),
        described=told[-1].say("paper.described"),
        proof=base.proof,
    )


def spoken(paper: Paper) -> str:
    """Everything on the pages but the footers, in reading order and without white space: what is compared."""
    return squeezed("".join(_strings(paper)))


def headings(paper: Paper) -> Iterator[str]:
    """All headings in order, as a reader of PDF lists them."""
    for part in paper.parts:
        yield part.face.title
        for section in part.sections:
            yield section.heading
            yield from (block.rows[0][0].text for block in section.blocks if block.kind == "heading")


def squeezed(words: str) -> str:
    """Words without white space: where a line ends is the page's business."""
    return "".join(words.split())


def plain(words: str) -> str:
    """Words that can be set as they are: what would turn, hide or break a line is made visible."""
    return _UNSEEN.sub(lambda m: f"\\u{ord(m[0]):04x}", words)


_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff\U000e0000-\U000e0fff]"
)


def _file_name(name: str) -> str:
    """The attachment's name: of the case's, what every file system takes."""
    return re.sub(r"[^\w.-]+", "-", plain(name)).strip(".-")[:80] + ".cenotaph"


def _strings(paper: Paper) -> Iterator[str]:
    for part in paper.parts:
        face = part.face
        yield from (face.issuer, face.title, face.subtitle, face.statement)
        yield from (word for total in face.totals for word in total)
        yield from _of_blocks(face.blocks)
        yield from (word for label, cell in face.marks for word in (label, cell.text))
        for section in part.sections:
            yield section.heading
            yield from _of_blocks(section.blocks)


def _of_blocks(blocks: Iterable[Block]) -> Iterator[str]:
    for block in blocks:
        yield from block.head
        yield from (cell.text for row in block.rows for cell in row)


# ── blocks ───────────────────────────────────────────────────────────────────────────────────────


def _block(kind: Literal["text", "note", "heading", "points", "code"], *lines: str) -> Block:
    return Block(kind, tuple((Cell(line),) for line in lines))


def _table(name: str, head: Iterable[str], rows: Iterable[Sequence[str | Cell]]) -> Block:
    cells = (tuple(c if isinstance(c, Cell) else Cell(c) for c in row) for row in rows)
    return Block("table", tuple(cells), tuple(head), name)


# ── the first page ───────────────────────────────────────────────────────────────────────────────


def _part(t: _Told) -> Part:
    apart = (_destroyed(t),) if _many(t) else ()
    sections = (*apart, _back(t), _lists(t), _sanitization(t), _signed(t), _check(t))
    return Part(t.words.language, _face(t), sections)


def _many(t: _Told) -> bool:
    """Whether stores and volumes are too many to stand on the first page."""
    return len(t.certificate.stores) + len(t.certificate.volumes or ()) > ON_THE_FACE


def _face(t: _Told) -> Face:
    c, mark = t.certificate, base64.b64encode(t.leaf).decode()
    told = {"name": t.case.charter.name, "operator": t.case.charter.operator}
    totals = [("sealed", c.sealed), ("destroyed", c.destroyed), ("held", c.held), ("kept", c.kept)]
    totals += [("returned", c.returned)] + ([("persons", c.persons)] if c.persons is not None else [])
    return Face(
        issuer=plain(t.case.charter.operator),
        title=t.say("paper.title"),
        subtitle=t.say("paper.subtitle"),
        statement=t.say("paper.statement", **told, destroyed=c.destroyed, sealed=c.sealed),
        totals=tuple((t.value(count), t.say(f"paper.{name}")) for name, count in totals),
        blocks=(
            *(() if _many(t) else (_stores(t), *_volumes(t))),
            _grades(t, "reached"),
            _block("note", t.say("paper.unchecked")),
        ),
        marks=(
            (t.say("paper.issued"), Cell(t.value(time(c.issued)))),
            (t.say("paper.case"), Cell(_halves(t.case.charter.case), "code")),
            (t.say("paper.log"), Cell(plain(t.case.charter.origin), "code")),
            (t.say("paper.entry"), Cell(str(t.entry.index), "code")),
            (t.say("paper.leaf"), Cell(mark, "code")),
        ),
        qr=t.say("paper.qr", lines=f"{SCANNED}, {t.case.charter.origin}, {t.entry.index}, {mark}"),
    )


def _destroyed(t: _Told) -> Section:
    return Section(t.say("paper.by-store"), (_stores(t), *_volumes(t)))


def _stores(t: _Told) -> Block:
    columns = ("asked", "reached", "column-sealed", "column-destroyed", "column-held", "column-kept")
    rows = []
    for s in t.certificate.stores:
        apps = [a.name for a in t.case.charter.apps if s.name in a.stores]
        least = t.verdict.recall[s.name]
        found = "verdict.not-measured" if least is None else "verdict.percent"
        row: list[str | Cell] = [
            plain(s.name),
            t.value(several(apps)) or "–",
            s.asked,
            Cell(s.reached, "grade"),
        ]
        row += [t.value(n) for n in (s.sealed, s.destroyed, s.held, s.kept, s.returned)]
        rows.append([*row, t.say(found, percent=least)])
    head = ("store", "apps", *columns, "column-returned", "recall")
    return _table("stores", (t.say(f"paper.{name}") for name in head), rows)


def _volumes(t: _Told) -> list[Block]:
    rows = [
        (
            plain(v.name),
            t.value(several(v.stores)),
            Cell(v.reached, "grade"),
            t.value(v.read),
            t.value(v.restores),
            t.value(several(v.referees)) or t.say("verdict.none"),
        )
        for v in t.certificate.volumes or ()
    ]
    head = ("volume", "store", "reached", "read", "restores", "referees")
    return [_table("volumes", (t.say(f"paper.{name}") for name in head), rows)] if rows else []


# ── the pages behind it ──────────────────────────────────────────────────────────────────────────


def _back(t: _Told) -> Section:
    return Section(t.say("paper.back"), (_block("text", t.say("paper.back-why")), _grades(t, "grades")))


def _grades(t: _Told, name: Literal["reached", "grades"]) -> Block:
    """Who can no longer bring it back: for the grades that stores reached, or for all that there are."""
    stores = {grade: [s.name for s in t.certificate.stores if s.reached == grade] for grade in facts.GRADES}
    counted = name == "reached" and _many(t)
    rows = [
        (
            Cell(t.say(f"grade.{grade}"), "grade"),
            t.say(f"gone.{grade}" if name == "grades" else f"reached.{grade}"),
            t.say("paper.so-many", stores=len(stores[grade]))
            if counted
            else t.value(several(stores[grade])) or "–",
        )
        for grade in facts.GRADES
        if stores[grade] or name == "grades"
    ]
    head = (t.say(f"paper.{column}") for column in ("grade", "no-longer", "stores"))
    return _table(name, head, rows)


def _lists(t: _Told) -> Section:
    blocks: list[Block] = []
    for name, lines in (
        ("paper.proven", t.verdict.proven),
        ("paper.attested", t.verdict.attested),
        ("paper.not-shown", t.verdict.not_shown),
    ):
        blocks += [_block("heading", t.say(name)), _block("points", *(_line(t, f) for f in lines))]
    return Section(t.say("paper.verdict"), tuple(blocks))


def _line(t: _Told, line: Fact) -> str:
    return t.say(line.code, **line.args)


def _sanitization(t: _Told) -> Section:
    rows = []
    for name, value in _fields(t).items():
        field = t.say(f"nist.{name}")
        if name in _OLDER:
            field = t.say("paper.older", field=field, older=t.say(f"nist.{name}-older"))
        rows.append((field, value))
    head = (t.say("paper.field"), t.say("paper.content"))
    return Section(
        t.say("paper.nist"), (_block("text", t.say("paper.nist-why")), _table("fields", head, rows))
    )


_OLDER = ("method", "technique", "validation")


def _fields(t: _Told) -> dict[str, str]:
    """NIST SP 800-88 Rev. 2, section 4.6: each field, and what the statements say of it."""
    c = t.certificate
    stay = {"held": c.held, "kept": c.kept}
    found = {
        "property": t.say("nist.property-value", name=t.case.charter.name, case=t.case.charter.case),
        "media-type": t.value(several(_media(t))),
        "source": _source(t),
        "before": _before(t),
        "method": _method(t),
        "technique": _technique(t),
        "tool": t.say("nist.tool-value", tools=several(dict.fromkeys(p.tool for p in _probes(t)))),
        "verification": _verification(t),
        "validation": t.say("nist.validation-value", entries=several(_accepting(t))),
        "after": t.say("nist.after-value", **stay),
        "date": _dates(t),
        "contact": plain(t.case.charter.contact or "") or t.say("nist.contact-none"),
    }
    return {name: found.get(name) or t.say(f"nist.{name}-value") for name in _NAMES}


_NAMES = (
    "manufacturer",
    "property",
    "media-type",
    "source",
    "before",
    "method",
    "technique",
    "tool",
    "verification",
    "validation",
    "after",
    "destination",
    "person",
    "date",
    "location",
    "contact",
    "signature",
)


def _media(t: _Told) -> list[dict[str, Any]]:
    stores = [phrase("nist.media-store", store=s.name, kind=s.kind) for s in t.case.charter.stores]
    on = t.certificate.volumes or ()
    return stores + [phrase("nist.media-volume", volume=v.name, filesystem=v.filesystem) for v in on]


def _source(t: _Told) -> str:
    apps = [
        phrase("nist.source-app", app=a.name, purpose=a.purpose) if a.purpose else a.name
        for a in t.case.charter.apps
    ]
    return t.value(several(apps)) or t.say("nist.source-store", operator=t.case.charter.operator)


def _before(t: _Told) -> str:
    surveyed = t.case.require(Inventory).body(Inventory)
    kinds = sorted({p.kind for s in surveyed.stores for c in s.collections for p in c.personal})
    if not kinds:
        return t.say("nist.before-none")
    return t.say("nist.before-value", kinds=several(text(kind) for kind in kinds))


def _method(t: _Told) -> str:
    clean = [v.name for v in t.certificate.volumes or () if v.reached == "L3"]
    return t.say("nist.method-volume", volumes=several(clean)) if clean else t.say("nist.method-none")


def _technique(t: _Told) -> str:
    stores = t.case.require(Plan).body(Plan).stores
    kinds = dict.fromkeys(
        [a.kind for s in stores for a in s.own] + [a.kind for s in stores for a in s.shared]
    )
    actions = several(text(kind) for kind in kinds)
    return t.say("nist.technique-value", actions=actions, batches=t.certificate.batches)


def _probes(t: _Told) -> list[Probe]:
    return [entry.body(Probe) for entry in facts.accepted(t.case)]


def _verification(t: _Told) -> str:
    who = several(dict.fromkeys(p.organisation for p in _probes(t)))
    needles = min(p.needles for p in _probes(t))
    return t.say("nist.verification-value", values=needles, auditors=who)


def _accepting(t: _Told) -> list[dict[str, Any]]:
    return [
        phrase("nist.entry", who=e.signer.organisation, index=str(e.index)) for e in facts.accepted(t.case)
    ]


def _dates(t: _Told) -> str:
    runs = [entry.body(Destruction) for entry in t.case.all(Destruction)]
    return t.say(
        "nist.date-value",
        started=time(min(run.started for run in runs)),
        finished=time(max(run.finished for run in runs)),
        verified=time(max(p.signed for p in _probes(t))),
        issued=time(t.certificate.issued),
    )


def _signed(t: _Told) -> Section:
    statements = [
        (
            str(e.index),
            t.say(f"kind.{e.statement.kind}"),
            _signer(t, e),
            t.value(time(t.case.cosigned_time(e.index))),
        )
        for e in t.case.entries
    ]
    parties = [
        (t.say(f"role.{p.role}"), plain(p.organisation), Cell(_halves(p.key_id), "code"))
        for p in t.case.parties("operator", "auditor", "notary", "owner", "log-witness")
    ]
    signed = (t.say(f"paper.{name}") for name in ("entry", "statement-kind", "signer", "seen"))
    keys = (t.say(f"paper.{name}") for name in ("role", "organisation", "key"))
    blocks = (_block("text", t.say("paper.signed-why")), _table("signed", signed, statements))
    return Section(t.say("paper.signed"), (*blocks, _table("keys", keys, parties)))


def _signer(t: _Told, entry: Entry) -> str:
    return t.value(several([phrase(f"role.{entry.signer.role}"), entry.signer.organisation]))


def _check(t: _Told) -> Section:
    file = _file_name(t.case.charter.name)
    digest = hashlib.sha256(t.proof).hexdigest()
    blocks = (
        _block("text", t.say("paper.check-file", file=file)),
        _block("code", _halves(digest)),
        _block("text", t.say("paper.check-trust")),
        _block("text", t.say("paper.check-run")),
        _block("code", "cenotaph-verify certificate.pdf --trust TRUST.toml"),
        _block("text", t.say("paper.check-page")),
        _block("text", t.say("paper.check-qr")),
    )
    return Section(t.say("paper.check"), blocks)


def _halves(digest: str) -> str:
    """64 digits as two words, so that a line can end between them."""
    return f"{digest[:32]} {digest[32:]}"
