"""A selection without what a plan leaves out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from cenotaph.estate import narrowed
from cenotaph.scope import Hold, Selection

STORE = cast(
    Any,
    SimpleNamespace(
        collections=[
            SimpleNamespace(ordinal=n, collection=SimpleNamespace(name=name))
            for n, name in enumerate(("patient", "visit", "ward"))
        ]
    ),
)


def left_out(*ordinals: int) -> Any:
    return [SimpleNamespace(ordinal=ordinal) for ordinal in ordinals]


def test_what_a_plan_leaves_out_is_held() -> None:
    """A collection in scope that the plan leaves out stays, and copies that may have it."""
    chosen = narrowed(Selection(("patient", "visit")), STORE, left_out(1))

    assert chosen.holds == (Hold(collections=("visit",)),)


def test_what_was_never_in_scope_is_not_held() -> None:
    """It stays anyway; a hold would keep every backup and the log's archive of a server with other tables."""
    selection = Selection(("patient", "visit"))

    assert narrowed(selection, STORE, left_out(2)) is selection
