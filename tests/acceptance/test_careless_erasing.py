"""Acceptance: erasing that leaves the bytes does not get the grade, whatever it says of itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from by_command import CityCase, Ran, grep

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def careless(tmp_path_factory: pytest.TempPathFactory, approved: CityCase) -> CityCase:
    """The same city, "destroyed" with DELETE and with copy and unlink, then probed and taken to certify."""
    ground = approved.ground.copy(tmp_path_factory.mktemp("careless") / "ground")
    here = {"PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    digest = ground.run("plan", "--show").value["digest"]
    line = [sys.executable, HERE / "careless.py", "destroy", "--case", ground.case, "--confirm", digest[:8]]
    done = subprocess.run(
        [*map(str, line)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **ground.env, **here},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran: dict[str, Ran] = {"probe": ground.stage("probe", code=None)}
    ran["certify"] = ground.stage("certify", code=None)
    return CityCase(approved.city, ground, ran)


def test_it_left_what_it_should_have_destroyed(careless: CityCase) -> None:
    """The careless run has deleted every row, and grep still finds values in databases and copies."""
    for kind in ("sqlite live", "sqlite overflow", "sqlite deleted cells"):
        needles = set(careless.city.needles[kind])
        assert grep(needles, careless.ground.estate / careless.city.places[kind])
    assert list((careless.ground.estate / "apps/venues/checkins").glob("*.bak"))


def test_the_probe_rejects_it(careless: CityCase) -> None:
    """A probe of the careless run exits 3 and says of which stores; none of them reaches L2."""
    probe = careless.ran["probe"]
    reached = {s["name"]: s["grade_reached"] for s in probe.value["stores"]}
    kinds = {s.name: s.url.partition(":")[0] for s in careless.city.stores}
    databases = {name for name, kind in kinds.items() if kind == "sqlite"}

    assert probe.code == 3
    assert probe.value["decision"] == "reject"
    assert {reached[name] for name in databases} <= {"L1", "none"}
    assert {reached[name] for name in ("venues", "passes", "temperature")} <= {"L1", "none"}


def test_certify_is_blocked(careless: CityCase) -> None:
    """Without an accepted probe nothing is certified: exit 4, no proof file, and the annex is still there."""
    certify = careless.ran["certify"]

    assert certify.code == 4
    assert "probe" in certify.err
    assert not (careless.ground.case / "city.cenotaph").exists()
    assert (careless.ground.case / "annex/seal.sealed").exists()
