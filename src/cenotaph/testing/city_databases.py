"""The apps of the generated city that kept SQLite databases, a function each.

Every function writes its stores beneath the site's root, and tells the site what it planted.
"""

from __future__ import annotations

import numpy as np

from cenotaph.testing.city_people import Numbers, People
from cenotaph.testing.city_site import (
    CLASSES,
    HELD,
    SCHOOLS,
    VENUES,
    CityStore,
    Site,
    choice,
    days,
    moments,
    serials,
)
from cenotaph.testing.city_write import crashing, database, insert, picture, table


def nucleic_acid_tests(site: Site) -> None:
    """A SQLite database people were deleted from years ago: cells inside pages, and a dropped table."""
    rng, count, everyone = site.rng("tests"), site.sizes["tests"], site.people.and_then(site.departed)
    gone = np.repeat(np.arange(len(site.people), len(everyone)), 2)
    who = rng.permutation(np.concatenate([site.draw(rng, count), gone]))
    tests = {
        "test INTEGER PRIMARY KEY": range(1, len(who) + 1),
        "id_number TEXT NOT NULL": everyone.ids[who].tolist(),
        "name TEXT": everyone.names[who].tolist(),
        "mobile INTEGER": everyone.mobiles[who].tolist(),
        "tube TEXT": serials(rng, "WXT", len(who)),
        "site TEXT": choice(rng, _SITES, len(who)).tolist(),
        "sampled_at TEXT": moments(rng, len(who)).tolist(),
        "result TEXT": choice(rng, ("阴性",) * 199 + ("阳性",), len(who)).tolist(),
    }
    dead, live = np.flatnonzero(who >= len(site.people)), np.flatnonzero(who < len(site.people))
    place = "apps/nucleic/tests.db"
    with database(site.root / place) as db:
        table(db, "register_2020", _register(site.departed))
        table(db, "tests", tests)
        db.execute("CREATE INDEX tests_by_person ON tests (id_number)")
        # Last of all, or later rows would take the freed pages.
        db.executemany("DELETE FROM tests WHERE test = ?", [(int(row) + 1,) for row in dead])
        db.execute("DROP TABLE register_2020")
    tubes, mobiles = np.array(tests["tube TEXT"], dtype=object), everyone.mobiles[who]
    site.needle("sqlite live", place, tubes[live])
    site.needle("sqlite integer", place, [mobile.to_bytes(6, "big") for mobile in mobiles[live].tolist()])
    site.needle("sqlite deleted", place, site.departed.ids)
    site.needle("sqlite deleted cells", place, tubes[dead])
    purpose, subject = "results of mass testing", {"tests": "id_number"}
    store = CityStore("nucleic", f"sqlite:{place}", "nucleic acid tests", purpose, subject=subject)
    site.store(store, {"tests": count})
    handed = {"id_number": everyone.ids[who[live]].tolist(), "tube": tubes[live].tolist()}
    site.hand_out("nucleic", "tests", who[live], handed)


def health_code(site: Site) -> None:
    """A SQLite database in WAL mode whose app crashed: its last rows are in the write-ahead log only."""
    rng, people, count = site.rng("health"), site.people, site.sizes["colour_changes"]
    who = site.draw(rng, count)
    codes = {
        "id_number TEXT PRIMARY KEY": people.ids.tolist(),
        "name TEXT": people.names.tolist(),
        "mobile TEXT": people.mobile_texts.tolist(),
        "passport TEXT": people.passports.tolist(),
        "colour TEXT": choice(rng, _COLOURS, len(people)).tolist(),
        "updated_at TEXT": moments(rng, len(people)).tolist(),
    }
    changes = {
        "notice TEXT": serials(rng, "WXH", count),
        "id_number TEXT": people.ids[who].tolist(),
        "before TEXT": choice(rng, _COLOURS, count).tolist(),
        "after TEXT": choice(rng, _COLOURS, count).tolist(),
        "reason TEXT": choice(rng, _REASONS, count).tolist(),
        "at TEXT": moments(rng, count).tolist(),
    }
    logged = count - max(1, count // 20)
    green = [(people.ids[person],) for person in rng.permutation(len(people))[: len(people) // 50 + 1]]
    place = "apps/health/health.db"
    with database(site.root / place) as db:
        table(db, "codes", codes)
        table(db, "colour_changes", {name: values[:logged] for name, values in changes.items()})
    with crashing(site.root / place) as db:
        db.execute("BEGIN")
        insert(db, "colour_changes", *(values[logged:] for values in changes.values()))
        db.executemany(
            "UPDATE codes SET colour = '绿码', updated_at = '2022-12-13' WHERE id_number = ?", green
        )
        db.execute("COMMIT")
    site.needle("sqlite wal", place + "-wal", changes["notice TEXT"][logged:])
    purpose, subject = "movement permission", {"codes": "id_number", "colour_changes": "id_number"}
    store = CityStore("health", f"sqlite:{place}", "health code", purpose, subject=subject)
    site.store(store, {"codes": len(people), "colour_changes": count})
    handed = {"notice": changes["notice TEXT"], "id_number": changes["id_number TEXT"]}
    site.hand_out("health", "colour_changes", who, handed)


def contact_tracing(site: Site) -> None:
    """A SQLite database with a full-text index over what people told the tracers."""
    rng, people, count = site.rng("tracing"), site.people, site.sizes["contacts"]
    who, whom = site.draw(rng, count), site.draw(rng, count)
    contacts = {
        "contact INTEGER PRIMARY KEY": range(1, count + 1),
        "case_file TEXT": serials(rng, "WXC", count),
        "id_number TEXT": people.ids[who].tolist(),
        "name TEXT": people.names[who].tolist(),
        "other_id_number TEXT": people.ids[whom].tolist(),
        "other_name TEXT": people.names[whom].tolist(),
        "other_mobile TEXT": people.mobile_texts[whom].tolist(),
        "relation TEXT": choice(rng, ("家人", "同事", "同学", "邻居", "同乘"), count).tolist(),
        "place TEXT": choice(rng, VENUES, count).tolist(),
        "at TEXT": moments(rng, count).tolist(),
    }
    told, place = site.sizes["interviews"], "apps/tracing/tracing.db"
    with database(site.root / place) as db:
        table(db, "contacts", contacts)
        db.execute("CREATE VIRTUAL TABLE interviews USING fts5(file, id_number, name, statement)")
        files, speaker = serials(rng, "WXF", told), site.draw(rng, told)
        named = (people.ids[speaker].tolist(), people.names[speaker].tolist())
        insert(db, "interviews", files, *named, _statements(site, rng, speaker))
    site.needle("sqlite fts5", place, files)
    purpose, subject = "who met whom", {"contacts": "id_number", "interviews": "id_number"}
    store = CityStore("tracing", f"sqlite:{place}", "contact tracing", purpose, subject=subject)
    site.store(store, {"contacts": count, "interviews": told})
    handed = {"case_file": contacts["case_file TEXT"], "id_number": contacts["id_number TEXT"]}
    site.hand_out("tracing", "contacts", who, handed)


def quarantine(site: Site) -> None:
    """A SQLite database with the table the court wants kept for three people, and one without rowids."""
    rng, people, count, opened = site.rng("stays"), site.people, site.sizes["stays"], site.sizes["alarms"]
    who, whose = site.draw(rng, count), site.draw(rng, opened)
    stays = {
        "stay INTEGER PRIMARY KEY": range(1, count + 1),
        "order_no TEXT": serials(rng, "WXQ", count),
        "id_number TEXT": people.ids[who].tolist(),
        "name TEXT": people.names[who].tolist(),
        "address TEXT": people.addresses[who].tolist(),
        "hotel TEXT": choice(rng, _HOTELS, count).tolist(),
        "room INTEGER": rng.integers(301, 1890, count).tolist(),
        "since TEXT": moments(rng, count).tolist(),
        "days INTEGER": rng.integers(3, 22, count).tolist(),
    }
    alarms = {
        "id_number TEXT": people.ids[whose].tolist(),
        "alarm TEXT": serials(rng, "WXA", opened),
        "address TEXT": people.addresses[whose].tolist(),
        "at TEXT": moments(rng, opened).tolist(),
    }
    place = "apps/quarantine/quarantine.db"
    with database(site.root / place) as db:
        table(db, "quarantine_stays", stays)
        table(db, "door_alarms", alarms, key="id_number, alarm")
    orders = np.array(stays["order_no TEXT"], dtype=object)
    site.needle("sqlite held", place, orders[who < HELD])
    site.needle("sqlite beside held", place, orders[who >= HELD])
    site.needle("sqlite without rowid", place, alarms["alarm TEXT"])
    purpose = "who was shut in, and what their door sensors said"
    subject = {"quarantine_stays": "id_number", "door_alarms": "id_number"}
    store = CityStore("quarantine", f"sqlite:{place}", "quarantine", purpose, subject=subject)
    site.store(store, {"quarantine_stays": count, "door_alarms": opened})


def face_register(site: Site) -> None:
    """A SQLite database with a photo for each resident, half of them longer than a page."""
    rng, people = site.rng("faces"), site.people
    sizes, marks = rng.integers(2000, 6000, len(people)), serials(rng, "WXP", len(people))
    faces = {
        "id_number TEXT PRIMARY KEY": people.ids.tolist(),
        "name TEXT": people.names.tolist(),
        "taken_at TEXT": moments(rng, len(people)).tolist(),
        "photo BLOB": [picture(rng, size, mark) for size, mark in zip(sizes.tolist(), marks, strict=True)],
    }
    place = "apps/faces/faces.db"
    with database(site.root / place) as db:
        table(db, "faces", faces)
    # A row over 4,061 bytes goes on in overflow pages (SQLite file format, 1.6); up to 8,153 bytes its end
    # lies whole in the last of them.
    site.needle("sqlite overflow", place, [marks[row] for row in np.flatnonzero(sizes > 4100)])
    subject = {"faces": "id_number"}
    store = CityStore("faces", f"sqlite:{place}", "entry control", "faces at the gate", subject=subject)
    site.store(store, {"faces": len(people)})
    handed = {"id_number": people.ids.tolist(), "taken_at": faces["taken_at TEXT"]}
    site.hand_out("faces", "faces", np.arange(len(people)), handed)


def school_register(site: Site) -> None:
    """A small SQLite database in UTF-16, which no search for UTF-8 finds."""
    rng, people, count = site.rng("pupils"), site.people, site.sizes["pupils"]
    who, guardian = rng.permutation(len(people))[:count], site.draw(rng, count)
    pupils = {
        "id_number TEXT": people.ids[who].tolist(),
        "name TEXT": people.names[who].tolist(),
        "school TEXT": choice(rng, SCHOOLS, count).tolist(),
        "class TEXT": choice(rng, CLASSES, count).tolist(),
        "guardian TEXT": people.names[guardian].tolist(),
        "guardian_mobile TEXT": people.mobile_texts[guardian].tolist(),
    }
    place = "apps/school/pupils.db"
    with database(site.root / place, encoding="UTF-16le") as db:
        table(db, "pupils", pupils)
    site.needle("sqlite utf-16", place, people.ids[who], encoding="utf-16-le")
    purpose, subject = "who may come back to class", {"pupils": "id_number"}
    store = CityStore("pupils", f"sqlite:{place}", "school returns", purpose, subject=subject)
    site.store(store, {"pupils": count})


def forgotten_export(site: Site) -> None:
    """A database that somebody made for an afternoon and that nobody declared; anyone may read it."""
    rng, people, count = site.rng("export"), site.people, site.sizes["export"]
    who = rng.permutation(len(people))[:count]
    export = {"line TEXT": serials(rng, "WXE", count), **_register(people.of(who))}
    place = "old/tmp_export.db"
    with database(site.root / place) as db:
        table(db, "export", export)
    (site.root / place).chmod(0o644)
    site.needle("undeclared", place, export["line TEXT"])
    subject = {"export": "id_number"}
    store = CityStore("tmp_export", f"sqlite:{place}", "unknown", "unknown", declared=False, subject=subject)
    site.store(store, {"export": count})


def _register(people: People) -> dict[str, list[str]]:
    return {
        "id_number TEXT": people.ids.tolist(),
        "name TEXT": people.names.tolist(),
        "mobile TEXT": people.mobile_texts.tolist(),
        "address TEXT": people.addresses.tolist(),
        "plate TEXT": people.plates.tolist(),
        "email TEXT": people.emails.tolist(),
    }


def _statements(site: Site, rng: np.random.Generator, speaker: Numbers) -> list[str]:
    """What each speaker told: names, numbers and addresses in running text."""
    people, count = site.people, len(speaker)
    other = site.draw(rng, count)
    journey = people.names[speaker] + "自述" + days(rng, count) + "乘车前往" + choice(rng, VENUES, count)
    company = "，同行人" + people.names[other] + "，联系电话 " + people.mobile_texts[other]
    statements: list[str] = (journey + company + " ，住 " + people.addresses[speaker]).tolist()
    return statements


_COLOURS = ("绿码", "绿码", "绿码", "黄码", "红码")
_REASONS = ("时空伴随", "密切接触", "核酸超期", "申诉通过", "解除隔离")
_SITES = (
    "万象城采样点",
    "河埒口卫生院",
    "太湖广场方舱",
    "梁溪体育馆",
    "新区会展中心",
    "锡山人民医院",
    "江阴一中",
)
_HOTELS = ("如意酒店", "湖滨宾馆", "运河驿站", "锦江快捷", "隔离点三号楼")
