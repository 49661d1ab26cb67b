"""How fast is the search of a raw volume, beside a plain direct read of the same bytes in the same run?

    python bench/raw_probe.py [--mebibytes 256] [--runs 5] [--needles 1000] [--image FILE]

Four images, taken as free blocks from end to end: zeros, blank (as after a wipe: one page in a thousand is
full of records), mixed (one in twenty) and dense (CSV text of people throughout). Or one that is given, a
file or a block device, opened for reading only. Each run reads the image directly (O_DIRECT, 8 MiB at once),
searches it, and runs two peers: `grep -F -f` with the needles as text, and `grep -aoE` for 18 characters
shaped as an identity number; LC_ALL=C. MB/s of wall time, the median of all runs; the last column but one is
of processor time. What the peers read may come from the page cache.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from cenotaph.residue.needles import NeedleBuilder, Needles
from cenotaph.residue.volume import STEP, search
from cenotaph.volume.model import Map, Place
from cenotaph.volume.raw import Disk

PAGE = 4096
SHAPE = r"[1-8][0-9]{16}[0-9Xx]"
SHARES = {"zeros": 0.0, "blank": 0.001, "mixed": 0.05, "dense": 1.0}


class Image(Disk):
    """A file or device without a file system's tools beside it."""

    def owners(self, offsets: Sequence[int]) -> list[str]:
        return ["" for _ in offsets]


def people(seed: int, count: int) -> list[str]:
    draw = np.random.default_rng(seed)
    columns = [
        draw.integers(low, high, count).tolist()
        for low, high in ((110000, 660000), (1930, 2020), (1, 13), (1, 29), (0, 1000), (0, 10))
    ]
    return [f"{a}{y}{m:02d}{d:02d}{n:03d}{c}" for a, y, m, d, n, c in zip(*columns, strict=True)]


def page(values: list[str], seed: int) -> bytes:
    """One page of records, as an export has them."""
    draw = np.random.default_rng(seed)
    lines = [f"{nth},{value},2021-03-{nth % 28 + 1:02d},negative" for nth, value in enumerate(values)]
    return "\n".join(draw.permutation(lines).tolist()).encode()[:PAGE].ljust(PAGE, b"\n")


def make(path: Path, share: float, values: list[str], size: int) -> None:
    draw = np.random.default_rng(7)
    others = people(8, 5000)
    pages = [page([*others[nth * 78 :][:77], values[nth % len(values)]], nth) for nth in range(64)]
    full = draw.random(size // PAGE) < share
    with path.open("wb") as out:
        for nth, is_full in enumerate(full.tolist()):
            out.write(pages[nth % 64] if is_full else bytes(PAGE))
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


def compare(name: str, path: Path, needles: Needles, patterns: Path, runs: int) -> None:
    rows: dict[str, list[tuple[float, int]]] = {"read": [], "search": [], "grep -F": [], "grep -E": []}
    core = []
    for _ in range(runs):
        rows["read"].append(direct(path, plain_read))
        begun = time.process_time()
        rows["search"].append(direct(path, ours(needles)))
        core.append(time.process_time() - begun)
        rows["grep -F"].append(grep(path, "-F", "-f", str(patterns)))
        rows["grep -E"].append(grep(path, "-E", SHAPE))
    seconds = {what: statistics.median(took for took, _ in row) for what, row in rows.items()}
    size = rows["read"][0][1] / 1e6
    cells = [name, f"{size:.0f}"]
    cells += [f"{size / seconds[what]:.0f}" for what in rows]
    cells.append(f"{seconds['read'] / seconds['search']:.3f}")
    cells.append(f"{size / statistics.median(core):.0f}")
    cells.append("/".join(str(rows[what][0][1]) for what in ("search", "grep -F", "grep -E")))
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--mebibytes", type=int, default=256)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--needles", type=int, default=1000)
    arguments.add_argument("--image", type=Path)
    options = arguments.parse_args()
    values = people(4, options.needles)
    builder = NeedleBuilder(bytes(32))
    builder.add(pa.array(values), "id")
    needles = builder.finish()
    print(f"{platform.machine()}, {os.cpu_count()} cores, {options.runs} runs, load {os.getloadavg()[0]:.1f}")
    print("| image | MB | direct read | search | grep -F -f | grep -E | search/read | MB/core-s | found |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=".") as folder:
        patterns = Path(folder, "patterns")
        patterns.write_text("\n".join(values) + "\n")
        if options.image:
            compare("given", options.image, needles, patterns, options.runs)
            return
        for name, share in SHARES.items():
            path = Path(folder, name)
            make(path, share, values, options.mebibytes << 20)
            compare(name, path, needles, patterns, options.runs)
            path.unlink()


if __name__ == "__main__":
    main()
