"""How fast a stage goes: written beside the case while it works, and kept when it ends.

`cenotaph status --watch` reads the one, `cost` the other. Both are the operator's own notes: no statement
depends on them, and nothing is lost with them. They hold names of stores as the case has them, and numbers.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cenotaph.journal import Journal
from cenotaph.progress import Tell, repeated

NOW = ".pace"  # of the stage at work: one JSON object, written anew
KEPT = "pace.jsonl"  # of stages that ended: a line each
EVERY, QUIET = 0.5, 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Share:
    """How far one store is."""

    records: int  # to do in all
    bytes: int  # of storage that these have
    before: int = 0  # of these records, done by earlier runs
    done: int = 0  # by this run

    @property
    def done_bytes(self) -> int:
        """Of storage, that the records done by this run had."""
        return self.bytes * self.done // self.records if self.records else 0


@dataclass(frozen=True, slots=True)
class Pace:
    """A stage at work, or one that has ended."""

    stage: str
    what: str  # the unit of work, for a person
    process: int
    since: float  # seconds since the epoch
    seconds: float  # since then
    ended: bool
    stores: Mapping[str, Share]

    @property
    def alive(self) -> bool:
        """Whether its process is still there: one that was killed could not say that it ended."""
        if self.ended:
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    @property
    def done(self) -> int:
        """Records, by this run."""
        return sum(share.done for share in self.stores.values())

    @property
    def left(self) -> float | None:
        """Seconds, at the pace so far; None before anything is done."""
        to_do = sum(share.records - share.before - share.done for share in self.stores.values())
        return self.seconds / self.done * to_do if self.done else None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Pace:
        stores = {name: Share(**share) for name, share in value["stores"].items()}
        return cls(**{**value, "stores": stores})


@dataclass(slots=True)
class Keeper:
    """What a stage tells how far it is; passes it on to whoever listens."""

    folder: Path
    stage: str
    what: str
    stores: dict[str, Share]
    tell: Tell
    of: str = ""  # the digest of what is carried out
    _since: float = field(default_factory=time.time)
    _began: float = field(default_factory=time.monotonic)
    _written: float = 0.0

    def done(self, store: str, records: int) -> None:
        """So many more records of a store are done."""
        share = self.stores[store]
        self.stores[store] = replace(share, done=share.done + records)
        every = self.stores.values()
        self.tell(self.what, sum(s.done for s in every), sum(s.records - s.before for s in every))
        if time.monotonic() - self._written > EVERY:
            self.write(ended=False)

    def write(self, *, ended: bool) -> None:
        self._written = time.monotonic()
        _put(self.folder / NOW, json.dumps(asdict(self._pace(ended))), "w")

    def keep(self) -> None:
        pace = self._pace(ended=True)
        line = {
            "stage": pace.stage,
            "of": self.of,
            "seconds": round(pace.seconds, 3),
            "records": pace.done,
            "bytes": sum(share.done_bytes for share in pace.stores.values()),
        }
        _put(self.folder / KEPT, json.dumps(line) + "\n", "a")

    def _pace(self, ended: bool) -> Pace:
        seconds = time.monotonic() - self._began
        return Pace(self.stage, self.what, os.getpid(), self._since, seconds, ended, dict(self.stores))


@contextmanager
def kept(
    folder: Path, stage: str, what: str, stores: Mapping[str, Share], tell: Tell, of: str = ""
) -> Iterator[Keeper]:
    """Write down how a stage goes while the block runs; what it came to is kept where it went to its end."""
    keeper = Keeper(folder, stage, what, dict(stores), tell, of)
    keeper.write(ended=False)
    try:
        yield keeper
        keeper.keep()
    finally:
        keeper.write(ended=True)


@contextmanager
def following(journal: Path, keeper: Keeper) -> Iterator[None]:
    """Count what child processes append to the journal as done while the block runs."""
    with Journal(journal) as opened:
        follower = _Follower(journal, keeper, opened.covered(opened.head()))
    try:
        with repeated(follower.count, EVERY, after=QUIET):  # what takes no time needs no follower
            yield
    finally:
        follower.count()


@dataclass(slots=True)
class _Follower:
    journal: Path
    keeper: Keeper
    after: int  # the journal line up to which everything is counted

    def count(self) -> None:
        with Journal(self.journal) as opened:
            for entry in opened.entries(self.after):
                self.after = entry.seq
                if entry.kind == "done" and entry.store in self.keeper.stores:
                    self.keeper.done(entry.store, int(entry.body["records"]))


def now(folder: Path) -> Pace | None:
    """The stage at work, or the one that ended last; None before any."""
    for _ in range(3):  # it may be about to be written anew
        try:
            return Pace.from_json(json.loads((folder / NOW).read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            time.sleep(0.05)
    return None


def ended(folder: Path, stage: str) -> list[Mapping[str, Any]]:
    """What the runs of a stage came to that went to their end, the newest last."""
    try:
        lines = (folder / KEPT).read_text().splitlines()
    except FileNotFoundError:
        return []
    return [value for value in map(_parsed, lines) if value.get("stage") == stage]


def _parsed(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:  # cut off by a kill
        return {}
    return value if isinstance(value, dict) else {}


def _put(path: Path, text: str, mode: str) -> None:
    with suppress(OSError), path.open(mode) as stream:  # what only watches must not end what works
        stream.write(text)
