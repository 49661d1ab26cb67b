"""Which server keeps a store, and with which others of the case: looked at before anything is touched.

Records are safe behind their seals wherever an address leads. What a server has besides, its archive, log,
standbys and backups, is not: a clone has an archive command, and production's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import closing

from cenotaph.config import CaseFile
from cenotaph.errors import RefusedError, StoreError
from cenotaph.estate import Estate, EstateStore
from cenotaph.store import Eraser, Heeding, OpenReader, Served

WAITS = "waits until the other stores of its server are erased, too"


def check(case: CaseFile, opener: OpenReader, estate: Estate) -> None:
    """Every store that a server keeps is reached at the server and database that were surveyed, for reading
    and for erasing. One that does not answer is left to whoever erases it.

    Raises: RefusedError.
    """
    for store in estate.stores:
        for address, erasing in addresses(case, store):
            if why := another(case, opener, store, address):
                what = "erase_url" if erasing else "url"
                raise RefusedError(
                    f"{what} of store {store.name} leads elsewhere than the survey looked: {why}",
                    hint="correct it; after a failover, or from a restored backup, survey and seal again",
                )


def addresses(case: CaseFile, store: EstateStore) -> list[tuple[str, bool]]:
    """Where a store that a server keeps is reached, each with whether it is for erasing; none of another."""
    if store.keeper is None:
        return []
    table = case.find(store.name)
    read, erase = case.url(table), case.url(table, erase=True)
    return [(read, False), (erase, True)] if erase != read else [(read, False)]


def another(case: CaseFile, opener: OpenReader, store: EstateStore, url: str) -> str:
    """Why what answers at this address of a store is not its keeper; empty where it is, or nobody answers."""
    table = case.find(store.name)
    with (
        contextlib.suppress(StoreError),
        closing(opener(url, case.selection(table), case.surroundings(table))) as reader,
    ):
        if store.keeper is not None and isinstance(reader, Served):
            now = reader.keeper()
            if now is not None:
                return store.keeper.differs(now)
            if reader.started() is not None:  # None: it was retired
                return "this role cannot tell which server it is, or it is a standby"
    return ""


def together(stores: Sequence[EstateStore]) -> list[list[str]]:
    """Names of stores that one server keeps, where there are several of a server."""
    servers: dict[str, list[str]] = {}
    for store in stores:
        if store.keeper is not None:
            servers.setdefault(store.keeper.server, []).append(store.name)
    return [names for names in servers.values() if len(names) > 1]


def heed(eraser: Eraser, ask: Callable[[], None]) -> None:
    """Have an eraser ask whether to go on between steps of reclaiming, if it can."""
    if isinstance(eraser, Heeding):
        eraser.heed(ask)
