"""The error tree. An error finishes the sentence: what, where, and what to do next.

No message may carry a person's data: no cell value, no file name, no predicate. Name stores by
their name in the case, collections and partitions by ordinal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class CenotaphError(Exception):
    """Something cenotaph refuses or failed to do. `exit_code` is what the command returns."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CenotaphError):
    """The call, or the case file, is wrong."""

    exit_code = 2


class RefusedError(CenotaphError):
    """Hold, approval missing, notice period, drift: the run stops before anything is destroyed."""

    exit_code = 4


class DriftError(RefusedError):
    """What the store holds is not what was sealed. Nothing of this partition was destroyed."""


class PartialError(CenotaphError):
    """Some of the work is done; running the same command again goes on."""

    exit_code = 5


class EngineError(CenotaphError):
    """A cluster cannot be reached, or refuses the work. Nothing was lost by it."""


class StoreError(CenotaphError):
    """A store did not do what it was asked to."""


class TransientStoreError(StoreError):
    """Worth another try: a lock held by someone else, a connection that dropped."""


class PermanentStoreError(StoreError):
    """The partition is reported as failed; the run goes on with the others."""


@contextmanager
def naming(store: str) -> Iterator[None]:
    """Tell a store's errors with its name in the case, which the store itself does not know."""
    try:
        yield
    except StoreError as error:
        raise type(error)(f"store {store}: {error.message}", hint=error.hint) from None
