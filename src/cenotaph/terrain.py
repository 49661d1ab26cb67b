"""Which volumes of the case hold which stores, and what may be done to them: asked of the machine at hand.

The plan says it beforehand, `destroy` acts by it, and an auditor asks again on their own machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cenotaph.config import PLACES, CaseFile, NamedVolume, StoreTable
from cenotaph.errors import UsageError
from cenotaph.store import OF_SERVER, WITH_SERVER
from cenotaph.volume import identify
from cenotaph.volume.model import Volume
from cenotaph_proof import facts
from cenotaph_proof.statements import GradeName, PlanVolume

FREE_SPACE = "free_space"  # the shared action, as case.toml and plans name it
ACTIONS = ("directories", "file tails", "free blocks", "journal")  # what `volume.wipe` does, in its order
NO_VOLUME = "no [[volume]] of the case holds this store, so that its free blocks may not be wiped"
NOT_LISTED = "the case does not list the shared action free_space for this store"
NOT_QUIESCED = "its owner did not declare the volume quiesced: others may write to it, and headroom is left"
HOLDS_CASE = "the volume holds the case's own directory or log, which must lie elsewhere"
MIXED = "a part of a store on the volume is on another volume"


@dataclass(frozen=True, slots=True)
class Ground:
    """One volume of the case, and the stores that lie on it and ask for more than L2."""

    named: NamedVolume
    volume: Volume
    stores: tuple[StoreTable, ...]
    folders: tuple[Path, ...] = field(repr=False)  # where these stores lie
    grade: GradeName
    why_not_higher: str
    may_wipe: bool

    def plan(self) -> PlanVolume:
        """What a plan says of it."""
        return PlanVolume(
            name=self.named.name,
            owner=self.named.owner,
            filesystem=self.volume.kind,
            bytes=self.volume.size,
            stores=tuple(s.name for s in self.stores),
            quiesced=self.named.quiesced,
            kept=len(self.named.kept),
            grade=self.grade,
            why_not_higher=self.why_not_higher,
            actions=ACTIONS if self.may_wipe else (),
        )


def grounds(config: CaseFile) -> tuple[Ground, ...]:
    """The volumes of the case that hold a store which asks for L3 or more and lists `free_space`.

    Raises: UsageError naming a volume that is not mounted, or a store whose owner is not its volume's.
    """
    found = []
    for named in config.volumes():
        volume = _identified(named)
        stores = tuple(
            s
            for s in config.store
            if wants(s) and (home := config.home(s)) is not None and identify.holds(volume, standing(home))
        )
        if stores:
            found.append(_ground(config, named, volume, stores))
    return tuple(found)


def wants(store: StoreTable) -> bool:
    """Whether a store asks for more than its own files can show, and its case allows what that takes."""
    return facts.GRADES.index(store.grade) > facts.GRADES.index("L2") and FREE_SPACE in store.shared


def places(config: CaseFile, store: StoreTable, *, copies: bool = True) -> tuple[Path, ...]:
    """Where a store that has a home lies on the volume of that: of a server, its data directory, folders
    that links in it lead to (tablespaces, a log that was moved), and the `copies` that the case names."""
    home, *others = _parts(config, store, copies=copies)
    device = standing(home).stat().st_dev
    return (home, *(place for place in others if standing(place).stat().st_dev == device))


def _parts(config: CaseFile, store: StoreTable, *, copies: bool = True) -> tuple[Path, ...]:
    """The same, on whatever volume."""
    home = config.home(store)
    assert home is not None
    if store.kind in PLACES:
        return (home,)
    given = config.surroundings(store).copies if copies else ()
    return (home, *_linked(home), *(Path(c.place) for c in given if c.place.startswith("/")))


def _linked(home: Path) -> Iterator[Path]:
    """Folders that links in a folder, and in those in it, lead to."""
    for folder in (home, *sorted(home.glob("*/"))):
        for entry in sorted(folder.glob("*")):
            if entry.is_symlink() and entry.is_dir():
                yield entry.resolve()


def standing(path: Path) -> Path:
    """The place itself, or the nearest folder above it that is there: a destroyed store has left it."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def _ground(config: CaseFile, named: NamedVolume, volume: Volume, stores: tuple[StoreTable, ...]) -> Ground:
    folders = tuple(folder for s in stores for folder in places(config, s))
    for store in stores:
        _check_owner(config, store, named)
    limits: list[tuple[GradeName, str]] = [("L3", "")]
    held = any(identify.holds(volume, standing(p)) for p in (config.base, config.log_path()))
    if held:
        limits.append(("L2", HOLDS_CASE))
    if volume.refusal:
        limits.append(("L2", volume.refusal))
    if any(f.is_dir() and identify.mixed(volume, f) for f in folders) or any(
        not identify.holds(volume, standing(place)) for s in stores for place in _parts(config, s)
    ):
        limits.append(("L2", MIXED))
    if not named.quiesced:
        limits.append(("L2", NOT_QUIESCED))
    grade, why = facts.lowest(limits)
    may_wipe = not held and not volume.refusal
    return Ground(named, volume, stores, folders, grade, why, may_wipe)


def _identified(named: NamedVolume) -> Volume:
    try:
        return identify.identify(named.path)
    except UsageError as error:
        raise UsageError(f"{named.name}: {error.message}", hint=error.hint) from None


def reached_with(store: StoreTable) -> frozenset[str]:
    """The kinds of copies that the shared actions which the case lists for this store reach, or that go with
    its server."""
    actions = OF_SERVER.get(store.kind, {})
    found = frozenset(kind for action in store.shared for kind in actions.get(action, ()))
    return found | WITH_SERVER.get(store.kind, frozenset()) if store.retire_server else found


def owner_of(config: CaseFile, store: StoreTable) -> str | None:
    """Who approves what a store shares with others: whom it names, or the only party of role owner."""
    owners = {p.organisation for p in config.party if p.role == "owner"}
    return store.owner or (owners.pop() if len(owners) == 1 else None)


def _check_owner(config: CaseFile, store: StoreTable, named: NamedVolume) -> None:
    if owner_of(config, store) != named.owner:
        raise UsageError(
            f"store {store.name} lies on {named.name}, whose owner is {named.owner}",
            hint=f'say so at the store: owner = "{named.owner}"',
        )
