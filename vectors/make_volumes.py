"""What differs where a store lies on a volume: changes to the statements of make_proof.py, honest and not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cenotaph_proof.statements import (
    PlanVolume,
    ProbedVolume,
    Recall,
    Referee,
    Residue,
    RestoreAttempt,
    SharedAction,
    VolumeAction,
    WipedVolume,
)

OWNER, NAME, SIZE, FREE = "Vector Host", "retired", 1 << 30, 600 << 20
WHY = "media are not destroyed"

Change = Callable[[Any], Any]

_PLANNED = PlanVolume(
    name=NAME,
    owner=OWNER,
    filesystem="ext4",
    bytes=SIZE,
    stores=("health",),
    quiesced=True,
    kept=0,
    grade="L3",
    why_not_higher=WHY,
    actions=("directories", "file tails", "free blocks", "journal"),
)
_WIPED = WipedVolume(
    name=NAME,
    reached="L3",
    why_not_higher=WHY,
    actions=(VolumeAction("fill", 1, FREE), VolumeAction("journal", 1, 16 << 20)),
    free=FREE,
    blank=FREE,
)
_PROBED = ProbedVolume(
    name=NAME,
    stores=("health",),
    filesystem="ext4",
    state="frozen",
    bytes=SIZE,
    read=SIZE,
    free=FREE,
    blank=FREE,
    reached="L3",
    why_not_higher=WHY,
    residue=0,
    kept_elsewhere=2,
    strangers=0,
    found=(),
    recall=(
        Recall(NAME, "free blocks", "utf-8", 32, 32),
        Recall(NAME, "file system journal", "file name", 32, 31),
    ),
    restores=(RestoreAttempt("carved rows", "a vector", "1", 40, 0, ""),),
    referees=(Referee("grep", "3.8", SIZE, 2, 0, "both values are kept"),),
    unreachable=(),
    notes=("no undelete tool is installed",),
)


def _first(body: Any, **changes: Any) -> Any:
    return replace(body, stores=(replace(body.stores[0], **changes), *body.stores[1:]))


def _charter(body: Any) -> Any:
    return _first(body, grade="L3", shared=("free_space",), owner=OWNER)


def _planned(body: Any) -> Any:
    shared = (SharedAction("free_space", OWNER),)
    changed = _first(body, grade="L3", why_not_higher=WHY, shared=shared)
    return replace(changed, volumes=(_PLANNED,))


def _erased(body: Any) -> Any:
    return _first(body, reached="L3", why_not_higher=WHY)


def _wiped(body: Any) -> Any:
    return replace(_erased(body), volumes=(_WIPED,))


def _probed(body: Any) -> Any:
    return replace(_first(body, asked="L3", reached="L3", why_not_higher=WHY), volumes=(_PROBED,))


CHANGES: dict[str, Change] = {
    "charter": _charter,
    "inventory": lambda b: _first(b, reachable="L3", why_not_higher=WHY),
    "plan": _planned,
    "amended plan": _planned,
    "destruction": _wiped,
    "first batch": _wiped,
    "second batch": _erased,
    "probe": _probed,
}


def _volume(**changes: Any) -> Change:
    """A statement whose volume says something else."""
    return lambda body: replace(body, volumes=(replace(body.volumes[0], **changes),))


def _without(body: Any) -> Any:
    return replace(body, volumes=None)


def _probe(**changes: Any) -> dict[str, Any]:
    return {"bodies": {"probe": _volume(**changes)}}


def _files_only(body: Any) -> Any:
    """A plan without the volume, and with no more than L2."""
    return replace(_first(body, grade="L2", shared=()), volumes=None)


def _unquiesced(body: Any) -> Any:
    why = "others write there"
    return _first(
        _volume(quiesced=False, grade="L2", why_not_higher=why)(body), grade="L2", why_not_higher=why
    )


def _said_l2(body: Any) -> Any:
    return _first(_volume(reached="L2", why_not_higher="others write there")(body), reached="L2")


HONEST: dict[str, tuple[str, str, dict[str, Any]]] = {
    "honest-volume": ("a store on a volume that was wiped, read whole and found clean", "L3", {}),
    "honest-volume-others-write": (
        "the volume's owner does not declare that nobody else writes there",
        "L2",
        {"bodies": {"plan": _unquiesced, "destruction": _said_l2, "probe": _said_l2}},
    ),
    "honest-volume-never-wiped": (
        "no run wiped the volume, however clean the probe found it",
        "L2",
        {"bodies": {"destruction": _without}},
    ),
    "honest-volume-erased-later": (
        "a later run gave blocks of the store back, and nobody wiped them",
        "L2",
        {"amended": True, "bodies": {"second batch": lambda b: _first(b, returned=4096)}},
    ),
    "honest-volume-wiped-later": (
        "a later run erased nothing, so that the first one's wiping counts",
        "L3",
        {"amended": True},
    ),
}

LIES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "volume-missing": (
        "the plan promises L3 for a store and names no volume",
        4,
        {"bodies": {"plan": _without}},
    ),
    "volume-of-others": (
        "the plan promises L3 on a volume that others write to",
        4,
        {"bodies": {"plan": _volume(quiesced=False)}},
    ),
    "volume-without-consent": (
        "the plan wipes a volume and has no shared action that its owner would approve",
        4,
        {"bodies": {"plan": lambda b: _first(b, grade="L2", shared=())}},
    ),
    "volume-owner-not-asked": (
        "the volume's owner did not approve the plan",
        4,
        {"skip": frozenset({"owner's approval"})},
    ),
    "volume-twice": (
        "the plan puts a store on two volumes",
        4,
        {"bodies": {"plan": lambda b: replace(b, volumes=(*b.volumes, replace(b.volumes[0], name="decoy")))}},
    ),
    "volume-added": (
        "a plan that seems to narrow takes a volume in",
        4,
        {"amended": True, "bodies": {"plan": _files_only, "first batch": _without}},
    ),
    "volume-exchanged": (
        "a plan that seems to narrow gives the volume another size",
        4,
        {"amended": True, "bodies": {"amended plan": _volume(bytes=4096)}},
    ),
    "volume-outside-the-plan": (
        "a run wipes a volume that the plan does not name",
        4,
        {"bodies": {"destruction": _volume(name="neighbour")}},
    ),
    "volume-wiped-otherwise": (
        "a run does to a volume what the plan does not name",
        4,
        {"bodies": {"destruction": _volume(actions=(VolumeAction("snapshots", 1, 0),))}},
    ),
    "volume-not-probed": (
        "the probe leaves the volume out",
        4,
        {"bodies": {"probe": _without}},
    ),
    "volume-unclean-store-clean": (
        "the probe grants a store L3 and its volume L2",
        4,
        _probe(reached="L2"),
    ),
    "volume-moving": ("the volume was written to while it was read, and has L3", 4, _probe(state="moving")),
    "volume-half-read": ("a byte of the volume was not read, and it has L3", 4, _probe(read=SIZE - 1)),
    "volume-bad-blocks": (
        "blocks of the volume could not be read, and it has L3",
        4,
        _probe(unreachable=("8 blocks",)),
    ),
    "volume-another": ("another volume was read than was planned", 4, _probe(filesystem="xfs")),
    "volume-residue": ("a value was found on the volume, and it has L3", 4, _probe(residue=1)),
    "volume-hits": (
        "hits outside what is kept are listed, and the volume has L3",
        4,
        _probe(found=(Residue("file tails", "raw", "name", 1),)),
    ),
    "volume-strangers": ("strangers were found on the volume, and it has L3", 4, _probe(strangers=1)),
    "volume-restored": (
        "an attempt to restore brought a value back, and the volume has L3",
        4,
        _probe(restores=(RestoreAttempt("undelete", "ext4magic", "0.3.2", 1, 1, ""),)),
    ),
    "volume-nothing-tried": ("nobody tried to restore, and the volume has L3", 4, _probe(restores=())),
    "volume-referee-missed": (
        "an outside tool found what the search had missed, and the volume has L3",
        4,
        _probe(referees=(Referee("photorec", "7.1", 4096, 1, 1, ""),)),
    ),
    "volume-referee-more": (
        "an outside tool found more values than are kept, and the volume has L3",
        4,
        _probe(referees=(Referee("grep", "3.8", SIZE, 3, 0, ""),)),
    ),
    "volume-not-calibrated": ("nothing was planted to be found, and the volume has L3", 4, _probe(recall=())),
    "volume-blind-place": (
        "of what was planted in the journal nothing was found, and the volume has L3",
        4,
        _probe(
            recall=(
                Recall(NAME, "free blocks", "utf-8", 32, 32),
                Recall(NAME, "file system journal", "file name", 32, 0),
            )
        ),
    ),
    "volume-no-list": (
        "a plan without volumes has an empty list of them",
        1,
        {"bodies": {"plan": lambda b: replace(b, volumes=())}},
    ),
    "volume-grade-rounded-up": (
        "no run wiped the volume, and the certificate says L3",
        7,
        {"bodies": {"destruction": _without}},
    ),
    "volume-not-certified": (
        "the certificate leaves the volume out",
        7,
        {"bodies": {"certificate": _without}},
    ),
    "volume-limit-left-out": (
        "the certificate leaves out what L3 does not show",
        7,
        {"bodies": {"certificate": lambda b: replace(b, limits=b.limits[:-1])}},
    ),
}
