"""After a certificate: did the people come back (spec/check.md)?

A restored backup or a replayed queue brings back what was destroyed, and nothing here remembers whom: keys,
needles and names went with the annex. So somebody brings a list of people anew, or what is there is counted
where the certificate says that nothing is. The list stays in memory, and nothing is written.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from cenotaph import config
from cenotaph.config import CaseFile, ScopeTable, StoreTable
from cenotaph.engines import local
from cenotaph.errors import CenotaphError, RefusedError, StoreError, UsageError
from cenotaph.progress import Tell, quiet
from cenotaph.residue.needles import NeedleBuilder
from cenotaph.residue.scan import scan
from cenotaph.scope import EVERYTHING, Selection, listed
from cenotaph.store import OpenReader, Reader, Surroundings
from cenotaph_proof import facts
from cenotaph_proof.case import Case
from cenotaph_proof.folder import CaseFolder
from cenotaph_proof.statements import Certificate, CertifiedStore, GradeName, Inventory, InventoryStore


@dataclass(frozen=True, slots=True)
class Looked:
    """What one store was found to hold. Of people there are counts alone."""

    store: str
    grade: GradeName  # what the certificate says that it reached
    state: Literal["empty", "came back", "retired", "not read"]
    records: int = 0  # in scope, above what the certificate says was left
    collections: int = 0  # that they are in
    people: int = 0  # of the list, in records of the scope, or of tables that the survey did not know
    people_in_bytes: int = 0  # of the list, in bytes that are no record which stays
    people_kept: int = 0  # of the list, in records that are held or out of scope
    unreadable: int = 0  # places
    why: str = ""


@dataclass(frozen=True, slots=True)
class CheckTask:
    """One store, as a child process looks at it."""

    opener: OpenReader
    url: str = field(repr=False)
    around: Surroundings
    selection: Selection = field(repr=False)
    certified: CertifiedStore
    surveyed: InventoryStore
    subjects: tuple[str, ...] | None = field(repr=False)
    retired: bool


def check(
    folder: Path,
    opener: OpenReader,
    subjects: frozenset[str] | None = None,
    addresses: Mapping[str, str] | None = None,
    tell: Tell = quiet,
) -> tuple[Looked, ...]:
    """Look at every store of a case that has its certificate. Changes nothing.

    `subjects` are identifiers of people, brought by whoever asks; without them, places that were certified
    empty are counted. `addresses`: store → another address of it, such as a server that was restored.

    Raises: RefusedError before the certificate; UsageError for an address that does not fit.
    """
    case = CaseFolder(folder.absolute()).replay()
    entry = case.latest(Certificate)
    if entry is None:
        raise RefusedError("the case has no certificate yet: nothing is certified to be gone")
    file = config.load(folder.absolute() / "case.toml")
    listed = None if subjects is None else tuple(sorted(subjects))
    tasks, found = [], {}
    for certified in entry.body(Certificate).stores:
        try:
            tasks.append(_task(file, case, certified, opener, listed, dict(addresses or {})))
        except UsageError as error:
            found[certified.name] = Looked(certified.name, certified.reached, "not read", why=error.message)
    for done, (task, looked) in enumerate(local.run(check_store, tasks, workers=file.limits.workers), 1):
        found[task.certified.name] = looked
        tell("stores looked at", done, len(tasks))
    return tuple(found[certified.name] for certified in entry.body(Certificate).stores)


def check_store(task: CheckTask) -> Looked:
    """Look at one store; runs in a child process."""
    blank = Looked(task.certified.name, task.certified.reached, "empty")
    try:
        with closing(task.opener(task.url, task.selection, task.around)) as reader:
            looked = _look(task, reader, blank)
    except StoreError as error:
        return replace(blank, state="retired" if task.retired else "not read", why=error.message)
    except UsageError as error:
        return replace(blank, state="not read", why=error.message)
    return replace(looked, state="came back") if _came_back(task, looked) else looked


def _task(
    file: CaseFile,
    case: Case,
    certified: CertifiedStore,
    opener: OpenReader,
    subjects: tuple[str, ...] | None,
    addresses: Mapping[str, str],
) -> CheckTask:
    table = file.find(certified.name)
    address = addresses.get(table.name)
    if address is not None and not address.startswith(f"{table.kind}:"):
        raise UsageError(f"store {table.name} is of kind {table.kind}, and the address given for it is not")
    place = file.place(table)
    if address is None and place is not None and not place.exists():
        raise UsageError("there is nothing at its place: perhaps it is not mounted")
    inventory = case.require(Inventory).body(Inventory)
    return CheckTask(
        opener=opener,
        url=address or file.url(table),
        around=file.surroundings(table),
        selection=_selection(file, table, subjects),
        certified=certified,
        surveyed=next(s for s in inventory.stores if s.name == table.name),
        subjects=subjects,
        retired=table.retire_server and address is None,
    )


def _selection(file: CaseFile, table: StoreTable, subjects: tuple[str, ...] | None) -> Selection:
    """The case's own; where its list of people is gone, as it should be, the one that was brought."""
    scope = table.scope
    if not isinstance(scope, ScopeTable) or scope.subjects is None:
        return file.selection(table)
    try:
        return file.selection(table)
    except UsageError:
        if subjects is None:
            raise UsageError(
                "its scope is a list of people that is no longer there: bring one with --subjects"
            ) from None
    others = table.model_copy(update={"scope": scope.model_copy(update={"subjects": None})})
    return replace(file.selection(others), subjects=frozenset(subjects))


def _came_back(task: CheckTask, looked: Looked) -> bool:
    """With a list its people decide, without one the records of the scope. Bytes count where the
    certificate says that the store's were clean."""
    if task.subjects is None:
        return looked.records > 0
    clean = facts.GRADES.index(task.certified.reached) >= facts.GRADES.index("L2")
    return looked.people > 0 or (clean and looked.people_in_bytes > 0)


def _look(task: CheckTask, reader: Reader, blank: Looked) -> Looked:
    back = list(_returned(task, reader))
    looked = replace(blank, records=sum(back), collections=len(back))
    if task.subjects is None:
        return looked
    with closing(task.opener(task.url, EVERYTHING, task.around)) as every:
        people, kept = _in_records(task, every)
    in_bytes, unreadable = _in_bytes(task.subjects, reader)
    return replace(looked, people=people, people_kept=kept, people_in_bytes=in_bytes, unreadable=unreadable)


def _returned(task: CheckTask, reader: Reader) -> Iterator[int]:
    """Records in scope that the certificate says are gone, for each group of collections that has any."""
    now = {c.name: c.records for c in reader.collections()}
    names = {c.ordinal: c.name for c in task.surveyed.collections}
    certified = task.certified.collections
    groups: list[tuple[set[str], int]] = [
        ({names[ordinal] or "" for ordinal in c.ordinals}, c.sealed - c.destroyed) for c in certified
    ]
    if None in names.values():  # a store whose names stay with it
        groups = [(set(now), sum(left for _, left in groups))]
    groups += [({name}, 0) for name in set(now).difference(*(group for group, _ in groups))]
    for group, left in groups:
        count = sum(now.get(name, 0) for name in group) - left
        if count > 0:
            yield count


def _in_records(task: CheckTask, reader: Reader) -> tuple[int, int]:
    """How many people of the list the store returns: in records that were to go, and in those that stay."""
    assert task.subjects is not None
    known = {c.name for c in task.surveyed.collections}
    back, kept = set[int](), set[int]()
    for collection in reader.collections():
        new = None not in known and collection.name not in known
        for partition in reader.partitions(collection):
            for batch in reader.batches(partition):
                selected = task.selection.masks(collection.name, batch).selected if not new else None
                for column in batch.columns:
                    who = listed(column, task.subjects)
                    here = who >= 0
                    gone = here if selected is None else here & selected
                    back.update(np.unique(who[gone]).tolist())
                    kept.update(np.unique(who[here & ~gone]).tolist())
    return len(back), len(kept - back)


def _in_bytes(subjects: Sequence[str], reader: Reader) -> tuple[int, int]:
    """How many people of the list are found beneath the interface; how many places cannot be read."""
    builder = NeedleBuilder(secrets.token_bytes(32))
    builder.add(pa.array(subjects, pa.string()), "id")
    needles = builder.finish()
    found, unreadable = set[int](), 0
    for extent in reader.raw():
        try:
            with extent.open() as stream:
                found |= scan(stream, extent.length, needles, extent.kept).residue
        except (OSError, CenotaphError):
            unreadable += 1
    return len(found), unreadable
