"""Scope and holds: what becomes of each record of a collection (spec/scope.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cenotaph.errors import UsageError
from cenotaph.scope._columns import Bools, as_bytes, as_text, byte_set, flags, parts
from cenotaph.scope._logic import Predicate


class Masks(NamedTuple):
    """What a selection says of each row of a batch. Neither mask set: out of scope, kept."""

    selected: Bools
    held: Bools
    unconverted: int  # rows with a value that a condition could not convert, hence UNKNOWN


class Counts(NamedTuple):
    """How many records a selection takes, and what stays because of a hold or of the scope."""

    selected: int
    held: int
    kept: int
    unconverted: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Records that stay whatever else is in scope: those that meet every condition given.

    Where `rows` is UNKNOWN the record is held: an erasure cannot be taken back.
    """

    collections: tuple[str, ...] = ("*",)
    rows: Predicate | None = None
    subjects: frozenset[str] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Selection:
    """The scope of one store. Patterns are those of `fnmatchcase`, or a collection's exact name."""

    collections: tuple[str, ...] = ("*",)
    rows: Predicate | None = None
    subjects: frozenset[str] | None = field(default=None, repr=False)
    subject_columns: Mapping[str, str] = field(default_factory=dict)  # collection pattern → column
    holds: tuple[Hold, ...] = ()

    def includes(self, collection: str) -> bool:
        """Whether the collection's name is in scope; rows of it may still be kept."""
        return _matches(collection, self.collections)

    def whole(self, collection: str, columns: Sequence[str]) -> bool:
        """Whether every record of the collection is selected, whatever it says.

        Raises:
            UsageError: a subject list applies, and the collection has no column for it.
        """
        if not self.includes(collection):
            return False
        holds = [hold for hold in self.holds if _matches(collection, hold.collections)]
        for subjects in (self.subjects, *(hold.subjects for hold in holds)):
            if subjects is not None and self._subject_column(collection) not in columns:
                raise _no_subject_column()
        return self.rows is None and self.subjects is None and not holds

    def needed(self, collection: str, columns: Sequence[str]) -> list[int]:
        """The places of the columns that decide about rows, and perhaps of others: enough for `masks`."""
        texts = [
            condition.text.casefold()
            for condition in (self.rows, *(hold.rows for hold in self.holds))
            if condition is not None
        ]
        if self.subjects is not None or any(hold.subjects is not None for hold in self.holds):
            texts.append(next(iter(self._subject_columns(collection)), "").casefold())
        return [
            place
            for place, name in enumerate(columns)
            if any(name.casefold().replace('"', '""') in text or name.casefold() in text for text in texts)
        ]

    def masks(self, collection: str, batch: pa.RecordBatch) -> Masks:
        """Decide each row of a batch.

        Raises:
            UsageError: a condition or subject list that applies does not fit the batch's columns.
        """
        nothing = np.zeros(batch.num_rows, dtype=np.bool_)
        if not self.includes(collection):
            return Masks(nothing, nothing.copy(), 0)
        in_scope, unconverted = self._in_scope(collection, batch)
        held = nothing
        for hold in self.holds:
            if _matches(collection, hold.collections):
                rows, failed = self._holds(hold, collection, batch)
                held = held | rows
                unconverted = unconverted | failed
        return Masks(in_scope & ~held, in_scope & held, int(np.count_nonzero(unconverted)))

    def count(self, collection: str, batches: Iterable[pa.RecordBatch]) -> Counts:
        """Decide each row of all batches. Raises: as `masks`."""
        total = np.zeros(4, dtype=np.int64)
        for batch in batches:
            masks = self.masks(collection, batch)
            selected, held = int(np.count_nonzero(masks.selected)), int(np.count_nonzero(masks.held))
            total += (selected, held, batch.num_rows - selected - held, masks.unconverted)
        return Counts(*total.tolist())

    def _in_scope(self, collection: str, batch: pa.RecordBatch) -> tuple[Bools, Bools]:
        chosen, unconverted = (
            np.ones(batch.num_rows, dtype=np.bool_),
            np.zeros(batch.num_rows, dtype=np.bool_),
        )
        if self.rows is not None:
            chosen, _, unconverted = self.rows.evaluate(batch)
        if self.subjects is not None:
            chosen = chosen & self._listed(self.subjects, collection, batch)
        return chosen, unconverted

    def _holds(self, hold: Hold, collection: str, batch: pa.RecordBatch) -> tuple[Bools, Bools]:
        chosen, unconverted = (
            np.ones(batch.num_rows, dtype=np.bool_),
            np.zeros(batch.num_rows, dtype=np.bool_),
        )
        if hold.rows is not None:
            _, false, unconverted = hold.rows.evaluate(batch)
            chosen = ~false  # UNKNOWN is held
        if hold.subjects is not None:
            chosen = chosen & self._listed(hold.subjects, collection, batch)
        return chosen, unconverted

    def _listed(self, subjects: frozenset[str], collection: str, batch: pa.RecordBatch) -> Bools:
        found = batch.schema.get_all_field_indices(self._subject_column(collection))
        if len(found) != 1:
            raise _no_subject_column()
        return _members(batch.column(found[0]), _subject_set(subjects))

    def _subject_column(self, collection: str) -> str:
        for column in self._subject_columns(collection):
            return column
        raise _no_subject_column()

    def _subject_columns(self, collection: str) -> Iterator[str]:
        """The one that is mapped to the name, then those of patterns that match it."""
        if collection in self.subject_columns:
            yield self.subject_columns[collection]
        yield from (c for pattern, c in self.subject_columns.items() if fnmatchcase(collection, pattern))


EVERYTHING: Final = Selection()


def _matches(collection: str, patterns: Sequence[str]) -> bool:
    return any(collection == pattern or fnmatchcase(collection, pattern) for pattern in patterns)


def _no_subject_column() -> UsageError:
    return UsageError(
        "a list of subjects applies to a collection that has no subject column",
        hint='name it in the case file: subject = { "collection" = "column" }, '
        "or narrow the list to collections that have one",
    )


@lru_cache(maxsize=16)
def _subject_set(subjects: frozenset[str]) -> pa.Array:
    return byte_set(sorted({subject.strip() for subject in subjects} - {""}))


def listed(array: pa.Array, subjects: Sequence[str]) -> npt.NDArray[np.int64]:
    """For each value of a column its place in a list of subjects without surrounding white space, or -1:
    not listed, or neither text nor integer."""
    found = np.full(len(array), -1, dtype=np.int64)
    values = byte_set(subjects)
    for where, part in parts(array):
        if (text := as_text(part)) is not None:
            found[where] = pc.fill_null(pc.index_in(_stripped(text), values), -1).to_numpy()
    return found


def _members(array: pa.Array, subjects: pa.Array) -> Bools:
    """Whether each value, as text without surrounding white space, is listed."""
    found = np.zeros(len(array), dtype=np.bool_)
    for where, part in parts(array):
        if (text := as_text(part)) is not None:
            found[where] = flags(pc.is_in(_stripped(text), subjects))
        elif not pa.types.is_null(part.type) and not pa.types.is_union(array.type):
            raise UsageError("the subject column of a collection is neither text nor integer")
    return found


def _stripped(array: pa.Array) -> pa.Array:
    """Bytes that are not UTF-8 lose ASCII white space alone."""
    try:
        return pc.utf8_trim_whitespace(as_bytes(array).cast(pa.large_string())).cast(pa.large_binary())
    except pa.ArrowInvalid:
        return pa.array([_strip(raw) for raw in as_bytes(array).to_pylist()], pa.large_binary())


def _strip(raw: bytes | None) -> bytes | None:
    if raw is None:
        return None
    try:
        return raw.decode().strip().encode()
    except UnicodeDecodeError:
        return raw.strip()
