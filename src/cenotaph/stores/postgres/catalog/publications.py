# ruff: noqa: S608 (constants)
"""Which tables a publication sends to subscribers, and what that means for those who erase from them.

What surprised the author: a subscriber follows a TRUNCATE by emptying its own table, with whatever rows it
has of others; and a partition may be sent as its parent, under that one's name alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from cenotaph.scope import Selection
from cenotaph.stores.postgres.catalog.schema import collection_name
from cenotaph.stores.postgres.session import Session


def published(session: Session, oids: Sequence[int]) -> frozenset[int]:
    """Those of these tables of which changes are sent, by themselves or as a part of a parent."""
    return frozenset(int(oid) for (oid,) in session.rows(_PUBLISHED, list(oids)))


def as_parents(session: Session, oids: Sequence[int]) -> frozenset[int]:
    """Those of these tables that a subscriber has by the name of a parent (publish_via_partition_root)."""
    return frozenset(int(oid) for (oid,) in session.rows(_AS_PARENTS, list(oids)))


def refuses_deletion(session: Session, oid: int) -> bool:
    """Whether the server lets nobody delete from a table: subscribers could not tell which row it was."""
    return bool(session.rows(_REFUSES, oid))


def publishing(session: Session, selection: Selection) -> frozenset[str]:
    """The names of publications that send anything of a table in scope."""
    return frozenset(
        str(name)
        for name, namespace, relation in session.rows(_PUBLISHING)
        if selection.includes(collection_name(namespace, relation))
    )


# By names, which every role may look up: a cast to regclass takes USAGE on the schema.
_SENT = """
SELECT p.pubname, c.oid FROM pg_publication_tables p
JOIN pg_namespace n ON n.nspname = p.schemaname
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
"""
_ANCESTORS = "SELECT relid::oid FROM pg_partition_ancestors(t.oid::oid::regclass)"
_PUBLISHED = f"""
WITH sent AS ({_SENT}) SELECT t.oid FROM unnest($1::int8[]) AS t (oid)
WHERE EXISTS (SELECT FROM sent WHERE sent.oid = t.oid::oid OR sent.oid IN ({_ANCESTORS}))
"""
_AS_PARENTS = f"""
WITH sent AS ({_SENT}) SELECT t.oid FROM unnest($1::int8[]) AS t (oid)
WHERE EXISTS (SELECT FROM sent WHERE sent.oid <> t.oid::oid AND sent.oid IN ({_ANCESTORS}))
"""
_REFUSES = f"""
WITH sent AS ({_SENT}) SELECT FROM pg_class t
WHERE t.oid = $1::int8::oid AND EXISTS (SELECT FROM sent JOIN pg_publication USING (pubname)
    WHERE pubdelete AND (sent.oid = t.oid OR sent.oid IN ({_ANCESTORS})))
AND NOT CASE t.relreplident WHEN 'f' THEN true WHEN 'n' THEN false
    WHEN 'd' THEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = t.oid AND i.indisprimary)
    ELSE EXISTS (SELECT FROM pg_index i WHERE i.indrelid = t.oid AND i.indisreplident) END
"""
_PUBLISHING = f"""
WITH sent AS ({_SENT}) SELECT DISTINCT sent.pubname::text, n.nspname::text, c.relname::text
FROM sent CROSS JOIN LATERAL (
    SELECT sent.oid UNION SELECT relid::oid FROM pg_partition_tree(sent.oid::regclass) WHERE isleaf) t
JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace
"""
