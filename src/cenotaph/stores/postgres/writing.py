"""The session that erases: one transaction a partition, and nothing of what it does in the server's log.

What surprised the author: a lock that only keeps writers out (EXCLUSIVE) lets a second session read the
table as it is beneath the lock, so that reading for the seal needs no code of its own; vacuum waits for it
too, so that rows stay where they are until they go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from cenotaph.errors import TransientStoreError
from cenotaph.store import Command
from cenotaph.stores.postgres import commands
from cenotaph.stores.postgres.catalog.schema import Table
from cenotaph.stores.postgres.session import (
    RESTRICTED,
    SET,
    SETTINGS,
    Broken,
    Remark,
    Session,
    driver_errors,
)

LOCK_SECONDS = 5  # after which the case's own patience counts
_WRITES = {"default_transaction_read_only": "off", "lock_timeout": f"{LOCK_SECONDS}s"}
# What a role or a database may have as its own setting, and nothing is erased with: foreign keys would not be
# checked, and what is journalled as done would not outlive a crash.
_WEAKENED = (("session_replication_role", "replica", "origin"), ("synchronous_commit", "off", "local"))
# What a server would write of this session into its log or its statistics; a superuser's, or granted.
_SILENT = {
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_error_statement": "panic",
    "log_min_messages": "panic",
    "log_parameter_max_length_on_error": "0",
    "log_temp_files": "-1",
    "pg_stat_statements.track": "none",
    "auto_explain.log_min_duration": "-1",
}


def settings() -> Iterator[Command]:
    """What a `Writer` sets for its session."""
    yield Command(
        SET,
        "Sets what holds for this session alone: how long it waits for locks, that nobody's own function or"
        " operator stands in for the server's, and that values keep their form.",
        values=_told({**SETTINGS, **_WRITES}),
    )
    yield Command(
        SET,
        "Keeps this session's commands out of the server's log and statistics. Tried one by one: what the"
        " role may not set stays as it is.",
        values=_told({**RESTRICTED, **_SILENT}),
        often="once for each setting",
    )


def _told(chosen: Mapping[str, str]) -> str:
    return "$1 and $2: " + ", ".join(f"{name} = {value}" for name, value in chosen.items())


class Writer(Session):
    """A connection that may change the database, outside of any transaction until `transaction`."""

    def _settle(self) -> None:
        super()._settle()
        self.run(commands.ROLLBACK)
        self._set(_WRITES)
        for name, weak, right in _WEAKENED:
            if self.one("SELECT current_setting($1)", name) == weak:
                self._set({name: right})
        self.silent = not self.attempt(_SILENT) and self.quiet  # nothing of this session is logged

    def run(self, command: Command, *values: object) -> int:
        """Run one command; how many rows it touched. Values are bound, never written into its text."""
        return self._link.execute(command.text.encode(), values or None).rowcount

    @contextmanager
    def remarks(self) -> Iterator[list[str]]:
        """What the server adds in detail to its notices meanwhile. May quote names: never to be shown."""
        found: list[str] = []

        def keep(notice: Remark) -> None:
            found.append(notice.message_detail or "")

        self._link.add_notice_handler(keep)
        try:
            yield found
        finally:
            self._link.remove_notice_handler(keep)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Committed at the end, undone by an error."""
        self.run(commands.BEGIN)
        try:
            yield
        except BaseException:
            self.undo()
            raise
        self.run(commands.COMMIT)

    def undo(self) -> None:
        """Roll back, as far as there is still a connection: without one the server does."""
        if not self._link.closed:
            try:
                self.run(commands.ROLLBACK)
            except Broken:
                self._link.close()

    def lock(self, table: Table, what: str) -> None:
        """Keep everybody who writes out of the table until the transaction ends.

        Raises: TransientStoreError saying who is in the way.
        """
        try:
            with driver_errors(what):
                self.run(commands.lock(table))
        except TransientStoreError as error:
            raise TransientStoreError(
                f"{what} is in use: {self.in_the_way(table.oid)} would have to end first",
                hint="end them, or run again later",
            ) from error

    def in_the_way(self, oid: int) -> str:
        """The processes that hold locks on a table; no names, which may be people's."""
        self.undo()
        with driver_errors("the server"):
            found = self.rows(
                "SELECT DISTINCT pid FROM pg_locks WHERE relation = $1::int8 AND granted AND pid IS NOT NULL"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1",
                oid,
            )
        numbers = [str(pid) for (pid,) in found]
        return f"server process {', '.join(numbers)}" if numbers else "a transaction that was prepared"
