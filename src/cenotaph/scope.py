"""Which records of a store go, and which stay (spec/scope.md).

One evaluator for every store: a predicate is parsed once and evaluated over Arrow batches, so that
the same words select the same records of a CSV file and of a database table. Everything a scope
names can be a person (a value in a predicate, a listed subject), so nothing here shows it: not the
`repr`, not an error message, which points at a character instead.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import lru_cache
from math import ceil
from typing import Any, Final, NamedTuple, NoReturn, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cenotaph.arrow import union_places
from cenotaph.errors import UsageError

Bools: TypeAlias = npt.NDArray[np.bool_]

MAX_LENGTH: Final = 65_536  # characters of a predicate
MAX_DEPTH: Final = 50  # parentheses and NOTs inside one another
MAX_ITEMS: Final = 10_000  # literals of one predicate
MAX_PATTERN: Final = 1_000  # characters of a LIKE pattern


class Masks(NamedTuple):
    """What a selection says of each row of a batch. Neither mask set: out of scope, kept."""

    selected: Bools
    held: Bools
    unconverted: int  # rows with a value that a condition could not convert, hence UNKNOWN


@dataclass(frozen=True, slots=True)
class Predicate:
    """A parsed condition on rows; made by `parse_predicate` alone."""

    text: str = field(repr=False)
    root: _Node = field(repr=False, compare=False)

    def evaluate(self, batch: pa.RecordBatch) -> Truth:
        """Rows where the condition is true, and where it is false; in neither, it is UNKNOWN.

        Raises:
            UsageError: a column is missing or ambiguous, or cannot be compared with its literal.
        """
        rows = _Rows(batch)
        true, false = self.root.truth(rows)
        return Truth(true, false, int(np.count_nonzero(rows.unconverted)))


class Truth(NamedTuple):
    """SQL's three truth values, a row each; `unconverted` counts rows as `Masks` does."""

    true: Bools
    false: Bools
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
                unconverted = max(unconverted, failed)
        return Masks(in_scope & ~held, in_scope & held, unconverted)

    def _in_scope(self, collection: str, batch: pa.RecordBatch) -> tuple[Bools, int]:
        chosen, unconverted = np.ones(batch.num_rows, dtype=np.bool_), 0
        if self.rows is not None:
            chosen, _, unconverted = self.rows.evaluate(batch)
        if self.subjects is not None:
            chosen = chosen & self._listed(self.subjects, collection, batch)
        return chosen, unconverted

    def _holds(self, hold: Hold, collection: str, batch: pa.RecordBatch) -> tuple[Bools, int]:
        chosen, unconverted = np.ones(batch.num_rows, dtype=np.bool_), 0
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
        if collection in self.subject_columns:
            return self.subject_columns[collection]
        for pattern, column in self.subject_columns.items():
            if fnmatchcase(collection, pattern):
                return column
        raise _no_subject_column()


EVERYTHING: Final = Selection()


def parse_predicate(text: str) -> Predicate:
    """Parse a condition such as `created < DATE '2021-01-01' AND "类型" IN ('a', 'b')`.

    Raises:
        UsageError: naming the character where it stops making sense, and never a value.
    """
    if len(text) > MAX_LENGTH:
        raise UsageError(f"the row condition is longer than {MAX_LENGTH:,} characters")
    return Predicate(text, _Parser(_tokens(text)).predicate())


def _matches(collection: str, patterns: Sequence[str]) -> bool:
    return any(collection == pattern or fnmatchcase(collection, pattern) for pattern in patterns)


def _no_subject_column() -> UsageError:
    return UsageError(
        "a list of subjects applies to a collection that has no subject column",
        hint='name it in the case file: subject = { "collection" = "column" }, '
        "or narrow the list to collections that have one",
    )


# --- The language -----------------------------------------------------------------------------


class _Token(NamedTuple):
    kind: str  # "word" "quoted" "text" "number" "sign" "end"
    value: str
    at: int  # character, from 1


_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)
      | '(?P<text>(?:[^']|'')*)'
      | "(?P<quoted>(?:[^"]|"")+)"
      | (?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?![\w.]))
      | (?P<word>[^\W\d]\w*)
      | (?P<sign><=|>=|<>|!=|[=<>(),])""",
    re.VERBOSE,
)
_KEYWORDS: Final = frozenset(
    ("AND", "OR", "NOT", "IN", "LIKE", "ESCAPE", "IS", "NULL", "BETWEEN", "TRUE", "FALSE")
)


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            _stop("has something that is not part of the language", at + 1)
        kind = str(match.lastgroup)
        if kind != "space":
            quote = {"text": "'", "quoted": '"'}.get(kind)
            value = match[kind].replace(quote * 2, quote) if quote else match[kind]
            tokens.append(_Token(kind, value, at + 1))
        at = match.end()
    return [*tokens, _Token("end", "", len(text) + 1)]


def _stop(what: str, at: int, hint: str | None = None) -> NoReturn:
    raise UsageError(f"the row condition {what}, at character {at}", hint=hint)


class _Parser:
    """Recursive descent over the grammar of spec/scope.md; one method a rule."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._rest = tokens
        self._next = 0
        self._depth = 0
        self._items = 0

    def predicate(self) -> _Node:
        node = self._any()
        if self._peek().kind != "end":
            _stop("goes on after its end", self._peek().at)
        return node

    def _any(self) -> _Node:
        nodes = [self._all()]
        while self._keyword("OR"):
            nodes.append(self._all())
        return nodes[0] if len(nodes) == 1 else _Any(tuple(nodes))

    def _all(self) -> _Node:
        nodes = [self._negation()]
        while self._keyword("AND"):
            nodes.append(self._negation())
        return nodes[0] if len(nodes) == 1 else _All(tuple(nodes))

    def _negation(self) -> _Node:
        at = self._peek().at
        self._depth += 1
        if self._depth > MAX_DEPTH:
            _stop(f"nests more than {MAX_DEPTH} deep", at)
        if self._keyword("NOT"):
            node: _Node = _Not(self._negation())
        elif self._sign("("):
            node = self._any()
            self._expect(")")
        else:
            node = self._test()
        self._depth -= 1
        return node

    def _test(self) -> _Node:
        column = self._column()
        if self._keyword("IS"):
            negated = self._keyword("NOT")
            self._expect("NULL")
            return _negate(negated, _IsNull(column))
        if self._peek().kind == "sign" and self._peek().value in _OPERATORS:
            return _Compare(column, self._take().value, self._literal())
        negated = self._keyword("NOT")
        if self._keyword("IN"):
            return _negate(negated, _In(column, self._list()))
        if self._keyword("LIKE"):
            return _negate(negated, self._like(column))
        if self._keyword("BETWEEN"):
            low = self._literal()
            self._expect("AND")
            return _negate(
                negated, _All((_Compare(column, ">=", low), _Compare(column, "<=", self._literal())))
            )
        _stop("needs a comparison, IN, LIKE, BETWEEN or IS NULL", self._peek().at)

    def _column(self) -> _Column:
        token = self._take()
        if token.kind == "quoted":
            return _Column(token.value, True, token.at)
        if token.kind == "word" and token.value.upper() not in _KEYWORDS:
            return _Column(token.value, False, token.at)
        _stop("needs the name of a column", token.at, 'names that are also keywords stand in "double quotes"')

    def _list(self) -> tuple[_Literal, ...]:
        self._expect("(")
        literals = [self._literal()]
        while self._sign(","):
            literals.append(self._literal())
        self._expect(")")
        return tuple(literals)

    def _literal(self) -> _Literal:
        self._items += 1
        token = self._take()
        if self._items > MAX_ITEMS:
            _stop(f"has more than {MAX_ITEMS:,} values", token.at, "list subjects in a file instead")
        if token.kind == "text":
            return _Literal(token.value, token.at)
        if token.kind == "number":
            if len(token.value) > _MAX_DIGITS:
                _stop(f"has a number of more than {_MAX_DIGITS} digits", token.at)
            return _Literal(Decimal(token.value), token.at)
        word = token.value.upper() if token.kind == "word" else ""
        if word in ("TRUE", "FALSE"):
            return _Literal(word == "TRUE", token.at)
        if word in ("DATE", "TIMESTAMP") and self._peek().kind == "text":
            return self._moment(word, self._take())
        if word == "NULL":
            _stop("compares with NULL, which is never true", token.at, "write IS NULL or IS NOT NULL")
        _stop("needs a value: 'text', a number, TRUE, FALSE, DATE '…' or TIMESTAMP '…'", token.at)

    def _moment(self, word: str, token: _Token) -> _Literal:
        shape = _DATE if word == "DATE" else _TIMESTAMP
        moment = _microseconds(token.value) if shape.fullmatch(token.value) else None
        if moment is None:
            _stop(f"has a {word} that is not written as ISO 8601", token.at)
        return _Literal(_Moment(moment), token.at)

    def _like(self, column: _Column) -> _Like:
        token, escape = self._take(), None
        if token.kind != "text" or len(token.value) > MAX_PATTERN:
            _stop(f"needs a 'text' of at most {MAX_PATTERN:,} characters after LIKE", token.at)
        if self._keyword("ESCAPE"):
            mark = self._take()
            if mark.kind != "text" or len(mark.value) != 1:
                _stop("needs one character in quotes after ESCAPE", mark.at)
            escape = mark.value
        elif "\\" in token.value:
            _stop("has a backslash after LIKE, which databases read differently", token.at, _ESCAPE_HINT)
        return _Like(column, _regex(token, escape))

    def _peek(self) -> _Token:
        return self._rest[self._next]

    def _take(self) -> _Token:
        token = self._peek()
        self._next += token.kind != "end"
        return token

    def _keyword(self, word: str) -> bool:
        found = self._peek().kind == "word" and self._peek().value.upper() == word
        self._next += found
        return found

    def _sign(self, sign: str) -> bool:
        found = self._peek().kind == "sign" and self._peek().value == sign
        self._next += found
        return found

    def _expect(self, what: str) -> None:
        if not (self._sign(what) or self._keyword(what)):
            _stop(f"needs {what} here", self._peek().at)


_ESCAPE_HINT: Final = r"say what it is: LIKE '…' ESCAPE '\'"


def _regex(token: _Token, escape: str | None) -> str:
    r"""A LIKE pattern as RE2: linear in the text, whatever the pattern."""
    parts, characters = [], iter(token.value)
    for character in characters:
        if character == escape:
            escaped = next(characters, None)
            if escaped is None or escaped not in ("%", "_", escape):
                _stop("escapes something other than %, _ or the escape character", token.at)
            parts.append(_re2_quote(escaped))
        elif character == "%":
            if parts[-1:] != [".*"]:
                parts.append(".*")
        else:
            parts.append("." if character == "_" else _re2_quote(character))
    return rf"\A(?s:{''.join(parts)})\z"


def _re2_quote(character: str) -> str:
    return character if character == "_" or character.isalnum() else rf"\x{{{ord(character):x}}}"


# --- Evaluation: three-valued logic over a batch ----------------------------------------------


class _Moment(NamedTuple):
    """A DATE or TIMESTAMP: microseconds since 1970-01-01 in UTC."""

    microseconds: int


_Value: TypeAlias = "str | Decimal | bool | _Moment"


@dataclass(frozen=True, slots=True)
class _Literal:
    value: _Value = field(repr=False)
    at: int


@dataclass(frozen=True, slots=True)
class _Column:
    name: str = field(repr=False)
    exact: bool
    at: int


class _Rows:
    """A batch under evaluation, and which rows had a value that did not convert."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch
        self.count: int = batch.num_rows
        self.unconverted = np.zeros(self.count, dtype=np.bool_)

    def column(self, column: _Column) -> pa.Array:
        found = self._batch.schema.get_all_field_indices(column.name)
        if not found and not column.exact:
            folded = column.name.casefold()
            found = [i for i, name in enumerate(self._batch.schema.names) if name.casefold() == folded]
        if not found:
            _stop("names a column that this collection does not have", column.at, _COLUMN_HINT)
        if len(found) > 1:
            _stop("names a column that this collection has more than once", column.at, _COLUMN_HINT)
        return self._batch.column(found[0])


_COLUMN_HINT: Final = 'a name in "double quotes" is matched exactly; narrow the scope to collections with it'
_Both: TypeAlias = tuple[Bools, Bools]  # where true, where false


class _Node(Protocol):
    def truth(self, rows: _Rows) -> _Both: ...


@dataclass(frozen=True, slots=True)
class _Any:
    nodes: tuple[_Node, ...]

    def truth(self, rows: _Rows) -> _Both:
        true, false = np.zeros(rows.count, dtype=np.bool_), np.ones(rows.count, dtype=np.bool_)
        for node in self.nodes:
            yes, no = node.truth(rows)
            true |= yes
            false &= no
        return true, false


@dataclass(frozen=True, slots=True)
class _All:
    nodes: tuple[_Node, ...]

    def truth(self, rows: _Rows) -> _Both:
        true, false = np.ones(rows.count, dtype=np.bool_), np.zeros(rows.count, dtype=np.bool_)
        for node in self.nodes:
            yes, no = node.truth(rows)
            true &= yes
            false |= no
        return true, false


@dataclass(frozen=True, slots=True)
class _Not:
    node: _Node

    def truth(self, rows: _Rows) -> _Both:
        true, false = self.node.truth(rows)
        return false, true


def _negate(negated: bool, node: _Node) -> _Node:
    return _Not(node) if negated else node


@dataclass(frozen=True, slots=True)
class _IsNull:
    column: _Column

    def truth(self, rows: _Rows) -> _Both:
        null = _null(rows.column(self.column))
        return null, ~null


@dataclass(frozen=True, slots=True)
class _Compare:
    column: _Column
    operator: str
    literal: _Literal

    def truth(self, rows: _Rows) -> _Both:
        order = _order(rows, self.column, self.literal)
        true = _OPERATORS[self.operator](order)
        return true & order.known, ~true & order.known


@dataclass(frozen=True, slots=True)
class _In:
    column: _Column
    literals: tuple[_Literal, ...]

    def truth(self, rows: _Rows) -> _Both:
        texts = [literal.value for literal in self.literals if isinstance(literal.value, str)]
        array = _plain(rows.column(self.column))
        if len(texts) == len(self.literals) and _is_text(array.type):
            valid = _numpy(array.is_valid())
            true = _numpy(pc.is_in(_bytes(array), _byte_set(texts)))
            return true & valid, ~true & valid
        orders = [_order(rows, self.column, literal) for literal in self.literals]
        true = np.logical_or.reduce([order.equal & order.known for order in orders])
        return true, ~true & np.logical_and.reduce([order.known for order in orders])


@dataclass(frozen=True, slots=True)
class _Like:
    column: _Column
    regex: str = field(repr=False)

    def truth(self, rows: _Rows) -> _Both:
        true = np.zeros(rows.count, dtype=np.bool_)
        known = np.zeros(rows.count, dtype=np.bool_)
        array = rows.column(self.column)
        for where, part in _parts(array):
            if (text := _text(part)) is not None:
                true[where] = _numpy(pc.match_substring_regex(_characters(text), self.regex))
                known[where] = _numpy(part.is_valid())
            elif pa.types.is_union(array.type):  # other values of the same column may well be text
                rows.unconverted[where] |= _numpy(part.is_valid())
            elif not pa.types.is_null(part.type):
                _stop("uses LIKE on a column that is neither text nor integer", self.column.at)
        return true & known, ~true & known


class _Order(NamedTuple):
    """How each value stands to a literal. Neither less nor equal: greater. Only where known."""

    less: Bools
    equal: Bools
    known: Bools


_OPERATORS: Final[dict[str, Callable[[_Order], Bools]]] = {
    "=": lambda order: order.equal,
    "<>": lambda order: ~order.equal,
    "!=": lambda order: ~order.equal,
    "<": lambda order: order.less,
    "<=": lambda order: order.less | order.equal,
    ">": lambda order: ~(order.less | order.equal),
    ">=": lambda order: ~order.less,
}


def _order(rows: _Rows, column: _Column, literal: _Literal) -> _Order:
    array = rows.column(column)
    mixed = pa.types.is_union(array.type)
    less, equal, known = (np.zeros(rows.count, dtype=np.bool_) for _ in range(3))
    for where, part in _parts(array):
        order = _compare(part, literal.value)
        if order is not None:
            less[where], equal[where], known[where] = order
            rows.unconverted[where] |= _numpy(part.is_valid()) & ~order.known
        elif mixed:  # other values of the same column may well compare
            rows.unconverted[where] |= _numpy(part.is_valid())
        else:
            _stop("compares a column with a value that its type cannot be compared with", literal.at)
    return _Order(less, equal, known)


def _compare(array: pa.Array, value: _Value) -> _Order | None:
    """None: values of this type never compare with such a literal."""
    kind = array.type
    if pa.types.is_null(kind):
        return _unknown(len(array))
    if _is_text(kind):
        return _compare_text(array, value)
    wanted = _as_type(kind, value)
    if wanted is None:
        return None
    if isinstance(wanted, _Moment):
        return _compare_moments(array, wanted)
    if pa.types.is_boolean(kind):
        return _compare_integers(array.cast(pa.int8()), Decimal(wanted))
    if pa.types.is_integer(kind):
        order = _compare_integers(array, Decimal(wanted))
        if isinstance(value, bool):  # a store without booleans: 0 and 1 are, 2 is not
            known = order.known & _numpy(pc.is_in(array, pa.array([0, 1], kind)))
            return order._replace(known=known)
        return order
    if pa.types.is_floating(kind):
        return _compare_floats(array, float(wanted))
    return _compare_decimals(array, Decimal(wanted))


def _as_type(kind: pa.DataType, value: _Value) -> Decimal | bool | _Moment | None:
    """The literal as a value of a column's type; None where it is not one."""
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        if isinstance(value, str):
            return _read_moment(value)
        return value if isinstance(value, _Moment) else None
    if pa.types.is_boolean(kind):
        if isinstance(value, str):
            return _read_bool(value)
        return value if isinstance(value, bool) else _zero_or_one(value)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        if isinstance(value, str):
            return _read_number(value)
        if isinstance(value, bool):
            return value if pa.types.is_integer(kind) else None
        return value if isinstance(value, Decimal) else None
    return None


def _zero_or_one(value: Decimal | _Moment) -> bool | None:
    return bool(value) if isinstance(value, Decimal) and value in (0, 1) else None


def _compare_text(array: pa.Array, value: _Value) -> _Order:
    if isinstance(value, str):
        texts, wanted = _bytes(array), pa.scalar(value.encode(), pa.large_binary())
        return _Order(
            _numpy(pc.less(texts, wanted)), _numpy(pc.equal(texts, wanted)), _numpy(array.is_valid())
        )
    if isinstance(value, bool):
        return _compare_each(array, _read_bool, value)
    if isinstance(value, Decimal):
        return _compare_text_numbers(array, value)
    return _compare_text_moments(array, value)


def _compare_text_moments(array: pa.Array, value: _Moment) -> _Order:
    """At Arrow's speed where it reads the whole column as the strict conversion would."""
    texts = _unchecked_text(array)
    if pc.all(pc.match_substring_regex(texts, _ZONELESS), min_count=0).as_py():
        try:
            moments = texts.cast(pa.timestamp("us"))
        except pa.ArrowInvalid:  # some value has the shape of a date and is none
            return _compare_each(array, _read_moment, value)
        return _compare_moments(moments, value)
    return _compare_each(array, _read_moment, value)


def _compare_text_numbers(array: pa.Array, value: Decimal) -> _Order:
    """Columns of plain numbers at Arrow's speed, any other one distinct value at a time."""
    texts = _unchecked_text(array)
    if pc.all(pc.match_substring_regex(texts, r"\A-?[0-9]{1,18}\z"), min_count=0).as_py():
        return _compare_integers(texts.cast(pa.int64()), value)
    if pc.all(pc.match_substring_regex(texts, r"\A-?[0-9]{1,9}(?:\.[0-9]{1,9})?\z"), min_count=0).as_py():
        return _compare_decimals(texts.cast(pa.decimal128(_DIGITS_OF_INT64, 9)), value)
    return _compare_each(array, _read_number, value)


def _compare_each(array: pa.Array, read: Callable[[str], Any], value: Any) -> _Order:
    """Convert each distinct text strictly, compare, and spread the result to the rows."""
    encoded = _bytes(array).dictionary_encode()
    distinct = encoded.dictionary.to_pylist()
    table = np.zeros((3, len(distinct) + 1), dtype=np.bool_)  # the last column is for nulls
    for i, raw in enumerate(distinct):
        converted = read(raw.decode("ascii")) if raw.isascii() else None
        if converted is not None:
            table[:, i] = converted < value, converted == value, True
    rows = pc.fill_null(encoded.indices, len(distinct)).to_numpy(zero_copy_only=False)
    less, equal, known = table[:, rows]
    return _Order(less, equal, known)


def _compare_integers(array: pa.Array, value: Decimal | Fraction) -> _Order:
    valid = _numpy(array.is_valid())
    numbers = pc.fill_null(array, 0).to_numpy(zero_copy_only=False)
    limits, nothing = np.iinfo(numbers.dtype), np.zeros(len(array), dtype=np.bool_)
    ceiling = ceil(value)
    if ceiling > limits.max:
        return _Order(~nothing, nothing, valid)
    if ceiling < limits.min:
        return _Order(nothing, nothing, valid)
    bound = numbers.dtype.type(ceiling)
    equal = numbers == bound if ceiling == value else nothing
    return _Order(numbers < bound, equal, valid)


def _compare_floats(array: pa.Array, value: float) -> _Order:
    numbers = pc.fill_null(array, 0).to_numpy(zero_copy_only=False).astype(np.float64)
    known = _numpy(array.is_valid()) & ~np.isnan(numbers)
    return _Order(numbers < value, numbers == value, known)


def _compare_decimals(array: pa.Array, value: Decimal) -> _Order:
    scale, precision = array.type.scale, array.type.precision
    if precision <= _DIGITS_OF_INT64:
        unscaled = _low_words(array.cast(pa.decimal128(precision, scale)))
        return _compare_integers(unscaled, Fraction(value) * Fraction(10) ** scale)
    values = array.to_pylist()
    less = np.fromiter((d is not None and d < value for d in values), np.bool_, len(values))
    equal = np.fromiter((d is not None and d == value for d in values), np.bool_, len(values))
    return _Order(less, equal, _numpy(array.is_valid()))


_DIGITS_OF_INT64: Final = 18


def _low_words(array: pa.Array) -> pa.Array:
    """The unscaled integers of 128-bit decimals that fit in 64 bits."""
    words = np.frombuffer(array.buffers()[1] or b"", np.int64)[2 * array.offset :: 2][: len(array)]
    return pa.array(words, mask=~_numpy(array.is_valid()))


def _compare_moments(array: pa.Array, value: _Moment) -> _Order:
    """Times without a zone, in columns and in literals, are read as UTC."""
    unit = array.type.unit if pa.types.is_timestamp(array.type) else _DATE_UNITS[array.type.bit_width]
    ticks = array.cast(pa.int32() if array.type.bit_width == 32 else pa.int64())
    return _compare_integers(ticks, Fraction(value.microseconds) / _MICROSECONDS[unit])


_DATE_UNITS: Final = {32: "day", 64: "ms"}
_MICROSECONDS: Final = {
    "day": Fraction(86_400_000_000),
    "s": Fraction(1_000_000),
    "ms": Fraction(1_000),
    "us": Fraction(1),
    "ns": Fraction(1, 1_000),
}


# --- Arrow columns ----------------------------------------------------------------------------


def _plain(array: pa.Array) -> pa.Array:
    """The values themselves: extensions as their storage, dictionaries and runs decoded."""
    while True:
        if isinstance(array.type, pa.BaseExtensionType):
            array = array.storage
        elif pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        elif pa.types.is_run_end_encoded(array.type):
            array = pc.run_end_decode(array)
        elif pa.types.is_string_view(array.type) or pa.types.is_binary_view(array.type):
            return array.cast(pa.large_binary())  # few of Arrow's functions know views
        else:
            return array


def _parts(array: pa.Array) -> Iterator[tuple[Any, pa.Array]]:
    """A column as (rows, values of one type): one part, or a part a type for a union."""
    array = _plain(array)
    if not pa.types.is_union(array.type):
        yield slice(None), array
        return
    for child, rows, places in union_places(array):
        for inner, part in _parts(_plain(child).take(pa.array(places))):
            yield rows[inner], part


def _null(array: pa.Array) -> Bools:
    null = np.zeros(len(array), dtype=np.bool_)
    for where, part in _parts(array):
        null[where] = _numpy(part.is_null())
    return null


def _text(array: pa.Array) -> pa.Array | None:
    """A column as text: integers in decimal; None for what is neither text nor integer."""
    if pa.types.is_integer(array.type):
        return array.cast(pa.string())
    return array if _is_text(array.type) else None


def _is_text(kind: pa.DataType) -> bool:
    return any(test(kind) for test in _TEXT_TESTS)


_TEXT_TESTS: Final = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)


def _bytes(array: pa.Array) -> pa.Array:
    return array.cast(pa.large_binary())


def _unchecked_text(array: pa.Array) -> pa.Array:
    """The same bytes called text, for kernels that work byte by byte. No copy, no check."""
    return _bytes(array).view(pa.large_string())


def _characters(array: pa.Array) -> pa.Array:
    """Text in which a character is a character: bytes that are not UTF-8 become U+FFFD."""
    try:
        return _bytes(array).cast(pa.large_string())
    except pa.ArrowInvalid:
        values = _bytes(array).to_pylist()
        return pa.array(
            [None if raw is None else raw.decode("utf-8", "replace") for raw in values], pa.large_string()
        )


def _numpy(array: pa.Array) -> Bools:
    filled: Bools = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
    return filled


def _unknown(count: int) -> _Order:
    nothing = np.zeros(count, dtype=np.bool_)
    return _Order(nothing, nothing, nothing)


def _byte_set(texts: Sequence[str]) -> pa.Array:
    return pa.array([text.encode() for text in texts], pa.large_binary())


@lru_cache(maxsize=16)
def _subject_set(subjects: frozenset[str]) -> pa.Array:
    return _byte_set(sorted({subject.strip() for subject in subjects} - {""}))


def _members(array: pa.Array, subjects: pa.Array) -> Bools:
    """Whether each value, as text without surrounding white space, is listed."""
    found = np.zeros(len(array), dtype=np.bool_)
    for where, part in _parts(array):
        if (text := _text(part)) is not None:
            found[where] = _numpy(pc.is_in(_stripped(text), subjects))
        elif not pa.types.is_null(part.type) and not pa.types.is_union(array.type):
            raise UsageError("the subject column of a collection is neither text nor integer")
    return found


def _stripped(array: pa.Array) -> pa.Array:
    """Bytes that are not UTF-8 lose ASCII white space alone."""
    try:
        return pc.utf8_trim_whitespace(_bytes(array).cast(pa.large_string())).cast(pa.large_binary())
    except pa.ArrowInvalid:
        return pa.array([_strip(raw) for raw in _bytes(array).to_pylist()], pa.large_binary())


def _strip(raw: bytes | None) -> bytes | None:
    if raw is None:
        return None
    try:
        return raw.decode().strip().encode()
    except UnicodeDecodeError:
        return raw.strip()


# --- Strict conversions of text ---------------------------------------------------------------

_MAX_DIGITS: Final = 60
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]{1,60}(?:\.[0-9]{0,60})?|\.[0-9]{1,60})", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIMESTAMP: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?",
    re.ASCII,
)
_ZONELESS: Final = (  # from 1000, because Arrow has a year 0 and Python has not
    r"\A[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}(?:[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)?\z"
)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def _read_number(text: str) -> Decimal | None:
    text = text.strip()
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def _read_bool(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.strip().lower())


def _read_moment(text: str) -> _Moment | None:
    text = text.strip()
    moment = _microseconds(text) if _TIMESTAMP.fullmatch(text) else None
    return None if moment is None else _Moment(moment)


def _microseconds(text: str) -> int | None:
    """Of an ISO 8601 date or time whose shape was checked; None for the 30th of February."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return (moment - _EPOCH) // dt.timedelta(microseconds=1)
