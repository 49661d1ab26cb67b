"""Where rows of a table may be within its own database: in views, large objects, and tables beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from cenotaph.scope import Selection
from cenotaph.store import Copy, Disposition
from cenotaph.stores.postgres.catalog import history, large_objects, views
from cenotaph.stores.postgres.catalog.history import History
from cenotaph.stores.postgres.catalog.schema import USERS_OWN, Schema, Table, collection_name
from cenotaph.stores.postgres.catalog.views import View
from cenotaph.stores.postgres.session import Session


@dataclass(frozen=True, slots=True)
class Within:
    """What a database has beside rows, read once for all of its tables. No value is read."""

    history: History
    views: tuple[View, ...]
    foreign: tuple[tuple[str, str], ...] = field(repr=False)  # what kind of server, and the table
    objects: int | None  # bytes of large objects, where there are any

    @classmethod
    def read(cls, session: Session, known: Schema) -> Within:
        foreign = (
            (str(wrapper), collection_name(schema, relation))
            for schema, relation, wrapper in session.rows(_FOREIGN)
        )
        return cls(
            history.read(session, known), views.read(session), tuple(foreign), large_objects.size(session)
        )

    def copies(self, table: Table, selection: Selection) -> Iterator[Copy]:
        """Copies of a table in the database, with what becomes of each under the selection."""
        for copy in self._copies(table, selection):
            yield copy if selection.includes(table.name) else replace(copy, disposition=Disposition.KEEP)

    def _copies(self, table: Table, selection: Selection) -> Iterator[Copy]:
        yield from views.copies(self.views, self.history.known, table, selection)
        yield from history.copies(self.history, table, selection)
        if self.objects is not None:
            yield from large_objects.copies(self.objects, table, selection)
        for wrapper, name in self.foreign:
            # like any table: out of scope where its name is, though nothing of it is ever read
            stays = Disposition.REACH_NOT if selection.includes(name) else Disposition.KEEP
            yield Copy(f"foreign table ({wrapper})", name, 0, stays)


_FOREIGN = f"""
SELECT n.nspname::text, c.relname::text, w.fdwname::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_foreign_table f ON f.ftrelid = c.oid JOIN pg_foreign_server s ON s.oid = f.ftserver
JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
WHERE {USERS_OWN} ORDER BY 1, 2
"""  # noqa: S608 (a constant)
