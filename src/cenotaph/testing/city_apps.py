"""The apps of the generated city, a function each: what people knew by these names for three years.

Every function writes its stores beneath the site's root, and tells the site what it planted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa

from cenotaph.testing.city_people import Numbers, Texts
from cenotaph.testing.city_site import HELD, CityStore, Site, choice, days, moments, serials
from cenotaph.testing.city_write import (
    crashing,
    database,
    insert,
    picture,
    quoted,
    separated,
    write,
    write_gzip,
    write_parquet,
    write_zip,
)

BY_ID: Final = {"*": "id_number"}


def nucleic_acid_tests(site: Site) -> None:
    """A SQLite database from which people were deleted years ago: cells inside pages, and a dropped table."""
    rng, people, departed = site.rng("tests"), site.people, site.departed
    count = site.sizes["tests"]
    gone = np.repeat(np.arange(len(departed)), 2)
    ids, names = _joined(people.ids, departed.ids), _joined(people.names, departed.names)
    mobiles = np.concatenate([people.mobiles, departed.mobiles])
    who = rng.permutation(np.concatenate([site.draw(rng, count), len(people) + gone]))
    total = len(who)
    tubes, at = serials(rng, "WXT", total), moments(rng, total).tolist()
    results = choice(rng, ("阴性",) * 199 + ("阳性",), total).tolist()
    id_column, keys = ids[who].tolist(), np.arange(1, total + 1)
    dead = np.flatnonzero(who >= len(people))
    with database(site.root / "apps/nucleic/tests.db") as db:
        db.execute(
            "CREATE TABLE register_2020 (id_number TEXT, name TEXT, mobile TEXT, address TEXT, plate TEXT, email TEXT)"
        )
        db.execute(
            "CREATE TABLE tests (test INTEGER PRIMARY KEY, id_number TEXT NOT NULL, name TEXT, mobile INTEGER,"
            " tube TEXT, site TEXT, sampled_at TEXT, result TEXT)"
        )
        insert(
            db,
            "register_2020",
            departed.ids.tolist(),
            departed.names.tolist(),
            departed.mobile_texts.tolist(),
            departed.addresses.tolist(),
            departed.plates.tolist(),
            departed.emails.tolist(),
        )
        sites = choice(rng, _SITES, total).tolist()
        names_column, numbers = names[who].tolist(), mobiles[who].tolist()
        insert(db, "tests", keys.tolist(), id_column, names_column, numbers, tubes, sites, at, results)
        db.execute("CREATE INDEX tests_by_person ON tests (id_number)")
        db.execute("COMMIT")
        # Last of all, or later rows would take the freed pages.
        db.execute("BEGIN")
        db.executemany("DELETE FROM tests WHERE test = ?", [(int(keys[row]),) for row in dead])
        db.execute("DROP TABLE register_2020")
    place = "apps/nucleic/tests.db"
    live = np.flatnonzero(who < len(people))
    site.needle("sqlite live", place, [tubes[row] for row in live])
    site.needle("sqlite integer", place, [int(mobiles[who[row]]).to_bytes(6, "big") for row in live])
    site.needle("sqlite deleted", place, departed.ids.tolist())
    site.needle("sqlite deleted cells", place, [tubes[row] for row in dead])
    site.store(
        CityStore(
            "nucleic",
            f"sqlite:{place}",
            "nucleic acid tests",
            "results of mass testing",
            subject={"tests": "id_number"},
        ),
        {"tests": count},
    )
    columns = {"id_number": id_column, "tube": tubes, "result": results, "sampled_at": at}
    site.hand_out(
        "nucleic",
        "tests",
        who[live],
        {name: [values[row] for row in live] for name, values in columns.items()},
    )


def health_code(site: Site) -> None:
    """A SQLite database in WAL mode whose app crashed: its last rows are in the write-ahead log only."""
    rng, people, count = site.rng("health"), site.people, site.sizes["colour_changes"]
    who = site.draw(rng, count)
    notices, at = serials(rng, "WXH", count), moments(rng, count).tolist()
    before, after = choice(rng, _COLOURS, count).tolist(), choice(rng, _COLOURS, count).tolist()
    reasons = choice(rng, ("时空伴随", "密切接触", "核酸超期", "申诉通过", "解除隔离"), count).tolist()
    columns = (notices, people.ids[who].tolist(), before, after, reasons, at)
    late = count - max(1, count // 20)
    path = site.root / "apps/health/health.db"
    with database(path) as db:
        db.execute(
            "CREATE TABLE codes (id_number TEXT PRIMARY KEY, name TEXT, mobile TEXT, passport TEXT, colour TEXT,"
            " updated_at TEXT)"
        )
        db.execute(
            "CREATE TABLE colour_changes (notice TEXT, id_number TEXT, before TEXT, after TEXT, reason TEXT, at TEXT)"
        )
        insert(
            db,
            "codes",
            people.ids.tolist(),
            people.names.tolist(),
            people.mobile_texts.tolist(),
            people.passports.tolist(),
            choice(rng, _COLOURS, len(people)).tolist(),
            moments(rng, len(people)).tolist(),
        )
        insert(db, "colour_changes", *(column[:late] for column in columns))
    with crashing(path) as db:
        db.execute("BEGIN")
        insert(db, "colour_changes", *(column[late:] for column in columns))
        changed = [(people.ids[person],) for person in rng.permutation(len(people))[: len(people) // 50 + 1]]
        db.executemany(
            "UPDATE codes SET colour = '绿码', updated_at = '2022-12-13 00:00:00' WHERE id_number = ?",
            changed,
        )
        db.execute("COMMIT")
    site.needle("sqlite wal", "apps/health/health.db-wal", notices[late:])
    subject = {"codes": "id_number", "colour_changes": "id_number"}
    site.store(
        CityStore(
            "health", "sqlite:apps/health/health.db", "health code", "movement permission", subject=subject
        ),
        {"codes": len(people), "colour_changes": count},
    )
    handed = {"notice": notices, "id_number": columns[1], "after": after, "at": at}
    site.hand_out("health", "colour_changes", who, handed)


def contact_tracing(site: Site) -> None:
    """A SQLite database with a full-text index over what people told the tracers."""
    rng, people = site.rng("tracing"), site.people
    count, told = site.sizes["contacts"], site.sizes["interviews"]
    who, whom, cases = site.draw(rng, count), site.draw(rng, count), serials(rng, "WXC", count)
    speaker, companion, files = site.draw(rng, told), site.draw(rng, told), serials(rng, "WXF", told)
    statements = (
        people.names[speaker] + "自述" + days(rng, told) + "乘车前往" + choice(rng, _VENUES, told) + "，同行人"
        + people.names[companion] + "，联系电话 " + people.mobile_texts[companion] + " ，住 " + people.addresses[speaker]
    )  # fmt: skip
    at = moments(rng, count).tolist()
    with database(site.root / "apps/tracing/tracing.db") as db:
        db.execute(
            "CREATE TABLE contacts (contact INTEGER PRIMARY KEY, case_file TEXT, id_number TEXT, name TEXT,"
            " other_id_number TEXT, other_name TEXT, other_mobile TEXT, relation TEXT, place TEXT, at TEXT)"
        )
        db.execute("CREATE VIRTUAL TABLE interviews USING fts5(file, id_number, name, statement)")
        insert(
            db,
            "contacts",
            range(1, count + 1),
            cases,
            people.ids[who].tolist(),
            people.names[who].tolist(),
            people.ids[whom].tolist(),
            people.names[whom].tolist(),
            people.mobile_texts[whom].tolist(),
            choice(rng, ("家人", "同事", "同学", "邻居", "同乘"), count).tolist(),
            choice(rng, _VENUES, count).tolist(),
            at,
        )
        spoken = (people.ids[speaker].tolist(), people.names[speaker].tolist())
        insert(db, "interviews", files, *spoken, statements.tolist())
    place = "apps/tracing/tracing.db"
    site.needle("sqlite fts5", place, files)
    subject = {"contacts": "id_number", "interviews": "id_number"}
    site.store(
        CityStore("tracing", f"sqlite:{place}", "contact tracing", "who met whom", subject=subject),
        {"contacts": count, "interviews": told},
    )
    handed = {"case_file": cases, "id_number": people.ids[who].tolist(), "at": at}
    site.hand_out("tracing", "contacts", who, handed)


def venue_check_ins(site: Site) -> None:
    """A folder of Parquet files: where everybody scanned a code, when, and at which coordinates."""
    rng, people, count = site.rng("venues"), site.people, site.sizes["checkins"]
    who, venue = site.draw(rng, count), rng.integers(0, len(_VENUES), count)
    seconds = np.sort(rng.integers(0, 1040 * 86_400, count))
    at = np.datetime64("2020-02-01", "us") + seconds.astype("timedelta64[s]")
    receipts = np.cumsum(rng.integers(1, 50, count)) + 10**9
    taken = pa.array(who)
    table = pa.table(
        {
            "receipt": pa.array(receipts),
            "id_number": pa.array(people.ids, pa.string()).take(taken),
            "name": pa.array(people.names, pa.string()).take(taken),
            "mobile": pa.array(people.mobiles).take(taken),
            "venue": pa.array(_VENUES, pa.string()).take(pa.array(venue)),
            "at": pa.array(at),
            "latitude": pa.array(np.round(31.3 + venue * 0.011 + rng.normal(0, 2e-4, count), 6)),
            "longitude": pa.array(np.round(120.1 + venue * 0.017 + rng.normal(0, 2e-4, count), 6)),
        }
    )
    write_parquet(site.root / "apps/venues/checkins", table, files=4)
    site.needle("parquet", "apps/venues/checkins", people.ids[who].tolist())
    store = CityStore(
        "venues",
        "files:apps/venues/checkins",
        "venue check-ins",
        "who was where, by scanned code",
        subject=BY_ID,
    )
    site.store(store, {"checkins": count})
    part = who[: 4 * 50]
    handed = {
        "id_number": people.ids[part].tolist(),
        "venue": [_VENUES[place] for place in venue[: len(part)]],
    }
    site.hand_out("venues", "checkins", part, handed)


APPS: Final[tuple[Callable[[Site], None], ...]] = (
    nucleic_acid_tests,
    health_code,
    contact_tracing,
    venue_check_ins,
)


def _joined(first: Texts, second: Texts) -> Texts:
    return np.concatenate([first, second])


_COLOURS = ("绿码", "绿码", "绿码", "黄码", "红码")
_SITES = (
    "万象城采样点",
    "河埒口卫生院",
    "太湖广场方舱",
    "梁溪体育馆",
    "新区会展中心",
    "锡山人民医院",
    "惠山高铁站",
    "江阴一中",
)
_VENUES = (
    "三阳百盛", "崇安寺", "荟聚购物中心", "大润发长江北路店", "南禅寺书城", "鼋头渚", "无锡东站", "苏南硕放机场",
    "市图书馆", "第二人民医院", "蠡湖公园", "江南大学北门", "海岸城", "八佰伴", "清名桥古街", "朝阳菜场",
)  # fmt: skip
