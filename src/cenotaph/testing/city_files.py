"""The apps of the generated city that kept files, a function each, and the files of bystanders.

Every function writes beneath the site's root, and tells the site what it planted.
"""

from __future__ import annotations

import json
from typing import Final

import numpy as np
import pyarrow as pa

from cenotaph.testing.city_people import Numbers, People, Texts
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
from cenotaph.testing.city_write import (
    database,
    picture,
    quoted,
    separated,
    table,
    write,
    write_gzip,
    write_parquet,
    write_zip,
)

BY_ID: Final = {"*": "id_number"}


def venue_check_ins(site: Site) -> None:
    """A folder of Parquet files: where everybody scanned a code, when, and at which coordinates."""
    rng, people, count = site.rng("venues"), site.people, site.sizes["checkins"]
    who, venue = site.draw(rng, count), rng.integers(0, len(VENUES), count)
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
            "venue": pa.array(VENUES, pa.string()).take(pa.array(venue)),
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
        "venue": [VENUES[place] for place in venue[: len(part)]],
    }
    site.hand_out("venues", "*", part, handed)


def travel_history(site: Site) -> None:
    """JSON Lines, an object nested in each: journeys by train, plane and car."""
    rng, people, count = site.rng("travel"), site.people, site.sizes["journeys"]
    who, tickets, at = site.draw(rng, count), serials(rng, "WXJ", count), moments(rng, count).tolist()
    legs = zip(
        choice(rng, _CITIES, count), choice(rng, _CITIES, count), choice(rng, _MEANS, count), strict=True
    )
    names = np.array([json.dumps(name, ensure_ascii=False) for name in people.names], dtype=object)
    columns = (tickets, people.ids[who], names[who], people.mobile_texts[who], people.plates[who], at, legs)
    lines = [
        f'{{"ticket":"{ticket}","id_number":"{number}","name":{name},"mobile":"{mobile}","at":"{when}",'
        f'"journey":{{"from":"{start}","to":"{end}","by":"{means}","plate":"{plate}"}}}}\n'
        for ticket, number, name, mobile, plate, when, (start, end, means) in zip(*columns, strict=True)
    ]
    place = "apps/travel/journeys.jsonl"
    write(site.root / place, "".join(lines))
    site.needle("jsonl", place, tickets)
    store = CityStore("travel", f"files:{place}", "travel history", "journeys into and out of the city")
    site.store(store, {"journeys": count})


def entry_control(site: Site) -> None:
    """CSV in UTF-8 with a byte order mark, as a spreadsheet writes it."""
    rng, people, count = site.rng("entry"), site.people, site.sizes["entries"]
    who, passes, at = site.draw(rng, count), serials(rng, "WXG", count), moments(rng, count).tolist()
    columns = {
        "id_number": people.ids[who].tolist(),
        "name": people.names[who].tolist(),
        "mobile": people.mobile_texts[who].tolist(),
        "plate": people.plates[who].tolist(),
        "gate": choice(rng, VENUES, count).tolist(),
        "temperature": choice(rng, _TEMPERATURES, count).tolist(),
        "pass": passes,
        "at": at,
    }
    place = "apps/entry/entries.csv"
    write(site.root / place, "\ufeff" + separated(columns))
    site.needle("utf-8 csv", place, passes)
    site.store(
        CityStore("entry", f"files:{place}", "entry control", "who passed which gate", subject=BY_ID),
        {"entries": count},
    )
    site.hand_out("entry", "*", who, {"pass": passes, "id_number": columns["id_number"], "at": at})


def scanned_passes(site: Site) -> None:
    """Scanned images whose file names are people."""
    rng, people, count = site.rng("passes"), site.people, site.sizes["passes"]
    who = rng.permutation(len(people))[:count]
    names = [f"{people.names[person]}_{people.ids[person]}.jpg" for person in who]
    sizes = rng.integers(20_000, 90_000, count).tolist()
    for name, size, mark in zip(names, sizes, serials(rng, "WXI", count), strict=True):
        write(site.root / "apps/entry/scans" / name, picture(rng, size, mark))
    site.needle("file name", "apps/entry/scans", [name.removesuffix(".jpg") for name in names])
    store = CityStore("passes", "files:apps/entry/scans", "entry control", "scanned residence permits")
    site.store(store, {"scans": count})


def vaccination(site: Site) -> None:
    """CSV in GB18030 with Chinese headings, as a hospital system exports it."""
    rng, people, count = site.rng("vaccination"), site.people, site.sizes["doses"]
    who = site.draw(rng, count)
    columns = {
        "身份证号": people.ids[who].tolist(),
        "姓名": people.names[who].tolist(),
        "住址": people.addresses[who].tolist(),
        "疫苗": choice(rng, ("灭活疫苗", "重组蛋白疫苗", "腺病毒载体疫苗"), count).tolist(),
        "批号": serials(rng, "WXV", count),
        "剂次": choice(rng, ("1", "2", "3"), count).tolist(),
        "接种日期": days(rng, count).tolist(),
    }
    place = "apps/vaccination/doses.csv"
    write(site.root / place, separated(columns).encode("gb18030"))
    site.needle("gb18030", place, columns["住址"], encoding="gb18030")
    store = CityStore("vaccination", f"files:{place}", "vaccination", "doses given")
    site.store(store, {"doses": count})


def temperature_reports(site: Site) -> None:
    """Two gzip-compressed CSV files, in which no grep finds anybody."""
    rng, people, count = site.rng("temperature"), site.people, site.sizes["temperatures"]
    who = site.draw(rng, count)
    columns = {
        "id_number": people.ids[who].tolist(),
        "mobile": people.mobile_texts[who].tolist(),
        "morning": choice(rng, _TEMPERATURES, count).tolist(),
        "evening": choice(rng, _TEMPERATURES, count).tolist(),
        "symptoms": choice(rng, ("无", "无", "无", "咳嗽", "乏力"), count).tolist(),
        "day": days(rng, count).tolist(),
    }
    half = count // 2
    for year, part in (("2021", slice(half)), ("2022", slice(half, None))):
        text = separated({name: values[part] for name, values in columns.items()})
        write_gzip(site.root / f"apps/temperature/temperature_{year}.csv.gz", text)
    site.needle("gzip", "apps/temperature", columns["id_number"])
    store = CityStore(
        "temperature", "files:apps/temperature", "temperature reports", "daily health reports", subject=BY_ID
    )
    site.store(store, {"temperatures": count})


def hotline_calls(site: Site) -> None:
    """CSV with CRLF, every value quoted, and newlines, commas and quotes inside the notes."""
    rng, people, count = site.rng("hotline"), site.people, site.sizes["calls"]
    who, calls = site.draw(rng, count), serials(rng, "WXL", count)
    notes = (
        people.names[who] + choice(rng, _COMPLAINTS, count) + "\r\n住址：" + people.addresses[who]
        + "\n回电：" + people.mobile_texts[who]
    )  # fmt: skip
    columns = {
        "call": calls,
        "caller": people.names[who].tolist(),
        "id_number": people.ids[who].tolist(),
        "email": people.emails[who].tolist(),
        "at": moments(rng, count).tolist(),
        "note": notes.tolist(),
    }
    place = "apps/hotline/calls.csv"
    write(site.root / place, quoted(columns))
    site.needle("crlf csv", place, calls)
    store = CityStore("hotline", f"files:{place}", "hotline calls", "who asked for help", subject=BY_ID)
    site.store(store, {"calls": count})


def volunteer_roster(site: Site) -> None:
    """A list, and a second copy that went its own way: people missing, people added, numbers changed."""
    rng, people = site.rng("volunteers"), site.people
    count, copied = site.sizes["volunteers"], site.sizes["volunteers_copy"]
    missing = count // 20 + 1
    drawn = rng.permutation(len(people))
    shifts = choice(rng, ("早班", "中班", "夜班"), len(people))
    listed, kept = drawn[:count], drawn[missing : missing + copied]
    columns = _roster(people, listed, shifts)
    copy = _roster(people, kept, shifts)
    changed = rng.permutation(copied)[: copied // 10 + 1]
    for row in changed.tolist():
        copy["mobile"][row] = "199" + copy["mobile"][row][3:]
        copy["shift"][row] = "已退出"
    write(site.root / "apps/volunteers/volunteers.csv", separated(columns))
    write(site.root / "apps/volunteers/volunteers_copy.csv", separated(copy))
    app, purpose = "volunteer roster", "who helped in which shift"
    for name, values in (("volunteers", columns), ("volunteers_copy", copy)):
        place = f"apps/volunteers/{name}.csv"
        site.needle(name.replace("_", " "), place, values["id_number"])
        store = CityStore(name, f"files:{place}", app, purpose, subject=BY_ID)
        site.store(store, {name: len(values["id_number"])})


def school_returns(site: Site) -> None:
    """A zip export: two deflated CSV lists of pupils and their last test."""
    rng, people, count = site.rng("returns"), site.people, site.sizes["returns"]
    who = site.draw(rng, count)
    columns = {
        "id_number": people.ids[who].tolist(),
        "name": people.names[who].tolist(),
        "school": choice(rng, SCHOOLS, count).tolist(),
        "class": choice(rng, CLASSES, count).tolist(),
        "last_test": days(rng, count).tolist(),
    }
    half = count // 2
    terms = {"returns_spring.csv": slice(half), "returns_autumn.csv": slice(half, None)}
    place = "apps/school/returns_export.zip"
    texts = {
        term: separated({name: values[part] for name, values in columns.items()})
        for term, part in terms.items()
    }
    write_zip(site.root / place, texts)
    site.needle("zip", place, columns["id_number"])
    store = CityStore("returns", f"files:{place}", "school returns", "who may come back to class")
    site.store(store, {"returns": count})


def forgotten_dump(site: Site) -> None:
    """An SQL dump that an administrator left in the web folder; anyone may read it. Counted in lines."""
    rng, people, count = site.rng("dump"), site.people, site.sizes["dump"]
    who = rng.permutation(len(people))[: count - _DUMP_HEAD.count("\n")]
    columns = (people.ids, people.names, people.mobile_texts, people.addresses, people.passports)
    rows = zip(*(column[who].tolist() for column in columns), strict=True)
    # Text of a dump, never run: invented values hold no quotes.
    lines = [f"""INSERT INTO `residents` VALUES ('{"','".join(row)}');\n""" for row in rows]  # noqa: S608
    text = _DUMP_HEAD + "".join(lines)
    place = "www/static/backup_2021.sql"
    write(site.root / place, text, mode=0o644)
    write(
        site.root / "www/static/index.html",
        "<!doctype html><title>便民服务</title><p>页面维护中\n",
        mode=0o644,
    )
    site.needle("sql dump", place, people.ids[who].tolist())
    site.store(CityStore("dump", f"files:{place}", "city portal", "unknown", declared=False), {"dump": count})


def bystanders(site: Site) -> None:
    """Files outside every store, which must come out byte-identical."""
    rng, staff = site.rng("bystanders"), site.staff
    dishes, prices = ("小笼包", "阳春面", "梅花糕", "银鱼羹"), ("12", "9", "5", "38")
    write(site.root / "bystander/menu.csv", separated({"dish": dishes, "price": prices}), mode=0o644)
    write(site.root / "bystander/notes.txt", "周三换灯泡。\n周四开会，带上会议记录。\n", mode=0o644)
    if site.shared_bystanders:
        staff = site.people.of(slice(HELD, HELD + len(staff)))
    desks = rng.integers(100, 999, len(staff)).tolist()
    with database(site.root / "bystander/staff.db") as db:
        columns = (staff.ids.tolist(), staff.names.tolist(), staff.mobiles.tolist())
        names = ("id_number TEXT", "name TEXT", "mobile INTEGER", "desk INTEGER")
        table(db, "staff", dict(zip(names, (*columns, desks), strict=True)))
    site.bystanders += [
        "bystander/menu.csv",
        "bystander/notes.txt",
        "bystander/staff.db",
        "www/static/index.html",
    ]
    site.needle("bystander", "bystander/staff.db", staff.ids.tolist())


def _roster(people: People, who: Numbers, shifts: Texts) -> dict[str, list[str]]:
    return {
        "id_number": people.ids[who].tolist(),
        "name": people.names[who].tolist(),
        "mobile": people.mobile_texts[who].tolist(),
        "email": people.emails[who].tolist(),
        "district": people.districts[who].tolist(),
        "shift": shifts[who].tolist(),
    }


_DUMP_HEAD = """\
-- MySQL dump 10.13  Distrib 5.7.31, for Linux (x86_64)
-- Database: portal
CREATE TABLE `residents` (`id_number` char(18), `name` varchar(50), `mobile` char(11), `address` varchar(200),
  `passport` varchar(9));
"""
_CITIES = ("无锡", "上海", "苏州", "南京", "杭州", "武汉", "北京", "广州", "西安", "成都")
_MEANS = ("高铁", "飞机", "自驾", "大巴")
_TEMPERATURES = ("36.1", "36.3", "36.4", "36.5", "36.6", "36.8", "37.1", "37.6")
_COMPLAINTS = ('来电称"黄码"有误，要求复核。', "询问何时解封，已解释。", '家中老人缺药，"急"。')
