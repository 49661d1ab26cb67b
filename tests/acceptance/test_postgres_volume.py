"""Acceptance of L3 for a PostgreSQL server: nobody is left on its volume, in no block of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from postgres_on_volume import PERSONS, ServerCase, server_on

import postgres_server
from volume_images import LOOPS

postgres_server.need()
pytestmark = [LOOPS, pytest.mark.slow, pytest.mark.timeout(3600)]

KEEPS_WARDS = 'scope = { collections = ["public.patient", "public.visit"] }'


def test_a_server_that_stays_leaves_nobody_on_its_volume(tmp_path: Path) -> None:
    """Tables rewritten, log cycled, volume wiped beneath the running server: grep in the image finds nobody,
    the probe gives L3 and says what the server's memory may keep, and what stays is as it was."""
    with server_on() as on:
        case = ServerCase(tmp_path / "case").ask(on, KEEPS_WARDS)
        before = on.found()
        ran = case.upto("certify")
        (probed,) = ran["probe"].value["stores"]

        assert before == on.needles
        assert on.found() == set()
        assert probed["grade_reached"] == "L3", str(ran["probe"])
        assert any("memory of the server" in line for line in probed["unreachable"])
        assert ran["certify"].value["stores"][0]["grade_reached"] == "L3"
        case.verify()
        assert on.server.run("SELECT count(*) FROM ward", database=on.database) == [(5,)]
        assert ran["destroy"].value["records"] == PERSONS + 900
