"""Needles: keyed fingerprints of destroyed values, and the search for them in bytes of any kind.

What surprised the author: an identity number kept as an integer has no digit in the file, so a text search
is blind to it; and most of the time of a search goes not into finding but into not finding. So each value
is searched in every encoding a store may have used, and a byte of data costs one multiplication and one
look into a table (a window of the value is hashed as in Rabin and Karp, "Efficient randomized
pattern-matching algorithms", 1987); only what passes is hashed whole, with keyed BLAKE2b (RFC 7693).

Numbers are kept and sought as they are (`numbers`); of all else no value is kept. But short values can be
guessed: whoever has `Needles`, which contain their key, can test guesses. Encrypt them at rest, and destroy
them after the probe.

Not searched, and counted in `Needles.skipped`: an encoding shorter than 6 bytes; text that repeats one
character; integers below 2**32 as binary, whose few significant bytes occur everywhere by chance; bytes of
which fewer than 5 are not zero, such as a point at two whole numbers, for the same reason.
Forms that one kind of store alone writes are sought where a case has such a store (`FORMS`).
Of a text longer than `LONGEST` characters its middle is searched; of a path also the file's name alone, where
it is not plain ASCII.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cenotaph import kernel
from cenotaph.errors import UsageError
from cenotaph.residue import postgres_forms
from cenotaph.residue.numbers import Distinct, Numbers, are_words, distinct, in_sorted, split, texts

FORMS: Mapping[str, Callable[[str], Iterator[tuple[str, bytes | None]]]] = {
    "postgresql": postgres_forms.of,
}
"""By kind of store: forms in which it writes the value of a text beside those that are common to all."""
KINDS = ("id", "phone", "name", "address", "email", "text", "blob", "path", "geo", "number")
SHAPES = ("identity number shape", "mobile number shape")
LABELS = (*KINDS, *SHAPES)
"""What a match may be of: a needle of some kind, or bytes shaped as a person (`shapes`)."""
ENCODINGS = (
    *("utf-8", "utf-16le", "utf-16be", "gb18030", "int64le", "int64be", "int48be", "bytes"),
    *("numericle", "numericbe", "uuid", "inet", "macaddr"),
)
SHORTEST = 6  # bytes
LONGEST = 64  # characters of a text, bytes of a blob
VALUES_AT_A_TIME = 65_536
_FEW_LOTS = 64  # of values that are looked through one after another
_FULL = 5  # bytes of a blob that are not zero: a column of small numbers has any four of them

_MAGIC = b"cenotaph needles v3\n"
_PERSON = b"cenotaph needle"
_WIDTHS = (16, 8, 6)
# Classes of windows: width, and where in it the six bytes lie that are looked up first. The upper bytes of a
# little-endian integer are zeros, so there they are the lower ones.
_CLASSES = ((16, 10), (8, 2), (8, 0), (6, 0))
_PIECE = 1 << 18  # bytes searched at once: the working arrays stay in a core's cache
_FEW = 4096  # bytes that are searched in one go: numpy's overhead counts more than memory
_MANY = 2  # in a filter slot: several windows; else an odd tag
_SLOT_BITS = 26
_BELOW = np.uint64((1 << (64 - _SLOT_BITS)) - 1)
_SIX = np.uint64((1 << 48) - 1)
_INT64LE = ENCODINGS.index("int64le")
_LITTLE, _BIG = ENCODINGS.index("utf-16le"), ENCODINGS.index("utf-16be")

_Words: TypeAlias = npt.NDArray[np.uint64]
_Ints: TypeAlias = npt.NDArray[np.int64]
_Marks: TypeAlias = npt.NDArray[np.uint8]
_Pairs: TypeAlias = npt.NDArray[np.int64]
_NONE: _Ints = np.zeros(0, dtype=np.int64)
_NO_WORDS: _Words = np.zeros(0, dtype=np.uint64)
_NO_PAIRS: _Pairs = np.zeros((0, 2), dtype=np.int64)
_NO_MARKS: _Marks = np.zeros(0, dtype=np.uint8)

# One encoded form of one value: keyed hashes of the form and of its value, of the window that begins at
# `window` in the form, and (`slot`) of six bytes of that window.
_FORM = np.dtype(
    [
        ("whole", "<u8"),
        ("needle", "<u8"),
        ("tag", "<u8"),
        ("slot", "<u4"),
        ("window", "<u2"),
        ("length", "<u2"),
        ("encoding", "u1"),
        ("kind", "u1"),
    ]
)
_Forms: TypeAlias = np.ndarray[tuple[int], np.dtype[np.void]]


@dataclass(frozen=True, slots=True)
class Matches:
    """What a search found, as columns: where, how long, in which encoding, of which kind, and what."""

    start: _Ints
    length: _Ints
    encodings: _Marks  # ordinals in `ENCODINGS`
    kinds: _Marks  # ordinals in `LABELS`
    what: _Ints  # ordinal of the needle; for shapes a fingerprint below zero

    @property
    def encoding(self) -> tuple[str, ...]:
        """The encodings by their names."""
        return tuple(ENCODINGS[code] for code in self.encodings.tolist())

    @property
    def kind(self) -> tuple[str, ...]:
        """The kinds by their names."""
        return tuple(LABELS[code] for code in self.kinds.tolist())

    def only(self, chosen: npt.NDArray[np.bool_]) -> Matches:
        """Those that are chosen."""
        if chosen.all():
            return self
        return Matches(
            self.start[chosen],
            self.length[chosen],
            self.encodings[chosen],
            self.kinds[chosen],
            self.what[chosen],
        )


def joined(parts: Sequence[Matches]) -> Matches:
    """One after the other."""
    if len(parts) == 1:
        return parts[0]
    return Matches(
        np.concatenate([part.start for part in parts]),
        np.concatenate([part.length for part in parts]),
        np.concatenate([part.encodings for part in parts]),
        np.concatenate([part.kinds for part in parts]),
        np.concatenate([part.what for part in parts]),
    )


class NeedleBuilder:
    """Collects values batch by batch, and forgets them at once."""

    def __init__(self, key: bytes, stores: Collection[str] = ()) -> None:
        """`key` is 32 random bytes; needles can be merged with those of the same key only. `stores` are the
        kinds of stores (URL schemes) in whose own forms a value is sought, too."""
        if len(key) != 32:
            raise UsageError(f"a needle key is 32 bytes long, this one has {len(key)}")
        self._key = key
        self._hash = _Hash(key)
        self._own = tuple(FORMS[kind] for kind in sorted(stores) if kind in FORMS)
        self._known: _Words = np.zeros(0, dtype=np.uint64)
        self._fresh: list[_Words] = []
        self._forms: list[_Forms] = []
        self._skipped: Counter[str] = Counter()
        self._numbers: dict[int, Distinct] = {}
        self._given: _Words = _NO_WORDS  # what `take` gave, sorted

    @property
    def size(self) -> int:
        """How many values are remembered, at most."""
        return (
            len(self._known) + sum(map(len, self._fresh)) + sum(each.size for each in self._numbers.values())
        )

    def add_numbers(self, words: _Words, kind: str) -> None:
        """Add numbers (`numbers.split`)."""
        self._numbers.setdefault(_kind_code(kind), Distinct()).add(words)

    def add(self, values: pa.Array | pa.ChunkedArray, kind: str) -> None:
        """Add the values of one column: strings, binary, integers, or a dictionary of them.

        Nulls and empty values are passed over. Binary columns of a text kind are taken as UTF-8 where
        they are UTF-8, else as bytes. Raises `UsageError` for other types and unknown kinds.
        """
        code = _kind_code(kind)
        chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
        for chunk in chunks:
            for at in range(0, len(chunk), VALUES_AT_A_TIME):
                self._add(chunk.slice(at, VALUES_AT_A_TIME), code)

    def finish(self) -> Needles:
        """The needles of all values added so far. The builder can go on."""
        self._settle()
        forms = np.concatenate(self._forms) if self._forms else np.zeros(0, dtype=_FORM)
        numbers = _numbers(
            self._hash,
            [(code, numbers.words()) for code, numbers in self._numbers.items()],
            postgres=postgres_forms.of in self._own,
        )
        return Needles(self._key, self._known, _sorted_forms(forms), numbers, Counter(self._skipped))

    def of_numbers(self, by_kind: Sequence[tuple[str, _Words]]) -> Needles:
        """Needles of numbers alone, which ascend, each once a kind: as they come, none is looked up."""
        coded = [(_kind_code(kind), words) for kind, words in by_kind]
        own = postgres_forms.of in self._own
        numbers = _numbers(self._hash, coded, postgres=own)
        return Needles(self._key, _NO_WORDS, np.zeros(0, dtype=_FORM), numbers)

    def take(self) -> Needles:
        """The needles of the values that came since this was last asked. The builder remembers those, and
        gives them no more."""
        self._settle()
        names = self._known[~in_sorted(self._given, self._known)]
        numbers = [(code, numbers.fresh()) for code, numbers in self._numbers.items()]
        forms = np.concatenate([np.zeros(0, dtype=_FORM), *self._forms])
        skipped, self._given, self._forms, self._skipped = self._skipped, self._known, [], Counter()
        own = postgres_forms.of in self._own
        return Needles(
            self._key, names, _sorted_forms(forms), _numbers(self._hash, numbers, postgres=own), skipped
        )

    @property
    def waiting(self) -> int:
        """How many values `take` would give, at most."""
        numbers = sum(each.waiting for each in self._numbers.values())
        return len(self._known) + sum(map(len, self._fresh)) - len(self._given) + numbers

    def _add(self, values: pa.Array, kind: int) -> None:
        if KINDS[kind] != "blob" and len(values):
            words, values = split(values)
            self.add_numbers(words, KINDS[kind])
        distinct = list(_plain(self._add_quickly(values, kind), KINDS[kind]))
        names = self._hash.wholes(plain for plain, _ in distinct)
        _, first = np.unique(names, return_index=True)
        first = first[~self._has_seen(names[first])]
        forms, codes = [], []
        for nth in first.tolist():
            for encoding, form in self._forms_of(*distinct[nth]):
                if form is None or len(form) < SHORTEST:
                    self._skipped[ENCODINGS[encoding]] += 1
                else:
                    forms.append(form)
                    codes.append((nth, encoding))
        if forms:
            self._forms.append(_rows(self._hash, forms, codes, names, kind))
        self._fresh.append(names[first])
        if len(self._fresh) > _FEW_LOTS or sum(map(len, self._fresh)) > 4 * VALUES_AT_A_TIME:
            self._settle()

    def _add_quickly(self, values: pa.Array, kind: int) -> pa.Array:
        """Add what the kernel knows the forms of, most identifiers; give the values that are left."""
        by = kernel.found()
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if by is None or KINDS[kind] in ("blob", "path") or self._own not in ((), (postgres_forms.of,)):
            return values
        if not kernel.has_values(values.type):
            return values
        names, there = by.fingerprints(values, self._key, _PERSON)
        rows = np.flatnonzero(there == kernel.NOT_EMPTY)
        names, first = np.unique(names[rows], return_index=True)
        new = ~self._has_seen(names)
        rows, names = rows[first[new]], names[new]
        made = by.forms(
            values,
            _national(values.take(pa.array(rows))),
            rows,
            names,
            kind,
            self._hash.secrets,
            from_start=KINDS[kind] == "email",
            postgres=bool(self._own),
        )
        done = np.frombuffer(made.done, np.bool_)
        self._forms.append(np.frombuffer(made.rows, _FORM))
        self._fresh.append(names[done])
        self._skipped += Counter(dict(zip(ENCODINGS, made.skipped, strict=True)))
        return values.take(pa.array(rows[~done]))

    def _has_seen(self, names: _Words) -> npt.NDArray[np.bool_]:
        seen = in_sorted(self._known, names)
        for fresh in self._fresh:
            seen |= in_sorted(fresh, names)
        return seen

    def _forms_of(self, plain: bytes, text: str | None) -> Iterator[tuple[int, bytes | None]]:
        yield from _forms_of(plain, text)
        if text is None or len(text) > LONGEST:
            return
        for forms in self._own:
            yield from ((ENCODINGS.index(encoding), form) for encoding, form in forms(text))

    def _settle(self) -> None:
        """Sort what came lately into what is known: a value is looked up, never added twice."""
        self._known = np.sort(np.concatenate([self._known, *self._fresh]))
        self._fresh = []


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Which values are needles, and nothing to search for them with. `len` counts them."""

    _key: bytes = field(repr=False)
    _names: _Words = field(repr=False)  # sorted keyed hashes of the values

    @classmethod
    def of(cls, key: bytes, values: Iterable[pa.Array], needles: Iterable[Needles]) -> Known:
        """Some texts, and what is known already under the same key."""
        names = [_names_of(key, texts) for texts in values]
        for known in needles:
            names += [known._names, _names_of(key, texts(known._numbers.words))]
        return cls(key, distinct(np.concatenate([_NO_WORDS, *names])))

    def __len__(self) -> int:
        return len(self._names)

    def contains(self, values: pa.Array | pa.ChunkedArray, kind: str) -> npt.NDArray[np.bool_]:
        """Which of these values are needles, whatever kind they were added as. Nulls are not."""
        _kind_code(kind)
        chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
        values_ = [plain for chunk in chunks for plain in _plain_or_none(chunk, kind)]
        found = in_sorted(self._names, _Hash(self._key).wholes(plain or b"" for plain in values_))
        present = np.array([plain is not None for plain in values_], dtype=bool)
        return np.asarray(found & present, dtype=bool)


@dataclass(frozen=True, slots=True, eq=False)
class Needles:
    """Numbers, and keyed fingerprints of other values, ready to be searched for. `len` counts distinct
    values."""

    _key: bytes = field(repr=False)
    _names: _Words = field(repr=False)  # sorted keyed hashes of the values that are no numbers
    _forms: _Forms = field(repr=False)
    _numbers: Numbers = field(repr=False)
    _skipped: Counter[str] = field(default_factory=Counter)
    _tables: list[_Filter] = field(default_factory=list, repr=False)  # built at the first search

    def __len__(self) -> int:
        return len(self._names) + len(self._numbers)

    @property
    def longest(self) -> int:
        """Bytes of the longest form searched for."""
        longest = int(self._forms["length"].max()) if len(self._forms) else SHORTEST
        return max(longest, self._numbers.longest)

    @property
    def fingerprints(self) -> int:
        """How many encoded forms there are in memory: numbers have none."""
        return len(self._forms)

    @property
    def skipped(self) -> Counter[str]:
        """By encoding, the values that are not sought in it."""
        numbers = {ENCODINGS[code]: count for code, count in self._numbers.skipped.items()}
        return self._skipped + Counter(numbers)

    @property
    def numbers(self) -> Numbers:
        """Those of the values that are numbers."""
        return self._numbers

    def among(self, others: Iterable[Needles | _Words]) -> Needles:
        """Those that others have too, whatever their kind: needles of the same key, or numbers, ascending."""
        names = np.zeros(len(self._names), np.bool_)
        numbers = np.zeros(len(self._numbers), np.bool_)
        for other in others:
            if isinstance(other, Needles):
                names |= in_sorted(other._names, self._names)
            words = other._numbers.words if isinstance(other, Needles) else other
            numbers |= in_sorted(words, self._numbers.words)
        return self._only(names, numbers)

    def ordinals_in(self, whole: Needles) -> _Ints:
        """Which of the whole, that has them all, each of these is."""
        names = np.searchsorted(whole._names, self._names)
        numbers = np.searchsorted(whole._numbers.words, self._numbers.words)
        return np.concatenate([names, numbers + len(whole._names)]).astype(np.int64)

    def only(self, chosen: Collection[int]) -> Needles:
        """Those with these ordinals (`Matches.what`)."""
        every = np.zeros(len(self), np.bool_)
        every[np.fromiter(chosen, np.int64, len(chosen))] = True
        return self._only(every[: len(self._names)], every[len(self._names) :])

    def _only(self, names: npt.NDArray[np.bool_], numbers: npt.NDArray[np.bool_]) -> Needles:
        kept, own = self._names[names], self._numbers
        forms = self._forms[in_sorted(kept, self._forms["needle"].astype(np.uint64))]
        chosen = replace(own, words=own.words[numbers], kinds=own.kinds[numbers])
        return Needles(self._key, kept, forms, chosen)

    def contains(self, values: pa.Array | pa.ChunkedArray, kind: str) -> npt.NDArray[np.bool_]:
        """As `Known.contains`."""
        return Known.of(self._key, [], [self]).contains(values, kind)

    def merge(self, others: Iterable[Needles]) -> Needles:
        """The union with other needles of the same key. Raises `UsageError` for another key."""
        every = [self, *others]
        if any(other._key != self._key for other in every):
            raise UsageError("needles of different keys cannot be merged: build them with one key")
        names = distinct(np.concatenate([other._names for other in every]))
        full = [other._forms for other in every if len(other._forms)]
        forms = _once(np.concatenate(full)) if len(full) > 1 else (full or [self._forms])[0]
        skipped = sum((other._skipped for other in every), Counter())
        return Needles(self._key, names, _sorted_forms(forms), self._merged(every), skipped)

    def _merged(self, every: Sequence[Needles]) -> Numbers:
        full = [other._numbers for other in every if len(other._numbers)]
        postgres = any(other._numbers.postgres for other in every)
        if len(full) == 1 and full[0].postgres == postgres:
            return full[0]
        by_kind = [
            (code, numbers.words[numbers.kinds == code])
            for numbers in full
            for code in np.unique(numbers.kinds).tolist()
        ]
        return _numbers(_Hash(self._key), by_kind, postgres=postgres)

    def find(self, data: npt.NDArray[np.uint8], core: int, lead: int = 0) -> Matches:
        """Needles that begin at `lead` or later, before `core`, and lie wholly in `data`."""
        found = self._numbers.find(data, core, lead)
        numbers = Matches(
            found.start,
            found.length,
            found.encoding,
            self._numbers.kinds[found.number],
            found.number + len(self._names),
        )
        if not len(self._forms):
            return numbers
        if not self._tables:
            self._tables.append(_Filter(self._forms, _Hash(self._key)))
        starts, lengths = _candidates(self._tables[0], data, core)
        starts, lengths = starts[starts >= lead], lengths[starts >= lead]
        others = self._verified(data, starts, lengths)
        return joined([part for part in (numbers, others) if len(part.start)] or [numbers])

    def _verified(self, data: npt.NDArray[np.uint8], starts: _Ints, lengths: _Ints) -> Matches:
        if not len(starts):
            return _NO_MATCHES
        wholes = _Hash(self._key).parts(data, starts, lengths)
        known = self._tables[0].wholes
        row = np.minimum(np.searchsorted(known, wholes), max(len(known) - 1, 0))
        good = known[row] == wholes if len(known) else np.zeros(0, dtype=bool)
        starts, lengths, forms = starts[good], lengths[good], self._forms[row[good]]
        once = ~_seen_twice(starts, forms)
        starts, lengths, forms = starts[once], lengths[once], forms[once]
        return Matches(
            starts,
            lengths,
            np.ascontiguousarray(forms["encoding"]),
            np.ascontiguousarray(forms["kind"]),
            np.searchsorted(self._names, forms["needle"]).astype(np.int64),
        )

    def to_bytes(self) -> bytes:
        """All of it, key included, for the caller to encrypt. `from_bytes` reads it back."""
        skipped = [self._skipped[name] for name in ENCODINGS]
        numbers = self._numbers
        sizes = [len(self._names), len(self._forms), len(numbers), numbers.postgres]
        parts = [
            _MAGIC,
            self._key,
            np.array([*sizes, *skipped], dtype="<u8").tobytes(),
            self._names.astype("<u8", copy=False).tobytes(),
            numbers.words.astype("<u8", copy=False).tobytes(),
            numbers.kinds.tobytes(),
            self._forms.tobytes(),
        ]
        whole = hashlib.sha256()
        for part in parts:
            whole.update(part)
        return b"".join([*parts, whole.digest()])  # once: there may be gigabytes

    @classmethod
    def from_bytes(cls, data: bytes) -> Needles:
        """Raises `UsageError` for anything that `to_bytes` would not have written."""
        body, digest = data[:-32], data[-32:]
        if not body.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
            raise UsageError("not a needle file of this version, or a damaged one")
        at = len(_MAGIC) + 32
        key = body[len(_MAGIC) : at]
        names_, forms_, numbers_, postgres, *skipped_ = np.frombuffer(
            body, "<u8", 4 + len(ENCODINGS), at
        ).tolist()
        at += 8 * (4 + len(ENCODINGS))
        if len(body) != at + 8 * names_ + 9 * numbers_ + _FORM.itemsize * forms_:
            raise UsageError("a needle file of another length than it says")
        names = np.frombuffer(body, "<u8", names_, at).astype(np.uint64)
        words = np.frombuffer(body, "<u8", numbers_, at + 8 * names_).astype(np.uint64)
        kinds = np.frombuffer(body, np.uint8, numbers_, at + 8 * (names_ + numbers_)).copy()
        forms = np.frombuffer(body, _FORM, forms_, at + 8 * names_ + 9 * numbers_).copy()
        _check(names, forms)
        if postgres > 1 or not are_words(words) or not bool((kinds < len(KINDS)).all()):
            raise UsageError("a needle file that contradicts itself")
        skipped = Counter({name: n for name, n in zip(ENCODINGS, skipped_, strict=True) if n})
        numbers = Numbers(words, kinds, *_Hash(key).numbers, postgres=bool(postgres))
        return cls(key, names, forms, numbers, skipped)


# --- values and their encodings


def _kind_code(kind: str) -> int:
    if kind not in KINDS:
        raise UsageError(f"unknown kind of needle; known are {', '.join(KINDS)}")
    return KINDS.index(kind)


def _names_of(key: bytes, texts: pa.Array) -> _Words:
    by = kernel.found()
    if by is None:
        return _Hash(key).wholes(text.encode() for text in texts.to_pylist())
    return by.fingerprints(texts, key, _PERSON)[0]


def _plain_or_none(values: pa.Array, kind: str) -> Iterator[bytes | None]:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if not _searchable(values.type):
        raise UsageError(f"needles are made of text, bytes or integers, not of {values.type}")
    for value in values.to_pylist():
        if isinstance(value, int) and not isinstance(value, bool):
            yield str(value).encode()
        elif isinstance(value, str):
            yield value.encode("utf-8", "surrogatepass") or None
        else:
            yield value or None


def _searchable(type_: pa.DataType) -> bool:
    tests = (
        pa.types.is_integer,
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
        pa.types.is_null,
    )
    return any(test(type_) for test in tests)


def _plain(values: pa.Array, kind: str) -> Iterator[tuple[bytes, str | None]]:
    """Each distinct value once, with its text where it has one."""
    seen: set[bytes] = set()
    for value in _plain_or_none(values, kind):
        for plain in (value, _file_name(value) if kind == "path" else None):
            if plain is not None and plain not in seen:
                seen.add(plain)
                yield plain, None if kind == "blob" else _text(plain)


def _file_name(path: bytes | None) -> bytes | None:
    """The last part of a path, where it may name somebody: a folder's blocks do not repeat the folder.

    Names of plain ASCII, such as `scan-01.pdf`, are the same for many people and are not sought alone.
    """
    name = (path or b"").rpartition(b"/")[2]
    text = _text(name) or ""
    return name if name != path and sum(not letter.isascii() for letter in text) > 1 else None


def _text(plain: bytes) -> str | None:
    try:
        return plain.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _forms_of(plain: bytes, text: str | None) -> Iterator[tuple[int, bytes | None]]:
    """The encodings of a value (their ordinals), None where one says too little to be searched for."""
    if text is None:
        middle = max(0, (len(plain) - LONGEST) // 2)
        piece = plain[middle : middle + LONGEST]
        telling = len(set(piece)) > 1 and len(piece) - piece.count(0) >= _FULL
        yield ENCODINGS.index("bytes"), piece if telling else None
        return
    middle = max(0, (len(text) - LONGEST) // 2)
    text = text[middle : middle + LONGEST]
    telling = len(set(text)) > 1
    few_digits = len(text) < SHORTEST and text.isascii() and text.isdigit()  # others have 1234 so, too
    yield 0, text.encode("utf-8") if telling else None
    yield 1, text.encode("utf-16-le") if telling and not few_digits else None
    yield 2, text.encode("utf-16-be") if telling and not few_digits else None
    if not text.isascii():
        yield 3, text.encode("gb18030") if telling else None
    elif text.isdigit() and len(text) < 20:
        yield from _integers(int(text))


def _national(values: pa.Array) -> pa.Array:
    """Texts that are not ASCII, in GB18030; null for others, and for those of which the middle is sought."""
    if pa.types.is_integer(values.type) or pa.types.is_fixed_size_binary(values.type):
        return pa.nulls(len(values), pa.binary())
    try:
        values = values.cast(pa.string())
    except pa.ArrowInvalid:  # some are no text
        return pa.nulls(len(values), pa.binary())
    wanted = pc.and_(pc.invert(pc.string_is_ascii(values)), pc.less_equal(pc.utf8_length(values), LONGEST))
    texts = values.filter(wanted)
    joined = pc.binary_join(pa.ListArray.from_arrays([0, len(texts)], texts), "\n")[0].as_py()
    encoded = joined.encode("gb18030").split(b"\n")  # of which no letter has a byte
    if len(encoded) != len(texts):
        encoded = [text.encode("gb18030") for text in texts.to_pylist()]
    return pc.replace_with_mask(pa.nulls(len(values), pa.binary()), wanted, pa.array(encoded, pa.binary()))


def _integers(value: int) -> Iterator[tuple[int, bytes | None]]:
    if value >= 1 << 63:
        return
    telling = value >= 1 << 32
    yield 4, value.to_bytes(8, "little") if telling else None
    yield 5, value.to_bytes(8, "big") if telling else None
    if value < 1 << 47:  # SQLite's serial type 5 (fileformat2.html § 2.1)
        yield 6, value.to_bytes(6, "big") if telling else None


def _rows(
    hashing: _Hash, forms: list[bytes], codes: list[tuple[int, int]], names: _Words, kind: int
) -> _Forms:
    """Everything that is stored of these forms. `codes` are ordinals: of the value and of the encoding."""
    rows = np.zeros(len(forms), dtype=_FORM)
    value, encoding = np.array(codes, dtype=np.int64).T
    rows["whole"] = hashing.wholes(forms)
    rows["needle"] = names[value]
    rows["encoding"], rows["kind"] = encoding, kind
    rows["length"] = [len(form) for form in forms]
    widths = _widths(rows)
    # The end of a value tells people apart better than its beginning (regions, prefixes); but not the end
    # of an e-mail address.
    last = (_last(rows) - widths).tolist()
    at = [0] * len(forms) if KINDS[kind] == "email" else last
    classes = _classes(rows)
    looked = [_CLASSES[c] for c in classes.tolist()]
    at = [
        a if len(set(form[a + six : a + six + 6])) > 1 else _telling(form, end, width, six)
        for form, a, end, (width, six) in zip(forms, at, last, looked, strict=True)
    ]
    rows["window"] = at
    windows = [form[a : a + w] for form, a, w in zip(forms, at, widths.tolist(), strict=True)]
    sixes = [window[six:][:6] for window, (_, six) in zip(windows, looked, strict=True)]
    rows["slot"] = _words(sixes, 8)[:, 0] * hashing.slots >> np.uint64(32)
    words = _words(windows, 16)
    for nth, (width, _) in enumerate(_CLASSES):
        mine = classes == nth
        rows["tag"][mine] = hashing.tags(hashing.spread(words[mine, 0], words[mine, 1], width))
    return rows


def _telling(form: bytes, end: int, width: int, six: int) -> int:
    """Where the window begins, at `end` at most, whose six bytes differ most: a box that begins at nought,
    or what was padded, ends as every empty page does."""
    return max(
        range(end + 1),
        key=lambda a: (len(set(form[a + six : a + six + 6])), len(set(form[a : a + width])), a),
    )


def _words(windows: list[bytes], size: int) -> npt.NDArray[np.uint64]:
    joined = b"".join(window.ljust(size, b"\x00") for window in windows)
    return np.frombuffer(joined, dtype="<u8").astype(np.uint64).reshape(-1, size // 8)


def _last(forms: _Forms) -> _Ints:
    """Where the window of a form ends at most.

    Little-endian UTF-16 leaves its last byte out, so that for ASCII its window is the same as that of
    big-endian UTF-16, and the filter holds one instead of two.
    """
    last = forms["length"].astype(np.int64)
    return last - np.asarray((forms["encoding"] == _LITTLE) & (last > SHORTEST), dtype=np.int64)


def _numbers(hashing: _Hash, by_kind: Sequence[tuple[int, _Words]], *, postgres: bool) -> Numbers:
    """Numbers of several kinds; of one that is of two, the first counts."""
    if len(by_kind) == 1:
        ((code, words),) = by_kind
        return Numbers(words, np.full(len(words), code, np.uint8), *hashing.numbers, postgres=postgres)
    every = np.concatenate([_NO_WORDS, *(words for _, words in by_kind)])
    kinds = np.concatenate([_NO_MARKS, *(np.full(len(words), code, np.uint8) for code, words in by_kind)])
    order = np.argsort(every, kind="stable")  # a merge of what ascends already
    every, kinds = every[order], kinds[order]
    new = np.ones(len(every), np.bool_)
    np.not_equal(every[1:], every[:-1], out=new[1:])
    return Numbers(every[new], kinds[new], *hashing.numbers, postgres=postgres)


# --- hashes and filters


class _Hash:
    """The keyed hashes: of a whole form (BLAKE2b, 64 bits), and of a window (multiply and mix)."""

    def __init__(self, key: bytes) -> None:
        self._base = hashlib.blake2b(key=key, digest_size=8, person=_PERSON)
        secret = hashlib.blake2b(b"windows", key=key, digest_size=48).digest()
        words = np.frombuffer(secret, dtype="<u8") | np.uint64(1)
        self.first, self.second, self.mix, self.narrow, self.short, self.slots = (
            np.uint64(word) for word in words
        )
        self.secrets = kernel.Secrets(key, _PERSON, words)  # the same for the kernel
        self.numbers = int(self.first), int(self.mix)

    def wholes(self, forms: Iterable[bytes | memoryview]) -> _Words:
        base = self._base
        digests = []
        for form in forms:
            state = base.copy()
            state.update(form)
            digests.append(state.digest())
        return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)

    def parts(self, data: npt.NDArray[np.uint8], starts: _Ints, lengths: _Ints) -> _Words:
        """Of parts of some bytes."""
        by = kernel.found()
        if by is not None:
            return by.names(self.secrets, data, starts, lengths)
        view, ends = data.data.cast("B"), (starts + lengths).tolist()
        return self.wholes(view[start:end] for start, end in zip(starts.tolist(), ends, strict=True))

    def spread(self, low: _Words, high: _Words, width: int) -> _Words:
        """One multiplication a window, two for the wide; the upper bits choose a slot of the filter."""
        if width == 16:
            return low * self.first + high * self.second
        return low * (self.narrow if width == 8 else self.short)

    def tags(self, spread: _Words) -> _Words:
        """The upper `_SLOT_BITS` as they are, so that tags sort as slots do; below, a mix of all bits."""
        mixed = (spread ^ spread >> np.uint64(29)) * self.mix
        return spread & ~_BELOW | mixed >> np.uint64(_SLOT_BITS)


_NO_MATCHES = Matches(_NONE, _NONE, _NO_MARKS, _NO_MARKS, _NONE)


class _Filter:
    """First every position by one multiplication and one bit; then the few that pass, by class."""

    def __init__(self, forms: _Forms, hashing: _Hash) -> None:
        slots = forms["slot"].astype(np.uint64) << np.uint64(32)
        self.wholes = np.ascontiguousarray(forms["whole"])  # sorted; a search of the strided field copies it
        self._hashing = hashing
        self._shift = np.uint64(64 - min(28, max(16, (len(np.unique(slots)) * 16).bit_length())))
        slots >>= self._shift
        classes = _classes(forms)
        self._marks = np.zeros(1 << (64 - int(self._shift)), dtype=np.uint8)
        np.bitwise_or.at(self._marks, slots, np.left_shift(1, classes).astype(np.uint8))
        self._bits = np.packbits(self._marks != 0, bitorder="little")  # small enough for a core's cache
        self._tables = [
            _Table(forms[classes == nth], width, hashing) for nth, (width, _) in enumerate(_CLASSES)
        ]

    def walk(self) -> kernel.Walk:
        """The same for the kernel."""
        classes = [table.walk(six) for table, (_, six) in zip(self._tables, _CLASSES, strict=True)]
        return kernel.Walk(self._bits, self._marks, int(self._shift), self._hashing.secrets, classes)

    def candidates(self, piece: npt.NDArray[np.uint8]) -> _Pairs:
        """(start, length) of what may be a needle in this piece; starts may lie before it."""
        lead = 16  # a window may begin before the six bytes that the slots know
        padded = np.zeros(lead + len(piece) // 8 * 8 + 32, dtype=np.uint8)
        padded[lead : lead + len(piece)] = piece
        words: _Words = np.ndarray((len(padded) - 7,), dtype="<u8", buffer=padded, strides=(1,))
        if len(piece) <= _FEW:
            ends, marks = self._pass(words[:-1].astype(np.uint64), 1, 0)
        else:
            shifted = (padded[shift : shift + len(padded) - 8].copy().view(np.uint64) for shift in range(8))
            passed = [self._pass(every, 8, shift) for shift, every in enumerate(shifted)]
            ends, marks = (np.concatenate(column) for column in zip(*passed, strict=True))
        found = [_NO_PAIRS]
        for nth, (table, (width, six)) in enumerate(zip(self._tables, _CLASSES, strict=True)):
            begin = ends[(marks & (1 << nth) != 0) & (ends >= six)] - six
            high = words[begin + 8] if width == 16 else _NO_WORDS
            low = words[begin] & _SIX if width == 6 else words[begin]
            row, window, length = table.candidates(low, high)
            found.append(np.stack([begin[row] - lead - window, length], axis=1))
        return np.concatenate(found)

    def _pass(self, words: _Words, step: int, shift: int) -> tuple[_Ints, _Marks]:
        """Where words, `step` bytes apart from `shift` on, have six bytes of a window; of which classes."""
        words &= _SIX
        words *= self._hashing.slots
        words >>= self._shift
        slots = words.view(np.int64)
        wanted = self._bits.take(slots >> 3, mode="clip")
        wanted >>= slots.astype(np.uint8) & np.uint8(7)
        wanted &= np.uint8(1)
        at = np.flatnonzero(wanted.view(bool))
        return at * step + shift, self._marks[slots[at]]


class _Table:
    """The windows of one width, sorted by tag, with a byte of filter for each of many slots before them."""

    def __init__(self, forms: _Forms, width: int, hashing: _Hash) -> None:
        self.width, self._hashing = width, hashing
        triples = np.unique(forms[["tag", "window", "length"]])
        self._tags, self._begin = np.unique(triples["tag"], return_index=True)
        self._begin = np.append(self._begin, len(triples))
        self._window = triples["window"].astype(np.int64)
        self._length = triples["length"].astype(np.int64)
        self._shift = np.uint64(64 - min(_SLOT_BITS, max(16, (len(self._tags) * 16).bit_length())))
        self._filter = self._built()

    def walk(self, six: int) -> tuple[object, ...]:
        """The same for the kernel."""
        begin = self._begin.astype(np.int64)
        arrays = self._tags, begin, self._window, self._length, self._filter
        return *arrays, int(self._shift), self.width, six

    def _built(self) -> npt.NDArray[np.uint8]:
        slots = (self._tags >> self._shift).astype(np.int64)
        built = np.zeros(1 << (64 - int(self._shift)), dtype=np.uint8)
        built[slots] = self._tags.astype(np.uint8) | 1
        built[slots[1:][slots[1:] == slots[:-1]]] = _MANY
        return built

    def candidates(self, low: _Words, high: _Words) -> tuple[_Ints, _Ints, _Ints]:
        """Which of these words are a known window: their indexes, and for each a (window, length)."""
        if not len(self._tags):
            return _NONE, _NONE, _NONE
        tags = self._hashing.tags(self._hashing.spread(low, high, self.width))
        marks = self._filter[(tags >> self._shift).view(np.int64)]
        at = np.flatnonzero((marks == (tags.astype(np.uint8) | 1)) | (marks == _MANY))
        row = np.minimum(np.searchsorted(self._tags, tags[at]), len(self._tags) - 1)
        known = self._tags[row] == tags[at]
        at, row = at[known], row[known]
        count = self._begin[row + 1] - self._begin[row]
        nth = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        triple = np.repeat(self._begin[row], count) + nth
        return np.repeat(at, count), self._window[triple], self._length[triple]


def _candidates(filter_: _Filter, data: npt.NDArray[np.uint8], core: int) -> tuple[_Ints, _Ints]:
    """Starts and lengths of what may be a needle, each once."""
    by = kernel.found()
    if by is not None:
        every = np.unique(by.candidates(filter_.walk(), data, core))
        return every >> 16, every & 0xFFFF
    found = [_NO_PAIRS]
    for at in range(0, len(data), _PIECE):
        begin = max(0, at - 16)
        piece = data[begin : at + _PIECE + 6]
        if piece.any():
            found.append(filter_.candidates(piece) + np.array([begin, 0]))
    every = np.concatenate(found)
    inside = (every[:, 0] >= 0) & (every[:, 0] < core) & (every.sum(axis=1) <= len(data))
    every = np.unique(every[inside, 0] << 16 | every[inside, 1])
    return every >> 16, every & 0xFFFF


def _widths(forms: _Forms) -> _Ints:
    last = _last(forms)
    widths: _Ints = np.select([last >= width for width in _WIDTHS], _WIDTHS, default=0)
    return widths


def _seen_twice(starts: _Ints, forms: _Forms) -> npt.NDArray[np.bool_]:
    """ASCII in UTF-16 amid more of it reads in both byte orders, one byte apart: one of the two counts.

    Only alignment can tell which; the one at an odd offset is dropped.
    """
    big = forms["encoding"] == _BIG
    little = forms["encoding"] == _LITTLE
    wide = np.flatnonzero(big | little)
    _, name = np.unique(forms["needle"][wide], return_inverse=True)
    places = np.stack([starts[wide] - little[wide], name], axis=1)
    _, place, times = np.unique(places, axis=0, return_inverse=True, return_counts=True)
    twice = np.zeros(len(starts), dtype=bool)
    twice[wide] = times[place.reshape(-1)] > 1
    return np.asarray(twice & (starts % 2 == 1), dtype=bool)


def _classes(forms: _Forms) -> _Ints:
    """Ordinals in `_CLASSES`."""
    narrow = np.where(forms["encoding"] == _INT64LE, 2, 1)
    widths = _widths(forms)
    classes: _Ints = np.select([widths == 16, widths == 8], [0, narrow], default=3)
    return classes


def _once(forms: _Forms) -> _Forms:
    """Each encoding of each needle once. Sorting by two plain keys takes a tenth of numpy's time for
    structured ones."""
    forms = np.take(forms, np.lexsort((forms["encoding"], forms["needle"])))
    new = np.ones(len(forms), dtype=bool)
    new[1:] = (forms["needle"][1:] != forms["needle"][:-1]) | (
        forms["encoding"][1:] != forms["encoding"][:-1]
    )
    return forms[new]


def _sorted_forms(forms: _Forms) -> _Forms:
    """By their hashes; forms that are the same of several values, by these and by their encodings."""
    ordered = np.take(forms, np.argsort(forms["whole"]))  # indexing takes six times as long
    whole = ordered["whole"]
    if (whole[1:] == whole[:-1]).any():
        return np.take(forms, np.lexsort((forms["encoding"], forms["needle"], forms["whole"])))
    return ordered


def _check(names: _Words, forms: _Forms) -> None:
    sound = (
        bool((names[1:] > names[:-1]).all())
        and bool((forms["whole"][1:] >= forms["whole"][:-1]).all())
        and bool(in_sorted(names, forms["needle"].astype(np.uint64)).all())
        and bool((forms["encoding"] < len(ENCODINGS)).all() and (forms["kind"] < len(KINDS)).all())
        and bool((_widths(forms) > 0).all())
        and bool((forms["window"] + _widths(forms) <= forms["length"]).all())
    )
    if not sound:
        raise UsageError("a needle file that contradicts itself")
