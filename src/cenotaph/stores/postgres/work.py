"""What a reclamation works on, and what its steps say: each step is a function of one `Work`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from cenotaph.store import Surroundings
from cenotaph.stores.postgres.schema import Table
from cenotaph.stores.postgres.writing import Writer


@dataclass(slots=True)
class Work:
    """One reclamation. Steps add to `limits` why L2 is not reached by the store's own means, the
    weightiest first, and to `notes` what there is to know besides."""

    writer: Writer
    tables: tuple[Table, ...]  # from which was erased, as they are now
    shared: frozenset[str]  # the shared actions of the approved plan
    around: Surroundings
    limits: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    overwritten: int = 0  # bytes
    freed: int = 0


Step: TypeAlias = Callable[[Work], None]
