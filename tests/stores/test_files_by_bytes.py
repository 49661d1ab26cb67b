"""Files are known by their bytes: what is digested of them, and what is erased for it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import mmap
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cenotaph import direct, durable, kernel
from cenotaph.direct import Direct
from cenotaph.errors import DriftError, PermanentStoreError
from cenotaph.scope import EVERYTHING, Selection, parse_predicate
from cenotaph.store import Bytewise, Partition
from cenotaph.stores.files import open_eraser, open_reader, pages, reader, tables
from cenotaph.testing.contract import Log, Rows

ROWS = b"id,name,city\n" + b"".join(b"%d,Person-%04d,Wuxi\n" % (n, n) for n in range(500))
IN_WUXI = Selection(rows=parse_predicate("city = 'Wuxi'"))


def prints(data: bytes, large: int = 16 << 20, most: int = 4096) -> bytes:
    """As spec/annex.md has it, "content"."""
    piece = 4 << 10 if len(data) <= large else 64 << 10
    digests = [hashlib.sha256(data[at : at + piece]).digest() for at in range(0, len(data), piece)]
    many = max(1, -(-len(data) // (piece * most)))
    together = [b"".join(digests[at : at + many]) for at in range(0, len(digests), many)]
    return b"".join(p if len(p) == 32 else hashlib.sha256(p).digest() for p in together)


# --- digests --------------------------------------------------------------------------------

SIZES = (0, 1, 4_096, 4_097, 70_000, 70_001, (2 << 20) + 1, 16 << 20, (16 << 20) + 1)
DATA = random.Random(7).randbytes(SIZES[-1])


@pytest.mark.parametrize("how", ["cached", "directly", "without a kernel", "refused", "of few pages"])
@pytest.mark.parametrize("size", SIZES)
def test_prints_are_what_the_specification_says(
    size: int, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it is read, whatever the machine and the file system can."""
    few: tuple[int, ...] = ()
    if how == "without a kernel":
        monkeypatch.setattr(kernel, "found", lambda: None)
    elif how == "refused":
        monkeypatch.setattr(os, "preadv", _refused)
    elif how == "of few pages":
        few = 70_000, 4
        monkeypatch.setattr(pages, "_LARGE", few[0])
        monkeypatch.setattr(pages, "_PAGES", few[1])
    path = tmp_path / "f"
    path.write_bytes(DATA[:size])
    with path.open("rb") as stream:
        found = pages.prints(stream.fileno(), size, directly=how != "cached")
        if size < 1 << 20:
            assert pages.zero_or_as_sealed(stream.fileno(), size, found)
            assert not pages.zero_or_as_sealed(stream.fileno(), size, found + bytes(32))
    assert found == prints(DATA[:size], *few)
    assert len(found) // 32 <= (few[1] if size > 70_000 and few else 4096)


PREADV = os.preadv


def _refused(fd: int, rooms: list[memoryview], at: int) -> int:
    """Of a file system without O_DIRECT that says so when something is read."""
    if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
        raise OSError(errno.EINVAL, "")
    return PREADV(fd, rooms, at)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300_000), st.integers(0, 100_000)), max_size=8))
def test_bytes_that_were_seen_are_digested_whatever_came(spans: list[tuple[int, int]]) -> None:
    """Out of order, twice, with gaps: the rest is read."""
    data = random.Random(3).randbytes(300_000)
    seen = pages.Reading(len(data))
    for at, size in spans:
        seen.came(at, memoryview(data)[at : at + size])
    with contextlib.closing(_Held(data)) as held:
        assert seen.finish(held.fd) == prints(data)


class _Held:
    def __init__(self, data: bytes) -> None:
        self.fd = os.memfd_create("held")
        os.write(self.fd, data)

    def close(self) -> None:
        os.close(self.fd)


def test_each_bit_counts(tmp_path: Path) -> None:
    """Of bytes, of their number, and of what the partition is."""
    data = bytes(5_000)
    one = pages.whole(5_000, prints(data))
    assert len({one, pages.whole(5_001, prints(data)), pages.whole(5_000, prints(data[:-1] + b"\1"))}) == 3
    assert len({pages.content("a", [one]), pages.content("b", [one]), pages.content("a", [one, one])}) == 3


# --- reading past the page cache --------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_file_read_in_blocks_is_the_file(data: st.DataObject) -> None:
    """In any order, with fewer blocks than are asked for; and each block is shown when it is read."""
    content = random.Random(5).randbytes(data.draw(st.integers(1, 90_000)))
    shown: dict[int, bytes] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(direct, "BLOCK", 8192)
        patch.setattr(direct, "KEPT", 3)
        held = _Held(content)
        with Direct(held.fd, lambda at, some: shown.update({at: bytes(some)})) as stream:
            for _ in range(data.draw(st.integers(1, 12))):
                at, size = data.draw(st.integers(0, 95_000)), data.draw(st.integers(0, 40_000))
                ask = data.draw(st.sampled_from([stream.view, stream.peek]))
                if data.draw(st.booleans()):
                    stream.want(at, at + size)
                assert bytes(ask(at, size)) == content[at : at + size]
            stream.want(0, 1)  # what was wanted before may have been too much to be shown
            stream.seek(-min(10, len(content)), os.SEEK_END)
            assert stream.read() == content[-10:]
            assert stream.seek(0) == stream.tell() == 0
            assert b"".join(iter(lambda: stream.read(7_000), b"")) == content
    assert b"".join(shown[at] for at in sorted(shown)) == content


def test_a_file_that_becomes_shorter_while_it_is_read_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(100_000))
    with Direct(os.open(path, os.O_RDONLY), lambda at, data: None) as stream:
        os.truncate(path, 50_000)
        with pytest.raises(ValueError, match="shorter"):
            stream.view(60_000, 10)


def test_a_stream_of_a_file_can_be_read_by_others(tmp_path: Path) -> None:
    """pyarrow, and Python's own buffers."""
    path = tmp_path / "t.parquet"
    table = pa.table({"n": range(200_000)})
    pq.write_table(table, path, row_group_size=50_000)
    with Direct(os.open(path, os.O_RDONLY), lambda at, data: None) as stream:
        assert pq.read_table(stream) == table
        stream.seek(0)
        assert io.BufferedReader(stream).read() == path.read_bytes()


# --- what the seal knows ------------------------------------------------------------------------


class Folder:
    """A files store, sealed with what its bytes were."""

    def __init__(self, root: Path, selection: Selection = EVERYTHING) -> None:
        self.root, self.selection, self.url = root, selection, f"files:{root}"
        root.mkdir(exist_ok=True)
        (root / "a.csv").write_bytes(ROWS)

    def seal(self, meanwhile: str = "") -> tuple[Partition, Rows]:
        with contextlib.closing(open_reader(self.url, self.selection)) as found:
            (collection,) = found.collections()
            (partition,) = found.partitions(collection)
            assert isinstance(found, Bytewise)
            found.watch()
            batches = found.batches(partition)
            sealed = Rows(self._changing(batches, meanwhile))
            sealed.content = found.content(partition)
        return partition, sealed

    def _changing(self, batches: Iterator[pa.RecordBatch], meanwhile: str) -> Iterator[pa.RecordBatch]:
        path = self.root / "a.csv"
        for batch in batches:
            yield batch
            if meanwhile:
                before = path.stat()
                path.write_bytes(ROWS)
                if meanwhile == "dated back":
                    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def erase(self, partition: Partition, sealed: Rows) -> None:
        with contextlib.closing(open_eraser(self.url, self.selection)) as eraser:
            eraser.erase(partition, sealed, Log())


def _kind(folder: Path) -> str:
    """Of the file system that the tests are run on: taken for one that notes changes."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        return durable.filesystem(fd).kind
    finally:
        os.close(fd)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setattr(reader, "_COARSEST", 0)  # files of a test are younger
    monkeypatch.setattr(durable, "NOTING", (_kind(tmp_path),))
    return Folder(tmp_path / "root")


def test_a_file_with_the_sealed_bytes_is_erased_and_not_decoded(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition, sealed = folder.seal()
    monkeypatch.setattr(tables, "blocks", None)
    folder.erase(partition, sealed)
    assert sealed.held == 1
    assert sealed.checked == 0
    assert [*folder.root.iterdir()] == []


def test_other_bytes_are_compared_record_by_record(folder: Folder) -> None:
    """Others are drift."""
    partition, sealed = folder.seal()
    (folder.root / "a.csv").write_bytes(ROWS.replace(b"Person-0007", b"Person-9999"))
    with pytest.raises(DriftError):
        folder.erase(partition, sealed)
    assert sealed.held == 0
    assert (folder.root / "a.csv").stat().st_size == len(ROWS)


def test_the_same_records_in_other_bytes_are_erased(tmp_path: Path, folder: Folder) -> None:
    """Who wrote a Parquet file is no record."""
    (folder.root / "a.csv").unlink()
    path = folder.root / "t.parquet"
    pq.write_table(pa.table({"n": range(300_000)}), path)
    assert path.stat().st_size > reader._LARGE
    partition, sealed = folder.seal()
    assert sealed.content is not None
    path.write_bytes(path.read_bytes().replace(b"parquet-cpp-arrow", b"parquet-cpp-ARROW"))
    folder.erase(partition, sealed)
    assert (sealed.held, sealed.checked) == (0, 1)
    assert not path.exists()


def test_a_large_file_is_digested_while_it_is_read(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """No byte twice, but for the block that has the footer, which is read first."""
    (folder.root / "a.csv").unlink()
    path = folder.root / "t.parquet"
    pq.write_table(pa.table({"n": range(3_000_000)}), path)
    again: list[int] = []
    finish = pages.Reading.finish

    def finished(self: pages.Reading, fd: int) -> bytes:
        again.append(self._size - self._at - self._full)
        return finish(self, fd)

    monkeypatch.setattr(pages.Reading, "finish", finished)
    partition, sealed = folder.seal()
    assert again[0] <= direct.BLOCK < path.stat().st_size // 2
    monkeypatch.setattr(tables, "blocks", None)
    folder.erase(partition, sealed)
    assert sealed.held == 1


@pytest.mark.parametrize("meanwhile", ["written", "dated back"])
def test_what_changes_while_it_is_sealed_is_not_known_by_its_bytes(folder: Folder, meanwhile: str) -> None:
    _, sealed = folder.seal(meanwhile)
    assert sealed.content is None


def test_what_may_be_written_to_is_not_known_by_its_bytes(folder: Folder) -> None:
    """By somebody who has it open, or mapped, or did so a moment ago."""
    with (folder.root / "a.csv").open("r+b") as stream:
        assert folder.seal()[1].content is None
        mapped = mmap.mmap(stream.fileno(), 0)
    assert folder.seal()[1].content is None
    mapped.close()
    assert folder.seal()[1].content is not None


def test_what_changes_while_it_is_digested_is_not_known_by_its_bytes(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = pages.Reading.finish

    def finished(self: pages.Reading, fd: int) -> bytes:
        found = finish(self, fd)
        (folder.root / "a.csv").write_bytes(ROWS)
        return found

    monkeypatch.setattr(pages.Reading, "finish", finished)
    assert folder.seal()[1].content is None


@pytest.mark.parametrize(("age", "known"), [(-10.0, False), (0.0, False), (1.9, False), (2.1, True)])
def test_a_file_that_has_just_changed_is_not_known_by_its_bytes(
    age: float, known: bool, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second change may have the same time; whoever dates a file back changes it."""
    os.utime(folder.root / "a.csv", (0, 0))
    changed = (folder.root / "a.csv").stat().st_ctime_ns
    monkeypatch.setattr(reader, "_COARSEST", COARSEST)
    monkeypatch.setattr(reader.time, "time_ns", lambda: changed + int(age * 1e9))
    assert (folder.seal()[1].content is not None) == known


COARSEST = reader._COARSEST


@pytest.mark.parametrize("code", [errno.EACCES, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP])
def test_where_there_are_no_leases_nothing_is_known_by_its_bytes(
    code: int, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user's file, a server's."""
    ask = fcntl.fcntl

    def refusing(fd: int, what: int, *given: int) -> int:
        if what == fcntl.F_SETLEASE:
            raise OSError(code, "")
        return ask(fd, what, *given)

    monkeypatch.setattr(durable.fcntl, "fcntl", refusing)
    assert folder.seal()[1].content is None


@pytest.mark.parametrize("kind", ["tmpfs", "nfs", "fuse", "overlay"])
def test_where_a_change_may_leave_no_trace_nothing_is_known_by_its_bytes(
    kind: str, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "NOTING", NOTING)
    monkeypatch.setattr(reader, "filesystem", lambda fd: durable.FileSystem(kind, True))
    assert folder.seal()[1].content is None


NOTING = durable.NOTING


def test_who_only_reads_is_in_nobodys_way(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """No lease is asked for but for a seal, and that one is given back before a record is read."""
    with contextlib.closing(open_reader(folder.url, EVERYTHING)) as found:
        assert isinstance(found, Bytewise)
        (partition,) = found.partitions(found.collections()[0])
        found.watch()
        batches = found.batches(partition)
        next(batches)
        os.close(os.open(folder.root / "a.csv", os.O_WRONLY | os.O_NONBLOCK))
    monkeypatch.setattr(durable, "unwritten", None)
    with contextlib.closing(open_reader(folder.url, EVERYTHING)) as found:
        assert sum(batch.num_rows for batch in found.batches(partition)) == 500
        assert found.content(partition) is None


def test_a_disk_that_fails_while_bytes_are_digested_is_said(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(fd: int, rooms: object, at: int) -> int:
        raise OSError(errno.EIO, "Person-0001")

    monkeypatch.setattr(os, "preadv", failing)
    with pytest.raises(PermanentStoreError, match="a file") as caught:
        folder.seal()
    assert "Person" not in str(caught.value)


def test_a_row_group_larger_than_is_kept_is_read_once(
    tmp_path: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its columns are read side by side: from the page cache, and not block by block."""
    (folder.root / "a.csv").unlink()
    path = folder.root / "t.parquet"
    table = pa.table({f"c{n}": random.Random(n).choices(range(2**40), k=30_000) for n in range(6)})
    pq.write_table(table, path, use_dictionary=False)
    monkeypatch.setattr(direct, "BLOCK", 65_536)
    monkeypatch.setattr(direct, "KEPT", 4)
    monkeypatch.setattr(reader, "_LARGE", 1)
    blocks: list[int] = []
    read = Direct._read
    monkeypatch.setattr(Direct, "_read", lambda self, some: (blocks.extend(some), read(self, some))[1])
    partition, sealed = folder.seal()
    assert sealed.records == 30_000
    assert len(blocks) <= 4 < path.stat().st_size // direct.BLOCK
    monkeypatch.setattr(tables, "blocks", None)
    folder.erase(partition, sealed)
    assert sealed.held == 1


def test_a_file_of_which_part_stays_is_not_known_by_its_bytes(tmp_path: Path, folder: Folder) -> None:
    other = Folder(tmp_path / "other", IN_WUXI)
    partition, sealed = other.seal()
    assert sealed.content is None
    sealed.content = folder.seal()[1].content  # whoever said so all the same
    other.erase(partition, sealed)
    assert (sealed.held, sealed.checked) == (0, 1)


def test_a_file_that_was_not_read_is_not_known(folder: Folder) -> None:
    partition, _ = folder.seal()
    with contextlib.closing(open_reader(folder.url, EVERYTHING)) as found:
        assert isinstance(found, Bytewise)
        assert found.content(partition) is None


@pytest.mark.parametrize("codec", ["none", "snappy", "zstd", "gzip"])
@pytest.mark.parametrize("dictionary", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
def test_tables_are_the_same_whatever_is_kept_of_their_file(
    codec: str, dictionary: bool, wanted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row group that is more than is kept; and, where nobody said what is wanted, blocks that are let go of
    while their row group is decoded, and whose memory is used again."""
    if not wanted:
        monkeypatch.setattr(Direct, "want", lambda *_: None)
    chosen = random.Random(11)
    rows = 60_000
    table = pa.table(
        {
            "few": [chosen.randrange(300) * 10**12 for _ in range(rows)],
            "text": [f"{chosen.randrange(5_000):040}" for _ in range(rows)],
            "other": [chosen.getrandbits(60) for _ in range(rows)],
        }
    )
    (tmp_path / "root").mkdir()
    pq.write_table(
        table,
        tmp_path / "root" / "t.parquet",
        compression=codec,
        use_dictionary=["few", "text"] if dictionary else False,
        row_group_size=25_000,
        data_page_size=8_192,
    )
    monkeypatch.setattr(direct, "BLOCK", 16_384)
    monkeypatch.setattr(direct, "KEPT", 3)
    monkeypatch.setattr(reader, "_LARGE", 1)
    monkeypatch.setattr(reader, "_COARSEST", 0)
    monkeypatch.setattr(durable, "NOTING", (_kind(tmp_path),))
    with contextlib.closing(open_reader(f"files:{tmp_path / 'root'}", EVERYTHING)) as found:
        (collection,) = found.collections()
        (partition,) = found.partitions(collection)
        assert isinstance(found, Bytewise)
        found.watch()
        assert pa.Table.from_batches(found.batches(partition)).equals(table)
        data = (tmp_path / "root" / "t.parquet").read_bytes()
        whole = pages.whole(len(data), prints(data))
        assert found.content(partition) == pages.content(partition.bounds, [whole])
