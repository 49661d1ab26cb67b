"""How fast is the search of a raw volume, beside a plain direct read of the same bytes in the same run?

    python bench/raw_probe.py [--mebibytes 256] [--runs 5] [--residents 500] [--image FILE] [--no-grep]

Five images, taken as free blocks from end to end: zeros, blank (as after a wipe: one page in a thousand is
full of records), mixed (one in twenty), the same amid random bytes instead of zeros, and dense (CSV text of
people throughout). Or one that is given, a file or a block device, opened for reading only. Each run reads
the image directly (O_DIRECT, 8 MiB at once), searches it for an identity number and a telephone number of
each resident, and runs two peers: `grep -F -f` with the same as text, and `grep -aoE` for 18 characters
shaped as an identity number; LC_ALL=C. MB/s of wall time, the median of all runs; cores are processor time of
the wall time, of reading and of the search; the last column but one is of processor time. What the peers read
may come from the page cache. With --residents 7500000 use --no-grep: it takes many gigabytes for them.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cenotaph import kernel
from cenotaph.residue.needles import NeedleBuilder, Needles
from cenotaph.residue.volume import STEP, search
from cenotaph.volume.model import Map, Place
from cenotaph.volume.raw import Disk

PAGE = 4096
PLANTED = 1000  # residents whose records are in the images
SHAPE = r"[1-8][0-9]{16}[0-9Xx]"
SHARES = {"zeros": 0.0, "blank": 0.001, "mixed": 0.05, "mixed, random": 0.05, "dense": 1.0}


class Image(Disk):
    """A file or device without a file system's tools beside it."""

    def owners(self, offsets: Sequence[int]) -> list[str]:
        return ["" for _ in offsets]


def people(seed: int, count: int) -> list[str]:
    return [f"{word}"[1:] for word in identities(seed, count).tolist()]


def identities(seed: int, count: int) -> npt.NDArray[np.uint64]:
    """Identity numbers as they are sought: a mark before 18 digits."""
    draw = np.random.default_rng(seed)
    columns = [
        (draw.integers(low, high, count), times)
        for low, high, times in (
            (110000, 660000, 10**12),
            (1930, 2020, 10**8),
            (1, 13, 10**6),
            (1, 29, 10**4),
            (0, 1000, 10),
            (0, 10, 1),
        )
    ]
    return sum((column * times for column, times in columns), np.full(count, 10**18)).astype(np.uint64)


def telephones(seed: int, count: int) -> npt.NDArray[np.uint64]:
    return np.random.default_rng(seed).integers(113 * 10**9, 120 * 10**9, count).astype(np.uint64)


def page(values: list[str], seed: int) -> bytes:
    """One page of records, as an export has them."""
    draw = np.random.default_rng(seed)
    lines = [f"{nth},{value},2021-03-{nth % 28 + 1:02d},negative" for nth, value in enumerate(values)]
    return "\n".join(draw.permutation(lines).tolist()).encode()[:PAGE].ljust(PAGE, b"\n")


def make(path: Path, share: float, values: list[str], size: int, *, random: bool = False) -> None:
    draw = np.random.default_rng(7)
    others = people(8, 5000)
    pages = [page([*others[nth * 78 :][:77], values[nth % len(values)]], nth) for nth in range(64)]
    full = draw.random(size // PAGE) < share
    with path.open("wb") as out:
        for nth, is_full in enumerate(full.tolist()):
            out.write(pages[nth % 64] if is_full else draw.bytes(PAGE) if random else bytes(PAGE))
        out.flush()
        os.fsync(out.fileno())


def direct(path: Path, use: Callable[[Image], int]) -> tuple[float, int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        size = os.lseek(fd, 0, os.SEEK_END)
        begun = time.perf_counter()
        result = use(Image(fd, size))
        return time.perf_counter() - begun, result
    finally:
        os.close(fd)


def plain_read(image: Image) -> int:
    return sum(len(image.pread(at, STEP)) for at in range(0, image.size, STEP))


def ours(needles: Needles) -> Callable[[Image], int]:
    def use(image: Image) -> int:
        whole = Map(np.array([0]), np.array([image.size]), (Place.FREE,))
        return len(search(image, whole, needles, bytes(32)).residue)

    return use


def grep(path: Path, *options: str) -> tuple[float, int]:
    begun = time.perf_counter()
    # our own command on our own files
    out = subprocess.run(  # noqa: S603
        ["grep", "-a", "-o", *options, str(path)],  # noqa: S607
        capture_output=True,
        env={**os.environ, "LC_ALL": "C"},
        check=False,
    )
    return time.perf_counter() - begun, len(set(out.stdout.split()))


def compare(name: str, path: Path, needles: Needles, patterns: Path | None, runs: int) -> None:
    rows: dict[str, list[tuple[float, int]]] = {"read": [], "search": []}
    if patterns is not None:
        rows |= {"grep -F": [], "grep -E": []}
    core: dict[str, list[float]] = {"read": [], "search": []}
    for _ in range(runs):
        for what, use in (("read", plain_read), ("search", ours(needles))):
            begun = time.process_time()
            rows[what].append(direct(path, use))
            core[what].append(time.process_time() - begun)
        if patterns is not None:
            rows["grep -F"].append(grep(path, "-F", "-f", str(patterns)))
            rows["grep -E"].append(grep(path, "-E", SHAPE))
    seconds = {what: statistics.median(took for took, _ in row) for what, row in rows.items()}
    spent = {what: statistics.median(took) for what, took in core.items()}
    size = direct(path, lambda image: image.size)[1] / 1e6
    cells = [name, f"{size:.0f}", *(f"{size / seconds[what]:.0f}" for what in rows)]
    cells += [] if patterns is not None else ["", ""]
    cells.append(f"{seconds['read'] / seconds['search']:.3f}")
    cells.append("/".join(f"{spent[what] / seconds[what]:.2f}" for what in spent))
    cells.append(f"{size / spent['search']:.0f}")
    cells.append("/".join(str(row[0][1]) for what, row in rows.items() if what != "read"))
    print("| " + " | ".join(cells) + " |", flush=True)


def built(residents: int) -> Needles:
    """The numbers of all of them, looked for once, so that all is there that a search needs."""
    words = identities(4, residents), telephones(5, residents)
    before, begun = resident_memory(), time.process_time()
    builder = NeedleBuilder(bytes(32))
    for kind, numbers in zip(("id", "phone"), words, strict=True):
        builder.add_numbers(numbers, kind)
    needles = builder.finish()
    needles.find(np.ones(PAGE, np.uint8), PAGE)
    took, more = time.process_time() - begun, resident_memory() - before
    print(
        f"{len(needles)} numbers of {residents} residents, ready in {took:.2f} core-s; "
        f"memory {more:.0f} MiB more, at the most {peak_memory():.0f} MiB in all"
    )
    return needles


def resident_memory() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def peak_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--mebibytes", type=int, default=256)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--residents", type=int, default=500)
    arguments.add_argument("--image", type=Path)
    arguments.add_argument("--no-grep", action="store_true")
    options = arguments.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {kernel.described()}, {options.runs} runs, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    needles = built(options.residents)
    print(
        "| image | MB | direct read | search | grep -F | grep -E | search/read | cores | MB/core-s | found |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    values = people(4, options.residents)[:PLANTED]
    with tempfile.TemporaryDirectory(dir=".") as folder:
        patterns = None if options.no_grep else Path(folder, "patterns")
        if patterns is not None:
            phones = [f"{word}"[1:] for word in telephones(5, options.residents).tolist()]
            patterns.write_text("\n".join([*people(4, options.residents), *phones]) + "\n")
        if options.image:
            compare("given", options.image, needles, patterns, options.runs)
            return
        for name, share in SHARES.items():
            path = Path(folder, "image")
            make(path, share, values, options.mebibytes << 20, random="random" in name)
            compare(name, path, needles, patterns, options.runs)
            path.unlink()
    print(f"peak memory of this process {peak_memory():.0f} MiB")


if __name__ == "__main__":
    main()
