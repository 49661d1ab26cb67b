"""Memory and processor time of all processes that descend from this one, while something is measured."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

EVERY = 0.2  # seconds


@dataclass(frozen=True, slots=True)
class Process:
    """Of /proc/PID/stat: its parent, when it was born (ticks since the boot), seconds of processors."""

    parent: int
    born: int
    used: float


class Watch(threading.Thread):
    """Samples them while a block runs. `together` is the most memory that they had at once (PSS, so that
    pages that they share count once), `largest` the most that one of them had resident, both in bytes;
    `processor` is what each had used when it was last seen, added up, and `seconds` how long the block took.
    This process counts where `itself` says so."""

    def __init__(self, *, itself: bool = False) -> None:
        super().__init__(daemon=True)
        self.seconds = 0.0
        self.together = self.largest = 0
        self._itself = itself
        self._used: dict[tuple[int, int], float] = {}
        self._end = threading.Event()

    def __enter__(self) -> Watch:
        self._begun = time.monotonic()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()
        self.seconds = time.monotonic() - self._begun

    @property
    def processor(self) -> float:
        return sum(self._used.values())

    def run(self) -> None:
        while not self._end.wait(EVERY):
            self._look()

    def _look(self) -> None:
        alive = dict(_processes())
        memory = 0
        for pid, process in alive.items():
            if _descends(process.parent, alive) or (self._itself and pid == os.getpid()):
                self._used[pid, process.born] = process.used
                memory += _kibibytes(pid, "smaps_rollup", "Pss") << 10
                self.largest = max(self.largest, _kibibytes(pid, "status", "VmHWM") << 10)
        self.together = max(self.together, memory)


def _processes() -> Iterator[tuple[int, Process]]:
    tick = os.sysconf("SC_CLK_TCK")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended
            used = (int(fields[11]) + int(fields[12])) / tick
            yield int(entry.name), Process(int(fields[1]), int(fields[19]), used)


def _descends(parent: int, alive: dict[int, Process]) -> bool:
    while parent in alive:
        if parent == os.getpid():
            return True
        parent = alive[parent].parent
    return False


def _kibibytes(pid: int, file: str, name: str) -> int:
    try:
        text = Path(f"/proc/{pid}/{file}").read_text()
    except OSError:
        return 0  # it has ended
    found = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0
