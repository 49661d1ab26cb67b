"""What the tests of the proof formats share: signers, and vectors written by others."""

from __future__ import annotations

from pathlib import Path

import pytest
from some_keys import a_key

from cenotaph_proof.keys import SecretKey


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of conformance data beside the repository."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "vectors"
    if not folder.parent.is_dir():
        pytest.skip("the shared folder with conformance data is not beside the repository")
    return folder


@pytest.fixture
def operator() -> SecretKey:
    return a_key("Big Data Bureau", "operator")


@pytest.fixture
def auditor() -> SecretKey:
    return a_key("Audit Co", "auditor")


@pytest.fixture
def paper() -> SecretKey:
    return a_key("Daily Paper", "log-witness")


@pytest.fixture
def library() -> SecretKey:
    return a_key("City Library", "log-witness")
