"""What is between the records that are wanted is not read."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cenotaph import parquet
from cenotaph.residue.needles import NeedleBuilder
from cenotaph.residue.scan import scan
from cenotaph.scope import EVERYTHING, Selection, parse_predicate
from cenotaph.store import Extent, Locating, Partition, Skipping
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
    """Of twenty row groups, the two that have what is wanted are read, where single pages are not."""
    monkeypatch.setattr(tables.Plain, "of", lambda file: None)
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


def test_what_is_behind_the_last_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten batches in one row group, those up to the last record that is wanted come, from the first on."""
    monkeypatch.setattr(tables, "BATCH_ROWS", 100)
    monkeypatch.setattr(tables.Plain, "of", lambda file: None)
    pq.write_table(pa.table({"id_number": [str(n) for n in range(ROWS)]}), tmp_path / "0.parquet")
    reader, partition = opened(tmp_path)

    found = [(at, batch.num_rows) for at, batch in reader.batches_at(partition, [(150, 151), (299, 300)])]

    assert found == [(150, 50), (200, 100)]


@pytest.mark.parametrize("dictionary", [False, True])
@pytest.mark.parametrize("fails_at", [None, 0, 1, 2])
def test_of_few_records_their_pages_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int | None, dictionary: bool
) -> None:
    """What is wanted comes and nothing else, each once and in order, with nulls and dictionaries. Where the
    kernel cannot read some page, the rest comes from pyarrow."""
    pytest.importorskip("cenotaph_kernel", reason="cenotaph-kernel is not installed: it needs gcc")
    rows = [f"32020{row:012d}" if row % 7 else None for row in range(30_000)]
    table = pa.table({"id_number": rows, "n": range(30_000), "few": ["a", None, "ccc"] * 10_000})
    pq.write_table(
        table,
        tmp_path / "0.parquet",
        row_group_size=20_000,
        data_page_size=3_000,
        write_batch_size=100,
        use_dictionary=dictionary,
        compression="zstd",
    )
    wanted = [(0, 1), (150, 160), (160, 400), (15_000, 15_001), (19_990, 20_010), (29_999, 40_000)]
    told, some = itertools.count(), tables.Plain.some

    def once(plain: Any, *given: Any) -> pa.RecordBatch:
        if next(told) == fails_at:
            raise tables.OtherwiseError
        return some(plain, *given)

    monkeypatch.setattr(tables.Plain, "some", once)
    reader, partition = opened(tmp_path)

    batches = list(reader.batches_at(partition, wanted))

    found = [(at + nth, row) for at, batch in batches for nth, row in enumerate(batch.to_pylist())]
    assert [at for at, _ in found] == sorted({at for at, _ in found})
    assert all(row == table.slice(at, 1).to_pylist()[0] for at, row in found[:: max(1, len(found) // 300)])
    asked = {row for first, end in wanted for row in range(first, min(end, 30_000))}
    assert asked <= {at for at, _ in found}
    assert fails_at is not None or asked == {at for at, _ in found}


class Counted(io.FileIO):
    """A file that counts what is read of it through a buffer."""

    read_bytes = 0

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        self.read_bytes += count or 0
        return count


def test_of_pages_only_the_headers_are_read(tmp_path: Path) -> None:
    """To know how many rows decode at once, a file is not read through: a buffer holds several pages."""
    path = tmp_path / "0.parquet"
    values = pa.array(np.random.default_rng(3).integers(0, 1 << 62, 500_000))
    pq.write_table(pa.table({"n": values}), path, data_page_size=20_000, use_dictionary=False)
    raw = Counted(path)
    with io.BufferedReader(raw, 1 << 18) as stream:
        schema = pq.ParquetFile(path).schema

        assert list(parquet.rows_by_group(stream, schema, 65_536)) == [65_536]
        assert path.stat().st_size > 10 * raw.read_bytes


def test_of_few_records_nothing_but_their_pages_is_read(tmp_path: Path) -> None:
    """Ten of half a million records, in one row group: a hundredth of the file."""
    pytest.importorskip("cenotaph_kernel", reason="cenotaph-kernel is not installed: it needs gcc")
    path = tmp_path / "0.parquet"
    values = pa.array(np.random.default_rng(3).integers(0, 1 << 62, 500_000))
    pq.write_table(pa.table({"n": values}), path, data_page_size=20_000, use_dictionary=False)
    raw = Counted(path)
    with io.BufferedReader(raw, 1 << 12) as stream:
        ((at, batch),) = tables.parquet_at(stream, [(250_000, 250_010)])

    assert (at, batch.column(0).to_pylist()) == (250_000, values[250_000:250_010].to_pylist())
    assert path.stat().st_size > 20 * raw.read_bytes


CODECS = ["none", "snappy", "gzip", "brotli", "lz4", "zstd"]


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize(("codec", "dictionary"), [(c, False) for c in CODECS] + [("zstd", True)])
def test_records_lie_where_it_is_told(tmp_path: Path, codec: str, dictionary: bool, version: str) -> None:
    """The pages that have the records, found by themselves in a few kilobytes of each file, however they are
    compressed: all values in the columns that are asked for, and none of another."""
    columns = [[f"{c}32020{row:012d}" for row in range(40_000)] for c in range(3)]
    options = {"compression": codec, "use_dictionary": dictionary, "data_page_version": version}
    path = tmp_path / "0.parquet"
    pq.write_table(
        pa.table({f"c{n}": values for n, values in enumerate(columns)}),
        path,
        row_group_size=20_000,
        data_page_size=2_000,
        write_batch_size=100,
        **options,
    )
    reader, partition = opened(tmp_path)
    wanted = [(150, 160), (19_999, 20_001), (33_333, 33_334)]
    places = [row for span in wanted for row in range(*span)]
    assert isinstance(reader, Locating)

    extents = list(reader.raw_at(partition, wanted, [0, 2]))

    assert dictionary or sum(extent.length for extent in extents) < path.stat().st_size // 20
    found = [values_in(extents, [values[row] for row in places]) for values in columns]
    assert found == [len(places), 0, len(places)]


def values_in(extents: list[Extent], values: list[str]) -> int:
    builder = NeedleBuilder(bytes(32))
    builder.add(pa.array(values), "id")
    needles, seen = builder.finish(), set[int]()
    for extent in extents:
        with extent.open() as stream:
            found = scan(stream, extent.length, needles, extent.kept, carve=True)
        seen |= found.residue
    return len(seen)


def test_of_files_that_go_in_part_all_is_told(folder: Path) -> None:
    """Where places are not those in the file it is the whole file; and only of files that have some."""
    reader, partition = opened(folder, Selection(rows=parse_predicate("id_number >= '1-990'")))

    (extent,) = reader.raw_at(partition, [(0, 1)], [0])

    with extent.open() as stream:
        assert stream.read() == (folder / "1.parquet").read_bytes()


def test_a_damaged_file_tells_nothing(folder: Path) -> None:
    """Nor does one that is gone: its values are sought everywhere."""
    reader, partition = opened(folder)
    (folder / "0.parquet").unlink()
    (folder / "1.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")

    assert list(reader.raw_at(partition, [(0, 2_000)], [0])) == []


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
