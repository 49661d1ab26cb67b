"""How near does destroying files come to writing zeros straight over them?

Makes sets of files and measures, each time with new ones that are on the disk and not in memory: zeros
written directly (O_DIRECT) over every file in its place and one `syncfs`, as `dd` would; the same, and each
unlinked; `shred -n 0 -z -u` of some; the eraser's own way (open alone, read and digest, write down, rename,
overwrite, flush, unlink), which is to be held against zeros and unlinking: compared with its seal by its
bytes, and record by record. Ours in so many threads as you say: `destroy` has four on two processors for
large files, one for small ones. Prints bytes and files a second, processor time, and shares of both; medians.

    python bench/destroy.py [--small 20000] [--large 1024] [--runs 3] [--workers 2] [--folder DIR] [SET …]

Sets: `large` (ten of so many MiB together), `opaque`, `csv`, `parquet` (so many of 64 KiB).
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cenotaph import durable, kernel
from cenotaph.annex import Annex
from cenotaph.journal import Journal
from cenotaph.scope import EVERYTHING
from cenotaph.sealing import SealedPartition, Target, partition_chunks
from cenotaph.store import Bytewise, Partition, PartitionSeal, State
from cenotaph.stores.files import open_eraser, open_reader
from cenotaph_proof.seal import ChunkSeal

SMALL, LARGE_FILES, STEP = 64 << 10, 10, 1 << 20
SHREDDED = 500  # files at most: it flushes each
KEY = bytes(32)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("sets", nargs="*", default=["large", "opaque", "csv", "parquet"], metavar="SET")
    asked.add_argument("--small", type=int, default=20_000)
    asked.add_argument("--large", type=int, default=1024, help="MiB")
    asked.add_argument("--runs", type=int, default=3)
    asked.add_argument("--workers", type=int, default=2)
    asked.add_argument("--folder", type=Path)
    given = asked.parse_args()
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; {kernel.described()}")
    for name in given.sets:
        count = LARGE_FILES if name == "large" else given.small
        size = (given.large << 20) // LARGE_FILES if name == "large" else SMALL
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            show(name, compared(Set(Path(folder), name, count, size, given.workers), given.runs))


@dataclass(frozen=True, slots=True)
class Took:
    bytes: int
    files: int
    seconds: float
    processor: float


@dataclass(frozen=True, slots=True)
class Set:
    """Files of one kind, made anew for each run: none is left by the one before."""

    folder: Path
    kind: str
    count: int
    size: int
    workers: int

    @property
    def place(self) -> Path:
        return self.folder / "files"

    def make(self, most: int | None = None) -> list[Path]:
        """On the disk, and not in memory."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        content = self._content()
        paths = [self.place / f"{n:06d}.{self._suffix}" for n in range(min(self.count, most or self.count))]
        for path in paths:
            path.write_bytes(content)
        os.sync()
        for path in paths:
            with path.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return paths

    @property
    def _suffix(self) -> str:
        return {"large": "parquet", "opaque": "bin"}.get(self.kind, self.kind)

    def _content(self) -> bytes:
        if self.kind == "opaque":
            return b"\0" + os.urandom(self.size - 1)
        if self.kind == "csv":
            lines = (f"{n:06d},{n * 7919 % 10**11:011d},Wuxi\n" for n in range(self.size // 24))
            return "".join(("n,phone,city\n", *lines)).encode()
        return self._parquet()

    def _parquet(self) -> bytes:
        """Numbers that do not compress, as many as fit."""
        rows = self.size // 8
        sink = pa.BufferOutputStream()
        table = pa.table({"n": pa.array(memoryview(os.urandom(8 * rows)).cast("q"), pa.int64())})
        pq.write_table(table, sink, use_dictionary=False, compression="zstd", row_group_size=1 << 20)
        return sink.getvalue().to_pybytes()


def compared(files: Set, runs: int) -> dict[str, list[Took]]:
    ways: dict[str, Callable[[Set], Took]] = {
        "zeros, directly": overwritten,
        "and unlinked": overwritten_and_unlinked,
        "shred": shredded,
        "bytes compared, erased": partial(erased, by_bytes=True),
        "records compared, erased": partial(erased, by_bytes=False),
    }
    found: dict[str, list[Took]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            if name != "shred" or shutil.which("shred"):
                found[name].append(way(files))
    return {name: several for name, several in found.items() if several}


def show(name: str, found: dict[str, list[Took]]) -> None:
    middle = {
        way: statistics.median(each.seconds / each.bytes for each in took) for way, took in found.items()
    }
    peer, both = middle["zeros, directly"], middle["and unlinked"]
    print(f"\n{name}: {found['and unlinked'][0].files:,} files, {found['and unlinked'][0].bytes >> 20:,} MiB")
    for way, took in found.items():
        seconds, each = middle[way], took[0].bytes / took[0].files
        busy = statistics.median(one.processor / one.files for one in took) * 1e6
        shares = f"{peer / seconds:5.2f} of zeros {both / seconds:5.2f} of zeros and unlinking"
        speed = f"{1e-6 / seconds:8,.0f} MB/s {1 / seconds / each:9,.0f} files/s"
        print(f"{way:25} {speed} {busy:9,.0f} µs of processors a file {shares}", flush=True)


def timed(paths: Sequence[Path], act: Callable[[], None]) -> Took:
    size = sum(path.stat().st_size for path in paths)
    before, begun = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    act()
    seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(size, len(paths), seconds, used)


# ── peers ────────────────────────────────────────────────────────────────────────────────────────


def overwritten(files: Set) -> Took:
    paths = files.make()
    return timed(paths, lambda: _zeros(paths))


def overwritten_and_unlinked(files: Set) -> Took:
    paths = files.make()

    def act() -> None:
        _zeros(paths)
        for path in paths:
            path.unlink()
        _synced(files.place, os.fsync)

    return timed(paths, act)


def shredded(files: Set) -> Took:
    paths = files.make(SHREDDED)
    program = shutil.which("shred")
    assert program is not None
    return timed(paths, lambda: subprocess.run([program, "-n", "0", "-z", "-u", *paths], check=True) and None)  # noqa: S603 - the system's


def _zeros(paths: Sequence[Path]) -> None:
    with mmap.mmap(-1, STEP) as zeros:
        view = memoryview(zeros)
        for path in paths:
            fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
            left = -(-os.fstat(fd).st_size // 4096) * 4096
            while left > 0:
                left -= os.write(fd, view[: min(left, STEP)])
            os.close(fd)
        view.release()
    _synced(paths[0].parent, durable.syncfs)


def _synced(folder: Path, how: Callable[[int], None]) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    how(fd)
    os.close(fd)


# ── ours ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Writing:
    """Writes down what `destroy` does: what is needed to go on, then *begun*."""

    annex: Annex
    journal: Path
    partition: Partition
    begun: State | None = field(default=None)

    def begin(self, state: State) -> None:
        digest = self.annex.write(self._name, KEY, json.dumps(state).encode())
        self._append("begun", list=digest)

    def advance(self, records: int, bytes: int) -> None:
        pass

    def end(self) -> None:
        self._append("done", records=self.partition.records)
        self.annex.destroy(self._name)

    def _append(self, kind: str, **body: object) -> None:
        with Journal(self.journal) as journal:
            journal.append(kind, "files", self.partition.collection, self.partition.index, **body)

    @property
    def _name(self) -> str:
        return f"resume-1-{self.partition.collection}-{self.partition.index}"


def erased(files: Set, *, by_bytes: bool) -> Took:
    paths = files.make()
    url = f"files:{files.place}"
    time.sleep(2.1)  # files that were just written are not known by their bytes
    work = list(_sealed(url, by_bytes=by_bytes))
    for path in paths:
        with path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    annex, journal = Annex(files.folder / "annex", "ab" * 32), files.folder / "journal.sqlite"
    lock = threading.Lock()

    def one() -> None:
        eraser = open_eraser(url, EVERYTHING)
        while True:
            with lock:
                if not work:
                    break
                partition, seal = work.pop(0)
            progress = Writing(annex, journal, partition)
            eraser.erase(partition, seal, progress)
            progress.end()
        eraser.close()

    def act() -> None:
        with ThreadPoolExecutor(files.workers) as pool:
            for each in [pool.submit(one) for _ in range(files.workers)]:
                each.result()

    took = timed(paths, act)
    if any(files.place.iterdir()):
        raise SystemExit("files are left: what was measured is something else")
    return took


def _sealed(url: str, *, by_bytes: bool) -> Iterator[tuple[Partition, PartitionSeal]]:
    reader = open_reader(url, EVERYTHING)
    assert isinstance(reader, Bytewise)
    for partition in [p for c in reader.collections() for p in reader.partitions(c)]:
        target = Target(open_reader, url, EVERYTHING, "files", "c", partition.collection, "key", (), None)
        chunks = partition_chunks(KEY, target, reader.batches(partition))
        seals = [ChunkSeal(c.records, c.bytes, c.hash) for c in chunks]
        content = reader.content(partition)
        if content is None:
            raise SystemExit("the files are not known by their bytes here")
        yield (
            partition,
            SealedPartition(KEY, target, seals, listed=False, content=content if by_bytes else None),
        )
    reader.close()


if __name__ == "__main__":
    main()
