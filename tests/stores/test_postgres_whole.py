"""Tables that go whole go with one TRUNCATE: as sealed, all or nothing, and only where nothing else would."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, TypeAlias

import pytest

import postgres_server
from cenotaph.errors import DriftError, PermanentStoreError, TransientStoreError
from cenotaph.scope import Hold, Selection, parse_predicate
from cenotaph.store import AT_ONCE, Assignment, Class, Erasure, Surroundings
from cenotaph.stores.postgres import open_eraser, open_reader, whole, writing
from cenotaph.stores.postgres.beneath import aside, underneath
from cenotaph.stores.postgres.eraser import PostgresEraser
from cenotaph.stores.postgres.reclaiming import overwrite
from cenotaph.testing.contract import Log, Rows, Stopped
from postgres_aside import ending_before_the_commit, set_aside

PEOPLE = (
    "CREATE TABLE people (id int4 PRIMARY KEY, name text)",
    "INSERT INTO people SELECT n, 'Person-' || md5(n::text) FROM generate_series(1, 400) n",
)
VISITS = (
    "CREATE TABLE visit (id int4 PRIMARY KEY, who int4 REFERENCES people ON DELETE CASCADE)",
    "INSERT INTO visit SELECT n, n FROM generate_series(1, 300) n",
)


class Town(postgres_server.Database):
    """A database whose tables are sealed, then taken away at once."""

    def seal(self, *tables: str, **more: Any) -> None:
        self.selection = Selection(collections=tables or ("*",), **more)
        reader = open_reader(self.url, self.selection)
        self.parts = {
            found.name: (found, [(p, Rows(reader.batches(p))) for p in reader.partitions(found)])
            for found in reader.collections()
            if found.records
        }

    def assigned(self, table: str) -> list[Assignment]:
        return [Assignment(part, rows, Log(sealed=rows)) for part, rows in self.parts[f"public.{table}"][1]]

    def erase(
        self,
        table: str,
        parts: Sequence[Assignment] | Iterator[Assignment] | None = None,
        user: str = postgres_server.USER,
        **around: Any,
    ) -> Sequence[Erasure] | None:
        here = Surroundings(str(self.server.data), **around)
        eraser = open_eraser(self.server.url(self.name, user), self.selection, frozenset(), here)
        given = self.assigned(table) if parts is None else parts
        try:
            return eraser.erase_whole(self.parts[f"public.{table}"][0], given)
        finally:
            eraser.close()

    def count(self, table: str) -> int:
        return int(self.sql(f"SELECT count(*) FROM {table}")[0][0])

    def file(self, table: str) -> str:
        return str(self.sql(f"SELECT pg_relation_filepath('{table}')")[0][0])


MakeTown: TypeAlias = Callable[..., Town]


@pytest.fixture
def town(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeTown]:
    """Makes a `Town` by statements; its tables have a partition for every 150 rows."""
    monkeypatch.setattr("cenotaph.stores.postgres.rows.PARTITION_RECORDS", 150)
    monkeypatch.setitem(writing._WRITES, "lock_timeout", "500ms")
    with postgres_server.making(Town) as make:
        yield make


def test_all_partitions_go_as_sealed_with_one_command(town: MakeTown) -> None:
    """Each is compared, then each begun, before the first row goes; the table has another file then."""
    it = town(*PEOPLE)
    it.seal()
    parts, before = it.assigned("people"), it.file("people")

    done = it.erase("people", parts)

    assert done is not None
    assert [one.records for one in done] == [150, 150, 100]
    assert it.count("people") == 0
    assert it.file("people") != before
    for one in parts:
        assert isinstance(one.progress, Log)
        assert one.progress.checked_before_begin
        assert one.progress.begun is not None
        assert one.progress.begun[AT_ONCE]


def test_a_row_that_was_changed_or_came_stops_all_of_it(town: MakeTown) -> None:
    """In the last partition: nothing is begun, nothing is gone."""
    for change in (
        "UPDATE people SET name = 'other' WHERE id = 399",
        "INSERT INTO people VALUES (900, 'new')",
    ):
        it = town(*PEOPLE)
        it.seal()
        it.sql(change)
        parts, rows = it.assigned("people"), it.count("people")

        with pytest.raises(DriftError):
            it.erase("people", parts)

        assert it.count("people") == rows
        assert not any(one.progress.begun for one in parts)


def test_a_row_outside_of_all_partitions_stops_it(town: MakeTown) -> None:
    """One partition is not given, as if it were done: what came into it since would go unseen."""
    it = town(*PEOPLE)
    it.seal()

    with pytest.raises(DriftError, match="in none of its partitions"):
        it.erase("people", it.assigned("people")[:-1])

    assert it.count("people") == 400


def test_asked_to_stop_between_two_partitions_it_leaves_everything(town: MakeTown) -> None:
    """A pause, or a window that closes."""
    it = town(*PEOPLE)
    it.seal()

    def stopping() -> Iterator[Assignment]:
        yield it.assigned("people")[0]
        raise Stopped

    with pytest.raises(Stopped):
        it.erase("people", stopping())

    assert it.count("people") == 400


def test_a_table_to_which_an_empty_one_refers_goes_with_it(town: MakeTown) -> None:
    """In the order of foreign keys. While the other still has rows, it has to be deleted from instead."""
    it = town(*PEOPLE, *VISITS)
    it.seal()

    assert it.erase("people") is None
    assert it.count("people") == 400
    assert it.erase("visit") is not None
    assert it.erase("people") is not None
    assert (it.count("people"), it.count("visit")) == (0, 0)
    it.sql("INSERT INTO people VALUES (1, 'x')", "INSERT INTO visit VALUES (1, 1)")


@pytest.mark.parametrize(
    ("statements", "scope"),
    [
        pytest.param(("CREATE TABLE bed (who int4 REFERENCES people)",), {}, id="out of scope refers"),
        pytest.param((), {"rows": parse_predicate("id < 300")}, id="rows by condition"),
        pytest.param(
            (),
            {"holds": (Hold(collections=("public.people",), rows=parse_predicate("id = 7")),)},
            id="a row is held",
        ),
        pytest.param(
            ("CREATE PUBLICATION told FOR TABLE people WITH (publish = 'insert, delete')",),
            {},
            id="published",
        ),
        pytest.param(
            (
                "CREATE TABLE stay (id int4, who int4 REFERENCES people) PARTITION BY LIST (id)",
                "CREATE TABLE stay1 PARTITION OF stay FOR VALUES IN (1)",
            ),
            {"more": ("public.stay*",)},
            id="a partitioned table refers",
        ),
    ],
)
def test_what_else_would_go_or_stay_has_it_deleted_from(
    town: MakeTown, statements: Sequence[str], scope: dict[str, Any]
) -> None:
    """Nothing is changed, and the partitions are left to be erased one by one."""
    it = town(*PEOPLE, *statements)
    it.seal("public.people", *scope.pop("more", ()), **scope)

    assert it.erase("people") is None
    assert it.count("people") == 400


def test_without_the_right_to_truncate_it_is_deleted_from(town: MakeTown) -> None:
    """A role that was granted DELETE alone."""
    it = town(*PEOPLE)
    it.sql("CREATE ROLE clerk LOGIN", "GRANT SELECT, DELETE ON people TO clerk")
    it.seal()
    try:
        assert it.erase("people", user="clerk") is None
        assert it.count("people") == 400
    finally:
        it.sql("DROP OWNED BY clerk", "DROP ROLE clerk")


def test_a_small_table_to_which_others_refer_is_deleted_from(town: MakeTown) -> None:
    """Else each of those would get new files once for each such table."""
    it = town(*PEOPLE, *VISITS)
    it.seal()
    it.erase("visit")
    it.sql("DELETE FROM people WHERE id > 100")
    it.seal()

    assert it.erase("people") is None


def test_begun_and_taken_back_it_goes_on_with_exactly_what_was_sealed(town: MakeTown) -> None:
    """After a kill all rows are there, or none: a part of them is drift, as nothing of ours leaves it."""
    it = town(*PEOPLE)
    it.seal()
    begun = {"records": 1, AT_ONCE: 1}

    def again() -> list[Assignment]:
        return [one._replace(progress=Log(begun=begun)) for one in it.assigned("people")]

    it.sql("DELETE FROM people WHERE id = 5")
    with pytest.raises(DriftError):
        it.erase("people", again())
    it.sql("INSERT INTO people VALUES (5, 'Person-' || md5('5'))")

    assert it.erase("people", again()) is not None
    assert it.count("people") == 0
    assert it.erase("people", again()) is not None
    eraser = open_eraser(it.url, it.selection)
    assert [eraser.erase(*one).records for one in again()] == [150, 150, 100]
    eraser.close()


def test_who_reads_is_waited_for_and_told(town: MakeTown) -> None:
    """Others may read while the rows are compared, not when they go. Nothing was begun."""
    it = town(*PEOPLE)
    it.seal()
    parts = it.assigned("people")
    with it.server.connect(it.name) as link:
        link.autocommit = False
        link.execute(b"SELECT count(*) FROM people")
        with pytest.raises(TransientStoreError, match=f"server process {link.info.backend_pid}"):
            it.erase("people", parts)

    assert not any(one.progress.begun for one in parts)
    assert it.count("people") == 400


def test_who_has_been_reading_for_long_is_told_before_all_is_read(
    town: MakeTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dump of hours: comparing a table with its seal until then would be in vain, each time."""
    it = town(*PEOPLE)
    it.seal()
    parts = it.assigned("people")
    monkeypatch.setattr(writing, "LOCK_SECONDS", 0)
    with it.server.connect(it.name) as link:
        link.autocommit = False
        link.execute(b"SELECT count(*) FROM people")
        with pytest.raises(TransientStoreError, match=f"server process {link.info.backend_pid}"):
            it.erase("people", parts)

    assert not any(one.sealed.checked for one in parts if isinstance(one.sealed, Rows))


def test_old_files_are_kept_from_the_server_until_they_are_overwritten(town: MakeTown) -> None:
    """Heap and index have a second name, and everybody is still in them; reclaiming leaves neither."""
    it = town(*PEOPLE)
    it.seal()
    folder = it.server.data / "base"

    def kept() -> bytes:
        return b"".join(path.read_bytes() for path in folder.glob("*/cenotaph-*"))

    it.erase("people", online_overwrite=True)
    assert kept().count(b"Person-") == 400
    eraser = open_eraser(
        it.url, it.selection, frozenset(), Surroundings(str(it.server.data), online_overwrite=True)
    )
    done = eraser.reclaim([it.parts["public.people"][0]])
    eraser.close()

    assert kept() == b""
    assert done.overwritten_bytes > 400 * 40


def test_pages_of_an_unlogged_table_that_only_memory_had_are_overwritten_too(
    town: MakeTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server needs their place for others just before the commit, and writes them into what has the
    table's name by then: the commit would free them as they are."""
    it = town(
        "CREATE UNLOGGED TABLE people (id int4 PRIMARY KEY, name text)",
        PEOPLE[1],
        *(f"CREATE TABLE t{n} AS SELECT repeat('x', 400) FROM generate_series(1, 7000)" for n in range(6)),
    )
    it.seal("public.people")
    plain, came = aside.set_aside, []

    def crowded(files: Sequence[underneath.File]) -> None:
        plain(files)
        it.sql(*(f"SELECT count(*) FROM t{n % 6}" for n in range(18)))
        came.extend(os.stat(file.name, dir_fd=file.folder).st_size for file in files)

    monkeypatch.setattr(aside, "set_aside", crowded)

    it.erase("people", online_overwrite=True)

    if not any(came):
        pytest.skip("the server had written all of it before")
    held = b"".join(path.read_bytes() for path in (it.server.data / "base").glob("*/cenotaph-*"))
    assert held.count(b"Person-") == 400


# ── cut off ──────────────────────────────────────────────────────────────────────────────────────


def _eraser(it: Town) -> PostgresEraser:
    here = Surroundings(str(it.server.data), online_overwrite=True)
    return open_eraser(it.url, it.selection, frozenset(), here)


def _mend(it: Town) -> None:
    with closing(_eraser(it)) as eraser:
        eraser.mend()


def _cut_off(it: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its session ends when the files are set aside, before its commit: they lie beside the table."""
    with ending_before_the_commit(monkeypatch, it.server, it.name), pytest.raises(TransientStoreError):
        it.erase("people", online_overwrite=True)


def test_files_are_put_back_wherever_the_database_has_its_own(
    town: MakeTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own tablespace is another than the server's, and the table lies in that one."""
    it = town()
    place = it.server.folder / "own"
    place.mkdir()
    shutil.chown(place, postgres_server.USER) if os.geteuid() == 0 else None
    it.server.run(f"CREATE TABLESPACE own LOCATION '{place}'", f"ALTER DATABASE {it.name} SET TABLESPACE own")
    it.sql("SET default_tablespace = pg_default", *PEOPLE)
    it.seal()
    assert it.file("people").startswith("base/")
    _cut_off(it, monkeypatch)

    _mend(it)

    assert it.count("people") == 400
    assert set_aside(it.server, it.name) == []
    it.sql("DROP TABLE people")
    it.server.run(f"ALTER DATABASE {it.name} SET TABLESPACE pg_default", "DROP TABLESPACE own")


def test_what_fails_while_files_are_set_aside_leaves_the_table_as_it_was(
    town: MakeTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the second name, with a session that lives on; nor does reclaiming in it overwrite any file."""
    it = town(*PEOPLE)
    it.seal()
    plain, left = os.link, [3]

    def full(*given: Any, **more: Any) -> None:
        left[0] -= 1
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        plain(*given, **more)

    with closing(_eraser(it)) as eraser:
        with monkeypatch.context() as here:
            here.setattr(os, "link", full)
            with pytest.raises(PermanentStoreError, match="No space left"):
                eraser.erase_whole(it.parts["public.people"][0], it.assigned("people"))
        assert set_aside(it.server, it.name) == []
        assert it.count("people") == 400
        eraser.reclaim([])
        assert it.count("people") == 400
        assert eraser.erase_whole(it.parts["public.people"][0], it.assigned("people")) is not None


def test_undone_in_a_session_that_lives_on_it_is_put_back_before_anything_else(
    town: MakeTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commit fails: what it does next finds the table as it was, also where that is to overwrite."""
    it = town(*PEOPLE)
    it.seal()
    plain = aside.set_aside

    def undone(files: Sequence[Any]) -> None:
        plain(files)
        raise TransientStoreError("the commit failed")

    with closing(_eraser(it)) as eraser:
        with monkeypatch.context() as here:
            here.setattr(aside, "set_aside", undone)
            with pytest.raises(TransientStoreError, match="the commit failed"):
                eraser.erase_whole(it.parts["public.people"][0], it.assigned("people"))
        assert set_aside(it.server, it.name)

        eraser.reclaim([])

        assert it.count("people") == 400


def test_files_of_another_run_are_not_overwritten_before_its_commit(
    town: MakeTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that reclaims, and has looked for what was cut off before the other began."""
    it = town(*PEOPLE)
    it.seal()
    with closing(_eraser(it)) as other:
        other.mend()
        _cut_off(it, monkeypatch)
        with monkeypatch.context() as here:
            here.setattr(overwrite, "mend", lambda writer, around: None)  # as long as the first has its lock
            other.reclaim([])
        assert set_aside(it.server, it.name)
        other.reclaim([])

    assert it.count("people") == 400


def test_sessions_that_met_the_empty_files_see_the_table_again(
    town: MakeTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that reads it between the kill and the next run, and goes on in the same session."""
    it = town(*PEOPLE)
    it.seal()
    _cut_off(it, monkeypatch)
    with it.server.connect(it.name) as link:
        counted = b"SELECT count(*) FROM people"
        assert link.execute(counted).fetchall() == [(0,)]

        _mend(it)

        assert link.execute(counted).fetchall() == [(400,)]
        link.execute(b"INSERT INTO people VALUES (401, 'new')")
    assert it.count("people") == 401


def test_what_sessions_changed_in_the_servers_memory_meanwhile_is_drift(
    town: MakeTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has pages of the table that it did not write: they are the table's again, as changed."""
    it = town(*PEOPLE)
    it.seal()
    _cut_off(it, monkeypatch)
    it.sql("SET enable_seqscan = off", "DELETE FROM people WHERE id = 7")

    with pytest.raises(DriftError):
        it.erase("people", online_overwrite=True)

    it.sql("CHECKPOINT")
    assert it.count("people") == 399
    assert set_aside(it.server, it.name) == []


def test_an_index_that_was_made_anew_meanwhile_knows_the_rows_again(
    town: MakeTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an administrator whom its errors alarmed: it was made of no row."""
    it = town(*PEOPLE)
    it.seal()
    _cut_off(it, monkeypatch)
    it.sql("REINDEX TABLE people")

    _mend(it)

    by_index = ("SET enable_seqscan = off", "SELECT count(*) FROM people WHERE id > 0")
    assert it.sql(*by_index) == [(400,)]
    assert it.erase("people", online_overwrite=True) is not None


def test_rows_that_somebody_else_took_meanwhile_are_not_called_as_sealed(town: MakeTown) -> None:
    """All of one partition, after the kill: of the others it is known that they went as they were sealed."""
    it = town(*PEOPLE)
    it.seal()
    it.sql("DELETE FROM people WHERE id <= 150")

    done = it.erase("people", [one._replace(progress=Log(begun=_BEGUN)) for one in it.assigned("people")])

    assert done is not None
    assert [one.destroyed_as for one in done] == [Class.UNKNOWN, Class.AS_SEALED, Class.AS_SEALED]
    assert done[0].notes[-1] == "150 records had gone before they could be erased"


_BEGUN = {"records": 1, AT_ONCE: 1}


def test_tables_that_refer_to_each_other_are_found_once() -> None:
    """A long chain, a cycle and a table that refers to itself come to an end."""
    found = [whole.Reference(child, parent, "", (), False) for child, parent in [(1, 1), (2, 1), (1, 2)]]
    found += [whole.Reference(n + 1, n, "", (), False) for n in range(2, 3000)]

    assert whole._referring(1, found) == list(range(1, 3001))
