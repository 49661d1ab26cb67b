"""Acceptance of L3: what outside referees find on a whole volume, before a case and after it.

The size of the volume and the number of people a place come from the environment: `make volume` takes 1 GiB
and 1,000, the ordinary run less. With `-s` it prints a table of places.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import outside
import pyarrow as pa
import pytest
from volume_case import VOLUME, VolumeCase
from volume_estate import VolumeEstate, build

from by_command import Ran, fingerprints
from cenotaph.residue import volume as residue
from cenotaph.residue.needles import NeedleBuilder
from cenotaph.volume import identify, raw
from volume_images import LOOPS, Image, image

LEAST = {"ext4": 256, "xfs": 320}  # MiB
SIZE = {kind: int(os.environ.get("CENOTAPH_VOLUME_MIB", str(least))) << 20 for kind, least in LEAST.items()}
PEOPLE = int(os.environ.get("CENOTAPH_VOLUME_PEOPLE", "60"))
OFFLINE = sorted({*outside.missing("ext4"), *outside.missing("xfs")})
REFEREES = {
    "ext4": {"grep", "photorec", "scalpel", "foremost", "blkls", "icat 8", "fls -rd"},
    "xfs": {"grep", "photorec", "scalpel", "foremost", "xfs_db, dd"},
}

pytestmark = [
    LOOPS,
    pytest.mark.slow,
    pytest.mark.skipif(bool(OFFLINE), reason=f"not installed: {', '.join(OFFLINE)}"),
    pytest.mark.timeout(3600),
]


@dataclass(frozen=True)
class Seen:
    """What was found on the volume at one time."""

    referees: Mapping[str, Set[bytes]]
    ours: Set[str]  # texts that cenotaph's search of the volume finds, when all are its needles

    @property
    def union(self) -> set[bytes]:
        return outside.union(self.referees.values())


@dataclass(frozen=True)
class Ground:
    """A volume with its estate, and what there was before anything was destroyed."""

    image: Image
    estate: VolumeEstate
    folder: Path
    before: Seen
    files: Mapping[str, str]  # SHA-256 of bystanders
    rows: list[tuple[object, ...]]  # under a hold


@dataclass(frozen=True)
class Finished:
    """What the case said, and what is there after it."""

    case: VolumeCase
    ran: Mapping[str, Ran]
    after: Seen


@pytest.fixture(scope="module", params=["ext4", "xfs"])
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A volume with its estate, mounted, after the referees saw it unmounted."""
    folder = tmp_path_factory.mktemp("volume")
    with image(folder, request.param, SIZE[request.param]) as scratch:
        estate = build(scratch.mount, PEOPLE)
        scratch.unmount()
        estate.plant_tails(scratch.device)
        scratch.mount_again()
        files, rows = fingerprints(*estate.bystanders), held_rows(estate)
        yield Ground(scratch, estate, folder, examine(scratch, estate, folder / "scratch"), files, rows)


@pytest.fixture(scope="module")
def finished(ground: Ground) -> Finished:
    """The whole case, from opening to the certificate, as its parties would give the commands."""
    case = VolumeCase.make(ground.folder / "ground", ground.image, ground.estate)
    ran = case.upto("certify")
    return Finished(case, ran, examine(ground.image, ground.estate, ground.folder / "scratch"))


def examine(scratch: Image, estate: VolumeEstate, folder: Path) -> Seen:
    """What each referee finds on the unmounted volume, and our own search on the mounted one."""
    scratch.unmount()
    scratch.drop_caches()
    found = outside.referees(scratch.file, scratch.kind, folder, estate.sought())
    scratch.mount_again()
    return Seen(found, _ours(scratch, estate))


def _ours(scratch: Image, estate: VolumeEstate) -> set[str]:
    """Values that our search finds on the volume, whatever they belong to."""
    texts = sorted(estate.texts())
    builder = NeedleBuilder(b"acceptance of a clean volume: L3")
    builder.add(pa.array(texts), "id")
    needles = builder.finish()
    os.sync()
    with raw.opened(identify.identify(scratch.mount), freeze=False) as device:
        found = residue.search(device, device.map, needles, b"seed" * 8)
    names = needles.names(text.encode() for text in texts)
    ordinals = np.searchsorted(np.sort(names), names)  # a needle's number is its fingerprint's place
    return {text for text, n in zip(texts, ordinals.tolist(), strict=True) if n in found.residue}


def held_rows(estate: VolumeEstate) -> list[tuple[object, ...]]:
    """The rows of people under the hold, as sqlite3 reads them."""
    path = estate.root / "apps/quarantine/quarantine.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT rowid, * FROM visits").fetchall()
    return sorted(row for row in rows if row[2] in estate.held)


# ── before ───────────────────────────────────────────────────────────────────────────────────────


def test_referees_find_nothing_on_a_volume_where_nothing_is(tmp_path: Path) -> None:
    """The control of the control: with the same values, no referee finds any on an empty volume."""
    with image(tmp_path, "ext4", 64 << 20) as scratch, image(tmp_path, "ext4", 64 << 20) as other:
        sought = build(other.mount, 5).sought()
        scratch.unmount()
        found = outside.referees(scratch.file, "ext4", tmp_path / "scratch", sought)

    assert set(found) == REFEREES["ext4"]
    assert outside.union(found.values()) == set()


def test_referees_find_every_place_before(ground: Ground) -> None:
    """The union of the referees finds every person of every place before, or all that follows is void."""
    found = ground.estate.by_place(ground.before.union)

    assert set(ground.before.referees) == REFEREES[ground.image.kind]
    assert {place: n for place, n in found.items() if n < PEOPLE} == {}
    assert len(found) > 45


def test_no_referee_finds_all(ground: Ground) -> None:
    """Each referee alone misses some place: it is their union that counts."""
    for name, found in ground.before.referees.items():
        assert min(ground.estate.by_place(found).values()) < PEOPLE, name


def test_our_search_finds_every_place_before(ground: Ground) -> None:
    """Our own search of the volume, with every value as a needle, misses nobody whom the referees found."""
    found = {
        place.name: sum(text in ground.before.ours for text in place.texts())
        for place in ground.estate.places.values()
    }

    assert {name: n for name, n in found.items() if n < PEOPLE} == {}


# ── after ────────────────────────────────────────────────────────────────────────────────────────


def test_no_referee_finds_anybody_in_any_place_after(ground: Ground, finished: Finished) -> None:
    """Of everybody but those who stay, no value, in no form, is found anywhere on the volume by anyone."""
    gone = {p.name for p in ground.estate.places.values() if not p.kept}

    for name, found in finished.after.referees.items():
        left = {place: n for place, n in ground.estate.traces(found).items() if n and place in gone}
        assert (name, left) == (name, {})
    for place in gone:
        who = ground.estate.places[place]
        assert not finished.after.ours & {*who.texts(), *map(str, who.who.ids)}


def test_who_stays_is_still_found_after(ground: Ground, finished: Finished) -> None:
    """The control of what is found afterwards: all the people under the hold, and the bystanders'."""
    found = ground.estate.by_place(finished.after.union)

    assert {p.name: found[p.name] for p in ground.estate.places.values() if p.kept} == {
        "held": PEOPLE,
        "kept bystander": PEOPLE,
    }


def test_what_stays_is_the_same(ground: Ground, finished: Finished) -> None:
    """Bystanders have the same SHA-256, held rows the same values, and the database of the hold is sound."""
    assert fingerprints(*ground.estate.bystanders) == ground.files
    assert len(ground.files) > 7
    assert held_rows(ground.estate) == ground.rows
    assert len(ground.rows) == PEOPLE
    path = ground.estate.root / "apps/quarantine/quarantine.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("SELECT count(*) FROM visits").fetchone() == (PEOPLE,)


def test_nothing_of_ours_is_left_on_the_volume(ground: Ground, finished: Finished) -> None:
    """Afterwards the volume holds the bystanders and the held database: no tombstone, no fill, no link."""
    root = ground.estate.root
    left = {p for p in root.rglob("*") if p.is_file()}

    assert left == {*ground.estate.bystanders, root / "apps/quarantine/quarantine.db"}
    assert not [p for p in root.rglob("*") if p.name.startswith(".cenotaph")]
    assert {p.name for p in root.iterdir()} <= {
        *("lost+found", "apps", "exports", "library", "payroll", "photos", "shared"),
    }


def test_every_store_on_the_volume_reached_l3(ground: Ground, finished: Finished) -> None:
    """Probe and certificate give L3 to each store, the verifier agrees, and the volume was read whole."""
    for stage in ("probe", "certify"):
        grades = {s["name"]: s["grade_reached"] for s in finished.ran[stage].value["stores"]}
        assert grades == {s.name: "L3" for s in ground.estate.stores}
    verdict = finished.case.verify().value

    assert verdict["verdict"] == "verified"
    assert VOLUME in finished.case.verify().out


def test_the_table_of_places(ground: Ground, finished: Finished) -> None:
    """Place, before and after, found by us and by the referees; `pytest -s` and `make volume` show it."""
    before, after = ground.estate.by_place(ground.before.union), ground.estate.traces(finished.after.union)
    width = max(map(len, before))
    head = f"{ground.image.kind}, {SIZE[ground.image.kind] >> 20} MiB, {PEOPLE:,} people a place"
    lines = [f"{'place':{width}}  before: referees  ours   after: referees  ours"]
    for place in ground.estate.places.values():
        seen = sum(text in ground.before.ours for text in place.texts())
        left = sum(text in finished.after.ours for text in place.texts())
        name = place.name
        lines.append(f"{name:{width}}  {before[name]:16,} {seen:5,}  {after[name]:15,} {left:5,}")
    print("", head, *lines, sep="\n")

    assert len(lines) == 1 + len(before)
