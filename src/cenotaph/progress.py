"""How stages tell how far they are, without knowing who listens."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Tell: TypeAlias = Callable[[str, int, int], None]
"""Called as tell(what, done, total), in units of the work at hand."""


def quiet(what: str, done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class TellByFile:
    """Tells from a child process: the newest line of work is in a file that `watched` reads."""

    path: Path

    def __call__(self, what: str, done: int, total: int) -> None:
        beside = self.path.with_name(self.path.name + ".new")
        beside.write_text(json.dumps([what, done, total]))
        beside.replace(self.path)


@contextlib.contextmanager
def repeated(act: Callable[[], None], every: float, *, after: float = 0.0) -> Iterator[None]:
    """Call `act` in a thread, again and again, while the block runs, and for the first time not before
    `after` seconds."""
    over = threading.Event()

    def repeat() -> None:
        if not over.wait(after):
            while not over.wait(every):
                act()

    watcher = threading.Thread(target=repeat, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


@contextlib.contextmanager
def watched(files: tuple[Path, ...], tell: Tell, every: float = 0.5) -> Iterator[None]:
    """Pass on what child processes tell by file while the block runs; the files are gone afterwards."""
    said: dict[Path, str] = {}

    def look() -> None:
        for path in files:
            try:
                text = path.read_text()
            except FileNotFoundError:
                continue
            if said.get(path) != text:
                said[path] = text
                what, done, total = json.loads(text)
                tell(what, done, total)

    try:
        with repeated(look, every):
            yield
    finally:
        for path in files:
            path.unlink(missing_ok=True)
            path.with_name(path.name + ".new").unlink(missing_ok=True)
