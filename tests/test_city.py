"""The generated city is what it says: counted and searched here by readers that share no code with it."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import shutil
import sqlite3
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stdnum.cn import ric

from cenotaph.testing.city import KEPT_NEEDLES, City, build_city, main

INSIDE_COMPRESSION = {"gzip", "zip", "parquet"}


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> City:
    return build_city(tmp_path_factory.mktemp("city") / "estate", residents=200, records=5000)


def test_every_resident_has_a_valid_identity_number_of_their_own(city: City) -> None:
    """Check digit, birth date and region satisfy an independent implementation; no number occurs twice."""
    ids = _rows(city, "apps/health/health.db", "SELECT id_number FROM codes")

    assert [number for number in ids if not ric.is_valid(number)] == []
    assert len(set(ids)) == len(ids) == city.residents


def test_the_planted_counts_are_what_independent_readers_count(city: City) -> None:
    """sqlite3, csv, json, gzip, zipfile and pyarrow count in each collection what the city planted."""
    counted = {store.name: _count(city, store.url, city.records[store.name]) for store in city.stores}

    assert counted == {name: dict(collections) for name, collections in city.records.items()}
    assert city.total == sum(sum(collections.values()) for collections in counted.values()) == 5000


def test_a_grep_finds_every_needle_where_it_was_planted(city: City) -> None:
    """Each kind of place that is not compressed shows all of its needles to a search for their bytes."""
    for kind, needles in city.needles.items():
        if kind not in INSIDE_COMPRESSION:
            haystack = _bytes_of(city.root / city.places[kind])
            assert needles, kind
            assert [needle for needle in needles if needle not in haystack] == [], kind


def test_what_is_compressed_hides_from_grep_and_shows_when_it_is_unpacked(city: City) -> None:
    """Needles inside gzip and zip are in none of the raw bytes, and all in the unpacked ones."""
    for kind, unpacked in (
        ("gzip", b"".join(gzip.decompress(path.read_bytes()) for path in _files(city, "gzip"))),
        ("zip", b"".join(_members(city.root / city.places["zip"]))),
        ("parquet", "".join(_parquet(city)["id_number"].to_pylist()).encode()),
    ):
        assert city.needles[kind]
        assert all(needle in unpacked for needle in city.needles[kind]), kind
    for kind in ("gzip", "zip"):
        assert not any(needle in _bytes_of(city.root / city.places[kind]) for needle in city.needles[kind])


def test_people_deleted_years_ago_are_in_the_bytes_and_in_no_table(city: City) -> None:
    """All of the departed remain in freed pages of one database, and no query of any store returns them."""
    raw = (city.root / "apps/nucleic/tests.db").read_bytes()
    found = {
        number
        for store in city.stores
        if store.url.startswith("sqlite:")
        for number in _texts(city, store.path)
    }

    assert len(city.deleted_ids) >= 10
    assert all(number.encode() in raw for number in city.deleted_ids)
    assert found.isdisjoint(city.deleted_ids)
    assert not found.isdisjoint(city.held_ids)


def test_the_crashed_app_left_rows_in_its_write_ahead_log_only(city: City, tmp_path: Path) -> None:
    """The log is not empty; without it, SQLite returns fewer rows and its needles are gone."""
    path = city.root / "apps/health/health.db"
    shutil.copyfile(path, tmp_path / "alone.db")
    count = "SELECT count(*) FROM colour_changes"

    (alone,) = sqlite3.connect(tmp_path / "alone.db").execute(count).fetchone()

    assert path.with_name("health.db-wal").stat().st_size > 4096
    assert not any(needle in path.read_bytes() for needle in city.needles["sqlite wal"])
    assert alone == city.records["health"]["colour_changes"] - len(city.needles["sqlite wal"])


def test_photos_go_on_in_overflow_pages(city: City) -> None:
    """The marks at the ends of long photos lie in pages that belong to no b-tree."""
    raw = _raw(city, "apps/faces/faces.db")
    pages = [raw.index(mark) // 4096 for mark in city.needles["sqlite overflow"]]

    assert len(pages) > 20
    # A b-tree page begins with its type, 2 to 13; an overflow page with the number of the next, or 0.
    assert all(raw[page * 4096 : page * 4096 + 4] == bytes(4) for page in pages)


def test_the_second_copy_of_the_list_went_its_own_way(city: City) -> None:
    """The copy has the same columns, lacks some people, has some of its own, and changed some rows."""
    first, second = (
        {
            row["id_number"]: row
            for row in csv.DictReader(io.StringIO(_text(city, f"apps/volunteers/{name}.csv")))
        }
        for name in ("volunteers", "volunteers_copy")
    )

    assert first.keys() - second.keys()
    assert second.keys() - first.keys()
    assert [number for number in first.keys() & second.keys() if first[number] != second[number]]


def test_the_same_seed_gives_the_same_city(city: City, tmp_path: Path) -> None:
    """Files are equal byte for byte and databases row for row; another seed gives other people."""
    again = build_city(tmp_path / "again", residents=200, records=5000)
    other = build_city(tmp_path / "other", residents=200, records=5000, seed=7)

    assert _fingerprint(again) == _fingerprint(city)
    assert again.needles == city.needles
    assert again.outside == city.outside
    assert set(other.needles["utf-8 csv"]) != set(city.needles["utf-8 csv"])
    assert set(other.held_ids).isdisjoint(city.held_ids)


def test_the_case_file_names_stores_apps_and_the_hold(city: City, tmp_path: Path) -> None:
    """Its paths are relative to the folder it lies in; what nobody declared is named only when found."""
    declared, found = (tomllib.loads(city.case_toml(tmp_path, found=found)) for found in (False, True))
    names = [store["name"] for store in declared["store"]]

    assert len(declared["app"]) >= 12
    assert {store["name"] for store in found["store"]} - set(names) == {"tmp_export", "dump"}
    assert sorted(name for app in declared["app"] for name in app["stores"]) == sorted(names)
    assert all((tmp_path / store["url"].partition(":")[2]).exists() for store in found["store"])
    (hold,) = declared["hold"]
    held = (tmp_path / hold["subjects"].removeprefix("file:")).read_text().split()
    assert tuple(held) == city.held_ids
    stays = _rows(city, "apps/quarantine/quarantine.db", "SELECT id_number FROM quarantine_stays")
    assert set(held) < set(stays)


def test_outside_records_are_in_the_stores_that_they_name(city: City) -> None:
    """Each record a volunteer holds is a part of a live row; none is of a person under hold."""
    records = city.outside_records(40)

    assert len({record["store"] for record in records}) >= 6
    for record in records:
        store = next(store for store in city.stores if store.name == record["store"])
        values = record["values"]
        assert isinstance(values, dict)
        assert values["id_number"] not in city.held_ids
        assert _holds(city, store.url, str(record["collection"]), values)


def test_more_outside_records_than_were_handed_out_are_refused(city: City) -> None:
    """The city says how many it has."""
    with pytest.raises(ValueError, match="handed out"):
        city.outside_records(10**6)


def test_bystanders_share_nobody_with_the_stores_unless_asked(city: City, tmp_path: Path) -> None:
    """By default the staff are people of their own; with the flag they are people of the stores."""
    shared = build_city(tmp_path / "shared", residents=200, records=5000, shared_bystanders=True)

    for built, expected in ((city, set()), (shared, set(shared.needles["bystander"]))):
        residents = _rows(built, "apps/health/health.db", "SELECT id_number FROM codes")
        assert {number.encode() for number in residents} & set(built.needles["bystander"]) == expected
    assert {"bystander", "sqlite held"} == KEPT_NEEDLES
    assert all((city.root / path).is_file() for path in city.bystanders)


def test_the_forgotten_files_are_readable_by_all(city: City) -> None:
    """The dump in the web folder and the undeclared database have mode 0644, the apps' own files 0600."""
    modes = {
        path: (city.root / path).stat().st_mode & 0o777
        for path in map(city.places.get, ("sql dump", "undeclared", "utf-8 csv"))
        if path
    }

    assert modes == {
        "www/static/backup_2021.sql": 0o644,
        "old/tmp_export.db": 0o644,
        "apps/entry/entries.csv": 0o600,
    }


def test_the_files_are_encoded_as_their_apps_would(city: City) -> None:
    """A byte order mark, GB18030 that is not UTF-8, CRLF with newlines inside values, UTF-16 in SQLite."""
    assert _raw(city, "apps/entry/entries.csv").startswith(b"\xef\xbb\xbfid_number,")
    with pytest.raises(UnicodeDecodeError):
        _raw(city, "apps/vaccination/doses.csv").decode()
    assert _raw(city, "apps/vaccination/doses.csv").decode("gb18030").startswith("身份证号,")
    calls = list(csv.DictReader(io.StringIO(_text(city, "apps/hotline/calls.csv"), newline="")))
    assert all("\n" in call["note"] for call in calls)
    assert _rows(city, "apps/school/pupils.db", "PRAGMA encoding") == ["UTF-16le"]


def test_no_persons_data_is_in_the_repr_of_a_city(city: City) -> None:
    """A traceback that shows the city shows nobody."""
    shown = repr(city)

    assert not any(number in shown for number in (*city.held_ids, *city.deleted_ids))


def test_a_city_is_not_built_over_something_else(tmp_path: Path) -> None:
    """A folder with anything in it is left as it is; so is one for a city too small to hold its apps."""
    (tmp_path / "mine.txt").write_text("keep")

    with pytest.raises(ValueError, match="not empty"):
        build_city(tmp_path, residents=200, records=5000)
    with pytest.raises(ValueError, match="ten records"):
        build_city(tmp_path / "new", residents=200, records=100)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_command_builds_a_city_and_tells_its_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last line of its output is one JSON object; a wrong size is wrong usage."""
    assert main([str(tmp_path / "city"), "--residents", "100", "--records", "1000"]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 1000
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path / "city"), "--residents", "100", "--records", "1000"])


def _raw(city: City, path: str) -> bytes:
    return (city.root / path).read_bytes()


def _text(city: City, path: str) -> str:
    return _raw(city, path).decode()


def _files(city: City, kind: str) -> list[Path]:
    return sorted(path for path in (city.root / city.places[kind]).rglob("*") if path.is_file())


def _bytes_of(path: Path) -> bytes:
    """What grep sees: the names below a folder and the bytes of its files, or the bytes of one file."""
    if path.is_file():
        return path.read_bytes()
    files = sorted(path.rglob("*"))
    return b"".join(bytes(file) + b"\n" for file in files) + b"".join(
        file.read_bytes() for file in files if file.is_file()
    )


def _members(path: Path) -> list[bytes]:
    with zipfile.ZipFile(path) as archive:
        return [archive.read(name) for name in archive.namelist()]


def _parquet(city: City) -> pa.Table:
    return pq.read_table(city.root / "apps/venues/checkins")


def _query(city: City, path: str, query: str) -> list[tuple[object, ...]]:
    """Read a copy made in memory: closing the last connection to a WAL database would change the city."""
    source = city.root / path
    copies = [city.root.parent / ("copy.db" + suffix) for suffix in ("", "-wal")]
    for suffix, copy in zip(("", "-wal"), copies, strict=True):
        original = source.with_name(source.name + suffix)
        if original.exists():
            shutil.copyfile(original, copy)
    connection = sqlite3.connect(copies[0])
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()
        for copy in city.root.parent.glob("copy.db*"):
            copy.unlink()


def _rows(city: City, path: str, query: str) -> list[str]:
    return [str(row[0]) for row in _query(city, path, query)]


def _tables(city: City, path: str) -> list[str]:
    return _rows(
        city, path, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'interviews_%'"
    )


def _texts(city: City, path: str) -> set[str]:
    tables = _tables(city, path)
    return {
        str(value)
        for table in tables
        for row in _query(city, path, f"SELECT * FROM {table}")
        for value in row
    }


def _count(city: City, url: str, collections: Mapping[str, int]) -> dict[str, int]:
    kind, _, place = url.partition(":")
    if kind == "sqlite":
        return {
            table: int(_rows(city, place, f"SELECT count(*) FROM {table}")[0])
            for table in _tables(city, place)
        }
    (name,) = collections
    return {name: len(_records(city, place))}


def _records(city: City, place: str) -> list[dict[str, str]]:
    path = city.root / place
    match path.suffix or path.name:
        case ".csv":
            encoding = "gb18030" if "vaccination" in place else "utf-8-sig"
            texts = [path.read_bytes().decode(encoding)]
        case "temperature":
            texts = [gzip.decompress(file.read_bytes()).decode() for file in path.iterdir()]
        case ".zip":
            texts = [member.decode() for member in _members(path)]
        case ".jsonl":
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        case "checkins":
            rows: list[dict[str, str]] = _parquet(city).to_pylist()
            return rows
        case _:
            lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else list(path.iterdir())
            return [{"line": str(line)} for line in lines]
    return [row for text in texts for row in csv.DictReader(io.StringIO(text, newline=""))]


def _holds(city: City, url: str, collection: str, values: dict[str, str]) -> bool:
    kind, _, place = url.partition(":")
    if kind == "sqlite":
        condition = " AND ".join(f"{column} = '{value}'" for column, value in values.items())
        return bool(_query(city, place, f"SELECT 1 FROM {collection} WHERE {condition}"))
    return any(all(row[name] == value for name, value in values.items()) for row in _records(city, place))


def _fingerprint(city: City) -> dict[str, object]:
    """Digest of each file; of a database, its rows."""
    found: dict[str, object] = {}
    for path in sorted(path for path in city.root.rglob("*") if path.is_file()):
        name = path.relative_to(city.root).as_posix()
        if path.suffix == ".db":
            found[name] = {
                table: _query(city, name, f"SELECT * FROM {table}") for table in _tables(city, name)
            }
        elif not path.name.endswith(("-wal", "-shm")):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
