"""The store contract: what the stages ask of a store, and nothing else.

Reading and erasing are two contracts, opened with separate credentials; only `destroy` opens an
`Eraser`. Stores share no base class: they satisfy these protocols and pass `testing.StoreContract`.

Names of collections, bounds of partitions and paths of extents can be people. They are
`repr=False` here and leave the process only encrypted, in the case's annex.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cenotaph.scope import Selection

Ranges: TypeAlias = npt.NDArray[np.int64]
"""Byte ranges as an (n, 2) array of [start, end), sorted and disjoint."""

State: TypeAlias = Mapping[str, "str | int | list[str] | list[int]"]
"""What an eraser must remember to resume a partition. Goes to the annex, encrypted."""


OF_SERVER: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "postgresql": {
        "views": ("mixed materialized view",),
        "statistics": ("statistics", "extended statistics"),
        "wal": ("wal",),
        "wal_archive": ("wal archive",),
        "logs": ("server log", "statement statistics"),
        "replicas": ("standby", "logical subscriber"),
        "backups": ("dump", "base backup"),
        "restart": (),
    },
}
"""Shared actions of stores that a server keeps, by scheme, in the order in which they are taken, and the
kinds of `Copy` that each one reaches."""


WITH_SERVER: Mapping[str, frozenset[str]] = {
    "postgresql": frozenset(
        (
            *("materialized view", "mixed materialized view", "history table", "large objects"),
            *("statistics", "extended statistics", "wal", "statement statistics", "replication slot"),
            "server log",
        )
    ),
}
"""The kinds of `Copy` that go with a server that is retired, by scheme."""


GONE_ONCE_REACHED = frozenset(("dump", "base backup"))
"""The kinds of `Copy` of which nothing is there any more once a shared action reached them."""

AWAITS_RETIREMENT = "the server is not yet retired"  # why a store of it is not reclaimed


@dataclass(frozen=True, slots=True)
class GivenCopy:
    """A copy of a store that the case names (`[[copy]]`)."""

    kind: str  # as `Copy.kind`
    place: str = field(repr=False)  # an absolute path; of a standby or subscriber its URL
    renew: str | None = field(default=None, repr=False)  # where a new copy of what stays goes first


@dataclass(frozen=True, slots=True)
class HeldBeside:
    """Another store of the case that a server keeps, with records under a hold."""

    url: str = field(repr=False)
    base_backup: bool  # the case names one at that store


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the case says of a store beyond its address."""

    data_dir: str | None = field(default=None, repr=False)  # of its server, where this machine has it
    copies: tuple[GivenCopy, ...] = ()
    pages: bool = False  # read tables from the pages of their files, where that is possible
    online_overwrite: bool = False  # overwrite whole relations beneath the running server
    retire_server: bool = False  # the server goes with the store
    keeper: str | None = None  # the identity of the server that was surveyed; only of it is anything touched
    beside: frozenset[str] | None = None  # databases that its server had besides; None: whatever it has now
    held_beside: tuple[HeldBeside, ...] = ()  # some may be of the same server, and so of its base backups
    retired_with: tuple[str, ...] = field(default=(), repr=False)  # addresses of what goes with its server

    @property
    def sets_aside(self) -> bool:
        """Whether files that a server gives up are kept from it, until they are overwritten."""
        return self.online_overwrite or self.retire_server


NOTHING_AROUND = Surroundings()


class Grade(enum.IntEnum):
    """How far a destruction reached (spec/grades.md). Never rounded up."""

    NONE = 0
    L1 = 1
    L2 = 2
    L3 = 3
    L4 = 4
    L5 = 5


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The best grade this store can reach where it stands, and why not a higher one."""

    grade: Grade
    why_not_higher: str


@dataclass(frozen=True, slots=True)
class Column:
    name: str = field(repr=False)
    type: str  # the store's own name of the type


@dataclass(frozen=True, slots=True)
class Collection:
    """A table; for files, one folder's files of one format and schema."""

    ordinal: int  # position in the store's sorted order of collections, from 0
    name: str = field(repr=False)  # unique in the store
    format: str  # "table", "fts5", "csv", "jsonl", "text", "parquet", "arrow", "opaque" …
    columns: tuple[Column, ...]
    records: int  # selected: in scope and not held
    held: int  # in scope, kept because of a hold
    kept: int  # out of scope
    bytes: int  # storage now used, rows of others included
    order: str  # "key" or "digest": how records of a partition are ordered when sealed
    notes: tuple[str, ...] = ()  # findings without personal data, e.g. "csv with bad lines, read as text"


class Disposition(enum.StrEnum):
    """What happens to a copy."""

    DESTROY = "destroy"  # erase and reclaim reach it
    KEEP = "keep"  # a hold needs it, or it is out of scope
    REACH_NOT = "not reached"


@dataclass(frozen=True, slots=True)
class Copy:
    """Another place that holds records of a collection: journal, WAL, freed pages, backup …"""

    kind: str  # "wal", "rollback journal", "freed pages", "fts shadow", "hard link", "statistics" …
    place: str = field(repr=False)
    bytes: int
    disposition: Disposition


@dataclass(frozen=True, slots=True)
class Partition:
    """The unit of work: reading, sampling, erasing, resuming. Fixed in the inventory."""

    collection: int  # ordinal
    index: int  # within the collection, from 0
    records: int
    bounds: str = field(repr=False)  # meaningful to the store alone; at most 1 MiB of JSON


@dataclass(frozen=True, slots=True)
class Watermark:
    """A cheap mark of change. May only refuse early; equal watermarks prove nothing."""

    value: str


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes below the store's own interface, for the probe.

    `open` gives a readable, seekable binary stream of `length` bytes. `kept` are the byte ranges
    that a parser attributed to live data which stays (held or out of scope): a hit wholly inside
    them is *kept elsewhere*; any other hit is residue. A wholly kept extent has one full range.
    """

    kind: str  # "file", "database", "wal", "rollback journal", "shm", "archive" …
    place: str = field(repr=False)
    length: int
    open: Callable[[], BinaryIO] = field(repr=False)
    kept: Ranges = field(repr=False)
    anew: bool = False  # a copy at the place of one that is made of what stays: it has whom the store keeps


class Class(enum.StrEnum):
    """How surely what was erased was what had been sealed; certificates count records in each."""

    AS_SEALED = "as sealed"  # re-digested under a lock that kept writers out
    WATCHED = "watched"  # no lock to be had: re-digested, and the watermark did not move
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Erasure:
    """What `erase` did. Nothing left to erase is a success."""

    records: int
    destroyed_as: Class
    overwritten_bytes: int
    freed_bytes: int  # st_blocks given back to the file system
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reclamation:
    """What `reclaim` reached."""

    reached: Grade  # what this store's own means can reach; the probe decides
    why_not_higher: str
    overwritten_bytes: int
    freed_bytes: int
    notes: tuple[str, ...] = ()


class PartitionSeal(Protocol):
    """What was sealed for one partition. Stores call `check` before, and never compute digests."""

    @property
    def records(self) -> int: ...

    def check(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Accept exactly the sealed records in the sealed order; else raise `DriftError`."""

    def holds(self, content: bytes) -> bool:
        """Whether the partition had these bytes when it was sealed (`Bytewise`): it then has the sealed
        records, and `check` need not see them."""

    def check_remaining(self, batches: Iterable[pa.RecordBatch]) -> int:
        """Accept any sub-multiset of the sealed records (a begun partition), and count it."""


class Progress(Protocol):
    """The journal's side of one partition."""

    @property
    def begun(self) -> State | None:
        """What `begin` was told on an earlier run that did not get to the end, or None."""

    def begin(self, state: State) -> None:
        """Write *begun* to the journal. Durable on return. Call after `check`, before the first
        change to the store; not called again when `begun` is set."""

    def advance(self, records: int, bytes: int) -> None:
        """Tell how far this partition is. May sleep (rate limit) or raise (pause, window)."""


class Reader(Protocol):
    """Reads one store; cannot change it."""

    capabilities: Capabilities

    def collections(self) -> Sequence[Collection]: ...
    def copies(self, collection: Collection) -> Sequence[Copy]: ...
    def partitions(self, collection: Collection) -> Sequence[Partition]: ...

    def batches(self, partition: Partition) -> Iterator[pa.RecordBatch]:
        """The selected records of a partition (in scope, not held), in an order that is the same
        each time while the data is the same. At most 65,536 rows or about 32 MiB a batch."""

    def watermark(self, collection: Collection) -> Watermark: ...
    def raw(self) -> Iterator[Extent]: ...
    def close(self) -> None: ...


@runtime_checkable
class Skipping(Protocol):
    """A reader that need not read a whole partition to give some of its records."""

    def batches_at(
        self, partition: Partition, wanted: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Batches that hold the records at these places of the order of `Reader.batches`, and maybe others;
        with each, the place of its first record. `wanted` are [first, end), ascending and disjoint."""


@runtime_checkable
class Bytewise(Protocol):
    """A reader whose partitions may be whole files, of which every byte is known."""

    def watch(self) -> None:
        """From now on, take note of the bytes that `Reader.batches` reads, and of who may change them."""

    def content(self, partition: Partition) -> bytes | None:
        """A digest, 32 bytes, of everything that `Reader.batches` read for this partition just now: no other
        bytes have it. None where some of it is not the partition's, or may have changed meanwhile."""


@runtime_checkable
class Locating(Protocol):
    """A reader that can tell where in the bytes of its store some records lie."""

    def raw_at(
        self, partition: Partition, wanted: Sequence[tuple[int, int]], columns: Sequence[int]
    ) -> Iterator[Extent]:
        """Where these columns of the records at these places (`Skipping`) most probably lie: parts of what
        `Reader.raw` gives, and kinds of places as there. Whether anything of it stays is not told (`kept`):
        they are for a search before anything is destroyed."""


class Eraser(Protocol):
    """Erases one store. Opened by `destroy` alone, with an `ApprovedPlan`."""

    def erase(self, partition: Partition, sealed: PartitionSeal, progress: Progress) -> Erasure:
        """Erase one partition: lock, `sealed.check`, `progress.begin`, erase, commit, read empty.

        On a begun partition: `sealed.check_remaining` (or the store's own proof that what remains
        is what was sealed), then go on. Raises `DriftError` before anything is changed.
        """

    def reclaim(self, collections: Sequence[Collection]) -> Reclamation:
        """The bytes, not only the rows. Once a run, after its partitions; safe to repeat.

        `collections` are those whose partitions are all erased.
        """

    def close(self) -> None: ...


@runtime_checkable
class Ordered(Protocol):
    """An eraser whose store wants some collections gone before others, as foreign keys do."""

    def order(self, collections: Sequence[Collection]) -> Sequence[int]:
        """The ordinals of these collections, in the order in which they can be erased."""


@runtime_checkable
class Independent(Protocol):
    """An eraser whose partitions have nothing in common: several erasers of one store may work at the same
    time, each on a partition of its own."""

    def threads(self, partitions: Sequence[Partition], processors: int, *, known: bool) -> int:
        """How many are best at work at once on these, two processors at least being free for it. `known`: all
        are by their bytes (`Bytewise`)."""


@runtime_checkable
class Proving(Protocol):
    """An eraser that proves by itself what remains of a partition that was begun, from what it told
    `Progress.begin`: it does not call `PartitionSeal.check_remaining`, and no digests are kept for it."""

    proves_remaining: bool


AT_ONCE = "at once"
"""Set in what `begin` is told of a partition that goes with all of its collection, or not at all. No list of
digests is kept for it: when it goes on, the records are all there, as sealed, or none is."""


class Assignment(NamedTuple):
    """A partition to be erased, with its seal and its journal."""

    partition: Partition
    sealed: PartitionSeal
    progress: Progress


@runtime_checkable
class Wholesale(Protocol):
    """An eraser whose store can take a whole collection away in one step."""

    def mend(self) -> None:
        """Put right what a run that was killed in that step left, before anything is read."""

    def erase_whole(self, collection: Collection, parts: Iterable[Assignment]) -> Sequence[Erasure] | None:
        """Erase all partitions of a collection together: lock, `check` of each, then `begin` of each (with
        `AT_ONCE`), erase, commit, read empty. All goes, or nothing.

        `parts` is read once, each when the one before it was compared, and may raise to stop. None where it
        has to go partition by partition: then nothing was changed or begun. Raises as `Eraser.erase`.
        """


@dataclass(frozen=True, slots=True)
class Command:
    """A statement in a server's own language that changes something, and what is told of it beforehand."""

    text: str = field(repr=False)  # has names, never values; empty: done beside the server
    does: str
    lock: str = ""  # that it takes, and who waits for it
    reaches: str = ""  # where bytes of records go with it
    values: str = ""  # what its placeholders are
    often: str = ""  # if not once


@dataclass(frozen=True, slots=True)
class Passage:
    """Commands that run one after another."""

    says: str = field(repr=False)
    commands: tuple[Command, ...]
    shared: str = ""  # the shared action that they are; empty: own
    times: int = 1


@runtime_checkable
class Scripted(Protocol):
    """A reader whose store is erased by commands, which can be read before they run."""

    def script(
        self, chosen: Sequence[tuple[Collection, Sequence[Partition]]], shared: frozenset[str]
    ) -> Iterable[Passage]:
        """What erasing these partitions and reclaiming would run, in order. Changes nothing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a case on a store takes, and whether it is so."""

    what: str
    good: bool
    says: str
    hint: str = field(default="", repr=False)  # what would make it good; may have names


@runtime_checkable
class Checked(Protocol):
    """A reader that can tell what else a case on its store takes. Opened at `erase_url`, it looks for what
    `destroy` takes."""

    def checks(self, asked: Grade, shared: frozenset[str], *, erasing: bool) -> Iterable[Finding]: ...


@runtime_checkable
class Retiring(Protocol):
    """An eraser whose store's server can be taken out of service, with everything that it has."""

    def retire(self, known: State | None, begin: Callable[[State], None]) -> Reclamation:
        """Stop the server, destroy its files, remove it. Safe to repeat after a kill.

        `begin` is told, before the first change, what `known` has to be then; durable on return.
        """


@dataclass(frozen=True, slots=True)
class Restoration:
    """One attempt to bring records back from what is left of a store's copies."""

    method: str
    tool: str
    version: str
    rows: int  # that came back
    records: int  # of those, records of the scope
    note: str = ""


@runtime_checkable
class Restorable(Protocol):
    """A reader that can try to restore what is left of its store's copies."""

    def restorations(
        self, erased: frozenset[str], scratch: Path, volume: int
    ) -> tuple[Sequence[Restoration], Sequence[str]]:
        """What came back, and what was not tried, with the reason. `erased`: names of collections whose
        selected records should not come back. Works in a folder of `scratch`, which is overwritten in the
        end, and not on the device `volume`."""


@runtime_checkable
class Heeding(Protocol):
    """An eraser whose reclaiming takes long, and ends early where it is asked to."""

    def heed(self, ask: Callable[[], None]) -> None:
        """Call `ask` between two steps of reclaiming. What it raises ends it there; it can be repeated."""


@dataclass(frozen=True, slots=True)
class Keeper:
    """The server that keeps a store. No name."""

    identity: str  # another one, once a standby or a restored backup took its place
    beside: frozenset[str]  # numbers of its other databases

    @property
    def server(self) -> str:
        """What all its databases have in common, and all copies of it."""
        return self.identity.partition(",")[0]

    def differs(self, other: Keeper) -> str:
        """What of another is not as of this one; empty where it is the same."""
        if other.server != self.server:
            return "another server answers"
        if other.identity != self.identity:
            return (
                "another history or database of the same server answers (a standby that was promoted, a"
                " restored backup, a database made anew)"
            )
        return ""


@runtime_checkable
class Served(Protocol):
    """A reader whose store a server keeps, which has pages of it in its memory."""

    def keeper(self) -> Keeper | None:
        """Which server it is; None where that is gone for good, or cannot be told."""

    def started(self) -> int | None:
        """When the server was started (seconds since the epoch); None where it is gone for good."""

    def exposures(self) -> Sequence[str]:
        """Who can get at the store besides those who should: sentences without names of people, roles or
        machines. What this role may not see is one of them."""

    def last_write(self) -> str | None:
        """The month (YYYY-MM) of the last write to what is in scope, or none later; None: not told."""


class OpenReader(Protocol):
    """`stores.<kind>.open_reader`."""

    def __call__(self, url: str, selection: Selection, around: Surroundings = NOTHING_AROUND) -> Reader: ...


class OpenEraser(Protocol):
    """`stores.<kind>.open_eraser`. `shared`: the shared actions that the approved plan has for the store."""

    def __call__(
        self,
        url: str,
        selection: Selection,
        shared: frozenset[str] = frozenset(),
        around: Surroundings = NOTHING_AROUND,
    ) -> Eraser: ...
