"""What is between the records that are wanted is not read."""

from __future__ import annotations

import itertools
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cenotaph.scope import EVERYTHING, Selection, parse_predicate
from cenotaph.store import Partition, Skipping
from cenotaph.stores.files import tables
from cenotaph.stores.files.reader import FilesReader
from cenotaph_proof.statements import Challenge
from small_case import SmallCase

ROWS = 1_000
STORE = '[[store]]\nname = "batch"\nurl = "files:../estate"\ngrade = "L2"\nscope = "everything"\n\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two Parquet files of ten row groups each, and none of their records like another."""
    for number in range(2):
        values = pa.table({"id_number": [f"{number}-{row}" for row in range(ROWS)]})
        pq.write_table(values, tmp_path / f"{number}.parquet", row_group_size=ROWS // 10)
    return tmp_path


def opened(folder: Path, selection: Selection = EVERYTHING) -> tuple[FilesReader, Partition]:
    reader = FilesReader(f"files:{folder}", selection)
    (collection,) = reader.collections()
    (partition,) = reader.partitions(collection)
    return reader, partition


def everything(reader: FilesReader, partition: Partition) -> list[str]:
    return [value for batch in reader.batches(partition) for value in batch.column(0).to_pylist()]


@pytest.mark.parametrize(
    "wanted",
    [[(0, 1)], [(99, 101)], [(950, 1_050)], [(1_999, 2_000)], [(5, 6), (1_500, 1_600)], [(0, 2_000)], []],
)
def test_records_are_where_reading_all_has_them(folder: Path, wanted: list[tuple[int, int]]) -> None:
    """Whatever is wanted comes, with the place that it has among all records."""
    reader, partition = opened(folder)
    every = everything(reader, partition)
    assert isinstance(reader, Skipping)

    found = {
        at + row: value
        for at, batch in reader.batches_at(partition, wanted)
        for row, value in enumerate(batch.column(0).to_pylist())
    }

    assert all(every[place] == value for place, value in found.items())
    assert set(itertools.chain(*(range(*span) for span in wanted))) <= set(found)


def test_what_is_between_is_not_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of twenty row groups, the two that have what is wanted are read."""
    reader, partition = opened(folder)
    read = []
    batches = tables.RowGroup.batches
    monkeypatch.setattr(tables.RowGroup, "batches", lambda group: read.append(group.index) or batches(group))

    list(reader.batches_at(partition, [(150, 151), (1_970, 1_971)]))

    assert read == [1, 9]


def test_where_only_some_rows_go_places_count_those(folder: Path) -> None:
    """A scope of some rows: places are those among the selected records."""
    reader, partition = opened(folder, Selection(rows=parse_predicate("id_number >= '1-990'")))
    every = everything(reader, partition)
    assert len(every) < ROWS

    found = [
        (at, batch.column(0)[0].as_py()) for at, batch in reader.batches_at(partition, [(0, len(every))])
    ]

    assert all(every[at] == value for at, value in found)


@pytest.mark.parametrize("changed", ["first chunk", "one more record", "nothing"])
def test_a_challenge_sees_what_changed_in_a_drawn_chunk(tmp_path: Path, changed: str) -> None:
    """Ten thousand records are three chunks, all drawn: a changed value, or one more record behind the last,
    is a chunk that does not match."""
    rows = [f"32020519800101{row:04d}" for row in range(10_000)]
    path = tmp_path / "estate" / "records.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"id_number": rows}), path, row_group_size=2_000)
    case = SmallCase.make(tmp_path, STORE)
    case.go("open", "plan")
    if changed != "nothing":
        altered = [*rows, rows[0]] if changed == "one more record" else ["x" + rows[0][1:], *rows[1:]]
        pq.write_table(pa.table({"id_number": altered}), path, row_group_size=2_000)

    case.go("challenge", "challenge")
    case.admit()

    body = case.now().require(Challenge).body(Challenge)
    (store,) = body.stores
    assert store.drawn == 3
    assert (store.matched, body.decision) == ((3, "accept") if changed == "nothing" else (2, "reject"))
