"""A small case, approved and ready to be destroyed: made once a process, copied for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from small_case import STORES, Clock, SmallCase, build_estate


@pytest.fixture(scope="session")
def approved_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("approved")
    build_estate(root / "estate")
    made = SmallCase.make(root, STORES)
    made.go("open", "approve-notary")
    made.admit()
    return root


@pytest.fixture
def approved(approved_root: Path, tmp_path: Path) -> SmallCase:
    """A case of which everything but the destruction is done. Its own copy."""
    shutil.copytree(approved_root, tmp_path / "here", symlinks=True)
    return SmallCase(tmp_path / "here")


@pytest.fixture
def clock() -> Clock:
    return Clock()
