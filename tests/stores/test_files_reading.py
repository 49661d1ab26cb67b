"""What the files store reads: the same records as independent readers, from friendly and hostile files."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cenotaph.errors import PermanentStoreError, UsageError
from cenotaph.scope import EVERYTHING, Selection, parse_predicate
from cenotaph.store import Collection
from cenotaph.stores.files import kinds, lines, open_reader, packing, tables

SHARED = Path(__file__).parents[3] / "shared" / "data"


def read(root: Path, selection: Selection = EVERYTHING) -> list[tuple[Collection, list[dict]]]:
    """All collections with their selected rows."""
    reader = open_reader(f"files:{root}", selection)
    try:
        return [
            (
                collection,
                [
                    row
                    for partition in reader.partitions(collection)
                    for batch in reader.batches(partition)
                    for row in batch.to_pylist()
                ],
            )
            for collection in reader.collections()
        ]
    finally:
        reader.close()


def read_one(tmp_path: Path, name: str, data: bytes) -> tuple[Collection, list[dict]]:
    """Write one file and read it as the only one of its root."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / name).write_bytes(data)
    (found,) = read(tmp_path / "root")
    return found


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not on this machine")
def test_real_exports_have_the_records_that_pythons_reader_counts():
    """Every CSV of the shared data sets: the same number of records and the same values."""
    paths = sorted(SHARED.rglob("*.csv"))
    assert len(paths) > 30
    for path in paths:
        ((collection, rows),) = read(path)
        with path.open(newline="", encoding="utf-8-sig") as stream:
            delimiter = ";" if ";" in stream.readline() else ","  # one of them writes decimal commas
            stream.seek(0)
            expected = [row for row in csv.reader(stream, delimiter=delimiter) if row][1:]
        assert collection.format == "csv"
        assert collection.records == len(rows) == len(expected)
        assert [[value.decode() for value in row.values()] for row in rows] == expected


FIELDS = st.text(st.sampled_from('ab,;"\n\r é中'), max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.lists(FIELDS, min_size=3, max_size=3), min_size=1, max_size=8),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    last_end=st.booleans(),
    bom=st.booleans(),
    block=st.integers(1, 40),
)
def test_fields_are_those_that_were_written(rows, end, last_end, bom, block):
    """Whatever Python's writer quotes is read back, in blocks of any size; spans cover what they say."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    data = text.getvalue().encode()
    if not last_end:
        data = data.removesuffix(end.encode())
    data = lines.BOM + data if bom else data
    kind = kinds.Kind("csv", (("a", ""), ("b", ""), ("c", "")), delimiter=ord(","))

    found, whole, spans = [], b"", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK", block)
        for piece in tables.rows_of_text(kind, io.BytesIO(data)):
            found += [[value.decode() for value in row.values()] for row in piece.batch.to_pylist()]
            spans += [piece.data[a:b] for a, b in zip(piece.starts, piece.ends, strict=True)]
            whole += piece.data

    assert found == rows
    assert whole == data
    assert b"".join(spans) == data.removeprefix(lines.BOM)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("bom", [b"", lines.BOM])
def test_line_ends_and_byte_order_marks_do_not_change_the_records(tmp_path, end, bom):
    """LF, CRLF and bare CR, with and without BOM, quoted line ends and an empty line: two records."""
    data = bom + b'id,note\n1,"a\nb"\n\n2,c'.replace(b"\n", end)
    collection, rows = read_one(tmp_path, "x.csv", data)
    assert [column.name for column in collection.columns] == ["id", "note"]
    assert rows == [{"id": b"1", "note": b"a" + end + b"b"}, {"id": b"2", "note": b"c"}]


@pytest.mark.parametrize(
    "bad",
    [b"1,2,3\n", b"1\n", b'1,a"b\n', b'"1"x,2\n', b'1,"never closed\n', b'1,"a"b"c"\n'],
    ids=["longer", "shorter", "quote inside", "text after quote", "open quote", "single quote in quotes"],
)
def test_a_bad_line_makes_the_whole_file_text(tmp_path, bad):
    """One line that does not fit: every line is a record, and the collection says so."""
    data = b"id,name\n" + b"7,Ann\n" * 20000 + bad
    collection, rows = read_one(tmp_path, "x.csv", data)
    assert collection.format == "text"
    assert collection.notes == ("csv with bad lines, read as text",)
    assert [row["line"] for row in rows] == data.removesuffix(b"\n").split(b"\n")


def test_a_first_row_with_a_persons_number_is_a_record(tmp_path):
    """A CSV without header: the first person is not taken for column names, and this is noted."""
    collection, rows = read_one(tmp_path, "x.csv", b"32020019900101123X,Ann\n320200199001021234,Bob\n")
    assert len(rows) == 2
    assert collection.notes == ("csv without a header",)
    assert [column.name for column in collection.columns] == ["column_1", "column_2"]


def test_bytes_of_any_encoding_arrive_as_they_are(tmp_path):
    """GB18030, Latin-1 and invalid UTF-8 in one file."""
    names = ["张伟".encode("gb18030"), "Müller".encode("latin-1"), b"\xff\xfe", "张伟".encode()]
    _, rows = read_one(tmp_path, "x.csv", b"id,name\n" + b"".join(b"1," + n + b"\n" for n in names))
    assert [row["name"] for row in rows] == names


def test_a_line_of_ten_megabytes_is_one_record(tmp_path):
    """Rows longer than a block are joined, in csv and in text."""
    long = b"x" * (10 << 20)
    _, rows = read_one(tmp_path, "x.csv", b'a,b\n1,"' + long + b'"\n2,y\n')
    assert [len(row["b"]) for row in rows] == [10 << 20, 1]


def test_lines_end_as_their_format_says(tmp_path):
    """Text: LF, CRLF and bare CR, empty lines are records. JSON Lines: LF and CRLF, empty lines are none."""
    (tmp_path / "a.txt").write_bytes(b"one\r\n\ntwo\rthree")
    (tmp_path / "b.jsonl").write_bytes(b'{"a": 1}\r\n\n{"a":\r 2}\n')
    (_, json_rows), (_, text_rows) = read(tmp_path)
    assert [row["line"] for row in text_rows] == [b"one", b"", b"two", b"three"]
    assert [row["line"] for row in json_rows] == [b'{"a": 1}', b'{"a":\r 2}']


def test_a_json_line_longer_than_what_is_sniffed_is_json(tmp_path):
    """The first line decides, also where it does not end within the first 64 KiB."""
    data = b'{"photo": "' + b"A" * 100_000 + b'"}\n'
    assert read_one(tmp_path, "x.jsonl", data * 2)[0].records == 2


def test_utf16_exports_are_read_as_text(tmp_path):
    """What spreadsheets call Unicode text: tabs, CRLF, a byte order mark. Values arrive as UTF-8."""
    data = "\ufeffid\tname\r\n1\t张伟\r\n".encode("utf-16-le")
    collection, rows = read_one(tmp_path, "x.csv", data)
    assert collection.format == "csv.utf-16-le"
    assert rows == [{"id": b"1", "name": "张伟".encode()}]


def test_a_line_beyond_any_bound_makes_the_file_one_record(tmp_path, monkeypatch):
    """No line end for 64 MiB (here: 1 MiB): the file is one record, and memory stays bounded."""
    monkeypatch.setattr(lines, "LONGEST_ROW", 1 << 20)
    monkeypatch.setattr(lines, "BLOCK", 1 << 16)
    collection, rows = read_one(tmp_path, "x.txt", b"x" * (2 << 20))
    assert collection.format == "opaque"
    assert collection.notes == ("text with a line over 64 MiB, read as one record",)
    assert len(rows) == 1


@pytest.mark.parametrize("name", ["x.csv", "x.txt", "x.jsonl", "x.parquet", "x"])
def test_an_empty_file_has_no_records_and_is_destroyed_all_the_same(tmp_path, name):
    """Nought records, and still a file in a partition: its name can be a person."""
    (tmp_path / name).write_bytes(b"")
    reader = open_reader(f"files:{tmp_path}", EVERYTHING)
    (collection,) = reader.collections()
    (partition,) = reader.partitions(collection)
    assert (collection.records, partition.records) == (0, 0)
    assert list(reader.batches(partition)) == []
    reader.close()


def test_prose_with_commas_is_text(tmp_path):
    """A .txt file is CSV only where it cannot be prose."""
    prose = b"Dear Ann, dear Bob,\nI write, as you know, from Wuxi.\nYours, C\n"
    assert read_one(tmp_path, "letter.txt", prose)[0].format == "text"


def test_a_table_in_a_txt_file_is_csv(tmp_path):
    """Tabs or semicolons, three rows alike, with a header."""
    rows = b"id\tname\tcity\n1\tAnn\tWuxi\n2\tBob\tWuxi\n"
    collection, found = read_one(tmp_path, "list.txt", rows)
    assert collection.format == "csv"
    assert found[1] == {"id": b"2", "name": b"Bob", "city": b"Wuxi"}


def test_an_opaque_file_is_one_record_with_its_name(tmp_path):
    """Name, size, digest and middle."""
    data = bytes(range(256)) * 10
    collection, rows = read_one(tmp_path, "Zhang Wei.jpg", b"\xff\xd8\x00" + data)
    assert collection.format == "opaque"
    (row,) = rows
    assert (row["name"], row["size"]) == (b"Zhang Wei.jpg", 2563)
    assert row["middle"] == (b"\xff\xd8\x00" + data)[1265:1297]


def test_members_of_an_archive_are_read_and_nested_archives_are_not(tmp_path):
    """Text members by line; an image and an inner zip are one record each."""
    inner, outer = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("deep.txt", b"deep")
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("notes.txt", b"one\ntwo\n")
        archive.writestr("photo.jpg", b"\xff\xd8\x00")
        archive.writestr("inner.zip", inner.getvalue())
    collection, rows = read_one(tmp_path, "x.zip", outer.getvalue())
    assert collection.format == "zip"
    assert [(row["member"], row["line"]) for row in rows] == [
        (b"notes.txt", b"one"),
        (b"notes.txt", b"two"),
        (b"photo.jpg", None),
        (b"inner.zip", None),
    ]


@pytest.mark.parametrize("cut", [10, 60])
def test_a_cut_gzip_is_one_record_and_noted(tmp_path, cut):
    """Damaged compressed data cannot be read, which is said, and the file is still destroyed."""
    data = gzip.compress(b"".join(b"%d,%d\n" % (n, n * n) for n in range(5000)))
    collection, rows = read_one(tmp_path, "x.csv.gz", data[:-cut])
    assert collection.notes == ("compressed file that cannot be unpacked, read as one record",)
    assert len(rows) == 1


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    """What expands beyond the bound is one record."""
    monkeypatch.setattr(packing, "_AT_LEAST", 1 << 20)
    monkeypatch.setattr(packing, "_EXPANDS", 10)
    collection, _ = read_one(tmp_path, "x.txt.gz", gzip.compress(b"0\n" * (2 << 20)))
    assert collection.format == "opaque"


def test_a_damaged_parquet_page_fails_its_partition_and_no_other(tmp_path):
    """The footer is whole, a page is not: `PermanentStoreError` there, the neighbour is read."""
    for folder in ("bad", "good"):
        (tmp_path / folder).mkdir()
        table = pa.table({"name": [f"Person-{n}" for n in range(1000)]})
        pq.write_table(table, tmp_path / folder / "x.parquet", compression="none", use_dictionary=False)
    data = bytearray((tmp_path / "bad" / "x.parquet").read_bytes())
    data[4:3000] = b"\xff" * 2996
    (tmp_path / "bad" / "x.parquet").write_bytes(data)
    reader = open_reader(f"files:{tmp_path}", EVERYTHING)
    bad, good = reader.collections()
    with pytest.raises(PermanentStoreError, match="damaged"):
        list(reader.batches(reader.partitions(bad)[0]))
    assert sum(b.num_rows for b in reader.batches(reader.partitions(good)[0])) == 1000
    reader.close()


@pytest.mark.parametrize("writer", [pa.ipc.new_file, pa.ipc.new_stream])
def test_an_arrow_file_with_a_wrong_offset_is_one_record_and_noted(tmp_path, writer):
    """Arrow would follow the offset out of its memory: the process would end, and nothing be said."""
    batch = pa.record_batch({"name": [f"Person-{n:04d}" for n in range(1000)]})
    out = io.BytesIO()
    with writer(out, batch.schema) as into:
        into.write_batch(batch)
    data = out.getvalue()
    at = data.index((11).to_bytes(4, "little") + (22).to_bytes(4, "little"))
    broken = data[:at] + (0x7FFFFF00).to_bytes(4, "little") + data[at + 4 :]

    collection, rows = read_one(tmp_path, "x.arrow", broken)

    assert collection.notes == ("arrow file that cannot be read, taken as one record",)
    assert len(rows) == 1


def test_a_parquet_file_without_footer_is_one_record_and_noted(tmp_path):
    """What no library can read is destroyed whole, and reported as not read."""
    collection, rows = read_one(tmp_path, "x.parquet", b"PAR1" + b"\0" * 100)
    assert collection.notes == ("parquet file that cannot be read, taken as one record",)
    assert len(rows) == 1


def test_a_damaged_file_in_a_scope_by_rows_stays_and_is_not_excused(tmp_path):
    """A condition cannot be asked of a csv with bad lines: it stays, is noted, and no place of it is kept."""
    (tmp_path / "a.csv").write_bytes(b"id,name\n1,Ann\n2,Bob\n")
    (tmp_path / "b.csv").write_bytes(b"id,name\n1,Ann\n2,Bob,3\n")
    selection = Selection(rows=parse_predicate("name = 'Ann'"))
    good, bad = [collection for collection, _ in read(tmp_path, selection)]
    assert (good.records, good.kept) == (1, 1)
    assert (bad.records, bad.kept) == (0, 3)
    assert any("damaged" in note for note in bad.notes)
    reader = open_reader(f"files:{tmp_path}", selection)
    kept = {extent.place: extent.kept.tolist() for extent in reader.raw() if extent.kind == "file"}
    reader.close()
    assert kept == {"a.csv": [[0, 8], [14, 20]], "b.csv": []}


def test_a_condition_on_a_column_that_is_not_there_is_an_error(tmp_path):
    """A misspelt column must not mean: nothing to destroy."""
    (tmp_path / "a.csv").write_bytes(b"id,name\n1,Ann\n")
    with pytest.raises(UsageError, match="column"):
        read(tmp_path, Selection(rows=parse_predicate("nmae = 'Ann'")))


def test_two_schemas_in_one_folder_are_two_collections(tmp_path):
    """A collection has one schema; its name says which, and does not depend on its neighbours."""
    (tmp_path / "a.csv").write_bytes(b"id,name\n1,Ann\n")
    (tmp_path / "b.csv").write_bytes(b"id,phone\n1,2\n")
    names = [collection.name for collection, _ in read(tmp_path)]
    (tmp_path / "b.csv").unlink()
    assert [collection.name for collection, _ in read(tmp_path)] == names[:1]


def test_large_collections_are_cut_into_partitions_of_whole_files(tmp_path):
    """At most 256 files a partition, in byte order; counts add up."""
    for n in range(300):
        (tmp_path / f"{n:03d}.txt").write_bytes(b"line\n" * 2)
    reader = open_reader(f"files:{tmp_path}", EVERYTHING)
    (collection,) = reader.collections()
    assert [p.records for p in reader.partitions(collection)] == [512, 88]
    assert all(len(p.bounds) < 1 << 20 for p in reader.partitions(collection))
    reader.close()


def test_one_file_can_be_a_store(tmp_path):
    """`files:` and the path of a file: that file alone."""
    (tmp_path / "a.csv").write_bytes(b"id,name\n1,Ann\n")
    (tmp_path / "b.csv").write_bytes(b"id,name\n1,Ann\n")
    ((collection, rows),) = read(tmp_path / "a.csv")
    assert (collection.records, len(rows)) == (1, 1)


@pytest.mark.parametrize("url", ["files:relative", "sqlite:/x", "files:"])
def test_a_url_of_another_kind_is_refused(url):
    """Only `files:` and an absolute path."""
    with pytest.raises(UsageError):
        open_reader(url, EVERYTHING)


def test_a_root_that_does_not_exist_is_an_error(tmp_path):
    """A missing folder is not an empty one."""
    with pytest.raises(PermanentStoreError, match="does not exist"):
        open_reader(f"files:{tmp_path}/none/deeper", EVERYTHING)
