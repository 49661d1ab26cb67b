"""What a certificate may say: derived from the statements of a case, by operator and verifier alike.

Nothing in a certificate is the operator's own word. `certify` writes what these functions return,
and the verifier refuses a certificate that says anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeAlias

from cenotaph_proof import quorum, volumes
from cenotaph_proof.casebook import Casebook, Destroyed, Entry
from cenotaph_proof.errors import OrderError
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.statements import (
    Approval,
    Certificate,
    CertifiedCollection,
    CertifiedStore,
    CertifiedVolume,
    Challenge,
    CheckpointRef,
    Destruction,
    GradeName,
    Inventory,
    Plan,
    PlanStore,
    PlanVolume,
    Probe,
    ProbedStore,
    ProbedVolume,
    Seal,
    SealCollection,
    SealStore,
    WipedVolume,
)

Certified: TypeAlias = CertifiedStore | CertifiedVolume

GRADES: tuple[GradeName, ...] = ("none", "L1", "L2", "L3", "L4", "L5")
NOT_DESTROYED = "not everything that the plan names was destroyed"
NOTHING_DESTROYED = "nothing of this store was destroyed"
NOT_READ = "no auditor read this store through a session of their own"
NOT_MEASURED = "no sampled value was found in this store before destruction: recall was not measured"
NO_VOLUME = "the plan names no volume that it lies on"
NOT_WIPED = "the volume was not wiped after the last erasing"
NOT_SEARCHED = "no auditor searched the volume"
NO_MORE = "no statement of this version shows a higher grade"

LIMITS = (
    "Nothing excludes a copy made before the seal, or outside the inventory.",
    "That keys were destroyed is attested, not proven.",
    "Sampling bounds what could be wrong; it does not exclude it.",
    "The search finds what it knows to look for; values shorter than six bytes are not searched.",
    "Spare areas of flash media, snapshots of a storage provider and memory are outside any search.",
    "That the records were true, or complete, is not shown.",
    "This certificate cannot answer residents about themselves.",
)
LIMITS_OF_VOLUMES = (
    "L3 speaks of a volume's addressable bytes when the probe read them: of nothing below and nothing later.",
)


def certificate(case: Casebook, log: CheckpointRef, issued: int) -> Certificate:
    """The one certificate that the statements allow.

    Raises: OrderError, ThresholdError when the case is not ready for it.
    """
    probes = accepted(case)
    _check_ready(case, probes)
    stores = tuple(_store(case, s, probes) for s in case.require(Seal).body(Seal).stores)
    classes = _classes(case.destroyed().values())
    on = tuple(_volume(case, v, probes) for v in _volumes(case)) or None
    return Certificate(
        log=log,
        issued=issued,
        sealed=sum(s.sealed for s in stores),
        destroyed=sum(s.destroyed for s in stores),
        as_sealed=classes[0],
        watched=classes[1],
        unknown=classes[2],
        held=sum(s.held for s in stores),
        kept=sum(s.kept for s in stores),
        collections=sum(len(c.ordinals) for s in stores for c in s.collections),
        returned=sum(s.returned for s in stores),
        stores=stores,
        batches=len(case.all(Destruction)),
        abandoned=case.charter.earlier,
        shares_not_destroyed=_shares(case),
        limits=LIMITS + LIMITS_OF_VOLUMES if on else LIMITS,
        persons=case.require(Seal).body(Seal).persons,
        volumes=on,
    )


def difference(said: Certificate, follows: Certificate) -> str:
    """Where a certificate departs from what follows from the statements, in words."""
    wrong = [k for k in Certificate.__slots__ if getattr(said, k) != getattr(follows, k)]
    if "stores" in wrong:
        return _differing("store", said.stores, follows.stores)
    if "volumes" in wrong:
        return _differing("volume", said.volumes or (), follows.volumes or ())
    return ", ".join(wrong)


def accepted(case: Casebook, counts: Callable[[PublicKey], bool] = lambda _: True) -> list[Entry]:
    """The newest probe of each auditor on the latest destruction, where it accepts."""
    last = case.latest(Destruction)
    newest: dict[str, Entry] = {}
    for probe in case.all(Probe):
        if last is not None and probe.statement.cited("destruction") == last.digest and counts(probe.signer):
            newest[probe.signer.key_id] = probe
    return [p for p in newest.values() if p.body(Probe).decision == "accept"]


def reached(
    case: Casebook, store: str, probes: Iterable[Entry], counts: Callable[[PublicKey], bool] = lambda _: True
) -> tuple[GradeName, str]:
    """The grade of a store, and why not a higher one: the lowest that anything allows."""
    sealed = next(s for s in case.require(Seal).body(Seal).stores if s.name == store)
    planned = _plan(case, store)
    terms = next(s for s in case.charter.stores if s.name == store)
    limits: list[tuple[GradeName, str]] = [(terms.grade, ""), (planned.grade, planned.why_not_higher)]
    surveyed = next(s for s in case.require(Inventory).body(Inventory).stores if s.name == store)
    limits.append((surveyed.reachable, surveyed.why_not_higher))
    done = case.destroyed()
    if sum(done[store, o].records for o in planned.destroy if (store, o) in done) != planned.records:
        limits.append(("none", NOT_DESTROYED))
    if sealed.records and not _destroyed(case, store):
        limits.append(("none", NOTHING_DESTROYED))
    last = _last_run(case, store)
    if last is not None:
        limits.append(last)
    seen = [s for p in probes if counts(p.signer) for s in p.body(Probe).stores if s.name == store and s.read]
    drawn = [
        d
        for c in case.challenges(case.require(Plan))
        if counts(c.signer)
        for d in c.body(Challenge).stores
        if d.name == store and d.read
    ]
    limits += [(s.reached, s.why_not_higher) for s in seen]
    if sealed.records and (not seen or not drawn):
        limits.append(("L1", NOT_READ))
    elif sealed.records and not _measured(case, store, counts):
        limits.append(("L1", NOT_MEASURED))
    limits += [_of_volume(case, store, probes, counts), ("L3", NO_MORE)]
    return lowest(limits)


def reached_on(
    case: Casebook, volume: str, probes: Iterable[Entry], counts: Callable[[PublicKey], bool] = lambda _: True
) -> tuple[GradeName, str]:
    """The grade of a volume of the plan, and why not a higher one: the lowest that anything allows."""
    planned = next(v for v in _volumes(case) if v.name == volume)
    limits: list[tuple[GradeName, str]] = [(planned.grade, planned.why_not_higher)]
    wiped = _last_wiped(case, planned)
    limits.append(("L2", NOT_WIPED) if wiped is None else (wiped.reached, wiped.why_not_higher))
    searched = [v for p in probes if counts(p.signer) for v in _probed(p, volume)]
    limits += [(v.reached, v.why_not_higher) for v in searched]
    if not searched:
        limits.append(("L2", NOT_SEARCHED))
    return lowest([*limits, ("L3", NO_MORE)])


def lowest(limits: Iterable[tuple[GradeName, str]]) -> tuple[GradeName, str]:
    """The lowest of several grades with its reason; of equal ones the first."""
    return min(limits, key=lambda limit: GRADES.index(limit[0]))


def outcome(sealed: int, destroyed: int, left_out: bool) -> str:
    """The word for one collection."""
    if destroyed == sealed and not left_out:
        return "destroyed"
    if destroyed:
        return "partly destroyed"
    return "left out" if left_out else "not destroyed"


def _differing(what: str, said: Sequence[Certified], due: Sequence[Certified]) -> str:
    if [s.name for s in said] != [s.name for s in due]:
        return f"it lists {len(said)} {what}s, not {len(due)}"
    return "; ".join(
        f"{k.replace('_', ' ')} of {what} {a.name}"
        for a, b in zip(said, due, strict=True)
        for k in type(a).__slots__
        if getattr(a, k) != getattr(b, k)
    )


def _check_ready(case: Casebook, probes: list[Entry]) -> None:
    case.require(Destruction)
    need = {"auditor": max(1, {r.role: r.count for r in case.charter.policy.approve}.get("auditor", 0))}
    if quorum.missing([p.signer for p in probes], need):
        raise OrderError(
            "there is no accepted probe of the latest destruction",
            hint="an auditor runs: cenotaph probe --key THEIR-KEY",
        )
    # A rejection stands until its own auditor accepts: another destruction does not wash it away.
    words = {p.signer.organisation: p.body(Probe).decision for p in case.all(Probe)}
    rejecting = sorted(name for name, word in words.items() if word == "reject")
    if rejecting:
        raise OrderError(f"the latest probe of {', '.join(rejecting)} rejects the destruction")


def _store(case: Casebook, sealed: SealStore, probes: list[Entry]) -> CertifiedStore:
    planned = _plan(case, sealed.name)
    grade, why = reached(case, sealed.name, probes)
    probed = [s for p in probes for s in p.body(Probe).stores if s.name == sealed.name]
    runs = [s for e in case.all(Destruction) for s in e.body(Destruction).stores if s.name == sealed.name]
    terms = next(s for s in case.charter.stores if s.name == sealed.name)
    return CertifiedStore(
        name=sealed.name,
        asked=terms.grade,
        planned=planned.grade,
        reached=grade,
        why_not_higher=why,
        sealed=sealed.records,
        destroyed=_destroyed(case, sealed.name),
        held=planned.held,
        kept=planned.kept,
        returned=sum(r.returned for r in runs),
        kept_elsewhere=max((p.kept_elsewhere for p in probed), default=0),
        strangers=max((p.strangers for p in probed), default=0),
        collections=tuple(_collection(case, sealed.name, c) for c in sealed.collections),
        unreachable=_merged(probed),
    )


def _volume(case: Casebook, planned: PlanVolume, probes: list[Entry]) -> CertifiedVolume:
    grade, why = reached_on(case, planned.name, probes)
    probed = [v for p in probes for v in _probed(p, planned.name)]
    return CertifiedVolume(
        name=planned.name,
        stores=planned.stores,
        filesystem=planned.filesystem,
        reached=grade,
        why_not_higher=why,
        read=min((v.read for v in probed), default=0),
        restores=min((len(v.restores) for v in probed), default=0),
        referees=tuple(dict.fromkeys(r.tool for v in probed for r in v.referees)),
    )


def _of_volume(
    case: Casebook, store: str, probes: Iterable[Entry], counts: Callable[[PublicKey], bool]
) -> tuple[GradeName, str]:
    """What the volume of a store allows: what lies below files lowers no grade that speaks of files alone."""
    volume = next((v for v in _volumes(case) if store in v.stores), None)
    if volume is None:
        return "L2", NO_VOLUME
    read = [p for p in probes if any(s.name == store and s.read for s in p.body(Probe).stores)]
    grade, why = reached_on(case, volume.name, read, counts)
    return (grade, why) if grade in volumes.CLEAN else ("L2", why)


def _volumes(case: Casebook) -> tuple[PlanVolume, ...]:
    return case.require(Plan).body(Plan).volumes or ()


def _probed(probe: Entry, volume: str) -> list[ProbedVolume]:
    return [v for v in probe.body(Probe).volumes or () if v.name == volume]


def _last_wiped(case: Casebook, volume: PlanVolume) -> WipedVolume | None:
    """The newest wiping of a volume, unless a later run changed anything in a store on it.

    A store that an amended plan took from the volume lies there all the same.
    """
    stores = {
        store
        for plan in case.all(Plan)
        for v in plan.body(Plan).volumes or ()
        if v.name == volume.name
        for store in v.stores
    }
    for entry in reversed(case.all(Destruction)):
        body = entry.body(Destruction)
        wiped = next((v for v in body.volumes or () if v.name == volume.name), None)
        if wiped is not None:
            return wiped
        if _touched(body, stores):
            return None
    return None


def _touched(run: Destruction, stores: Collection[str]) -> bool:
    """Whether a run erased records, or only rewrote and freed blocks: both leave copies in free ones."""
    return any(
        s.overwritten or s.returned or any(c.records for c in s.collections)
        for s in run.stores
        if s.name in stores
    )


def _collection(case: Casebook, store: str, sealed: SealCollection) -> CertifiedCollection:
    mine = [case.destroyed()[store, o] for o in sealed.ordinals if (store, o) in case.destroyed()]
    as_sealed, watched, unknown = _classes(mine)
    destroyed = as_sealed + watched + unknown
    left_out = bool(set(sealed.ordinals) & {o.ordinal for o in _plan(case, store).left_out})
    word = outcome(sealed.records, destroyed, left_out)
    return CertifiedCollection(
        sealed.ordinals,
        sealed.records,
        destroyed,
        as_sealed,
        watched,
        unknown,
        word,  # type: ignore[arg-type]  # one of the literals
    )


def _plan(case: Casebook, store: str) -> PlanStore:
    return next(s for s in case.require(Plan).body(Plan).stores if s.name == store)


def _last_run(case: Casebook, store: str) -> tuple[GradeName, str] | None:
    """What the newest reclamation of a store reached by its own account."""
    for entry in reversed(case.all(Destruction)):
        for item in entry.body(Destruction).stores:
            if item.name == store:
                return item.reached, item.why_not_higher
    return None


def _destroyed(case: Casebook, store: str) -> int:
    return sum(done.records for (name, _), done in case.destroyed().items() if name == store)


def _classes(runs: Iterable[Destroyed]) -> tuple[int, int, int]:
    totals = [0, 0, 0]
    for run in runs:
        totals[0] += run.as_sealed
        totals[1] += run.watched
        totals[2] += run.unknown
    return totals[0], totals[1], totals[2]


def _measured(case: Casebook, store: str, counts: Callable[[PublicKey], bool]) -> bool:
    """Whether an auditor found real sampled values of this store before destruction."""
    return any(
        r.found
        for c in case.challenges(case.require(Plan))
        if counts(c.signer)
        for r in c.body(Challenge).recall
        if r.store == store
    )


def _merged(probed: Iterable[ProbedStore]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line for item in probed for line in item.unreachable))


def _shares(case: Casebook) -> tuple[str, ...]:
    """Auditors who gave a key share and have not said that it is destroyed."""
    gave = {
        e.signer.organisation for e in case.charter_approvals() if e.body(Approval).commitments is not None
    }
    gone = {e.signer.organisation for e in case.all(Probe) if e.body(Probe).share_destroyed}
    return tuple(sorted(gave - gone))
