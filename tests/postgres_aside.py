"""Files of tables that are set aside, and sessions that end before the commit which should follow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from cenotaph.stores.postgres.beneath import aside, underneath
from postgres_server import Server


def set_aside(server: Server, database: str) -> list[str]:
    """The files that lie beside tables of a database."""
    found = server.run("SELECT oid FROM pg_database WHERE datname = current_database()", database=database)
    return sorted(path.name for path in (server.data / "base" / str(found[0][0])).glob("cenotaph-*"))


@contextmanager
def ending_before_the_commit(
    monkeypatch: pytest.MonkeyPatch, server: Server, database: str
) -> Iterator[None]:
    """The session that erases ends when the files of a table are set aside: there they stay."""
    plain = aside.set_aside

    def ended(files: Sequence[underneath.File]) -> None:
        plain(files)
        server.run(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'cenotaph'"
            " AND datname = current_database() AND state = 'idle in transaction' AND backend_xid IS NOT NULL",
            database=database,
        )

    with monkeypatch.context() as here:
        here.setattr(aside, "set_aside", ended)
        yield
    assert set_aside(server, database)
