"""Which records of a store go, and which stay (spec/scope.md).

One evaluator for every store: a predicate is parsed once and evaluated over Arrow batches, so that
the same words select the same records of a CSV file and of a database table. Everything a scope
names can be a person (a value in a predicate, a listed subject), so nothing here shows it: not the
`repr`, not an error message, which points at a character instead.
"""

from cenotaph.scope._language import MAX_DEPTH, MAX_ITEMS, MAX_LENGTH, MAX_PATTERN, parse_predicate
from cenotaph.scope._logic import Predicate, Truth
from cenotaph.scope._selection import EVERYTHING, Counts, Hold, Masks, Selection, listed

__all__ = [
    "EVERYTHING",
    "MAX_DEPTH",
    "MAX_ITEMS",
    "MAX_LENGTH",
    "MAX_PATTERN",
    "Counts",
    "Hold",
    "Masks",
    "Predicate",
    "Selection",
    "Truth",
    "listed",
    "parse_predicate",
]
