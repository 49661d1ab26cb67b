"""Sealing a partition: rows become digests, digests become chunks. Runs in child processes.

`SealedPartition` is the other side: what `destroy` holds the store's rows against, under the lock.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from cenotaph import kernel
from cenotaph.annex import Annex, AnnexError, CarriedAnnex
from cenotaph.arrow import union_places
from cenotaph.errors import DriftError, naming
from cenotaph.records import (
    CHUNK_RECORDS,
    Chunk,
    Chunker,
    Digester,
    Digests,
    Longs,
    as_digests,
    ascending,
    record_key,
)
from cenotaph.residue import sought
from cenotaph.residue.familiar import Familiar
from cenotaph.residue.needles import KINDS, Needles
from cenotaph.residue.numbers import Distinct, add_numbers, folded
from cenotaph.scope import Selection
from cenotaph.spans import within
from cenotaph.spelling import parts
from cenotaph.store import NOTHING_AROUND, Bytewise, OpenReader, Partition, Reader, Skipping, Surroundings
from cenotaph_proof.seal import ChunkSeal

LOOSE_NEEDLES = 4_096  # values a partition of columns that are not known to be personal
LOOSE_KINDS = ("text", "number")
PENDING_VALUES = 1 << 18
MOST_REMEMBERED = 1 << 25  # values that a process has given; one takes ten to twenty bytes
MOST_WAITING = 1 << 23  # values that a process gathers before they go to the annex
KEPT_DIGESTS = 1 << 20
BATCHES_AHEAD = 2
GATHERED_ROWS, GATHERED_BYTES = 8_192, 4 << 20  # of small batches; handing one over takes 0.1 ms


@dataclass(frozen=True, slots=True)
class Target:
    """One collection of one store, as a child process needs it to read and digest it."""

    opener: OpenReader
    url: str = field(repr=False)
    selection: Selection = field(repr=False)
    store: str
    collection: str = field(repr=False)
    ordinal: int
    order: str
    needles: tuple[tuple[int, str], ...]  # column, kind
    subject: int | None
    around: Surroundings = NOTHING_AROUND
    kinds: frozenset[str] = frozenset()  # of all stores of the case: a value is sought in their forms


@dataclass(frozen=True, slots=True)
class SealTask:
    target: Target
    partition: Partition
    case_key: bytes = field(repr=False)
    annex: Annex = field(repr=False)
    part: str  # how the names of the annex's documents begin that take what is sought
    run: str = ""  # of tasks that give a value once a process; empty where one may be done again


@dataclass(frozen=True, slots=True)
class PartitionResult:
    """What a partition came to, but for values and subjects that its process gave before in the same run."""

    chunks: tuple[Chunk, ...]
    parts: tuple[tuple[str, str], ...]  # documents of the annex that have what is sought, and their digests
    subjects: bytes = field(repr=False)  # uint64, one a subject
    content: bytes | None = None  # what the bytes were that it was read from (`store.Bytewise`)

    def to_bytes(self) -> bytes:
        """A line of JSON, then the subjects as they are: they are most of it."""
        chunks = [[c.records, c.bytes, c.hash.hex()] for c in self.chunks]
        about = {"chunks": chunks, "parts": self.parts, "content": (self.content or b"").hex()}
        head = json.dumps(about).encode()
        return b"".join([head, b"\n", self.subjects])

    @classmethod
    def from_bytes(cls, data: bytes) -> PartitionResult:
        head, _, subjects = data.partition(b"\n")
        about = json.loads(head)
        chunks = tuple(
            Chunk(records, size, bytes.fromhex(digest)) for records, size, digest in about["chunks"]
        )
        parts = tuple((str(name), str(digest)) for name, digest in about["parts"])
        return cls(chunks, parts, subjects, bytes.fromhex(about.get("content", "")) or None)

    def documents(self) -> dict[str, str]:
        """The documents of the annex that it names, with their digests."""
        return dict(self.parts)


def needle_key(case_key: bytes) -> bytes:
    return HKDFExpand(SHA256(), 32, b"cenotaph/v1 needles").derive(case_key)


@dataclass(frozen=True, slots=True)
class NeedleList:
    """What the seal says of its needles: the parts that have them, and in whose forms they are sought."""

    parts: tuple[tuple[str, str], ...]  # document of the annex, digest
    kinds: tuple[str, ...]  # of stores

    def to_bytes(self) -> bytes:
        return json.dumps({"kinds": self.kinds, "parts": self.parts}, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> NeedleList:
        """Raises: AnnexError for a list that names other documents than parts."""
        said = json.loads(data)
        parts = tuple((str(name), str(digest)) for name, digest in said["parts"])
        if not all(_PART.fullmatch(name) for name, _ in parts):
            raise AnnexError("the annex's needles name documents that are no needles")
        return cls(parts, tuple(map(str, said["kinds"])))


PART = "needles-"
_PART = re.compile(PART + "[0-9a-f-]+")


@dataclass(frozen=True, slots=True)
class NeedleSource:
    """Where a child process finds the needles of a seal; they travel through no pipe."""

    annex: Path = field(repr=False)
    case: str
    digest: str

    def load(self, case_key: bytes) -> Needles:
        """The needles, checked against the seal's digest; made once a process."""
        return _load_needles(self, case_key)

    def among(self, case_key: bytes, some: Needles) -> Needles:
        """Which of some needles are the seal's: a small part of the work."""
        return sought.known(self.read(case_key)[1], some)

    def known(self, case_key: bytes) -> sought.KnownSought:
        """Which values are needles."""
        return _load_known(self, case_key)

    def read(self, case_key: bytes) -> tuple[NeedleList, Iterator[bytes]]:
        """The seal's list, and what lies in its parts."""
        annex = Annex(self.annex, self.case)
        listed = NeedleList.from_bytes(annex.read("needles", case_key, self.digest))
        return listed, (annex.read(name, case_key, digest) for name, digest in listed.parts)


@lru_cache(maxsize=1)
def _load_needles(source: NeedleSource, case_key: bytes) -> Needles:
    listed, parts = source.read(case_key)
    return sought.needles(parts, needle_key(case_key), listed.kinds)


@lru_cache(maxsize=1)
def _load_known(source: NeedleSource, case_key: bytes) -> sought.KnownSought:
    return sought.KnownSought(source.read(case_key)[1], needle_key(case_key))


def seal_partition(task: SealTask) -> PartitionResult:
    """Read a partition once: its chunks, the subjects in it, and what is sought, which goes to the annex."""
    memory = _recalled(task)
    result = _Sealing(task, memory).result()
    if task.run:  # not before: what an error kept from being written must be given again
        _memories.append(memory)
    return result


class _Sealing:
    """One partition being sealed."""

    def __init__(self, task: SealTask, memory: _Memory) -> None:
        self._task = task
        self._memory = memory
        self._hasher = _Hasher(task.case_key, task.target)
        self._values = _Values(memory, task.target)
        self._parts: list[tuple[str, str]] = []
        self._subjects: list[bytes] = []

    def result(self) -> PartitionResult:
        target = self._task.target
        with (
            naming(target.store),
            closing(target.opener(target.url, target.selection, target.around)) as reader,
        ):
            bytewise = reader if isinstance(reader, Bytewise) else None
            if bytewise is not None:
                bytewise.watch()
            behind(self._add, reader.batches(self._task.partition))
            content = None if bytewise is None else bytewise.content(self._task.partition)
        self._values.flush()
        self._write()
        subjects = b"".join(self._subjects)
        return PartitionResult(tuple(self._hasher.finish()), tuple(self._parts), subjects, content)

    def _add(self, batch: pa.RecordBatch) -> None:
        self._hasher.add(batch)
        self._values.add(batch)
        full = self._memory.size > MOST_REMEMBERED
        if full or self._memory.builder.waiting > MOST_WAITING:
            self._write()
        if full:
            self._memory.forget()

    def _write(self) -> None:
        """What was gathered since the last time, where there is any."""
        data = self._memory.builder.take()
        self._subjects.append(self._memory.subjects.take())
        if data is not None:
            name = f"{self._task.part}-{len(self._parts)}"
            self._parts.append((name, self._task.annex.write(name, self._task.case_key, data)))


class _Memory:
    """The values that a process has given in the run at hand: the same people are in every partition.

    When it is full it forgets, and gives them again: the annex then has them twice, which does no harm.
    """

    def __init__(self, task: SealTask) -> None:
        self._case_key = task.case_key
        self.run = (task.run, task.case_key, task.target.kinds)
        self.store = task.target.store
        self.builder = sought.SoughtBuilder(needle_key(task.case_key), task.target.kinds)
        self.subjects = Subjects(task.case_key)
        self.familiar = Familiar()  # rows whose needles and subject were given
        self._persons_alone = set(KINDS)  # whose numbers are all numbers of subjects

    def turn_to(self, store: str) -> None:
        """Partitions come store by store, and subjects are counted by store."""
        if store != self.store:
            self.store, self.subjects = store, Subjects(self._case_key)
            self.familiar.forget()
            self._persons_alone = set()

    def numbers(self, values: pa.Array, kind: str, *, subjects: bool) -> pa.Array:
        """Take the numbers among some values, which may name `subjects`; give the others.

        Where all numbers of a kind were subjects, one that is not new is no new subject: nobody is looked up
        twice.
        """
        fresh, others = self.builder.numbers(values, kind)
        if not subjects:
            self._persons_alone.discard(kind)
        elif kind in self._persons_alone:
            self.subjects.give(fresh)
            self.subjects.add(others)
        else:
            self.subjects.add(values)
        return others

    @property
    def size(self) -> int:
        return self.builder.size + self.subjects.size

    def forget(self) -> None:
        self.builder.forget()
        self.familiar.forget()
        self.subjects = Subjects(self._case_key)
        self._persons_alone = set(KINDS)


_memories: list[_Memory] = []  # of this process: one, or none


def _recalled(task: SealTask) -> _Memory:
    """The process's memory of this run; it is given back when the partition is sealed."""
    new = _Memory(task)
    while task.run and _memories:
        memory = _memories.pop()
        if memory.run == new.run:
            memory.turn_to(task.target.store)
            return memory
    return new


def seal_apart(task: SealTask) -> bytes:
    """`seal_partition` where there is no annex: its result, and documents for the annex, encrypted with the
    case key that the task carries."""
    carried = CarriedAnnex(task.annex.case)
    result = seal_partition(replace(task, annex=carried)).to_bytes()
    lengths = {name: len(document) for name, document in carried.documents.items()}
    head = json.dumps({"result": len(result), "documents": lengths}).encode()
    whole = b"".join([head, b"\n", result, *carried.documents.values()])
    return carried.encrypt(_apart(task), task.case_key, whole)[0]


def bring_home(task: SealTask, data: bytes) -> PartitionResult:
    """Put what `seal_apart` found into the annex, as if it had been found here.

    Raises: AnnexError for what was not made for this task with the case's key.
    """
    plain = task.annex.decrypt(_apart(task), task.case_key, data)
    head, _, rest = plain.partition(b"\n")
    about = json.loads(head)
    result, at = PartitionResult.from_bytes(rest[: about["result"]]), about["result"]
    digests = result.documents()
    if set(digests) != set(about["documents"]) or not all(name.startswith(task.part) for name in digests):
        raise AnnexError("what came back of a partition names other documents than it has")
    for name, length in about["documents"].items():
        task.annex.keep(name, task.case_key, rest[at : at + length], digests[name])
        at += length
    return result


def _apart(task: SealTask) -> str:
    return f"apart {task.part}"


def leaves(column: pa.Array) -> Iterator[pa.Array]:
    """The values that a column holds, at whatever depth, as texts, bytes and integers.

    Mixed columns, lists and structs in their parts; dates, times and decimals as they are written, and types
    of a store's own where they have a spelling.
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        yield from parts(column) or leaves(column.storage)
    elif pa.types.is_union(kind):
        for child, _, places in union_places(column):
            yield from leaves(child.take(pa.array(places)))
    elif pa.types.is_struct(kind):
        for part in column.flatten():
            yield from leaves(part)
    elif pa.types.is_map(kind):
        yield from leaves(column.keys)
        yield from leaves(column.items)
    elif pa.types.is_nested(kind):
        yield from leaves(column.flatten())
    elif (pa.types.is_temporal(kind) and not pa.types.is_interval(kind)) or pa.types.is_decimal(kind):
        yield column.cast(pa.string())
    elif not (pa.types.is_interval(kind) or pa.types.is_boolean(kind) or pa.types.is_floating(kind)):
        yield column


def numbers_in(texts: pa.Array) -> dict[str, pa.Array]:
    """Identity numbers and mobile numbers that stand inside free text, lines and JSON, by needle kind.

    A line is one record, and its middle one needle; but a person in it is found elsewhere by number.
    """
    texts = pc.drop_null(texts)
    if not (len(texts) and (pa.types.is_binary(texts.type) or pa.types.is_string(texts.type))):
        return {}
    joined = pc.binary_join(pa.ListArray.from_arrays([0, len(texts)], texts.cast(pa.binary())), b"\n")
    data = joined[0].as_buffer()
    found = {kind: sorted(set(shape.findall(data))) for kind, shape in _SHAPES.items()}
    return {kind: pa.array(numbers, pa.binary()) for kind, numbers in found.items() if numbers}


_SHAPES = {
    "id": re.compile(rb"(?<![0-9])[1-9][0-9]{16}[0-9Xx](?![0-9])"),
    "phone": re.compile(rb"(?<![0-9])1[3-9][0-9]{9}(?![0-9])"),
}


_Which: TypeAlias = tuple[int, str, str]  # column, kind, Arrow type


class _Values:
    """Hands the values of needle columns to the memory: numbers as they come, others about once.

    The same persons come in every batch; making the forms of a value costs a hundred times as much as
    seeing that it was there before. Columns not known to be personal give a few thousand values each.
    """

    def __init__(self, memory: _Memory, target: Target) -> None:
        self._memory = memory
        self._columns = target.needles
        self._subject = target.subject
        self._pending: dict[_Which, list[pa.Array]] = {}
        self._loose = dict.fromkeys((c for c, kind in self._columns if kind in LOOSE_KINDS), 0)
        self._personal = {c: kind for c, kind in self._columns if c not in self._loose}
        subjects = () if self._subject is None else (self._subject,)
        self._persons = [*dict.fromkeys([*self._personal, *subjects])]

    def add(self, batch: pa.RecordBatch) -> None:
        for column, kind in self._columns:
            if column in self._loose and (kind == "text" or self._loose[column] < LOOSE_NEEDLES):
                for part in leaves(batch.column(column)):
                    self._add_loose(column, kind, pc.unique(part))
        for column, values in self._strange(batch):
            if column not in self._personal:
                self._memory.subjects.add(values)
                continue
            for part in leaves(values):
                self._take(column, self._personal[column], part, subjects=column == self._subject)

    def _strange(self, batch: pa.RecordBatch) -> Iterator[tuple[int, pa.Array]]:
        """The columns of persons, where they may have a value that is not there yet."""
        columns = {column: batch.column(column) for column in self._persons}
        told = {column: values for column, values in columns.items() if Familiar.tells(values)}
        kinds = [(self._personal.get(c, ""), c == self._subject, str(told[c].type)) for c in told]
        rows = self._memory.familiar.strange([*told.values()], (*kinds,))
        for column, values in columns.items():
            if column not in told or rows is None:
                yield column, values
            elif len(rows):
                yield column, values.take(pa.array(rows))

    def flush(self) -> None:
        for which in self._pending:
            self._settle(which)

    def _add_loose(self, column: int, kind: str, values: pa.Array) -> None:
        for found, numbers in numbers_in(values).items() if kind == "text" else ():
            self._take(column, found, numbers)
        chosen = values.slice(0, max(0, LOOSE_NEEDLES - self._loose[column]))
        self._loose[column] += len(chosen)
        self._take(column, kind, chosen)

    def _take(self, column: int, kind: str, values: pa.Array, *, subjects: bool = False) -> None:
        rest = self._memory.numbers(values, kind, subjects=subjects)
        if not len(rest):
            return
        which = (column, kind, str(rest.type))
        self._pending.setdefault(which, []).append(pc.unique(rest))
        if sum(map(len, self._pending[which])) > PENDING_VALUES:
            self._settle(which)

    def _settle(self, which: _Which) -> None:
        pending, self._pending[which] = self._pending[which], []
        if pending:
            self._memory.builder.add(pc.unique(pa.chunked_array(pending)), which[1])


def partition_chunks(case_key: bytes, target: Target, batches: Iterable[pa.RecordBatch]) -> list[Chunk]:
    """The chunks of a partition's records in the order that is sealed."""
    hasher = _Hasher(case_key, target)
    for batch in batches:
        hasher.add(batch)
    return hasher.finish()


def places(chunks: Iterable[int]) -> list[tuple[int, int]]:
    """Where the records of these chunks are in their partition, [first, end): of its last one, and what came
    behind it."""
    return [(number * CHUNK_RECORDS, (number + 1) * CHUNK_RECORDS) for number in chunks]


def batches_at(
    reader: Reader, partition: Partition, wanted: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """As `store.Skipping.batches_at`; all of them where a reader cannot skip any."""
    if isinstance(reader, Skipping):
        yield from reader.batches_at(partition, wanted)
        return
    at = 0
    for batch in reader.batches(partition):
        yield at, batch
        at += batch.num_rows


def chunks_at(
    case_key: bytes,
    target: Target,
    batches: Iterable[tuple[int, pa.RecordBatch]],
    wanted: Sequence[tuple[int, int]],
) -> list[Chunk | None]:
    """The chunk that the records at each of these places are, None where there are none. For collections that
    are sealed in the order in which they are read."""
    digester = Digester(record_key(case_key, target.store, target.collection))
    gathered: list[list[tuple[Digests, Longs]]] = [[] for _ in wanted]
    for at, batch in batches:
        for nth, low, high in within(at, batch.num_rows, wanted):
            gathered[nth].append(digester.digests(batch.slice(low, high - low)))
    whole = [sum(len(digests) for digests, _ in mine) == CHUNK_RECORDS for mine in gathered]
    together = iter(_chunks([part for mine in itertools.compress(gathered, whole) for part in mine]))
    return [
        next(together) if is_whole else next(iter(_chunks(mine)), None)
        for mine, is_whole in zip(gathered, whole, strict=True)
    ]


def _chunks(digested: Sequence[tuple[Digests, Longs]]) -> list[Chunk]:
    """The chunks of digests one after the other. The kernel takes as long for one as for sixteen."""
    chunker = Chunker()
    done = [chunk for digests, lengths in digested for chunk in chunker.add(digests, lengths)]
    return done + chunker.finish()


class SealedPartition:
    """What was sealed for one partition. `begun` is the list of digests of one that was begun; none is
    gathered where the store proves by itself what remains (`listed`)."""

    def __init__(
        self,
        case_key: bytes,
        target: Target,
        chunks: Sequence[ChunkSeal],
        begun: bytes | None = None,
        *,
        listed: bool = True,
        content: bytes | None = None,
    ) -> None:
        self._case_key = case_key
        self._target = target
        self._chunks = [(c.records, c.bytes, c.hash) for c in chunks]
        self._begun = begun
        self._content = content
        self._keep = self.records if listed and self.records <= KEPT_DIGESTS else 0
        self._accepted = as_digests(b"")

    @property
    def records(self) -> int:
        return sum(count for count, _, _ in self._chunks)

    def holds(self, content: bytes) -> bool:
        """Whether these are the bytes (`store.Bytewise`) that the records were read from."""
        return content == self._content

    def check(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Raises: DriftError unless the batches are exactly what was sealed."""
        hasher = _Hasher(self._case_key, self._target, keep=self._keep)
        behind(hasher.add, batches)
        found = [(c.records, c.bytes, c.hash) for c in hasher.finish()]
        if found != self._chunks:
            have, had = sum(count for count, _, _ in found), self.records
            what = f"{had} records were sealed, {have} are there" if have != had else "records were changed"
            raise DriftError(
                f"collection {self._target.ordinal} of store {self._target.store} is not as it was "
                f"sealed: {what}",
                hint="take it out with an amended plan (cenotaph plan), or survey and seal again",
            )
        self._accepted = hasher.seen()

    @property
    def digests(self) -> bytes:
        """Of the records that `check` accepted, 32 bytes each, ascending; empty where none are `listed`, and
        for partitions of more than KEPT_DIGESTS records."""
        seen = self._accepted
        return seen[ascending(seen)].tobytes() if len(seen) == self.records else b""

    def forget(self) -> None:
        """Let go of `digests`."""
        self._accepted = as_digests(b"")

    def check_remaining(self, batches: Iterable[pa.RecordBatch]) -> int:
        """Raises: DriftError unless every record is one of those that were sealed, as often at most."""
        if self._begun is None or (not self._begun and self.records):
            raise DriftError("a begun partition has no list of digests", hint="amend the plan")
        allowed = as_digests(self._begun)
        hasher = _Hasher(self._case_key, self._target, keep=len(allowed) + 1)
        behind(hasher.add, batches)
        seen = hasher.seen()
        if _has_more(seen, allowed):
            raise DriftError(
                f"collection {self._target.ordinal} of store {self._target.store} holds records, in a "
                "partition that was begun, that were not sealed",
                hint="take it out with an amended plan (cenotaph plan)",
            )
        return len(seen)


def _has_more(seen: Digests, allowed: Digests) -> bool:
    """Whether a digest was seen more often than it is allowed."""
    both = np.concatenate([allowed, seen])
    order = ascending(both)
    both = both[order]
    firsts = np.ones(len(both), np.bool_)
    firsts[1:] = (both[1:] != both[:-1]).any(axis=1)
    left = np.add.reduceat(np.where(order < len(allowed), 1, -1), np.flatnonzero(firsts))
    return bool((left < 0).any())


class Subjects:
    """Distinct persons, by the column that names them: numbers as words (`sought`), others as keyed 64-bit
    fingerprints."""

    def __init__(self, case_key: bytes) -> None:
        self._key = HKDFExpand(SHA256(), 32, b"cenotaph/v1 subjects").derive(case_key)
        self._seen = Distinct()
        self._given: list[npt.NDArray[np.uint64]] = []

    def add(self, column: pa.Array) -> None:
        for part in leaves(column):
            _, others = add_numbers(self._seen, part, fold=True)
            if len(others):
                self._seen.add(self._fingerprints(others))

    def give(self, words: npt.NDArray[np.uint64]) -> None:
        """Those that have these numbers, as `sought.split` gives them, without remembering them."""
        self._given.append(folded(words))

    def take(self) -> bytes:
        """Those that came since this was last asked, as uint64. What was added is given no more."""
        given, self._given = self._given, []
        return np.concatenate([self._seen.fresh(), *given]).tobytes()

    @property
    def size(self) -> int:
        """How many are remembered, at most."""
        return self._seen.size

    def _fingerprints(self, values: pa.Array) -> npt.NDArray[np.uint64]:
        by = kernel.found()
        if by is not None and kernel.has_values(values.type):
            words, there = by.fingerprints(values, self._key, fold=True)
            return words[there > 0].byteswap()
        distinct = pc.unique(values).to_pylist()
        digests = b"".join(self._fingerprint(value) for value in distinct if value is not None)
        return np.frombuffer(digests, ">u8").astype(np.uint64)

    def _fingerprint(self, value: object) -> bytes:
        plain = value if isinstance(value, bytes) else str(value).encode()
        return hashlib.blake2b(plain.strip().upper(), digest_size=8, key=self._key).digest()


class Persons:
    """How many distinct subjects several partitions have together: `len`."""

    def __init__(self) -> None:
        self._seen = Distinct()

    def add(self, subjects: bytes) -> None:
        self._seen.add(np.frombuffer(subjects, np.uint64))
        self._seen.fresh()  # asked for by nobody

    def __len__(self) -> int:
        return len(self._seen)

    @classmethod
    def together(cls, several: Collection[Persons]) -> int:
        """How many distinct subjects these have."""
        if len(several) == 1:
            return len(*several)
        every = cls()
        for persons in several:
            every.add(persons._seen.words().tobytes())
        return len(every)


def behind(work: Callable[[pa.RecordBatch], None], batches: Iterable[pa.RecordBatch]) -> None:
    """Give each batch to `work`, in order and in another thread, while the next ones are read.

    Decoding and digesting take about as long, and neither holds Python's lock for most of it. An error of
    `work` is raised here, perhaps some batches later.
    """

    def one_by_one(several: list[pa.RecordBatch]) -> None:
        for batch in several:
            work(batch)

    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[None]] = deque()
        for several in _gathered(batches):
            waiting.append(pool.submit(one_by_one, several))
            if len(waiting) > BATCHES_AHEAD:
                waiting.popleft().result()
        for one in waiting:
            one.result()


def _gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Batches as they come, small ones together."""
    several: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        several.append(batch)
        rows += batch.num_rows
        if rows < GATHERED_ROWS:
            size += batch.nbytes
        if rows >= GATHERED_ROWS or size >= GATHERED_BYTES:
            yield several
            several, rows, size = [], 0, 0
    if several:
        yield several


class _Hasher:
    """Digests and chunks of one partition, in key order or, without a key, in digest order.

    `seen` gives the first `keep` digests.
    """

    def __init__(self, case_key: bytes, target: Target, *, keep: int = 0) -> None:
        self._digester = Digester(record_key(case_key, target.store, target.collection))
        self._chunker = Chunker()
        self._chunks: list[Chunk] = []
        self._unordered: list[tuple[Digests, Longs]] | None = [] if target.order == "digest" else None
        self._wanted = keep
        self._seen: list[Digests] = []

    def add(self, batch: pa.RecordBatch) -> None:
        if self._unordered is not None:
            digests, lengths = self._digester.digests(batch)
            self._unordered.append((digests, lengths))
        else:
            digests, lengths = self._chunker.room(batch.num_rows)
            self._digester.write(batch, digests, lengths)
        if self._wanted:
            self._seen.append(digests[: self._wanted].copy())
            self._wanted -= len(self._seen[-1])
        if self._unordered is None:
            self._chunks += self._chunker.filled(batch.num_rows)

    def seen(self) -> Digests:
        return np.concatenate([as_digests(b""), *self._seen])

    def finish(self) -> list[Chunk]:
        if self._unordered:
            digests, lengths = (np.concatenate(parts) for parts in zip(*self._unordered, strict=True))
            order = ascending(digests)
            self._chunks += self._chunker.add(digests[order], lengths[order])
        return self._chunks + self._chunker.finish()
