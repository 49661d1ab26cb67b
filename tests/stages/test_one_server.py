"""Two stores that one PostgreSQL server keeps: erased where they were surveyed, reclaimed once both are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

import postgres_server
from cenotaph import serving
from cenotaph.cli import checks
from cenotaph.config import load
from cenotaph.errors import DriftError, PermanentStoreError, RefusedError
from cenotaph.estate import Estate, EstateStore
from cenotaph.journal import Entry, Journal
from cenotaph.scope import Selection
from cenotaph.serving import WAITS
from cenotaph.stages import destroy
from cenotaph.store import Collection, Keeper, Reclamation, Surroundings
from cenotaph.stores import open_reader
from cenotaph.stores.postgres.eraser import PostgresEraser
from cenotaph.stores.postgres.session import Place
from small_case import SmallCase

postgres_server.need()

TABLE = (
    "CREATE TABLE patient (id int8 PRIMARY KEY, name text)",
    "INSERT INTO patient SELECT n, 'Patient-' || md5(n::text) FROM generate_series(1, 20) n",
    "CREATE TABLE stays AS SELECT 1 AS id",
)
NAMES = ("clinic", "ward")
STORES = "".join(
    f'[[store]]\nname = "{name}"\nurl = "file:../{name}"\nerase_url = "file:../{name}-erase"\n'
    'scope = { collections = ["public.patient"] }\n\n'
    for name in NAMES
)


class Clinics:
    """A case that was approved, and its databases; addresses are in files, and can lead elsewhere."""

    def __init__(self, root: Path) -> None:
        self.server = postgres_server.shared()
        self.databases = dict(zip(NAMES, (self.server.database(*TABLE) for _ in NAMES), strict=True))
        self.clone = self.server.database(options=f"TEMPLATE {self.databases['clinic']}")
        for name in NAMES:
            self.lead(root, name, self.databases[name])
        self.made = SmallCase.make(root, STORES)
        self.made.go("open", "approve-notary")
        self.made.admit()

    def lead(self, root: Path, name: str, database: str, *, only: str = "both") -> None:
        for path, erasing in ((root / name, False), (root / f"{name}-erase", True)):
            if only in ("both", "erase_url" if erasing else "url"):
                path.write_text(self.server.url(database))
                path.chmod(0o600)

    def rows(self, database: str) -> int:
        return int(self.server.run("SELECT count(*) FROM patient", database=database)[0][0])


@pytest.fixture(scope="module")
def clinics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinics]:
    made = Clinics(tmp_path_factory.mktemp("clinics"))
    yield made
    for database in (*made.databases.values(), made.clone):
        made.server.drop(database)


@pytest.fixture
def case(clinics: Clinics, tmp_path: Path) -> SmallCase:
    shutil.copytree(clinics.made.root, tmp_path / "here", symlinks=True)
    return SmallCase(tmp_path / "here")


def lines(case: SmallCase) -> list[Entry]:
    with Journal(case.desk().journal_path()) as journal:
        return list(journal.entries())


@pytest.mark.slow
@pytest.mark.parametrize("address", ["url", "erase_url"])
def test_what_leads_elsewhere_than_the_survey_looked_is_refused(
    clinics: Clinics, case: SmallCase, address: str
) -> None:
    """To a copy of the database, with the very rows that were sealed: nothing of either is touched."""
    clinics.lead(case.root, "clinic", clinics.clone, only=address)

    with pytest.raises(RefusedError, match=f"{address} of store clinic leads elsewhere"):
        case.destroy()

    found = [
        c for c in checks.run(case.path, open_reader) if c.what.startswith("store clinic") and not c.good
    ]
    role = {"url": "reading", "erase_url": "erasing"}[address]
    assert f"store clinic, {role}: server" in [c.what for c in found]
    assert clinics.rows(clinics.clone) == 20
    assert not [line for line in lines(case) if line.kind == "begun"]


@pytest.fixture
def pair() -> Iterator[tuple[str, str]]:
    """Addresses of two databases of one server, the second a copy of the first."""
    server = postgres_server.shared()
    first = server.database(*TABLE)
    second = server.database(options=f"TEMPLATE {first}")
    yield server.url(first), server.url(second)
    for name in (first, second):
        server.drop(name)


def test_an_address_is_looked_at_before_anything_is_erased(pair: tuple[str, str], tmp_path: Path) -> None:
    """Each of a store's two has to lead to the database that was surveyed; else its name is told."""
    (tmp_path / "case").mkdir()
    SmallCase.make(tmp_path / "case", STORES)
    for name in (*NAMES, *(f"{name}-erase" for name in NAMES)):
        (tmp_path / "case" / name).write_text(pair[0])
    case = load(tmp_path / "case" / "case" / "case.toml")
    keeper = open_reader(pair[0], Selection()).keeper()  # type: ignore[attr-defined]
    estate = Estate(tuple(EstateStore(name, (), (), None, keeper) for name in NAMES))
    serving.check(case, open_reader, estate)
    assert serving.together(estate.stores) == [list(NAMES)]

    (tmp_path / "case" / "ward-erase").write_text(pair[1])

    with pytest.raises(RefusedError, match="erase_url of store ward leads elsewhere"):
        serving.check(case, open_reader, estate)


@dataclass(frozen=True)
class Task:
    """What is looked at of a task before it runs."""

    estate: EstateStore
    reclaims: bool = True


def test_a_store_that_is_left_out_waits_for_those_of_its_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It has nothing to erase, and the archive and log in common with them: all are reclaimed at the end, one
    at a time. A store of another server does not wait."""
    ran: list[tuple[int, str, bool]] = []

    def run(_: object, tasks: list[Task], *, workers: int) -> Iterator[tuple[Task, str]]:
        for task in tasks:
            ran.append((workers, task.estate.name, task.reclaims))
            yield task, "done"

    monkeypatch.setattr(destroy.local, "run", run)
    servers = {"clinic": "1, timeline 1, database 5", "left out": "1, timeline 1, database 6", "apart": "2"}
    tasks = [Task(EstateStore(name, (), (), None, Keeper(it, frozenset()))) for name, it in servers.items()]
    desk = mock.Mock()
    desk.config.limits.workers = 2

    assert destroy._erase_stores(desk, tasks) == ["done"] * 3  # type: ignore[arg-type]

    assert ran[:3] == [(2, "clinic", False), (2, "left out", False), (2, "apart", True)]
    assert ran[3:] == [(1, "clinic", True), (1, "left out", True)]


def test_an_eraser_touches_no_other_database_than_was_surveyed(pair: tuple[str, str]) -> None:
    """Also where its address came to lead elsewhere while it ran."""
    keeper = open_reader(pair[0], Selection()).keeper()  # type: ignore[attr-defined]
    around = Surroundings(keeper=keeper.identity)
    with closing(PostgresEraser(Place.of(pair[0]), Selection(), frozenset(), around)) as eraser:
        eraser.reclaim(())

    with (
        closing(PostgresEraser(Place.of(pair[1]), Selection(), frozenset(), around)) as eraser,
        pytest.raises(PermanentStoreError, match="is not the one that was surveyed"),
    ):
        eraser.reclaim(())


def test_reclaiming_ends_between_two_steps_where_it_is_asked_to(pair: tuple[str, str]) -> None:
    """What asks is asked before each, and what it raises ends it."""

    class Enough(Exception):
        pass

    asked = []

    def ask() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise Enough

    eraser = PostgresEraser(Place.of(pair[0]), Selection(), frozenset(("wal",)), Surroundings())
    eraser.heed(ask)
    with closing(eraser), pytest.raises(Enough):
        eraser.reclaim(())


class Pausing(PostgresEraser):
    """Pauses its case once reclaiming takes its first step."""

    flag: Path

    def reclaim(self, collections: Sequence[Collection]) -> Reclamation:
        ask = self._ask

        def once() -> None:
            ask()
            self.flag.touch()

        self._ask = once
        return super().reclaim(collections)


@pytest.mark.slow
def test_stores_of_one_server_are_reclaimed_once_all_are_erased(clinics: Clinics, case: SmallCase) -> None:
    """One is erased, and waits for the other, which drifted. A reclaiming ends between two of its steps where
    the case is paused. Then both are reclaimed, one after the other."""
    ward = clinics.databases["ward"]
    clinics.server.run("INSERT INTO patient VALUES (99, 'Later')", database=ward)
    with pytest.raises(DriftError):
        case.destroy()
    assert clinics.rows(clinics.databases["clinic"]) == 0
    assert told(case, "reclaim failed") == [("clinic", WAITS)]
    assert not told(case, "reclaiming")

    clinics.server.run("DELETE FROM patient WHERE id = 99", database=ward)
    clinic, _ = tasks(case)
    assert destroy.erase_store(clinic) == "stopped"
    assert told(case, "reclaiming") == [("clinic", None)]
    assert not told(case, "reclaimed")

    (case.path / "pause").unlink()
    case.destroy()
    order = [(line.kind, line.store) for line in lines(case)]
    after = order[order.index(("done", "ward")) :]
    assert [one[0] for one in after if one[0] in ("reclaiming", "reclaimed")] == [
        "reclaiming",
        "reclaimed",
    ] * 2


def told(case: SmallCase, kind: str) -> list[tuple[str, object]]:
    return [(line.store, line.body.get("why")) for line in lines(case) if line.kind == kind]


def tasks(case: SmallCase) -> list[destroy.EraseTask]:
    """What `destroy` would do, with an eraser that pauses the case."""

    def eraser(url: str, selection: Selection, shared: frozenset[str], around: Surroundings) -> Pausing:
        opened = Pausing(Place.of(url), selection, shared, around)
        opened.flag = case.path / "pause"
        return opened

    desk = case.desk()
    approved = desk.case().approved_plan(desk.clock())
    return destroy._tasks(desk, desk.case(), approved, open_reader, eraser)  # type: ignore[arg-type]
