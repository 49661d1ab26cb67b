"""What a verdict says of volumes: what was wiped, read, tried to restore, and what stays open.

Arguments and codes for `cenotaph_proof.verdict`. All of it is attested. Nothing that is said of a volume is
mathematics, so no line here is ever *proven*.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cenotaph_proof import draw, facts, volumes
from cenotaph_proof.casebook import Casebook
from cenotaph_proof.statements import (
    Certificate,
    CertifiedVolume,
    Probe,
    ProbedStore,
    ProbedVolume,
    Recall,
    WipedVolume,
)
from cenotaph_proof.words import clauses, phrase, several, text


def wiped(item: WipedVolume) -> dict[str, Any]:
    """What the operator says was done to a volume."""
    done = [phrase("wiped.action", kind=text(a.kind), count=a.count, bytes=a.bytes) for a in item.actions]
    return {
        "volume": item.name,
        "done": several(done or [phrase("wiped.nothing")]),
        "blank": item.blank,
        "free": item.free,
        "reached": item.reached,
    }


def searched(item: ProbedVolume) -> tuple[str, dict[str, Any]]:
    """What an auditor says of a volume: all that L3 rests on."""
    if item.state == "not read":
        return "attested.volume-unread", {"volume": item.name, "why": text(item.why_not_higher)}
    return "attested.volume", {
        "volume": item.name,
        "filesystem": item.filesystem,
        "state": text(item.state),
        "bytes": item.bytes,
        "read": item.read,
        "free": item.free,
        "blank": item.blank,
        "residue": item.residue,
        "strangers": item.strangers,
        "elsewhere": item.kept_elsewhere,
        "restored": _restored(item),
        "refereed": _refereed(item),
        "recalled": _recalled(item.recall),
        "reached": item.reached,
    }


def restored(item: ProbedStore) -> tuple[str, dict[str, Any]]:
    """What came back from what is left of a store's copies."""
    done = item.restores or ()
    return "attested.restored", {
        "store": item.name,
        "attempts": len(done),
        "tools": several(dict.fromkeys(f"{r.tool} {r.version}" for r in done)),
        "rows": sum(r.rows for r in done),
        "records": sum(r.records for r in done),
    }


def not_shown(case: Casebook, certificate: Certificate) -> list[tuple[str, dict[str, Any], str]]:
    """Codes, arguments and steps: volumes below L3, and what L3 itself leaves open."""
    lines = []
    for item in certificate.volumes or ():
        lines += _left_open(item)
        probed = [v for p in facts.accepted(case) for v in p.body(Probe).volumes or () if v.name == item.name]
        gaps = dict.fromkeys(line for v in probed for line in v.unreachable)
        notes = dict.fromkeys(line for v in probed for line in v.notes or ())
        named = {"volume": item.name}
        lines += [("not-shown.volume-unreached", {**named, "what": text(g)}, "verify 7") for g in gaps]
        lines += [("not-shown.volume-noted", {**named, "what": text(n)}, "verify 4") for n in notes]
    return lines


def _restored(item: ProbedVolume) -> dict[str, Any]:
    if not item.restores:
        return phrase("restored.none")
    tools = several(dict.fromkeys(f"{r.tool} {r.version}" for r in item.restores))
    back = sum(r.values for r in item.restores)
    return phrase("restored.tried", attempts=len(item.restores), tools=tools, values=back)


def _refereed(item: ProbedVolume) -> dict[str, Any]:
    if not item.referees:
        return phrase("refereed.none")
    tools = several(f"{r.tool} {r.version}" for r in item.referees)
    most = max(r.values for r in item.referees)
    return phrase("refereed.tried", tools=tools, most=most, missed=sum(r.missed for r in item.referees))


def _recalled(recall: Sequence[Recall]) -> dict[str, Any]:
    """Of what was planted the worst place stands for all: whoever hides something chooses it."""
    planted = [r for r in recall if r.sampled and r.encoding != "any"]
    sampled = [r for r in recall if r.sampled and (r.place, r.encoding) == ("any place", "any")]
    told = []
    if planted:
        counts = {"found": sum(r.found for r in planted), "planted": sum(r.sampled for r in planted)}
        worst = min(planted, key=lambda r: draw.at_least(r.found, r.sampled))
        where = {"place": text(worst.place), "encoding": text(worst.encoding)}
        least = draw.percent(worst.found, worst.sampled)
        told.append(phrase("recalled.planted", **counts, least=least, **where))
    told += [phrase("recalled.sampled", found=r.found, sampled=r.sampled) for r in sampled]
    return clauses(told or [phrase("recalled.none")])


def _left_open(item: CertifiedVolume) -> list[tuple[str, dict[str, Any], str]]:
    if item.reached not in volumes.CLEAN:
        args = {"volume": item.name, "reached": item.reached, "why": text(item.why_not_higher)}
        return [("not-shown.volume-below", args, "verify 7")]
    same = {"volume": item.name, "stores": several(item.stores)}
    lines: list[tuple[str, dict[str, Any], str]] = [("not-shown.volume-same", same, "docs/limits.md")]
    if not item.referees:
        lines.append(("not-shown.volume-unrefereed", {"volume": item.name}, "verify 7"))
    return lines
