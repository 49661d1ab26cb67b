"""Does a case bear a billion records on this machine, how fast, and in how much memory?

Builds an invented city's batch (`cenotaph.testing.city_batch`: forty apps, a Parquet file each), takes one
case through every stage with the commands that a user types, and prints a table: seconds, records a second,
processor time, the most memory that all processes together had at once (PSS), and the share of a ceiling
that was measured in the same run: of decoding the same files in two processes and doing nothing else; for
`destroy` also of overwriting as many bytes. Started again, it goes on where it stopped.

    python bench/scale.py [RECORDS …] [--residents N] [--folder DIR] [--keep]     # default: 10000000
"""

from __future__ import annotations

import argparse
import json
import math
import mmap
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from _watch import Watch

from cenotaph.kernel import described
from cenotaph.testing.city_batch import APPS, Residents, write_app
from cenotaph_proof.commands import trusting
from cenotaph_proof.keys import SecretKey

CASE = """\
[case]
name = "first-batch"
operator = "Big Data Bureau"
key = "file:../keys/bureau"
log = "../log"
basis = "the epidemic is over: purpose achieved"
notice = "0h"

[[app]]
name = "health code"
purpose = "movement permission"
stores = ["batch"]

[[store]]
name = "batch"
url = "files:../batch"
grade = "L2"
subject = { "*" = "id_number" }

[[party]]
organisation = "Audit Co"
role = "auditor"
key = "../keys/audit-co.pub"

[[party]]
organisation = "Zhao & Partners"
role = "notary"
key = "../keys/zhao.pub"

[[party]]
organisation = "Daily Paper"
role = "log-witness"
key = "../keys/daily-paper.pub"
cosign = "file:../keys/daily-paper"

[policy]
approve = { auditor = 1, notary = 1 }
witness = 1
"""
PARTIES = (
    ("Big Data Bureau", "operator", "bureau"),
    ("Audit Co", "auditor", "audit-co"),
    ("Zhao & Partners", "notary", "zhao"),
    ("Daily Paper", "log-witness", "daily-paper"),
)
STAGES = ("survey", "seal", "plan", "challenge", "destroy", "probe", "certify", "verify")
ROW_BYTES = 19  # of a record in zstd Parquet
ANNEX_BYTES = 2 << 30  # what the case itself may need
MEASURED_BYTES = 4 << 30  # at most so much is overwritten to know the disk
MARK = ".cenotaph-scale"


@dataclass(frozen=True, slots=True)
class Took:
    """What a step took. `began_anew` counts interruptions, whose time is not in `seconds`."""

    seconds: float
    processor: float
    peak: int  # bytes, of all processes at once
    began_anew: int = 0


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("records", nargs="*", type=int, default=[10_000_000], metavar="RECORDS")
    asked.add_argument("--residents", type=int, default=7_500_000)
    asked.add_argument("--folder", type=Path, default=Path("scale"))
    asked.add_argument("--keep", action="store_true", help="leave the case, its log and proof file there")
    given = asked.parse_args()
    runs = [Run(given.folder / f"{n}", n, min(given.residents, max(1, n)), given.keep) for n in given.records]
    say(f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, {described()}")
    took = {run.records: run.go() for run in runs}
    for run in runs:
        run.show()
    if len(runs) > 1:
        grown(took, min(took), max(took))


class Run:
    """One case of so many records, in a folder of its own."""

    def __init__(self, folder: Path, records: int, residents: int, keep: bool) -> None:
        self.folder, self.records, self.residents, self.keep = folder.resolve(), records, residents, keep
        self.case, self.data = self.folder / "case", self.folder / "batch"
        self.known: dict[str, Any] = {}

    def go(self) -> dict[str, Took]:
        self._begin()
        self._step("build", self._build)
        if "ceilings" not in self.known:
            self._remember("bytes", sum(p.stat().st_size for p in self._files()))
            self._remember("ceilings", {"decode": decoding(self._files()), "overwrite": self._overwriting()})
        self._step("open", self._open)
        self._step("survey", partial(self._cenotaph, "survey"))
        self._step("seal", partial(self._cenotaph, "seal"))
        self._step("plan", partial(self._cenotaph, "plan"))
        self._step("challenge", partial(self._cenotaph, "challenge", "--key", "../keys/audit-co"))
        self._step("approve", self._approve)
        self._step("destroy", self._destroy)
        self._step("probe", partial(self._cenotaph, "probe", "--key", "../keys/audit-co"))
        self._step("certify", partial(self._cenotaph, "certify"))
        self._step("verify", self._verify)
        return {name: Took(**self.known["steps"][name]) for name in STAGES}

    # ── the steps ────────────────────────────────────────────────────────────────────────────────

    def _begin(self) -> None:
        mark = self.folder / MARK
        if mark.exists():
            self.known = json.loads(mark.read_text())
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise SystemExit(f"{self.folder} is not empty and not of an earlier run: name another --folder")
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.known = {"records": self.records, "residents": self.residents, "steps": {}, "anew": {}}
            mark.write_text(json.dumps(self.known))
        if self.known["residents"] != self.residents:
            raise SystemExit(f"{self.folder} was begun with {self.known['residents']:,} residents")
        if "build" not in self.known["steps"]:
            self._require_room()

    def _require_room(self) -> None:
        there = sum(p.stat().st_size for p in self._files())
        once = self.records * ROW_BYTES
        needed = once + min(once, MEASURED_BYTES) + ANNEX_BYTES - there
        free = shutil.disk_usage(self.folder).free
        say(f"{self.records:,} records: about {needed / 1e9:,.1f} GB of disk, of {free / 1e9:,.1f} free")
        if needed > free:
            raise SystemExit("not enough: free some, or name another --folder")

    def _build(self) -> None:
        self.data.mkdir(exist_ok=True)
        share, rest = divmod(self.records, APPS)
        rows = {app: share + (app < rest) for app in range(APPS)}
        missing = [app for app, count in rows.items() if count and not self._file(app).exists()]
        for app in missing:
            self._file(app).parent.mkdir(exist_ok=True)
        work = [(self._file(app), app, rows[app], self.residents) for app in missing]
        with processes(2) as pool:
            for done, _ in enumerate(pool.map(built, work), 1):
                progress("files built", done, len(work))

    def _open(self) -> None:
        self.case.mkdir(exist_ok=True)
        if not (self.case / "case.toml").exists():
            shutil.rmtree(self.folder / "keys", ignore_errors=True)
            (self.folder / "keys").mkdir()
            keys = [SecretKey.generate(organisation, role) for organisation, role, _ in PARTIES]
            for key, (_, _, name) in zip(keys, PARTIES, strict=True):
                key.save(self.folder / "keys" / name)
            trusted = trusting.write([key.public for key in keys], {"auditor": 1, "notary": 1}, witness=1)
            (self.folder / "trust.toml").write_text(trusted)
            (self.case / "case.toml").write_text(CASE)
        self._cenotaph("open")
        for name in ("audit-co", "zhao"):
            self._cenotaph("approve", "--charter", "--key", f"../keys/{name}")

    def _approve(self) -> None:
        for name in ("audit-co", "zhao"):
            self._cenotaph("approve", "--key", f"../keys/{name}")

    def _destroy(self) -> None:
        told = self._cenotaph("plan", "--show", "--json")
        self._cenotaph("destroy", "--confirm", json.loads(told.splitlines()[-1])["digest"][:8])

    def _verify(self) -> None:
        (proof,) = self.case.glob("*.cenotaph")
        self._remember("proof", proof.stat().st_size)
        told = run(["cenotaph-verify", str(proof), "--trust", "../trust.toml", "--json"], self.case)
        self._remember("verdict", json.loads(told.splitlines()[-1])["verdict"])

    def _cenotaph(self, *words: str) -> str:
        return run(["cenotaph", *words], self.case)

    def _overwriting(self) -> float:
        """Bytes a second of zeros written directly over a file that is there."""
        return overwriting(self.folder / "overwritten", min(self.known["bytes"], MEASURED_BYTES))

    # ── bookkeeping ──────────────────────────────────────────────────────────────────────────────

    def _step(self, name: str, act: Any) -> None:
        if name in self.known["steps"]:
            return
        self._remember("anew", {**self.known["anew"], name: self.known["anew"].get(name, -1) + 1})
        with Watch() as watch:
            act()
        self._remember(
            "steps",
            {
                **self.known["steps"],
                name: asdict(Took(watch.seconds, watch.processor, watch.together, self.known["anew"][name])),
            },
        )
        say(f"{name:<10} {watch.seconds:9.1f} s")

    def _remember(self, what: str, value: Any) -> None:
        self.known[what] = value
        beside = self.folder / f"{MARK}.new"
        beside.write_text(json.dumps(self.known))
        beside.replace(self.folder / MARK)

    def _file(self, app: int) -> Path:
        return self.data / f"app-{app:02d}" / "records.parquet"

    def _files(self) -> list[Path]:
        return sorted(self.data.glob("*/records.parquet"))

    # ── what it came to ──────────────────────────────────────────────────────────────────────────

    def show(self) -> None:
        known, size = self.known, self.known["bytes"]
        decode, overwrite = known["ceilings"]["decode"], known["ceilings"]["overwrite"]
        once = self.records / decode
        ceilings = {"survey": once, "seal": once, "destroy": once + size / overwrite}
        print(f"\n{self.records:,} records of {self.residents:,} residents, {size / 1e9:.2f} GB of Parquet;")
        print(f"decoded at {decode / 1e6:.2f} M records/s, overwritten at {overwrite / 1e6:,.0f} MB/s\n")
        print("| stage | s | M records/s | processor, ns a record | of the ceiling | most memory, MiB |")
        print("|---|---|---|---|---|---|")
        steps = {name: Took(**known["steps"][name]) for name in STAGES}
        for name, took in steps.items():
            share = f"{ceilings[name] / took.seconds:.2f}" if name in ceilings else ""
            anew = f" (interrupted {took.began_anew} times)" if took.began_anew else ""
            print(
                f"| {name}{anew} | {took.seconds:.1f} | {self.records / took.seconds / 1e6:.2f} |"
                f" {took.processor / self.records * 1e9:.0f} | {share} | {took.peak >> 20:,} |"
            )
        goal = sum(steps[name].seconds for name in ("seal", "destroy", "probe", "certify"))
        print(f"\nseal + destroy + probe + certify: {goal:.0f} s")
        print(f"proof file: {known['proof']:,} bytes, {known['verdict']}")
        if not self.keep:
            shutil.rmtree(self.folder)


def grown(took: dict[int, dict[str, Took]], small: int, large: int) -> None:
    print(f"\nfrom {small:,} to {large:,} records | exponent of time | memory")
    print("|---|---|---|")
    for name in ("survey", "seal", "challenge", "destroy", "probe", "certify"):
        one, other = took[small][name], took[large][name]
        exponent = math.log(other.seconds / one.seconds) / math.log(large / small)
        print(f"| {name} | {exponent:.2f} | {other.peak / one.peak:.2f} × |")


# ── ceilings ─────────────────────────────────────────────────────────────────────────────────────


def decoding(files: Sequence[Path]) -> float:
    """Records a second that two processes decode of some of these files, doing nothing else."""
    some = list(files[:: max(1, len(files) // 8)])
    with processes(2) as pool:
        list(pool.map(decoded, some[:2]))  # started, and warm
        begun = time.monotonic()
        records = sum(pool.map(decoded, some))
        return records / (time.monotonic() - begun)


def decoded(path: Path) -> int:
    with path.open("rb") as stream:
        batches = pq.ParquetFile(stream).iter_batches(batch_size=65_536, use_threads=False)
        return sum(batch.num_rows for batch in batches)


def overwriting(path: Path, size: int) -> float:
    step = 8 << 20
    size = max(step, size // step * step)
    with mmap.mmap(-1, step) as zeros:
        try:
            for again in (False, True):
                flags = os.O_WRONLY | os.O_DIRECT | (0 if again else os.O_CREAT)
                fd = os.open(path, flags, 0o600)
                begun = time.monotonic()
                for _ in range(size // step):
                    os.write(fd, zeros)
                os.fsync(fd)
                seconds = time.monotonic() - begun
                os.close(fd)
        finally:
            path.unlink(missing_ok=True)
    return size / seconds


# ── processes ────────────────────────────────────────────────────────────────────────────────────

_residents: dict[int, Residents] = {}


def built(work: tuple[Path, int, int, int]) -> None:
    path, app, rows, residents = work
    if residents not in _residents:
        _residents[residents] = Residents.make(residents)
    write_app(path, app, rows, _residents[residents])


@contextmanager
def processes(count: int) -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(count, get_context("spawn")) as pool:
        yield pool


def run(words: list[str], folder: Path) -> str:
    program = Path(sys.executable).with_name(words[0])
    done = subprocess.run([program, *words[1:]], cwd=folder, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - our own
    if done.returncode:
        raise SystemExit(f"{' '.join(words[:2])} ended with {done.returncode}: run again, it goes on")
    return done.stdout


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


_told: dict[str, float] = {}


def progress(what: str, done: int, total: int) -> None:
    begun = _told.setdefault(what, time.monotonic())
    left = (time.monotonic() - begun) / done * (total - done)
    say(f"{done} of {total} {what}, {left:.0f} s left")


if __name__ == "__main__":
    main()
