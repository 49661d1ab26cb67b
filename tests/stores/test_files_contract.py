"""The files store passes the contract: whole collections, and rows of them in every format."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import zstandard

from cenotaph.scope import EVERYTHING, Hold, Selection, parse_predicate
from cenotaph.store import Eraser, Reader
from cenotaph.stores.files import open_eraser, open_reader
from cenotaph.testing.contract import Estate, StoreContract, raw_bytes

HEADER = b"id,name,phone,city\n"
PEOPLE = [(f"ID{n:06d}", f"Person-{n:04d}", f"1380000{n:04d}") for n in range(40)]


def csv_of(numbers: range | list[int], city: str = "Wuxi") -> bytes:
    return b"".join(f"{PEOPLE[n][0]},{PEOPLE[n][1]},{PEOPLE[n][2]},{city}\n".encode() for n in numbers)


class FilesEstate(Estate):
    """Files beneath `root`; `outside` names those that must stay as they are."""

    def __init__(self, root: Path, selection: Selection, needles: list[bytes], bystanders: list[bytes]):
        self.root, self.selection = root, selection
        self.needles, self.bystanders = needles, bystanders
        self.outside: dict[str, bytes] = {}
        self.changes = root / "apps" / "a.csv"

    def open_reader(self) -> Reader:
        return open_reader(f"files:{self.root}", self.selection)

    def open_eraser(self) -> Eraser:
        return open_eraser(f"files:{self.root}", self.selection)

    def kept(self) -> object:
        return {name: (self.root / name).read_bytes() for name in self.outside}

    def change_one(self) -> None:
        data = self.changes.read_bytes()
        assert b"Person-0001" in data
        self.changes.write_bytes(data.replace(b"Person-0001", b"Person-X001", 1))


def put(root: Path, name: str, data: bytes) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


class TestWholeCollections(StoreContract):
    """Folders in scope as a whole beside folders out of scope and one on hold."""

    kills = 25

    def make(self, folder: Path) -> Estate:
        root = folder / "root"
        put(root, "apps/a.csv", HEADER + csv_of(range(10)))
        put(root, "apps/b.csv", b"\xef\xbb\xbf" + HEADER.replace(b"\n", b"\r\n") + csv_of(range(10, 15)))
        put(root, "apps/empty.csv", b"")
        put(root, "apps/deep/notes.txt", b"met Person-0016\nand Person-0017")
        put(root, "apps/photos/Person-0018.jpg", b"\xff\xd8\xff\x00" + bytes(range(256)) * 40)
        put(root, "apps/log.jsonl", b'{"name": "Person-0019"}\n{"name": "Person-0020"}\n')
        put(root, "held/court.csv", HEADER + csv_of(range(30, 35)))
        put(root, "other/bystander.csv", HEADER + csv_of(range(35, 40)))
        selection = Selection(collections=("apps/*", "held/*"), holds=(Hold(collections=("held/*",)),))
        needles = [PEOPLE[n][1].encode() for n in (0, 1, 14, 16, 17, 18, 19, 20)] + [b"photos"]
        estate = FilesEstate(root, selection, needles, [b"Person-0030", b"Person-0039", b"bystander"])
        estate.outside = dict.fromkeys(["held/court.csv", "other/bystander.csv"], b"")
        return estate


class TestRowsOfText(StoreContract):
    """Rows by predicate out of csv, with a hold inside the file."""

    def make(self, folder: Path) -> Estate:
        root = folder / "root"
        gone, stays = list(range(0, 10)), list(range(10, 20))
        mixed = HEADER + csv_of(gone[:5]) + csv_of(stays, "Suzhou") + b"\r\n" + csv_of(gone[5:9])
        put(root, "apps/a.csv", mixed + csv_of([9], "Wuxi").rstrip(b"\n"))
        put(root, "apps/all.csv", HEADER + csv_of(range(20, 25)))
        put(root, "apps/none.csv", HEADER + csv_of(range(30, 35), "Suzhou"))
        put(root, "apps/held.csv", b"\xef\xbb\xbf" + HEADER + csv_of([25, 26, 27]))
        selection = Selection(
            rows=parse_predicate("city = 'Wuxi'"), holds=(Hold(rows=parse_predicate("id = 'ID000026'")),)
        )
        needles = [PEOPLE[n][1].encode() for n in (0, 1, 5, 9, 20, 24, 25, 27)]
        estate = FilesEstate(root, selection, needles, [PEOPLE[n][1].encode() for n in (10, 19, 26, 30)])
        self.expected = {
            "apps/a.csv": HEADER + csv_of(stays, "Suzhou") + b"\r\n",
            "apps/held.csv": b"\xef\xbb\xbf" + HEADER + csv_of([26]),
        }
        estate.outside = {"apps/none.csv": b""}
        return estate

    def test_kept_rows_are_byte_identical(self, estate: FilesEstate) -> None:
        """Header, byte order mark, empty lines and kept rows are the bytes they were."""
        self.test_held_and_kept_counts_stay(estate)
        for name, data in self.expected.items():
            assert (estate.root / name).read_bytes() == data
        assert not (estate.root / "apps/all.csv").exists()


def table_of(numbers: list[int], city: str) -> pa.Table:
    rows = [dict(zip(("id", "name", "phone"), PEOPLE[n], strict=True), city=city) for n in numbers]
    return pa.Table.from_pylist(rows)


def mixed_table() -> pa.Table:
    return pa.concat_tables(
        [table_of([0, 1, 2], "Wuxi"), table_of([10, 11], "Suzhou"), table_of([3], "Wuxi")]
    )


def write_parquet(path: Path) -> None:
    table = mixed_table()
    names = table["name"].dictionary_encode()
    table = table.set_column(1, "name", names)
    pq.write_table(table, path, compression="none", row_group_size=4)


def write_arrow(path: Path) -> None:
    table = mixed_table()
    table = table.set_column(1, "name", table["name"].dictionary_encode())
    pa.feather.write_feather(table, path, compression="uncompressed")


def write_stream(path: Path) -> None:
    table = mixed_table()
    with path.open("wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def mixed_csv() -> bytes:
    return HEADER + csv_of([0, 1, 2]) + csv_of([10, 11], "Suzhou") + csv_of([3])


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("one.csv", mixed_csv())
        archive.writestr("two/", b"")
        archive.writestr("two/Person-0004.csv", HEADER + csv_of([4, 5]))
        archive.writestr("three.csv", HEADER + csv_of([12], "Suzhou"))


def write_tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in (("one.csv", mixed_csv()), ("Person-0004.csv", HEADER + csv_of([4, 5]))):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


PLAIN_FORMATS = {
    "a.parquet": write_parquet,
    "a.feather": write_arrow,
    "a.arrows": write_stream,
    "a.zip": write_zip,
    "a.tar": write_tar,
}
PACKED = {
    "a.csv.gz": gzip.compress,
    "a.csv.bz2": bz2.compress,
    "a.csv.xz": lzma.compress,
    "a.csv.zst": zstandard.compress,
    "a.csv": lambda data: ("\ufeff" + data.decode()).encode("utf-16-le"),
    "b.csv": lambda data: ("\ufeff" + data.decode()).encode("utf-16-be"),
}


def estate_of(root: Path, name: str) -> FilesEstate:
    """One file in which some rows go and some stay."""
    put(root, f"apps/{name}", b"")
    if name in PACKED:
        put(root, f"apps/{name}", PACKED[name](mixed_csv()))
    else:
        PLAIN_FORMATS[name](root / "apps" / name)
    put(root, "bystander.txt", b"bystander\n")
    selection = Selection(collections=("apps/*",), rows=parse_predicate("city = 'Wuxi'"))
    estate = FilesEstate(root, selection, [b"Person-0000", b"Person-0003"], [b"Person-0010"])
    estate.outside = {"bystander.txt": b""}
    return estate


class TestRowsOfParquet(StoreContract):
    """Rows by predicate out of Parquet, dictionaries and statistics included."""

    kills = 15

    def make(self, folder: Path) -> Estate:
        estate = estate_of(folder / "root", "a.parquet")
        estate.change_one = lambda: pq.write_table(mixed_table().slice(1), estate.root / "apps/a.parquet")
        return estate


class TestRowsOfZip(StoreContract):
    """Rows by predicate out of the members of an archive."""

    kills = 15

    def make(self, folder: Path) -> Estate:
        estate = estate_of(folder / "root", "a.zip")
        estate.needles = [*estate.needles, b"Person-0004.csv"]
        estate.changes = estate.root / "apps/a.zip"
        return estate


@pytest.mark.parametrize("name", [*PLAIN_FORMATS, *PACKED])
def test_rows_go_from_every_format_and_the_others_stay(tmp_path, name):
    """Each format: selected rows are gone for any reader of that format, the others are the same."""
    estate = estate_of(tmp_path / "root", name)
    contract = StoreContract()
    rest = Selection(collections=("apps/*",), rows=parse_predicate("city <> 'Wuxi'"))
    before = _rows_of(estate, rest)
    assert before
    path = estate.root / "apps" / name
    assert b"Person-0001" in _unpacked(name, path.read_bytes())

    contract.test_held_and_kept_counts_stay(estate)

    assert _rows_of(estate, rest) == before
    assert b"Person-0001" not in _unpacked(name, path.read_bytes())
    assert b"Person-0010" in _unpacked(name, path.read_bytes())
    assert sorted(p.name for p in path.parent.iterdir()) == [name]


def _rows_of(estate: FilesEstate, selection: Selection) -> list[dict[str, object]]:
    reader = open_reader(f"files:{estate.root}", selection)
    rows = [
        row
        for collection in reader.collections()
        for partition in reader.partitions(collection)
        for batch in reader.batches(partition)
        for row in batch.to_pylist()
    ]
    reader.close()
    return rows


def _unpacked(name: str, data: bytes) -> bytes:
    tools = {"gz": gzip.decompress, "bz2": bz2.decompress, "xz": lzma.decompress}
    if name.endswith(".csv"):
        return data.decode("utf-16").encode()
    if name.endswith("zst"):
        return zstandard.ZstdDecompressor().stream_reader(data).read()
    return tools.get(name.rpartition(".")[2], bytes)(data)


@pytest.mark.parametrize("name", ["a.parquet", "a.feather"])
def test_dictionaries_forget_the_values_of_gone_rows(tmp_path, name):
    """A dictionary is a copy of a column's values: top-level, ordered, with small indices, and nested."""
    path = tmp_path / "root" / name
    put(path.parent, name, b"")
    names = pa.array(["Person-gone", "Person-kept"]).dictionary_encode()
    columns = {
        "city": pa.array(["Wuxi", "Suzhou"]),
        "small": names.cast(pa.dictionary(pa.int8(), pa.string())),
        "ordered": pa.DictionaryArray.from_arrays(pa.array([0, 1]), names.dictionary, ordered=True),
    }
    if name == "a.feather":
        columns["nested"] = pa.StructArray.from_arrays([names], names=["name"])
        pa.feather.write_feather(pa.table(columns), path, compression="uncompressed")
    else:
        pq.write_table(pa.table(columns), path, compression="none")
    assert path.read_bytes().count(b"Person-gone") >= 2
    schema = pa.table(columns).schema
    selection = Selection(rows=parse_predicate("city = 'Wuxi'"))
    estate = FilesEstate(tmp_path / "root", selection, [b"Person-gone"], [b"Person-kept"])

    StoreContract().test_held_and_kept_counts_stay(estate)

    assert b"Person-gone" not in path.read_bytes()
    assert b"Person-kept" in path.read_bytes()
    read = pq.read_table(path) if name == "a.parquet" else pa.feather.read_table(path)
    assert read.schema == schema


def test_what_stays_of_an_archive_is_all_that_was_there_but_the_gone_records(tmp_path):
    """Folders, links, long names, empty and binary members of a tar.gz stay in order; one line goes."""
    path = tmp_path / "root" / "x.tar.gz"
    put(path.parent, path.name, b"")
    members = {"dir/a.txt": b"Ann\nBob\n", "dir/" + "n" * 150 + ".jpg": b"\0\1\2", "empty.txt": b""}
    with tarfile.open(path, "w:gz") as archive:
        folder, link = tarfile.TarInfo("dir"), tarfile.TarInfo("link")
        folder.type, link.type, link.linkname = tarfile.DIRTYPE, tarfile.SYMTYPE, "dir/a.txt"
        archive.addfile(folder)
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        archive.addfile(link)
    selection = Selection(rows=parse_predicate("line = 'Ann'"))

    StoreContract().test_held_and_kept_counts_stay(FilesEstate(path.parent, selection, [b"Ann"], []))

    with tarfile.open(path) as archive:
        assert archive.getnames() == ["dir", *members, "link"]
        read = {info.name: archive.extractfile(info).read() for info in archive if info.isreg()}
    assert read == {**members, "dir/a.txt": b"Bob\n"}


def test_everything_in_scope_leaves_an_empty_root(tmp_path):
    """With everything in scope nothing is left beneath the root, folders and dangling links included."""
    root = tmp_path / "root"
    put(root, "a/b/Person-0001.csv", HEADER + csv_of([1]))
    put(root, "x.bin", b"\x00\x01Person-0002")
    (root / "empty" / "Person-0003").mkdir(parents=True)
    (root / "a" / "latest").symlink_to("b/Person-0001.csv")
    estate = FilesEstate(root, EVERYTHING, [b"Person-0001", b"Person-0002", b"Person-0003"], [])
    assert all(needle in raw_bytes(estate) for needle in estate.needles)

    StoreContract().test_erasing_leaves_none_and_keeps_the_rest(estate)

    assert list(root.iterdir()) == []
