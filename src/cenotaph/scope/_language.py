"""The small language of predicates, parsed: bounded, and silent about what it reads (spec/scope.md)."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final, NamedTuple

from cenotaph.errors import UsageError
from cenotaph.scope._compare import OPERATORS
from cenotaph.scope._logic import (
    AllOf,
    AnyOf,
    Column,
    Compare,
    In,
    IsNull,
    Like,
    Literal,
    Node,
    Not,
    Predicate,
    negate,
    stopped,
)
from cenotaph.scope._values import DATE, MAX_DIGITS, TIMESTAMP, Moment, microseconds

MAX_LENGTH: Final = 65_536  # characters of a predicate
MAX_DEPTH: Final = 50  # parentheses and NOTs inside one another
MAX_ITEMS: Final = 10_000  # literals of one predicate
MAX_PATTERN: Final = 1_000  # characters of a LIKE pattern


def parse_predicate(text: str) -> Predicate:
    """Parse a condition such as `created < DATE '2021-01-01' AND "类型" IN ('a', 'b')`.

    Raises:
        UsageError: naming the character where it stops making sense, and never a value.
    """
    if len(text) > MAX_LENGTH:
        raise UsageError(f"the row condition is longer than {MAX_LENGTH:,} characters")
    return Predicate(text, Parser(_tokens(text)).predicate())


class Token(NamedTuple):
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


def _tokens(text: str) -> list[Token]:
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise stopped("has something that is not part of the language", at + 1)
        kind = str(match.lastgroup)
        if kind != "space":
            quote = {"text": "'", "quoted": '"'}.get(kind)
            value = match[kind].replace(quote * 2, quote) if quote else match[kind]
            tokens.append(Token(kind, value, at + 1))
        at = match.end()
    return [*tokens, Token("end", "", len(text) + 1)]


class Parser:
    """Recursive descent over the grammar of spec/scope.md; one method a rule."""

    def __init__(self, tokens: list[Token]) -> None:
        self._rest = tokens
        self._next = 0
        self._depth = 0
        self._items = 0

    def predicate(self) -> Node:
        node = self._any()
        if self._peek().kind != "end":
            raise stopped("goes on after its end", self._peek().at)
        return node

    def _any(self) -> Node:
        nodes = [self._all()]
        while self._keyword("OR"):
            nodes.append(self._all())
        return nodes[0] if len(nodes) == 1 else AnyOf(tuple(nodes))

    def _all(self) -> Node:
        nodes = [self._negation()]
        while self._keyword("AND"):
            nodes.append(self._negation())
        return nodes[0] if len(nodes) == 1 else AllOf(tuple(nodes))

    def _negation(self) -> Node:
        at = self._peek().at
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise stopped(f"nests more than {MAX_DEPTH} deep", at)
        if self._keyword("NOT"):
            node: Node = Not(self._negation())
        elif self._sign("("):
            node = self._any()
            self._expect(")")
        else:
            node = self._test()
        self._depth -= 1
        return node

    def _test(self) -> Node:
        column = self._column()
        if self._keyword("IS"):
            negated = self._keyword("NOT")
            self._expect("NULL")
            return negate(negated, IsNull(column))
        if self._peek().kind == "sign" and self._peek().value in OPERATORS:
            return Compare(column, self._take().value, self._literal())
        negated = self._keyword("NOT")
        if self._keyword("IN"):
            return negate(negated, In(column, self._list()))
        if self._keyword("LIKE"):
            return negate(negated, self._like(column))
        if self._keyword("BETWEEN"):
            low = self._literal()
            self._expect("AND")
            return negate(
                negated, AllOf((Compare(column, ">=", low), Compare(column, "<=", self._literal())))
            )
        raise stopped("needs a comparison, IN, LIKE, BETWEEN or IS NULL", self._peek().at)

    def _column(self) -> Column:
        token = self._take()
        if token.kind == "quoted":
            return Column(token.value, True, token.at)
        if token.kind == "word" and token.value.upper() not in _KEYWORDS:
            return Column(token.value, False, token.at)
        raise stopped(
            "needs the name of a column", token.at, 'names that are also keywords stand in "double quotes"'
        )

    def _list(self) -> tuple[Literal, ...]:
        self._expect("(")
        literals = [self._literal()]
        while self._sign(","):
            literals.append(self._literal())
        self._expect(")")
        return tuple(literals)

    def _literal(self) -> Literal:
        self._items += 1
        token = self._take()
        if self._items > MAX_ITEMS:
            raise stopped(f"has more than {MAX_ITEMS:,} values", token.at, "list subjects in a file instead")
        if token.kind == "text":
            return Literal(token.value, token.at)
        if token.kind == "number":
            if len(token.value) > MAX_DIGITS:
                raise stopped(f"has a number of more than {MAX_DIGITS} digits", token.at)
            return Literal(Decimal(token.value), token.at)
        word = token.value.upper() if token.kind == "word" else ""
        if word in ("TRUE", "FALSE"):
            return Literal(word == "TRUE", token.at)
        if word in ("DATE", "TIMESTAMP") and self._peek().kind == "text":
            return self._moment(word, self._take())
        if word == "NULL":
            raise stopped("compares with NULL, which is never true", token.at, "write IS NULL or IS NOT NULL")
        raise stopped("needs a value: 'text', a number, TRUE, FALSE, DATE '…' or TIMESTAMP '…'", token.at)

    def _moment(self, word: str, token: Token) -> Literal:
        shape = DATE if word == "DATE" else TIMESTAMP
        moment = microseconds(token.value) if shape.fullmatch(token.value) else None
        if moment is None:
            raise stopped(f"has a {word} that is not written as ISO 8601", token.at)
        return Literal(Moment(moment), token.at)

    def _like(self, column: Column) -> Like:
        token, escape = self._take(), None
        if token.kind != "text" or len(token.value) > MAX_PATTERN:
            raise stopped(f"needs a 'text' of at most {MAX_PATTERN:,} characters after LIKE", token.at)
        if self._keyword("ESCAPE"):
            mark = self._take()
            if mark.kind != "text" or len(mark.value) != 1:
                raise stopped("needs one character in quotes after ESCAPE", mark.at)
            escape = mark.value
        elif "\\" in token.value:
            raise stopped(
                "has a backslash after LIKE, which databases read differently", token.at, _ESCAPE_HINT
            )
        return Like(column, _regex(token, escape))

    def _peek(self) -> Token:
        return self._rest[self._next]

    def _take(self) -> Token:
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
            raise stopped(f"needs {what} here", self._peek().at)


_NAME_HINT: Final = 'names that are also keywords stand in "double quotes"'
_ESCAPE_HINT: Final = r"say what it is: LIKE '…' ESCAPE '\'"


def _regex(token: Token, escape: str | None) -> str:
    r"""A LIKE pattern as RE2: linear in the text, whatever the pattern."""
    parts, characters = [], iter(token.value)
    for character in characters:
        if character == escape:
            escaped = next(characters, None)
            if escaped is None or escaped not in ("%", "_", escape):
                raise stopped("escapes something other than %, _ or the escape character", token.at)
            parts.append(_re2_quote(escaped))
        elif character == "%":
            if parts[-1:] != [".*"]:
                parts.append(".*")
        else:
            parts.append("." if character == "_" else _re2_quote(character))
    return rf"\A(?s:{''.join(parts)})\z"


def _re2_quote(character: str) -> str:
    return character if character == "_" or character.isalnum() else rf"\x{{{ord(character):x}}}"
