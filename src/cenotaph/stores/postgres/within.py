"""Where rows of a table may be within its own database: in views, large objects, and tables beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cenotaph.scope import Selection
from cenotaph.store import Copy, Disposition
from cenotaph.stores.postgres import history, large_objects, views
from cenotaph.stores.postgres.schema import USERS_OWN, Schema, Table, collection_name
from cenotaph.stores.postgres.session import Session


def found(session: Session, known: Schema, table: Table, selection: Selection) -> Iterator[Copy]:
    """Copies in the database, with what becomes of each under the selection. No value is read."""
    for copy in _found(session, known, table, selection):
        yield copy if selection.includes(table.name) else replace(copy, disposition=Disposition.KEEP)


def _found(session: Session, known: Schema, table: Table, selection: Selection) -> Iterator[Copy]:
    yield from views.copies(session, known, table, selection)
    yield from history.copies(history.read(session, known), table, selection)
    yield from large_objects.copies(session, table, selection)
    for schema, relation, wrapper in session.rows(_FOREIGN):
        name = collection_name(schema, relation)
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
