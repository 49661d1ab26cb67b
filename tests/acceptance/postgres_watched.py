"""`cenotaph` whose erasing of a PostgreSQL store is watched, or weakened; run in place of the command.

`CENOTAPH_WATCH` names a folder with the estate's root and size (`estate.json`): after each step on the store
of whole tables the outside referees say what they find, into a file of the step's name. `CENOTAPH_WEAK`
names what is forgotten: "delete" does nothing after deleting rows, "truncate" empties tables instead; a
shared action does nothing; a kind of copy is left where it is. Each says that it reached what was asked.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cenotaph.stores
from cenotaph.cli.main import main
from cenotaph.scope import Selection
from cenotaph.store import (
    NOTHING_AROUND,
    Assignment,
    Collection,
    Command,
    Eraser,
    Erasure,
    Grade,
    Partition,
    PartitionSeal,
    Progress,
    Reclamation,
    Surroundings,
)
from cenotaph.stores.postgres.eraser import PostgresEraser
from cenotaph.stores.postgres.reclaiming import reclaim

WATCH, WEAK = "CENOTAPH_WATCH", "CENOTAPH_WEAK"
# Copies that the server tells of itself are forgotten with the action that reaches them; the log of writes
# with what makes the server begin new segments, too, which then take the place of those with people: the
# archive's last one, and those by which standbys get rid of theirs.
ACTIONS = {
    "wal": ("wal", "wal_archive", "replicas"),
    "wal archive": ("wal_archive",),
    "standby": ("replicas",),
    "server log": ("logs",),
}
_open_eraser = cenotaph.stores.open_eraser


def observe(folder: Path, step: str) -> None:
    """Write down what the referees find now, by place."""
    import postgres_estate
    from postgres_outside import Outside

    told = json.loads((folder / "estate.json").read_text("utf-8"))
    estate = postgres_estate.attached(Path(told["root"]), postgres_estate.Size(*told["size"]))
    image = SimpleNamespace(mount=Path(told["root"]), file=Path(told["image"]))
    found = {place.name: len(place.found()) for place in Outside(estate, image).places()}
    at = folder / f"{len(list(folder.glob('*.seen'))):02d} {step}.seen"
    at.write_text(json.dumps(found, indent=1), "utf-8")


class Watched:
    """An eraser that is looked at between its steps, or that forgets one."""

    def __init__(self, inner: PostgresEraser, watch: Path | None, weak: str) -> None:
        self._inner, self._watch, self._weak = inner, watch, weak

    def order(self, collections: Sequence[Collection]) -> Sequence[int]:
        return self._inner.order(collections)

    def erase(self, partition: Partition, sealed: PartitionSeal, progress: Progress) -> Erasure:
        return self._inner.erase(partition, sealed, progress)

    def reclaim(self, collections: Sequence[Collection]) -> Reclamation:
        self._see("erased")
        if self._weak == "delete":
            return Reclamation(Grade.L3, "", 0, 0)
        with _Steps(self._see, self._weak):
            reached = self._inner.reclaim(collections)
        if self._weak:
            return dataclasses.replace(reached, reached=Grade.L3, why_not_higher="", notes=())
        return reached

    def heed(self, ask: Callable[[], None]) -> None:
        self._inner.heed(ask)

    def close(self) -> None:
        self._inner.close()

    def _see(self, step: str) -> None:
        if self._watch is not None:
            observe(self._watch, step)


class AtOnce(Watched):
    """One that takes whole tables away in one step, as the real one does."""

    def mend(self) -> None:
        self._inner.mend()

    def erase_whole(self, collection: Collection, parts: Iterable[Assignment]) -> Sequence[Erasure] | None:
        return self._inner.erase_whole(collection, parts)


class _Steps:
    """The steps of a reclamation, each of them wrapped while the block runs."""

    def __init__(self, see: Callable[[str], None], weak: str) -> None:
        self._see, self._weak = see, weak

    def __enter__(self) -> None:
        self._own, self._shared = reclaim._OWN, reclaim._SHARED
        last = len(self._own) - 1
        reclaim._OWN = tuple(  # type: ignore[misc]
            self._wrapped(step, "reclaimed" if nth == last else "") for nth, step in enumerate(self._own)
        )
        reclaim._SHARED = {  # type: ignore[misc]
            action: self._wrapped(step, action) for action, step in self._shared.items()
        }

    def __exit__(self, *raised: object) -> None:
        reclaim._OWN, reclaim._SHARED = self._own, self._shared  # type: ignore[misc]

    def _wrapped(self, step: Any, name: str) -> Any:
        def run(work: Any) -> None:
            if self._weak == "truncate":
                if name == "reclaimed":
                    _truncate(work)
            elif not name or name not in ACTIONS.get(self._weak, (self._weak,)):
                step.run(_without(work, self._weak))
            if name:
                self._see(name)

        return step._replace(run=run)


def _truncate(work: Any) -> None:
    """Tables of which nothing stays, and no catalogs (large objects)."""
    whole = [t.sql() for t in reclaim.overwrite._whole(work.tables, work.selection)]
    if whole:
        work.writer.run(Command(f"TRUNCATE {', '.join(whole)}", "What many call erasing."))


def _without(work: Any, kind: str) -> Any:
    """The work, with copies of one kind forgotten; not where the whole action is."""
    if kind in ACTIONS:
        return work
    copies = tuple(copy for copy in work.around.copies if copy.kind != kind)
    if len(copies) == len(work.around.copies):
        return work
    return dataclasses.replace(work, around=dataclasses.replace(work.around, copies=copies))


def open_watched(
    url: str,
    selection: Selection,
    shared: frozenset[str] = frozenset(),
    around: Surroundings = NOTHING_AROUND,
) -> Eraser:
    """The real eraser; watched where it is of the whole tables, weakened everywhere."""
    inner = _open_eraser(url, selection, shared, around)
    assert isinstance(inner, PostgresEraser)
    watch, weak = os.environ.get(WATCH, ""), os.environ.get(WEAK, "")
    of_some_rows = selection.rows is not None if hasattr(selection, "rows") else False
    deletes = weak in ("delete", "truncate")
    return (Watched if deletes else AtOnce)(inner, Path(watch) if watch and not of_some_rows else None, weak)


if __name__ == "__main__":
    import postgres_watched  # as a module, so that child processes find the eraser under its name

    cenotaph.stores.open_eraser = postgres_watched.open_watched
    main()
