"""Stores by the scheme of their address. A scheme's module is imported when it is first asked for."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import cast

from cenotaph.errors import UsageError
from cenotaph.scope import Selection
from cenotaph.store import NOTHING_AROUND, Eraser, Reader, Surroundings

MODULES = {
    "sqlite": "cenotaph.stores.sqlite",
    "files": "cenotaph.stores.files",
    "postgresql": "cenotaph.stores.postgres",
}
EXTRAS = {"postgresql": "postgres"}


def open_reader(url: str, selection: Selection, around: Surroundings = NOTHING_AROUND) -> Reader:
    """Open a store for reading. Raises: UsageError for an unknown scheme; StoreError."""
    return cast(Reader, _module(url).open_reader(url, selection, around))


def open_eraser(
    url: str,
    selection: Selection,
    shared: frozenset[str] = frozenset(),
    around: Surroundings = NOTHING_AROUND,
) -> Eraser:
    """Open a store for erasing. Only `destroy` calls this, with an approved plan.

    Raises: UsageError for an unknown scheme, or one whose driver is not installed; StoreError.
    """
    return cast(Eraser, _module(url).open_eraser(url, selection, shared, around))


def _module(url: str) -> ModuleType:
    scheme = url.partition(":")[0]
    if scheme not in MODULES:
        raise UsageError(f"there is no store for addresses that begin with {scheme}:")
    try:
        return importlib.import_module(MODULES[scheme])
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("cenotaph"):
            raise
        raise UsageError(
            f"stores at {scheme}: take the package {error.name}, which is not installed",
            hint=f"run: pip install 'cenotaph[{EXTRAS[scheme]}]'",
        ) from None
