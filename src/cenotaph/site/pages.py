"""The pages of one case, in every language, from its statements alone. Opens no file, reads no clock.

Paths are ours and fixed, or ordinals: no name from a case becomes the name of a file. Every page stands
alone: its style is inside it, allowed by its hash, so that the site is the same from a server and a disk.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cenotaph.site import charts, feed, figures, render, standing, telling
from cenotaph.site.render import Said
from cenotaph_proof import envelope, merkle, note, statements, testimony
from cenotaph_proof import verdict as verdicts
from cenotaph_proof.bundle import Bundle
from cenotaph_proof.case import Case
from cenotaph_proof.casebook import Entry, claimed
from cenotaph_proof.facts import GRADES
from cenotaph_proof.inclusion import InclusionProof
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.statements import Certificate, Testimony
from cenotaph_proof.words import LANGUAGES, Language, phrase, several, time

PROOF, PAPER, VERIFY = "proof.cenotaph", "certificate.pdf", "verify.html"
FOLDERS: Mapping[Language, str] = {"en": "", "zh": "zh/"}
SHOWN = 200_000  # characters of a statement that its page shows; the file beside it has all


@dataclass(frozen=True, slots=True)
class Beside:
    """What else the site holds. `evidence`: digests of files that testimony names and the operator shows."""

    paper: bool = False
    verify: bool = False
    evidence: tuple[str, ...] = ()


def build(case: Case, bundle: Bundle, beside: Beside, proof_bytes: int) -> dict[str, bytes]:
    """Pages, feeds and signed statements by path, what others link to first."""
    site = _Site(case, bundle, beside, proof_bytes)
    signed = {**dict(_signed(case, bundle)), **dict(site.proofs())}
    return {**signed, **dict(site.statements()), **dict(site.fronts())}


def evidence_path(digest: str) -> str:
    """Where a file of evidence lies: by its digest, which is all that the log says of it."""
    return f"evidence/{digest}"


def _signed(case: Case, bundle: Bundle) -> Iterator[tuple[str, bytes]]:
    """The envelopes of this case as they were signed, and their detached parts."""
    for entry in case.entries:
        data = bundle.entries[entry.index]
        yield f"{_stem(entry)}.json", data
        detached = statements.outline(envelope.open_(data).payload).detached
        if detached:
            yield f"{_stem(entry)}-part.json", bundle.attachments[detached]


def _stem(entry: Entry) -> str:
    return f"statements/{entry.index + 1:04d}"


class _Site:
    """One case on its way into pages."""

    def __init__(self, case: Case, bundle: Bundle, beside: Beside, proof_bytes: int) -> None:
        self._case = case
        self._bundle = bundle
        self._standing = standing.of(case)
        self._hashes = [merkle.leaf_hash(entry) for entry in bundle.entries]
        self._entries = {e.digest: _view(case, e) for e in case.entries}
        self._common = self._shared(beside, proof_bytes)

    def proofs(self) -> Iterator[tuple[str, bytes]]:
        """Each statement's place in the log as a file of its own (C2SP tlog-proof)."""
        notes = {note.Checkpoint.parse(note.parse_note(n).body).size: n for n in self._bundle.checkpoints}
        for entry in self._case.entries:
            size = next((c.size for c in self._case.cosigned if c.size > entry.index), None)
            if size is not None:
                proof = InclusionProof(entry.index, tuple(self._path(entry, size)), notes[size])
                yield f"{_stem(entry)}.tlog-proof", proof.to_bytes()

    def statements(self) -> Iterator[tuple[str, bytes]]:
        """A page a statement and language. It leads to earlier ones only, so that it need not change."""
        views = list(self._entries.values())
        for number, entry in enumerate(self._case.entries):
            values = {
                "entry": views[number],
                "before": views[number - 1] if number else None,
                "inclusion": self._inclusion(entry),
                **self._payload(entry),
            }
            for language in LANGUAGES:
                yield self._page(language, "statement.html", f"{_stem(entry)}.html", values)

    def fronts(self) -> Iterator[tuple[str, bytes]]:
        """Feeds, then the pages that a reader opens first; the announcement is the last of them."""
        for language in LANGUAGES:
            yield f"{FOLDERS[language]}feed.xml", self._feed(language)
        values: dict[str, dict[str, Any]] = {
            "verdict": {"lists": self._lists(), "certificate": self._certificate()},
            "index": {"steps": self._steps(), "objections": self._objections()},
        }
        for page in ("check", "timeline", "verdict", "index"):
            for language in reversed(LANGUAGES):
                yield self._page(language, f"{page}.html", f"{page}.html", values.get(page, {}))

    def _page(
        self, language: Language, template: str, path: str, values: Mapping[str, Any]
    ) -> tuple[str, bytes]:
        at = FOLDERS[language] + path
        said = Said(language)
        given = {
            **self._common,
            **values,
            "page": path.removesuffix(".html"),
            "language": FOLDERS[language],
            "link": lambda target: posixpath.relpath(target, posixpath.dirname(at) or "."),
            "charts": _charts(self._case, said),
            "languages": render.languages(at, {k: folder + path for k, folder in FOLDERS.items()}),
        }
        return at, render.page(template, said, given)

    def _shared(self, beside: Beside, proof_bytes: int) -> dict[str, Any]:
        """What every page may show, in codes and numbers."""
        case = self._case
        certified = case.latest(Certificate)
        return {
            "charter": case.charter,
            "certified": certified is not None,
            "witnessed": certified is not None and case.cosigned_time(certified.index) is not None,
            "standing": self._standing,
            "standing_lines": tuple(_standing_lines(case, self._standing)),
            "acts": tuple(_acts(self._standing)),
            "apps": figures.apps(case),
            "stores": figures.stores(case),
            "totals": figures.totals(case),
            "parties": tuple(self._party(p) for p in case.parties(*_ROLES)),
            "thresholds": tuple(
                phrase("site.threshold", role=telling.role(r.role), number=r.count)
                for r in case.charter.policy.approve
            ),
            "entries": tuple(self._entries.values()),
            "foreign": len(self._bundle.entries) - len(case.entries),
            "has": beside,
            "evidence": tuple(self._evidence(d) for d in beside.evidence),
            "proof_size": telling.size(proof_bytes),
            "log": self._log(),
        }

    def _log(self) -> dict[str, Any]:
        operator = next(p for p in self._case.parties("operator"))
        return {
            "key": note.operator_note_key(operator).to_text(),
            "size": len(self._hashes),
            "root": merkle.root(self._hashes).hex(),
        }

    def _party(self, party: PublicKey) -> dict[str, Any]:
        mine = [e for e in self._case.entries if e.signer.key_id == party.key_id]
        return {
            "organisation": party.organisation,
            "role": party.role,
            "key": party.key_id,
            "signed": tuple(self._entries[e.digest] for e in mine),
            "awaited": tuple(
                f"site.awaited.{a.what}" for a in self._standing.awaited if a.party.key_id == party.key_id
            ),
            "cosigned": sum(party.organisation in c.witnesses for c in self._case.cosigned),
        }

    def _evidence(self, digest: str) -> dict[str, Any]:
        named = (e for e in self._case.all(Testimony) if digest in e.body(Testimony).evidence)
        return {
            "digest": digest,
            "name": evidence_path(digest),
            "pages": tuple(self._entries[e.digest] for e in named),
        }

    def _inclusion(self, entry: Entry) -> dict[str, Any]:
        """The path from the statement to the first checkpoint that a quorum cosigned over it."""
        covering = next((c for c in self._case.cosigned if c.size > entry.index), None)
        leaf = self._hashes[entry.index].hex()
        if covering is None:
            return {"leaf": leaf, "size": None, "root": None, "path": ()}
        return {
            "leaf": leaf,
            "size": covering.size,
            "root": covering.root.hex(),
            "path": [h.hex() for h in self._path(entry, covering.size)],
            "proof": f"{_stem(entry)}.tlog-proof",
        }

    def _path(self, entry: Entry, size: int) -> list[bytes]:
        return merkle.inclusion_proof(self._hashes[:size], entry.index)

    def _payload(self, entry: Entry) -> dict[str, Any]:
        payload = envelope.open_(self._bundle.entries[entry.index]).payload
        words = render.pretty(payload)
        part = statements.outline(payload).detached
        return {
            "payload": words[:SHOWN],
            "cut": len(words) > SHOWN,
            "part": f"{_stem(entry)}-part.json" if part else None,
        }

    def _lists(self) -> dict[str, Any]:
        lists = verdicts.so_far(self._case)
        return {
            kind: tuple(
                {
                    "code": fact.code,
                    "args": fact.args,
                    "pages": tuple(self._entries[d] for d in fact.evidence if d in self._entries),
                }
                for fact in getattr(lists, kind)
            )
            for kind in ("proven", "attested", "not_shown")
        }

    def _certificate(self) -> Certificate | None:
        last = self._case.latest(Certificate)
        return last.body(Certificate) if last is not None else None

    def _steps(self) -> tuple[dict[str, Any], ...]:
        return tuple(
            {
                "about": step.planned.about,
                "says": f"says.{step.planned.says.replace(' ', '-')}",
                "testified": tuple(
                    {**self._entries[e.digest], "who": e.signer.organisation} for e in step.testified
                ),
                "lacking": tuple(telling.role(role) for role in step.lacking),
            }
            for step in testimony.steps(self._case)
        )

    def _objections(self) -> tuple[dict[str, Any], ...]:
        return tuple(
            {**self._spoken(o.entry), "answers": tuple(self._spoken(a) for a in o.answers)}
            for o in testimony.objections(self._case)
        )

    def _spoken(self, entry: Entry) -> dict[str, Any]:
        body = entry.body(Testimony)
        who = phrase("site.party", role=telling.role(body.role), name=body.organisation)
        return {**self._entries[entry.digest], "who": who, "about": body.about, "why": body.why or ""}

    def _feed(self, language: Language) -> bytes:
        said = Said(language)
        charter, at = self._case.charter, FOLDERS[language] + "feed.xml"
        seen = [v for v in self._entries.values() if v["time"] is not None]
        return feed.write(
            feed.Feed(
                id=f"urn:cenotaph:v1:case:{charter.case}:{language}",
                title=said.plain("site.title", operator=charter.operator)
                + f" · {render.shown(charter.name)}",
                by=render.shown(charter.operator),
                language=render.TAGS[language],
                time=max((v["time"] for v in seen), default=charter.created),
                links=(("self", posixpath.basename(at), feed.TYPE), ("alternate", "index.html", "text/html")),
                items=tuple(_item(view, said, language) for view in seen),
            )
        )


_ROLES = ("operator", "auditor", "notary", "owner", "log-witness")


def _view(case: Case, entry: Entry) -> dict[str, Any]:
    """What pages say of one statement."""
    lines = telling.lines(entry)
    return {
        "number": entry.index + 1,
        "index": entry.index,
        "kind": entry.statement.kind,
        "page": f"{_stem(entry)}.html",
        "json": f"{_stem(entry)}.json",
        "organisation": entry.signer.organisation,
        "role": entry.signer.role,
        "key": entry.signer.key_id,
        "digest": entry.digest,
        "time": case.cosigned_time(entry.index),
        "claimed": claimed(entry),
        "summary": lines[0],
        "lines": lines[1:],
        "cites": tuple(_cited(case, c.digest) for c in entry.statement.cites if c.digest in case.by_digest),
    }


def _cited(case: Case, digest: str) -> dict[str, Any]:
    entry = case.by_digest[digest]
    return {"number": entry.index + 1, "kind": entry.statement.kind, "page": f"{_stem(entry)}.html"}


def _item(view: Mapping[str, Any], said: Said, language: Language) -> feed.Item:
    code, args = view["summary"]
    kind = said.plain(f"site.kind.{view['kind']}")
    return feed.Item(
        id=f"urn:cenotaph:v1:statement:{view['digest']}:{language}",
        title=f"{kind} {view['number']}",
        text=said.plain(code, args),
        by=render.shown(view["organisation"]),
        time=view["time"],
        link=view["page"],
    )


# ── where it stands ──────────────────────────────────────────────────────────────────────────────


def _standing_lines(case: Case, now: standing.Standing) -> Iterator[telling.Line]:
    """What follows from where the case stands, in words."""
    notice = case.charter.notice
    if now.stage in ("opened", "countersigned", "surveyed", "sealed", "planned") and notice:
        yield "site.standing.notice", {"notice": telling.duration(notice)}
    if now.stage == "approved" and now.earliest is not None:
        yield "site.standing.earliest", {"time": time(now.earliest)}
    for what in dict.fromkeys(a.what for a in now.awaited):
        who = [
            phrase("site.party", role=telling.role(a.party.role), name=a.party.organisation)
            for a in now.awaited
            if a.what == what
        ]
        yield f"site.standing.{what}", {"who": several(who)}


def _acts(now: standing.Standing) -> Iterator[dict[str, str]]:
    """The acts of the ceremony: done, now, or to come."""
    at = standing.act(now.stage)
    for number, name in enumerate(standing.ACTS):
        over = number < at or now.stage == "certified"
        yield {"name": name, "state": "done" if over else "now" if number == at else "later"}


# ── charts ───────────────────────────────────────────────────────────────────────────────────────


def _charts(case: Case, said: Said) -> dict[str, Any]:
    return {"grades": _grades(case, said), "returned": _returned(case, said), "sampled": _sampled(case, said)}


def _grades(case: Case, said: Said) -> dict[str, Any]:
    """Records by app and grade; of stores that no app uses, by store."""
    rows = [(a.app.name, a.grades) for a in figures.apps(case)]
    rows += [(s.terms.name, figures.by_grade([s])) for s in figures.others(case)]
    most = max((sum(n for _, n in grades) for _, grades in rows), default=0)
    used = {grade for _, grades in rows for grade, _ in grades}
    step = "reached" if case.latest(Certificate) else "planned" if case.latest(statements.Plan) else "asked"
    return {
        "caption": f"site.chart.grades-{step}",
        "key": [(f"g-{g}", said.say(f"site.grade.{g}")) for g in reversed(GRADES) if g in used],
        "rows": [_grade_row(label, grades, most, said) for label, grades in rows if grades],
    }


def _grade_row(label: str, grades: Sequence[tuple[str, int]], most: int, said: Said) -> dict[str, Any]:
    parts = [phrase("site.chart.grade", records=n, grade=grade) for grade, n in grades]
    words = said.plain("site.list", items=several(parts))
    return {
        "label": label,
        "bar": charts.bar(
            [(f"g-{grade}", n) for grade, n in grades], most, f"{render.shown(label)}: {words}"
        ),
        "says": words,
    }


def _returned(case: Case, said: Said) -> dict[str, Any]:
    rows = [(s.terms.name, s.returned) for s in figures.stores(case) if s.returned is not None]
    most = max((n for _, n in rows), default=0)
    drawn = []
    for label, count in rows:
        words = said.plain("site.chart.bytes", size=telling.size(count), bytes=count)
        bar = charts.bar([("back", count)], most, f"{render.shown(label)}: {words}")
        drawn.append({"label": label, "bar": bar, "says": words})
    return {"caption": "site.chart.returned", "key": [], "rows": drawn}


def _sampled(case: Case, said: Said) -> dict[str, Any]:
    rows = []
    for s in figures.sampled(case):
        label = said.plain("site.chart.sampled-row", store=s.store, organisation=s.organisation)
        words = said.plain(*_bound(s))
        parts = [("match", s.matched), ("differ", s.drawn - s.matched)]
        rows.append({"label": label, "bar": charts.bar(parts, s.chunks, f"{label}: {words}"), "says": words})
    return {"caption": "site.chart.sampled", "key": [], "rows": rows}


def _bound(s: figures.Sampled) -> telling.Line:
    counts: dict[str, Any] = {"drawn": s.drawn, "chunks": s.chunks, "matched": s.matched}
    if s.bound_ppm is None:
        return "site.chart.differ", counts
    if s.whole:
        return "site.chart.whole", counts
    shares = {"bound": f"{s.bound_ppm / 10_000:g}", "confidence": f"{s.confidence_ppm / 10_000:g}"}
    return "site.chart.bounded", {**counts, **shares, "records": s.bound_records}
