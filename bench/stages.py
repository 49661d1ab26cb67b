"""How long does each stage of a whole case take, and how much memory does its largest process use?

Runs the demo city at two sizes in a temporary folder, and prints records a second for each stage, the
peak resident memory of the largest process, and the growth between the sizes. In the same run `shred`
(GNU coreutils), where it is installed, destroys a copy of the city's files: the ratio compares
overwriting alone with overwriting what was checked against its seal, journalled and signed.

    python bench/stages.py [RECORDS …]          # default: 100000 400000
"""

from __future__ import annotations

import io
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from _watch import Watch

from cenotaph.cli.demo import run
from cenotaph.testing.city import build_city

STAGES = ("survey", "seal", "challenge", "destroy", "probe", "certify")


def main() -> None:
    sizes = [int(a) for a in sys.argv[1:]] or [100_000, 400_000]
    took: dict[int, dict[str, float]] = {}
    for records in sizes:
        with tempfile.TemporaryDirectory() as folder:
            took[records], peak = measure(Path(folder) / "demo", records)
            ratio = against_shred(Path(folder), records, took[records]["destroy"])
        print(
            f"\n{records:,} records, {os.cpu_count()} cores; largest process {peak / 1024:.0f} MiB; {ratio}"
        )
        for stage in STAGES:
            seconds = took[records][stage]
            print(f"  {stage:<10} {seconds:7.2f} s   {records / max(seconds, 0.01):12,.0f} records/s")
    if len(sizes) > 1:
        small, large = sizes[0], sizes[-1]
        total = [sum(took[n][s] for s in STAGES) for n in (small, large)]
        exponent = math.log(total[1] / total[0]) / math.log(large / small)
        print(f"\ntime grows with records to the power of {exponent:.2f}")


def measure(folder: Path, records: int) -> tuple[dict[str, float], int]:
    """Seconds a stage, and the peak resident KiB of the largest process."""
    watch = Watch(itself=True)
    spoken, said = io.StringIO(), io.StringIO()
    with watch, redirect_stderr(spoken), redirect_stdout(said):
        code = run(folder, residents=max(100, records // 100), records=records, seed=1)
    if code != 0:
        raise SystemExit(f"the demo ended with {code}")
    found = re.findall(r"^(\S+)\s.*?\s(\d+\.\d) s$", spoken.getvalue(), re.MULTILINE)
    seconds: dict[str, float] = {}
    for stage, text in found:
        seconds[stage] = seconds.get(stage, 0.0) + float(text)
    return seconds, watch.largest >> 10


def against_shred(folder: Path, records: int, ours: float) -> str:
    """Destroy the same bytes with shred, one pass and unlinked."""
    if shutil.which("shred") is None:
        return "shred is not installed"
    city = folder / "shredded"
    build_city(city, residents=max(100, records // 100), records=records, seed=1)
    files = [str(p) for p in (city / "apps").rglob("*") if p.is_file()]
    os.sync()
    started = time.monotonic()
    subprocess.run(["shred", "-n", "1", "-u", *files], check=True)  # noqa: S603, S607 - the peer, on our own files
    theirs = time.monotonic() - started
    return f"destroy takes {ours / theirs:.1f} × shred -n 1 -u ({theirs:.2f} s)"


if __name__ == "__main__":
    main()
