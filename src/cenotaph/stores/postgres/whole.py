"""Which tables can go with one TRUNCATE, and together with which.

What surprised the author: a table to which another refers cannot be truncated even where both are empty, but
together with that one it can.
"""

from __future__ import annotations

from collections.abc import Sequence

from cenotaph.scope import Selection
from cenotaph.store import Collection
from cenotaph.stores.postgres import rows
from cenotaph.stores.postgres.catalog.publications import published
from cenotaph.stores.postgres.catalog.references import Reference
from cenotaph.stores.postgres.catalog.schema import Schema, Table
from cenotaph.stores.postgres.reclaiming.overwrite import goes_whole
from cenotaph.stores.postgres.session import Session


def group(
    session: Session,
    collection: Collection,
    known: Schema,
    found: Sequence[Reference],
    selection: Selection,
) -> list[Table] | None:
    """The table, first, and every one that refers to it, which all have to go whole. Those have to be empty,
    which is for the caller to see. None where the table has to be deleted from, or is not there; one to which
    others refer is, if it is small: each of those would get new files once more.
    """
    tables = {one.oid: one for one in known.tables}
    table = known.table(collection.name)
    together = [] if table is None else _referring(table.oid, found)
    small = collection.records <= rows.PARTITION_RECORDS
    if not together or (small and len(together) > 1):
        return None
    if not all(oid in tables and goes_whole(tables[oid], selection) for oid in together):
        return None
    if session.one(_HINDERED, together) or published(session, together):
        return None
    return [tables[oid] for oid in together]


def _referring(oid: int, found: Sequence[Reference]) -> list[int]:
    """The table and those that refer to it, and to those."""
    children: dict[int, list[int]] = {}
    for reference in found:
        children.setdefault(reference.parent, []).append(reference.child)
    reached = [oid]
    seen = {oid}
    for one in reached:  # which grows meanwhile
        new = [child for child in dict.fromkeys(children.get(one, ())) if child not in seen]
        seen.update(new)
        reached += new
    return reached


# A right that this role does not have; a partitioned table that refers to one of them, which cannot be named
# without its partitions.
_HINDERED = """
SELECT NOT (SELECT bool_and(has_table_privilege(oid, 'TRUNCATE')) FROM unnest($1::int8[]::oid[]) AS t (oid))
    OR EXISTS (SELECT FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
        WHERE k.contype = 'f' AND c.relkind <> 'r' AND k.confrelid = ANY ($1::int8[]::oid[]))
"""
