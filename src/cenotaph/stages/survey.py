"""Survey: every store, collection, partition and copy; what is personal; who can read it."""

from __future__ import annotations

import datetime
import re
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

import pyarrow as pa

from cenotaph import estate as estates
from cenotaph import terrain
from cenotaph.config import CaseFile
from cenotaph.desk import Desk, alone, cite
from cenotaph.discovery import alike
from cenotaph.discovery.exposure import exposures
from cenotaph.discovery.personal import ColumnFinding, ColumnSurvey, subject_column
from cenotaph.discovery.undeclared import find
from cenotaph.engines import local
from cenotaph.errors import UsageError, naming
from cenotaph.estate import Estate, EstateCollection, EstateCopy, EstateStore
from cenotaph.progress import Tell, quiet
from cenotaph.scope import Selection
from cenotaph.store import (
    Collection,
    Copy,
    Disposition,
    OpenReader,
    Partition,
    Reader,
    Served,
    Surroundings,
)
from cenotaph_proof.casebook import Entry
from cenotaph_proof.statements import (
    CopyLine,
    Inventory,
    InventoryCollection,
    InventoryStore,
    LookAlike,
    Personal,
)

SAMPLED_PARTITIONS = 6
NEEDLES_OF = {  # formats whose columns are always the same, with what is sought of each
    "opaque": {"name": "path", "middle": "blob"},
    "large object": {"data": "text"},
}


@dataclass(frozen=True, slots=True)
class SurveyTask:
    opener: OpenReader
    name: str
    kind: str
    url: str = field(repr=False)
    path: Path | None = field(repr=False)  # None for a store that a server keeps
    anchored: Path | None = field(repr=False)  # where it has to be found again, and to be missed
    base: Path = field(repr=False)
    selection: Selection = field(repr=False)
    subjects: dict[str, str] = field(repr=False)
    publish: bool
    reached: frozenset[str]  # kinds of copies that the case's shared actions reach
    sketch_key: bytes = field(repr=False)
    around: Surroundings


@dataclass(frozen=True, slots=True)
class Surveyed:
    estate: EstateStore = field(repr=False)
    inventory: InventoryStore
    sketches: tuple[tuple[tuple[str, alike.Sketch], ...], ...] = field(repr=False)  # per collection


@alone
def survey(desk: Desk, opener: OpenReader, tell: Tell = quiet) -> Entry:
    """Read what there is, write the clear inventory to the annex, sign and log the inventory.

    Raises: OrderError, ThresholdError before the charter is countersigned; UsageError for an empty or
    unreadable store.
    """
    desk.admit_incoming()
    case = desk.case()
    annex_key = desk.annex_key(case)
    desk.check_unchanged(case, annex_key)
    case.check_may_survey()
    key = alike.draw_key()
    tasks = [_task(desk, opener, store.name, key) for store in desk.config.store]
    local.expect(table.kind for table in desk.config.store)
    done: dict[str, Surveyed] = {}
    for task, result in local.run(survey_store, tasks, workers=desk.config.limits.workers):
        done[task.name] = result
        tell("stores surveyed", len(done), len(tasks))
    found = [done[store.name] for store in desk.config.store]
    _check_holds(desk.config, found)
    clear = Estate(tuple(s.estate for s in found))
    inventory = Inventory(
        stores=tuple(s.inventory for s in found),
        look_alikes=_look_alikes(found),
        undeclared=_undeclared(desk),
        annex=desk.annex(case).write_json("inventory", annex_key, estates.to_json(clear)),
    )
    assert case.charter_entry is not None
    return desk.sign(inventory, cite(case.charter_entry))


def survey_store(task: SurveyTask) -> Surveyed:
    """Survey one store; runs in a child process. A store that is not there is an error, not empty."""
    if task.anchored is not None and not task.anchored.exists():
        raise UsageError(
            f"there is nothing at the address of store {task.name}",
            hint="correct its url in case.toml, or take the store out",
        )
    with naming(task.name), closing(task.opener(task.url, task.selection, task.around)) as reader:
        parts = [_survey_collection(task, reader, c) for c in reader.collections()]
        capability = reader.capabilities
        exposed, month = _access(task, reader)
        keeper = reader.keeper() if isinstance(reader, Served) else None
    return Surveyed(
        EstateStore(
            task.name,
            tuple(p.clear for p in parts),
            tuple(copy for p in parts for copy in p.copies),
            estates.anchor(task.anchored, task.base) if task.anchored is not None else None,
            keeper,
        ),
        InventoryStore(
            name=task.name,
            reachable=capability.grade.name,  # type: ignore[arg-type]  # names of Grade are GradeNames
            why_not_higher=capability.why_not_higher[:1000],
            collections=tuple(p.published for p in parts),
            exposures=exposed,
            last_write=month,
        ),
        tuple(p.sketches for p in parts),
    )


def _access(task: SurveyTask, reader: Reader) -> tuple[tuple[str, ...], str | None]:
    """Who can get at the store besides those who should, and the month of its last write."""
    if task.path is not None:
        return tuple(e.sentence for e in exposures(task.path, kind=task.kind)), _month(task.path)
    if isinstance(reader, Served):
        return tuple(reader.exposures()), reader.last_write()
    return (), None


@dataclass(frozen=True, slots=True)
class _Part:
    clear: EstateCollection = field(repr=False)
    published: InventoryCollection
    copies: tuple[EstateCopy, ...] = field(repr=False)
    sketches: tuple[tuple[str, alike.Sketch], ...] = field(repr=False)


def _survey_collection(task: SurveyTask, reader: Reader, collection: Collection) -> _Part:
    partitions = tuple(reader.partitions(collection))
    copies = tuple(
        replace(copy, disposition=Disposition.DESTROY)
        if copy.kind in task.reached and copy.disposition is Disposition.REACH_NOT
        else copy
        for copy in reader.copies(collection)
    )
    findings, sketches = _look(task, reader, collection, partitions)
    clear = EstateCollection(
        collection,
        partitions,
        _needles(collection, findings),
        _subject(task, collection, findings),
        reader.watermark(collection).value,
    )
    personal = Counter((f.kind, f.confidence) for f in findings if f.personal)
    published = InventoryCollection(
        ordinal=collection.ordinal,
        format=collection.format,
        records=collection.records,
        held=collection.held,
        kept=collection.kept,
        bytes=collection.bytes,
        partitions=len(partitions),
        columns=len(collection.columns),
        personal=tuple(Personal(kind, sure, count) for (kind, sure), count in sorted(personal.items())),
        copies=_copy_lines(copies),
        notes=tuple(note[:1000] for note in collection.notes),
        name=collection.name if task.publish and _publishable(collection.name) else None,
    )
    places = tuple(
        EstateCopy(collection.ordinal, c.kind, c.place, c.bytes, str(c.disposition)) for c in copies
    )
    return _Part(clear, published, places, sketches)


def _look(
    task: SurveyTask, reader: Reader, collection: Collection, partitions: Sequence[Partition]
) -> tuple[tuple[ColumnFinding, ...], tuple[tuple[str, alike.Sketch], ...]]:
    """Sample batches spread over the partitions: what each column holds, and sketches of its values."""
    columns = ColumnSurvey(collection.columns)
    sketches = [alike.Sketch(task.sketch_key) for _ in collection.columns]
    step = max(1, len(partitions) // SAMPLED_PARTITIONS)
    for partition in partitions[::step][:SAMPLED_PARTITIONS]:
        for batch in reader.batches(partition):
            columns.add(batch)
            for sketch, values in zip(sketches, batch.columns, strict=True):
                if _sketchable(values.type):
                    sketch.add(values)
            break
    findings = columns.findings()
    kept = [(c.name, s) for c, s, f in zip(collection.columns, sketches, findings, strict=True) if f.needle]
    return findings, tuple(kept)


def _needles(collection: Collection, findings: Sequence[ColumnFinding]) -> tuple[tuple[int, str], ...]:
    if collection.format in NEEDLES_OF:
        names = [c.name for c in collection.columns]
        sought = NEEDLES_OF[collection.format]
        return tuple((names.index(name), kind) for name, kind in sought.items() if name in names)
    found = tuple((f.column, f.needle_kind) for f in findings if f.needle and f.needle_kind is not None)
    # A search for nothing shows nothing: of a list whose names were masked, dates and places are sought.
    return found or tuple((f.column, "text") for f in findings if f.text)


def _subject(task: SurveyTask, collection: Collection, findings: Sequence[ColumnFinding]) -> int | None:
    names = [c.name for c in collection.columns]
    column = task.subjects.get(collection.name)
    if column is not None:
        if column not in names:
            raise UsageError(f"store {task.name}: [store.subject] names a column that is not there")
        return names.index(column)
    likely = subject_column(findings)
    if likely is None or likely.needle_kind != "id":
        return None  # persons are counted by one kind of identifier, or not at all
    return likely.column


def _copy_lines(copies: Sequence[Copy]) -> tuple[CopyLine, ...]:
    groups: dict[tuple[str, str], list[int]] = {}
    for copy in copies:
        groups.setdefault((copy.kind, str(copy.disposition)), []).append(copy.bytes)
    return tuple(
        CopyLine(kind, len(sizes), sum(sizes), disposition)
        for (kind, disposition), sizes in sorted(groups.items())
    )


def _check_holds(config: CaseFile, found: Sequence[Surveyed]) -> None:
    """Raises: UsageError for a hold that names a collection no store has: misspelt, it would hold nothing,
    and what a court asked for would be destroyed."""
    for hold in config.hold:
        names = [
            c.collection.name
            for s in found
            if hold.stores is None or s.estate.name in hold.stores
            for c in s.estate.collections
        ]
        for pattern in hold.collections:
            if pattern != "*" and not any(fnmatchcase(name, pattern) for name in names):
                raise UsageError(
                    f"the hold by {hold.by} names a collection that no store of it has",
                    hint="correct [[hold]] collections in case.toml (capitals count), and open the case anew",
                )


def _look_alikes(found: Sequence[Surveyed]) -> tuple[LookAlike, ...]:
    where = [(s.estate.name, c) for s in found for c in range(len(s.sketches))]
    profiles = [
        alike.CollectionProfile(label, tuple(alike.ColumnProfile(name, sketch) for name, sketch in columns))
        for label, columns in enumerate(columns for s in found for columns in s.sketches)
    ]
    return tuple(
        LookAlike(*where[pair.first], *where[pair.second], round(pair.overlap * 100))
        for pair in alike.look_alikes(profiles)
    )


def _undeclared(desk: Desk) -> int:
    roots = [desk.config.base / root for root in desk.config.case.search]
    declared = desk.config.places()
    own = [desk.path, desk.config.log_path()]
    return sum(1 for found in find(roots, [*declared, *own]) if found.personal) if roots else 0


def _task(desk: Desk, opener: OpenReader, name: str, key: bytes) -> SurveyTask:
    store = desk.config.find(name)
    return SurveyTask(
        opener=opener,
        name=name,
        kind=store.kind,
        url=desk.config.url(store),
        path=desk.config.place(store),
        anchored=desk.config.home(store) if store.retire_server else desk.config.place(store),
        base=desk.config.base,
        selection=desk.config.selection(store),
        subjects=store.subject,
        publish=store.names_published,
        reached=terrain.reached_with(store),
        sketch_key=key,
        around=desk.config.surroundings(store),
    )


def _month(path: Path) -> str | None:
    newest = 0.0
    deadline = time.monotonic() + 2
    for place in [path, *(path.rglob("*") if path.is_dir() else ())]:
        try:
            newest = max(newest, place.lstat().st_mtime)
        except OSError:
            continue
        if time.monotonic() > deadline:
            break
    return datetime.datetime.fromtimestamp(newest, datetime.UTC).strftime("%Y-%m") if newest else None


def _publishable(name: str) -> bool:
    """Names of tables are made by programs, and some make one a person: no telephone or identity number
    leaves the record in a name."""
    return name.isprintable() and len(name) <= 200 and not _NUMBERED.search(name)


_NUMBERED = re.compile(r"(?:\d[\s_-]?){11}|@")


def _sketchable(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_integer(kind))
