"""Who can get at a database, as far as its server tells; and when it was last written.

Counts and settings alone: names of roles, databases and machines can be people's. What this role may not
see is a sentence of its own, never an empty answer (PostgreSQL manual, "pg_hba_file_rules").
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cenotaph.stores.postgres.catalog.schema import LARGE_OBJECTS, Table
from cenotaph.stores.postgres.session import Session

DORMANT_MONTHS = 12
_LOCAL = ("", "localhost", "::1")
_HERE = ("127.0.0.1", "::1", "localhost", "samehost")
_ANYWHERE = ("all", "0.0.0.0", "::")  # noqa: S104 (looked for, not bound to)
_EVERY = ("*", "0.0.0.0", "::")  # noqa: S104


def exposures(session: Session, tables: Sequence[Table], today: datetime.date) -> Iterator[str]:
    """Sentences on who reads more than they should: of the server, then of these tables, then their age."""
    listens = [part.strip() for part in str(session.one("SHOW listen_addresses")).split(",")]
    remote = [address for address in listens if address not in _LOCAL and not address.startswith("127.")]
    encrypted = session.one("SHOW ssl") == "on"
    if any(address in _EVERY for address in remote):
        yield "the server listens on every address of its machine"
    elif remote:
        yield f"the server listens on addresses besides the loopback: {len(remote)}"
    if remote and not encrypted:
        yield "connections from other machines are not encrypted: TLS is off"
    yield from _rules(session, bool(remote), encrypted)
    yield from _roles(session)
    yield from _grants(session, tables)
    if (written := last_write(session, tables)) is not None:
        year, month = int(written[:4]), int(written[5:])
        months = (today.year - year) * 12 + today.month - month
        if months >= DORMANT_MONTHS:
            yield f"last written in {written}: dormant for {months} months"


def last_write(session: Session, tables: Sequence[Table]) -> str | None:
    """The month in which these tables were last written, or none later: by the commits of their rows where
    the server keeps their times, else by the times of their files, which maintenance moves too."""
    if session.one("SHOW track_commit_timestamp") == "on":
        times = [session.one(f"{_COMMITS} {table.sql()}") for table in tables]
    elif session.one("SELECT has_function_privilege('pg_stat_file(text, bool)', 'EXECUTE')"):
        times = [session.one(_FILES, [table.oid for table in tables])]
    else:
        times = []
    return max((str(time) for time in times if time is not None), default=None)


class _Rule(NamedTuple):
    kind: str  # local, host, hostssl …
    address: str
    method: str

    @property
    def here(self) -> bool:
        return self.kind == "local" or self.address in _HERE


def _rules(session: Session, remote: bool, encrypted: bool) -> Iterator[str]:
    if not session.one(
        "SELECT has_function_privilege('pg_hba_file_rules()', 'EXECUTE')"
        " AND has_table_privilege('pg_hba_file_rules', 'SELECT')"
    ):
        yield "who may connect without a password is not told to this role (pg_hba_file_rules)"
        return
    rules = [_Rule(*(str(part or "") for part in row)) for row in session.rows(_RULES)]
    trusting = [rule for rule in rules if rule.method == "trust"]
    here = sum(rule.here for rule in trusting)
    if here:
        yield f"without a password: every user of its machine may connect (rules of pg_hba.conf: {here})"
    if not remote:
        return
    away = [rule for rule in trusting if not rule.here]
    if away:
        anywhere = sum(rule.address in _ANYWHERE for rule in away)
        yield (
            f"without a password: other machines may connect (rules of pg_hba.conf: {len(away)},"
            f" from any address: {anywhere})"
        )
    clear = sum(rule.method == "password" and not rule.here and rule.kind != "hostssl" for rule in rules)
    if clear:
        yield f"passwords may cross the network in clear text (rules of pg_hba.conf: {clear})"
    plain = sum(rule.kind == "host" and not rule.here and rule.method != "reject" for rule in rules)
    if encrypted and plain:
        yield f"connections from other machines need not be encrypted (rules of pg_hba.conf: {plain})"


def _roles(session: Session) -> Iterator[str]:
    supers = session.one("SELECT count(*) FROM pg_roles WHERE rolsuper AND rolcanlogin")
    if supers > 1:
        yield f"superusers that may log in: {supers}"
    if session.one("SELECT has_table_privilege('pg_authid', 'SELECT')"):
        without, weak = session.rows(_PASSWORDS)[0]
        if without:
            yield f"roles that may log in and have no password: {without}"
        if weak:
            yield f"passwords that are stored as MD5: {weak}"


def _grants(session: Session, tables: Sequence[Table]) -> Iterator[str]:
    own = [table.oid for table in tables if table.oid != LARGE_OBJECTS]
    everybody = session.one(_PUBLIC, own)
    if everybody:
        yield f"tables in scope that every role of the database can read: {everybody}"
    if len(own) < len(tables) and session.one("SHOW lo_compat_privileges") == "on":
        yield "large objects can be read by every role of the database (lo_compat_privileges)"


# For this database, and for replication, which takes the whole server.
_RULES = """
SELECT type, address, auth_method FROM pg_hba_file_rules
WHERE error IS NULL
AND database && ARRAY['all', 'replication', 'sameuser', 'samerole', current_database()::text]
"""
_PASSWORDS = """
SELECT count(*) FILTER (WHERE rolpassword IS NULL), count(*) FILTER (WHERE rolpassword LIKE 'md5%')
FROM pg_authid WHERE rolcanlogin
"""
_PUBLIC = """
SELECT count(*) FROM pg_class WHERE oid = ANY ($1::int8[]::oid[])
AND has_any_column_privilege('public', oid, 'SELECT')
AND has_schema_privilege('public', relnamespace, 'USAGE')
"""
_COMMITS = "SELECT to_char(max(pg_xact_commit_timestamp(xmin)), 'YYYY-MM') FROM"
_FILES = """
SELECT to_char(max((pg_stat_file(pg_relation_filepath(oid), true)).modification), 'YYYY-MM') FROM pg_class
WHERE oid = ANY ($1::int8[]::oid[])
"""
