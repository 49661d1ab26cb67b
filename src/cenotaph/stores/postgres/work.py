"""What a reclamation works on, and its steps: each works on one `Work`, and can be read beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from cenotaph.scope import Selection
from cenotaph.store import Command, Surroundings
from cenotaph.stores.postgres.catalog.schema import Schema, Table
from cenotaph.stores.postgres.session import Session
from cenotaph.stores.postgres.writing import Writer


@dataclass(slots=True)
class Work:
    """One reclamation. Steps add to `limits` why L2 is not reached by the store's own means, the
    weightiest first, and to `notes` what there is to know besides."""

    writer: Writer
    known: Schema
    tables: tuple[Table, ...]  # from which was erased, as they are now
    selection: Selection
    shared: frozenset[str]  # the shared actions of the approved plan
    around: Surroundings
    ask: Callable[[], None] = lambda: None  # before what takes long: what it raises ends the reclamation
    limits: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    overwritten: int = 0  # bytes
    freed: int = 0


class Outlook(NamedTuple):
    """What a step would work on, looked at from a session that changes nothing."""

    session: Session
    known: Schema
    tables: tuple[Table, ...]
    selection: Selection
    around: Surroundings


class Step(NamedTuple):
    """What a step does, and the commands that it runs for that, in order, as they can be told before. What it
    does beside the server is a command without text."""

    run: Callable[[Work], None]
    commands: Callable[[Outlook], Iterator[Command]]
