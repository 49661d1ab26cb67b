"""How fast is the residue scan, beside GNU grep -F -f with the same values on the same bytes?

    python bench/scan.py [--mebibytes 32] [--needles 200000]

Three corpora: random bytes (what encrypted or compressed data looks like), CSV text full of other people,
and a SQLite database of other people, each with 1,000 of the needles planted. grep searches the values as
text only; the scan also in UTF-16, GB 18030 and as integers, and in containers. Seconds are of process CPU
time (user and system), best of three; both run one after the other in the same run. LC_ALL=C for grep.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from cenotaph import kernel
from cenotaph.residue.needles import NeedleBuilder, Needles
from cenotaph.residue.scan import scan

NOTHING_KEPT = np.zeros((0, 2), dtype=np.int64)
PLANTED = 1000


def identities(draw: np.random.Generator, count: int) -> list[str]:
    columns = [
        draw.integers(low, high, count).tolist()
        for low, high in ((110000, 660000), (1930, 2020), (1, 13), (1, 29), (0, 1000), (0, 11))
    ]
    return [
        f"{a}{y}{m:02d}{d:02d}{n:03d}{'0123456789X'[c]}" for a, y, m, d, n, c in zip(*columns, strict=True)
    ]


def phones(draw: np.random.Generator, count: int) -> list[str]:
    return [f"1{number}" for number in draw.integers(3 * 10**9, 10**10, count).tolist()]


def rows(seed: int, planted: list[str], size: int) -> list[tuple[str, str, str]]:
    count = size // 64
    draw = np.random.default_rng(seed)
    who, tel = identities(draw, count), phones(draw, count)
    for nth, value in enumerate(planted):
        who[nth * (count // len(planted))] = value
    return [(who[n], tel[n], f"2021-03-{n % 28 + 1:02d} 10:22") for n in range(count)]


def random_bytes(path: Path, planted: list[str], size: int) -> None:
    data = bytearray(np.random.default_rng(1).bytes(size))
    for nth, value in enumerate(planted):
        at = nth * (size // len(planted))
        data[at : at + len(value)] = value.encode()
    path.write_bytes(data)


def csv_text(path: Path, planted: list[str], size: int) -> None:
    lines = (
        f"{n},{who},{tel},{day},negative,x\n" for n, (who, tel, day) in enumerate(rows(2, planted, size))
    )
    path.write_text("".join(lines))


def sqlite_file(path: Path, planted: list[str], size: int) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE visits(id INTEGER PRIMARY KEY, who TEXT, tel INTEGER, day TEXT)")
    people = rows(3, planted, size)
    db.executemany("INSERT INTO visits(who,tel,day) VALUES(?,?,?)", [(w, int(t), d) for w, t, d in people])
    db.commit()
    db.close()


def best(run: Callable[[], int], who: int) -> tuple[float, int]:
    seconds = []
    for _ in range(3):
        before = resource.getrusage(who)
        found = run()
        after = resource.getrusage(who)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(seconds), found


def ours(path: Path, needles: Needles) -> int:
    with path.open("rb") as stream:
        return len(scan(stream, path.stat().st_size, needles, NOTHING_KEPT).residue)


def grep(path: Path, patterns: Path) -> int:
    command = ["grep", "-a", "-o", "-F", "-f", str(patterns), str(path)]
    # our own command on our own files
    out = subprocess.run(  # noqa: S603
        command, capture_output=True, env={**os.environ, "LC_ALL": "C"}, check=False
    )
    return len(set(out.stdout.split()))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--mebibytes", type=int, default=32)
    arguments.add_argument("--needles", type=int, default=200_000)
    options = arguments.parse_args()
    draw = np.random.default_rng(4)
    values = identities(draw, options.needles // 2) + phones(draw, options.needles - options.needles // 2)
    begun = time.process_time()
    builder = NeedleBuilder(bytes(32))
    builder.add(pa.array(values), "id")
    needles = builder.finish()
    print(f"{platform.machine()}, Python {platform.python_version()}, {kernel.described()}")
    seconds = time.process_time() - begun
    print(f"{len(needles)} needles, built in {seconds:.1f} core-s")
    with tempfile.TemporaryDirectory() as folder:
        patterns = Path(folder, "patterns")
        patterns.write_text("\n".join(values) + "\n")
        for make in (random_bytes, csv_text, sqlite_file):
            path = Path(folder, make.__name__)
            make(path, values[:PLANTED], options.mebibytes << 20)
            size = path.stat().st_size / 1e6
            us, found = best(lambda path=path: ours(path, needles), resource.RUSAGE_SELF)
            them, grepped = best(lambda path=path: grep(path, patterns), resource.RUSAGE_CHILDREN)
            print(
                f"{make.__name__}: {size:.0f} MB; cenotaph {size / us:.0f} MB/core-s, {found} found; "
                f"grep -F -f {size / them:.0f} MB/core-s, {grepped} found; ratio {them / us:.2f}"
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of this process {peak:.0f} MiB, corpora included")


if __name__ == "__main__":
    main()
