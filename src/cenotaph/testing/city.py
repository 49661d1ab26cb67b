"""A generated Chinese city after an epidemic: invented people in eighteen stores, to destroy in rehearsal.

    python -m cenotaph.testing.city ROOT --residents 10000 --records 1000000 --seed 20230302

Everything is drawn from the seed: on one version of the libraries, the same seed gives the same bytes of
files and the same rows of databases, whatever the clock says. What was planted is counted while it is written
and is told by `City`, so that tests compare it with what the stores say.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cenotaph.testing import city_databases, city_files
from cenotaph.testing.city_people import make_people
from cenotaph.testing.city_site import HELD, STAFF, CityStore, Site, generator, plan_sizes

__all__ = ["KEPT_NEEDLES", "City", "CityStore", "build_city"]

APPS = (
    city_databases.nucleic_acid_tests,
    city_databases.health_code,
    city_databases.contact_tracing,
    city_files.venue_check_ins,
    city_files.travel_history,
    city_files.entry_control,
    city_files.scanned_passes,
    city_databases.face_register,
    city_databases.quarantine,
    city_files.vaccination,
    city_files.temperature_reports,
    city_files.hotline_calls,
    city_files.volunteer_roster,
    city_databases.school_register,
    city_files.school_returns,
    city_databases.forgotten_export,
    city_files.forgotten_dump,
    city_files.bystanders,
)
SEED = 20230302
KEPT_NEEDLES = frozenset({"sqlite held", "bystander"})
"""Kinds of needles that a destruction must leave where they are; all other kinds must vanish."""

HOLD_FILE = "hold-subjects.txt"
HELD_STORE, HELD_COLLECTION = "quarantine", "quarantine_stays"

_LAST_WRITTEN = {  # folder → seconds since 1970: 2022-12-13, 2021-03-05, 2020-11-20, 2023-02-27
    "apps": 1_670_889_600,
    "www": 1_614_902_400,
    "old": 1_605_830_400,
    "bystander": 1_677_456_000,
}


@dataclass(frozen=True, slots=True)
class City:
    """A city that was built, and what was planted in it."""

    root: Path
    residents: int
    stores: tuple[CityStore, ...]
    records: Mapping[str, Mapping[str, int]]  # store → collection → records, as written
    needles: Mapping[str, tuple[bytes, ...]] = field(repr=False)  # kind of place → values that lie there
    places: Mapping[str, str]  # kind of place → the file or folder, relative to the root
    held_ids: tuple[str, ...] = field(repr=False)  # under court hold, in `quarantine_stays`
    deleted_ids: tuple[str, ...] = field(repr=False)  # in no table, yet in the bytes
    bystanders: tuple[str, ...]  # files outside every store, relative to the root
    outside: tuple[Mapping[str, object], ...] = field(repr=False)

    @property
    def total(self) -> int:
        """Records over all stores, the undeclared ones too."""
        return sum(sum(collections.values()) for collections in self.records.values())

    def outside_records(self, count: int) -> list[dict[str, object]]:
        """Partial rows that volunteers hold: `{"store", "collection", "values": {column: text}}`.

        They are spread over the stores and name nobody who is held; `collection` is a table's name, or `*` in
        a store of files, which names its one collection itself. Raises `ValueError` beyond what was kept.
        """
        if count > len(self.outside):
            raise ValueError(
                f"this city handed out {len(self.outside)} records, not {count}; build a larger one"
            )
        return [dict(record) for record in self.outside[:count]]

    def case_toml(self, at: Path | None = None, *, found: bool = False, grade: str = "L2") -> str:
        """The `[[app]]`, `[[store]]` and `[[hold]]` tables of a case file that lies in folder `at`.

        `at` defaults to the root; `found` adds the stores that nobody declared, as `survey --find` would.
        """
        base = self.root if at is None else at
        stores = [store for store in self.stores if store.declared or found]
        tables = _app_tables(stores)
        tables += [_store_table(self.root, base, store, grade) for store in stores]
        return "\n".join([*tables, _hold_table(self.root, base)])


def build_city(
    root: Path,
    *,
    residents: int = 10_000,
    records: int = 1_000_000,
    seed: int = SEED,
    shared_bystanders: bool = False,
) -> City:
    """Build a city in the empty or absent folder `root`; `records` is the exact total over all its stores.

    `shared_bystanders` lets some rows of the bystander database share values with people in the stores.
    Raises `ValueError` for fewer than 100 residents, or fewer than ten records a resident.
    """
    if residents < 100 or records < 10 * residents:
        raise ValueError("a city has at least 100 residents and ten records for each of them")
    root.mkdir(parents=True, exist_ok=True)
    if any(root.iterdir()):
        raise ValueError("the city's folder is not empty; name a new one")
    site = _survey_ground(root, residents, records, seed, shared_bystanders)
    for app in APPS:
        app(site)
    _age(root)
    held = tuple(site.people.ids[:HELD].tolist())
    (root / HOLD_FILE).write_text("".join(f"{number}\n" for number in held), encoding="utf-8")
    return City(
        root=root,
        residents=residents,
        stores=tuple(site.stores),
        records=site.records,
        needles=site.needles,
        places=site.places,
        held_ids=held,
        deleted_ids=tuple(site.departed.ids.tolist()),
        bystanders=(*site.bystanders, HOLD_FILE),
        outside=_dealt(site.outside),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Build a city from the command line; the last line of stdout is one JSON object without people."""
    parser = argparse.ArgumentParser(
        prog="python -m cenotaph.testing.city", description="Build a generated city."
    )
    parser.add_argument("root", type=Path, help="an empty or absent folder")
    parser.add_argument("--residents", type=int, default=10_000)
    parser.add_argument("--records", type=int, default=1_000_000, help="the exact total over all stores")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument(
        "--shared-bystanders", action="store_true", help="bystanders share values with residents"
    )
    given = parser.parse_args(arguments)
    try:
        city = build_city(
            given.root,
            residents=given.residents,
            records=given.records,
            seed=given.seed,
            shared_bystanders=given.shared_bystanders,
        )
    except ValueError as error:
        parser.error(str(error))
    print(json.dumps({"root": str(city.root), "records": city.total, "stores": city.records}))
    return 0


def _survey_ground(root: Path, residents: int, records: int, seed: int, shared_bystanders: bool) -> Site:
    departed = max(10, residents // 50)
    everyone = make_people(residents + departed + STAFF, generator(seed, "people"))
    return Site(
        root=root,
        seed=seed,
        people=everyone.of(slice(residents)),
        departed=everyone.of(slice(residents, residents + departed)),
        staff=everyone.of(slice(residents + departed, None)),
        sizes=plan_sizes(residents, records),
        shared_bystanders=shared_bystanders,
    )


def _age(root: Path) -> None:
    """Set the times of all files to the years they were last written in: these apps are dormant."""
    for folder, written in _LAST_WRITTEN.items():
        for path in (root / folder).rglob("*"):
            os.utime(path, (written, written))


def _dealt(piles: Sequence[Sequence[dict[str, object]]]) -> tuple[dict[str, object], ...]:
    """One from each pile in turn, so that any first few touch many stores."""
    turns = itertools.zip_longest(*piles)
    return tuple(record for turn in turns for record in turn if record is not None)


def _app_tables(stores: Sequence[CityStore]) -> list[str]:
    apps: dict[tuple[str, str], list[str]] = {}
    for store in stores:
        apps.setdefault((store.app, store.purpose), []).append(store.name)
    return [
        f"[[app]]\nname = {_toml(app)}\npurpose = {_toml(purpose)}\nstores = {_toml(names)}\n"
        for (app, purpose), names in apps.items()
    ]


def _store_table(root: Path, base: Path, store: CityStore, grade: str) -> str:
    kind = store.url.partition(":")[0]
    place = Path(os.path.relpath(root / store.path, base)).as_posix()
    subject = ", ".join(
        f"{_toml(collection)} = {_toml(column)}" for collection, column in store.subject.items()
    )
    lines = [
        "[[store]]",
        f"name = {_toml(store.name)}",
        f"url = {_toml(f'{kind}:{place}')}",
        f"grade = {_toml(grade)}",
        'scope = "everything"',
        *([f"subject = {{ {subject} }}"] if subject else []),
    ]
    return "\n".join(lines) + "\n"


def _hold_table(root: Path, base: Path) -> str:
    subjects = Path(os.path.relpath(root / HOLD_FILE, base)).as_posix()
    return (
        '[[hold]]\nby = "District court"\nreference = "case 21-443"\n'
        f"stores = {_toml([HELD_STORE])}\ncollections = {_toml([HELD_COLLECTION])}\n"
        f"subjects = {_toml(f'file:{subjects}')}\n"
    )


def _toml(value: str | Sequence[str]) -> str:
    """A TOML string or array: JSON's, except that TOML wants DEL escaped and knows no surrogate pairs."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


if __name__ == "__main__":
    raise SystemExit(main())
