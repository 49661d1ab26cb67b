"""What a verdict says of volumes, in words: what was wiped, read, tried to restore, and what stays open.

All of it is attested. Nothing that is said of a volume is mathematics, so no line here is ever *proven*.
"""

from __future__ import annotations

from collections.abc import Sequence

from cenotaph_proof import draw, facts, volumes
from cenotaph_proof.casebook import Casebook
from cenotaph_proof.statements import (
    Certificate,
    CertifiedVolume,
    Probe,
    ProbedVolume,
    Recall,
    WipedVolume,
)


def wiped(item: WipedVolume) -> str:
    """What the operator says was done to a volume."""
    done = ", ".join(f"{a.kind} ({a.count:,}, {a.bytes:,} bytes)" for a in item.actions) or "nothing to do"
    return (
        f"wiped volume {item.name}: {done}; {item.blank:,} of {item.free:,} free bytes read back blank; "
        f"{item.reached} by its own account"
    )


def searched(item: ProbedVolume) -> str:
    """What an auditor says of a volume: all that L3 rests on."""
    if item.state == "not read":
        return f"could not read volume {item.name}: {item.why_not_higher}"
    return (
        f"read {item.read:,} of {item.bytes:,} bytes of volume {item.name} ({item.filesystem}, {item.state}; "
        f"{item.blank:,} of {item.free:,} free bytes blank): {item.residue} values and {item.strangers} "
        f"strangers found outside what is kept, {item.kept_elsewhere} values inside; {_restored(item)}; "
        f"{_refereed(item)}; {_recalled(item.recall)}; granted {item.reached}"
    )


def not_shown(case: Casebook, certificate: Certificate) -> list[tuple[str, str]]:
    """Lines and their steps: volumes below L3, and what L3 leaves open, being what auditors were shown."""
    lines = []
    for item in certificate.volumes or ():
        lines += _left_open(item)
        probed = [v for p in facts.accepted(case) for v in p.body(Probe).volumes or () if v.name == item.name]
        gaps = dict.fromkeys(line for v in probed for line in v.unreachable)
        notes = dict.fromkeys(line for v in probed for line in v.notes or ())
        lines += [(f"Not reached on volume {item.name}: {line}", "verify 7") for line in gaps]
        lines += [(f"Noted of volume {item.name}: {line}", "verify 4") for line in notes]
    return lines


def table(certificate: Certificate) -> list[str]:
    """The volumes as lines of plain text; nothing where there are none."""
    if not certificate.volumes:
        return []
    out = ["", f"{'volume':<24} {'reached':>13} {'bytes read':>19} {'restores tried':>15}  outside tools"]
    for v in certificate.volumes:
        tools = ", ".join(v.referees) or "none"
        out.append(f"{v.name[:24]:<24} {v.reached:>13} {v.read:>19,} {v.restores:>15,}  {tools}")
    return out


def to_json(certificate: Certificate) -> list[dict[str, object]]:
    """The volumes for machines."""
    return [
        {
            "name": v.name,
            "stores": list(v.stores),
            "grade_reached": v.reached,
            "why_not_higher": v.why_not_higher,
            "bytes_read": v.read,
            "restores": v.restores,
            "referees": list(v.referees),
        }
        for v in certificate.volumes or ()
    ]


def many(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def percent(found: int, sampled: int) -> str:
    """The lower bound that a sample shows, rounded down."""
    return f"{100 * draw.at_least(found, sampled):.0f} %"


def _restored(item: ProbedVolume) -> str:
    if not item.restores:
        return "nothing was tried to restore"
    tools = ", ".join(dict.fromkeys(f"{r.tool} {r.version}" for r in item.restores))
    back = sum(r.values for r in item.restores)
    return f"{many(len(item.restores), 'attempt')} to restore ({tools}) brought back {many(back, 'value')}"


def _refereed(item: ProbedVolume) -> str:
    if not item.referees:
        return "no outside tool was run"
    tools = ", ".join(f"{r.tool} {r.version}" for r in item.referees)
    most = max(r.values for r in item.referees)
    missed = sum(r.missed for r in item.referees)
    return f"outside tools ({tools}) found at most {many(most, 'value')}, and {missed} that the search missed"


def _recalled(recall: Sequence[Recall]) -> str:
    """Of what was planted the worst place stands for all: whoever hides something chooses it."""
    planted = [r for r in recall if r.sampled and r.encoding != "any"]
    sampled = [r for r in recall if r.sampled and (r.place, r.encoding) == ("any place", "any")]
    told = []
    if planted:
        found, of = sum(r.found for r in planted), sum(r.sampled for r in planted)
        worst = min(planted, key=lambda r: draw.at_least(r.found, r.sampled))
        least = percent(worst.found, worst.sampled)
        told.append(
            f"found {found:,} of {many(of, 'value')} planted on a scratch volume, so with 95 % confidence "
            f"at least {least} in its worst place ({worst.place}, {worst.encoding})"
        )
    told += [f"found {r.found:,} of {many(r.sampled, 'sampled value')} before destruction" for r in sampled]
    return "; ".join(told) or "recall not measured"


def _left_open(item: CertifiedVolume) -> list[tuple[str, str]]:
    if item.reached not in volumes.CLEAN:
        return [(f"Volume {item.name} reached {item.reached}, not L3: {item.why_not_higher}.", "verify 7")]
    held = ", ".join(item.stores)
    lines = [
        (
            f"That volume {item.name}, as auditors were shown it, is the one that held {held}.",
            "docs/limits.md",
        )
    ]
    if not item.referees:
        lines.append((f"No outside tool was run on volume {item.name}.", "verify 7"))
    return lines
