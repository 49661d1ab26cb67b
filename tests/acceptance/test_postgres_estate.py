"""Acceptance of PostgreSQL: what outside referees find in every place of a server, before a case and after.

The number of persons comes from the environment: `make postgres` takes 100,000 and 1,000 needles a place, the
ordinary run of the slow tests less. With `-s` it prints place × step × survivors. Erasers that forget
something come after it, each on the very same estate: none of them gets the grade, and the place is named.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import outside
import postgres_estate
import postgres_outside
import pytest
from postgres_case import PostgresCase, copy_tables
from postgres_estate import PLACES, PostgresEstate, Size, build, digests, sound
from postgres_outside import STAYS, Outside
from postgres_watched import observe

import postgres_server
from by_command import Ran
from volume_images import LOOPS, Image, image

postgres_server.need()

PEOPLE = int(os.environ.get("CENOTAPH_PG_PEOPLE", "300"))
SIZE = Size(PEOPLE, min(1000, PEOPLE // 3))
MIB = int(os.environ.get("CENOTAPH_PG_MIB", str(640 + PEOPLE // 12)))
NEEDED = ("grep", "blkls", "icat", "zstd", "gzip", "pg_filedump", "fsfreeze", "blkdiscard")
OFFLINE = [name for name in NEEDED if shutil.which(name) is None]
# What is forgotten, and a kind of place that the probe must then find something in.
WEAK = {
    "delete": "relation",
    "truncate": "wal",
    "statistics": "relation",
    "wal": "wal",
    "wal archive": "wal archive",
    "standby": "standby",  # in whichever of its files
    "dump": "dump",
    "base backup": "base backup",
    "server log": "server log",
}

pytestmark = [
    LOOPS,
    pytest.mark.slow,
    pytest.mark.skipif(bool(OFFLINE), reason=f"not installed: {', '.join(OFFLINE)}"),
    pytest.mark.timeout(6 * 3600),
]


@dataclass
class Ground:
    """The estate on its volume, a case on it, and what there was before anything was destroyed."""

    image: Image
    estate: PostgresEstate
    folder: Path
    case: PostgresCase
    before: Mapping[str, str]
    ran: Mapping[str, Ran]
    seen: Path = field(repr=False)

    def found(self, name: str) -> dict[str, int]:
        """What was found at a step."""
        (path,) = self.seen.glob(f"*{name}.seen")
        return dict(json.loads(path.read_text("utf-8")))

    def restart(self) -> None:
        for server in self.estate.servers():
            if server.process.poll() is None:
                server.stop_only()
                server.start()

    def keep(self) -> None:
        """Put the volume and the case aside as they are."""
        self._away()
        subprocess.run(["cp", "--sparse=always", str(self.image.file), str(self._kept)], check=True)
        shutil.copytree(self.case.root, self._kept_case, symlinks=True)
        self._back()

    def again(self) -> None:
        """The volume and the case as they were kept."""
        self._away()
        device = str(self.image.device)
        subprocess.run(["blkdiscard", "-f", device], check=True)
        line = ["dd", f"if={self._kept}", f"of={device}", "bs=1M", "conv=sparse,fsync", "status=none"]
        subprocess.run(line, check=True)
        shutil.rmtree(self.case.root)
        shutil.copytree(self._kept_case, self.case.root, symlinks=True)
        self._back()

    @property
    def _kept(self) -> Path:
        return self.folder / "kept.image"

    @property
    def _kept_case(self) -> Path:
        return self.folder / "kept case"

    def _away(self) -> None:
        self.estate.stop()
        self.image.unmount()

    def _back(self) -> None:
        self.image.mount_again()
        for server in self.estate.servers():
            server.start()


NOTHING_TO_RECOVER_FROM = (
    "recovery from the wal archive: not tried: no base backup is left that is known here"
)


@pytest.fixture(scope="module")
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """The estate, looked at before anything, and a case about it that was approved."""
    folder = Path(
        tempfile.mkdtemp(prefix="cenotaph-pg-")
    )  # whose path is short, and open to the server's user
    folder.chmod(0o755)
    try:
        with image(folder, "ext4", MIB << 20) as scratch:
            scratch.mount.parent.chmod(0o755)
            estate = build(scratch.mount, SIZE)
            try:
                made = _approved(scratch, estate, tmp_path_factory.mktemp("postgres"))
                if any("weak" in getattr(item, "fixturenames", ()) for item in request.session.items):
                    made.keep()
                yield made
            finally:
                estate.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _approved(scratch: Image, estate: PostgresEstate, folder: Path) -> Ground:
    seen = folder / "seen"
    seen.mkdir()
    told = {"root": str(scratch.mount), "image": str(scratch.file), "size": [SIZE.people, SIZE.sought]}
    (seen / "estate.json").write_text(json.dumps(told), "utf-8")
    observe(seen, "before")
    before = digests(estate)
    case = PostgresCase.make(
        folder / "ground", estate, grade="L3", copies=copy_tables(estate), volume=scratch
    )
    ran = case.upto("approve")
    return Ground(scratch, estate, folder, case, before, ran, seen)


@dataclass(frozen=True)
class Finished:
    """What the case said after it was approved."""

    ran: Mapping[str, Ran]
    limits: list[str]
    after: Mapping[str, str]
    wrong: list[str]


@pytest.fixture(scope="module")
def finished(ground: Ground) -> Finished:
    """Destroyed, restarted by the server's owner, probed, certified, and looked at again."""
    ran = {"destroy": ground.case.destroy(watch=ground.seen)}
    assert ran["destroy"].code == 0, str(ran["destroy"])
    ground.restart()
    ran["probe"] = ground.case.stage("probe", code=None)
    limits = _limits(ground.case.stated(ran["probe"]))
    ran["certify"] = ground.case.stage("certify", code=None)
    if "statement" in ran["certify"].out:
        limits += _limits(ground.case.stated(ran["certify"]))
    observe(ground.seen, "after")
    return Finished(ran, limits, digests(ground.estate), sound(ground.estate))


def _limits(body: Mapping[str, Any]) -> list[str]:
    """Why a statement grants less than L3."""
    items = [*body["stores"], *(body.get("volumes") or ())]
    lower = [f"{item['name']}: {item['why_not_higher']}" for item in items if item["reached"] != "L3"]
    return [*body.get("reasons", ()), *lower]


# ── before ───────────────────────────────────────────────────────────────────────────────────────


def test_the_referees_find_every_place_before(ground: Ground) -> None:
    """Each place's people are found there before, or all that follows is void."""
    found = ground.found("before")
    places = {place.name: place for place in Outside(ground.estate).places()}

    assert len(found) > 60
    assert {
        name: (n, len(places[name].values))
        for name, n in found.items()
        if name in places and n < places[name].least * len(places[name].values)
    } == {}
    assert all(n >= SIZE.sought // 2 for name, n in found.items() if name.startswith("image: "))
    assert found["free blocks: dropped"] > SIZE.sought // 2
    assert found["free blocks: temporary"] > SIZE.sought // 2


def test_the_referees_find_nobody_who_was_never_there(ground: Ground) -> None:
    """The control of the control: numbers that were never written are found nowhere."""
    nobody = frozenset(ground.estate.needles("nobody"))

    assert outside.grep(ground.image.file, ground.folder, nobody) == set()
    assert postgres_outside.carved([ground.image.file], nobody) == set()
    assert postgres_outside.memory(ground.estate.server, nobody) == set()


# ── after ────────────────────────────────────────────────────────────────────────────────────────


def test_the_table_of_places(ground: Ground, finished: Finished) -> None:
    """Place × step × survivors; `pytest -s` and `make postgres` show it."""
    seen = {
        path.name[3:-5]: json.loads(path.read_text("utf-8")) for path in sorted(ground.seen.glob("*.seen"))
    }
    width = max(map(len, seen["before"]))
    lines = [f"{'place':{width}}" + "".join(f"{step:>12}" for step in seen)]
    for place in seen["before"]:
        lines.append(f"{place:{width}}" + "".join(f"{found.get(place, 0):12,}" for found in seen.values()))
    print("", f"{SIZE.people:,} persons, {SIZE.sought:,} sought a place", *lines, sep="\n")

    assert {"before", "erased", "reclaimed", "after"} <= set(seen)


def test_no_referee_finds_anybody_after(ground: Ground, finished: Finished) -> None:
    """0 of the people who were destroyed, in every place, the whole volume and the servers' memory."""
    found = ground.found("after")

    assert {name: n for name, n in found.items() if n} == {}


def test_who_stays_is_still_found_after(ground: Ground, finished: Finished) -> None:
    """The control of what is found afterwards: bystanders are all on the volume."""
    staying = {name: frozenset(ground.estate.needles(name)) for name in STAYS}
    ground.estate.run("CHECKPOINT")
    found = outside.grep(ground.image.file, ground.folder, frozenset().union(*staying.values()))

    assert {name: len(found & values) for name, values in staying.items()} == dict.fromkeys(
        STAYS, SIZE.sought
    )


def test_bystanders_are_the_same(ground: Ground, finished: Finished) -> None:
    """Tables out of scope, rows out of scope, other databases and every definition: the same digests."""
    assert finished.after == ground.before
    assert len(finished.after) > 6


def test_the_server_is_sound(finished: Finished) -> None:
    """amcheck: every B-tree with its parents and heap, every heap with its TOAST."""
    assert finished.wrong == []


def test_probe_certificate_and_verifier_agree_on_l3(ground: Ground, finished: Finished) -> None:
    """L3 for both stores; nothing is listed as not reached, and one attempt as not tried: from an archive
    alone nobody recovers."""
    assert finished.limits == []
    for stage in ("probe", "certify"):
        ran = finished.ran[stage]
        assert ran.code == 0, str(ran)
        assert {s["name"]: s["grade_reached"] for s in ran.value["stores"]} == {
            "register": "L3",
            "care": "L3",
        }
    unreachable = {s["name"]: s["unreachable"] for s in finished.ran["probe"].value["stores"]}
    assert unreachable == {"register": [NOTHING_TO_RECOVER_FROM], "care": []}
    assert ground.case.verify().value["verdict"] == "verified"


# ── weakened ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("weak", WEAK)
def test_an_eraser_that_forgets_is_refused_and_the_place_is_named(ground: Ground, weak: str) -> None:
    """What forgets one thing and says that all is done gets no grade: the probe found where it lies."""
    ground.again()
    done = ground.case.destroy(weak=weak)
    assert done.code == 0, str(done)
    ground.restart()

    probe = ground.case.stage("probe", code=None)
    assert probe.code == 3, str(probe)
    places = ground.case.places_found(probe)
    certify = ground.case.stage("certify", code=None)

    assert probe.value["decision"] == "reject"
    assert WEAK[weak] in {"standby" if place.startswith("standby ") else place for place in places}
    assert {s["grade_reached"] for s in probe.value["stores"] if s["name"] == "care"} <= {"L1", "none"}
    assert certify.code == 4
    assert not (ground.case.case / "city.cenotaph").exists()


def test_the_places_are_those_that_were_promised() -> None:
    """Twenty tables and more, each with people of its own."""
    assert len(postgres_estate.IN_SCOPE) >= 20
    assert len(set(PLACES.values())) == len(PLACES)
