"""What the acceptance tests share: keys, and one city taken through a case once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from by_command import CityCase, Ground, make_keys
from cenotaph.testing.city import build_city

SEED = 46_864


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("keys") / "keys")


@pytest.fixture(scope="session")
def approved(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> CityCase:
    """A city of 100 residents and 2,000 records whose destruction is approved and has not begun."""
    ground = Ground(tmp_path_factory.mktemp("city") / "ground")
    ground.root.mkdir()
    city = build_city(ground.estate, residents=100, records=2_000, seed=SEED)
    ground.lay(keys, city.case_toml(ground.case, found=True))
    return CityCase(city, ground, ground.upto("approve"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, approved: CityCase) -> CityCase:
    """A copy of it that was destroyed, probed, certified and published."""
    ground = approved.ground.copy(tmp_path_factory.mktemp("finished") / "ground")
    ran = {"destroy": ground.stage("destroy")}
    shutil.copytree(ground.case, ground.root.parent / "case after destroying")
    ran |= {name: ground.stage(name) for name in ("probe", "certify")}
    ran["publish"] = ground.run("publish", "--to", ground.root / "site")
    return CityCase(approved.city, ground, {**approved.ran, **ran})
