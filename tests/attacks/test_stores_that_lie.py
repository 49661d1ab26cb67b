"""Lies told with real stores: a decoy, thinned needles, a store that changes, a copy nobody knows of.

Erasing that leaves the bytes (plain DELETE, copy and unlink) is refused in
tests/acceptance/test_careless_erasing.py, by command and on the whole city.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cenotaph.errors import TransientStoreError, UsageError
from cenotaph.sealing import NeedleList
from cenotaph.stages import seal as seal_stage
from cenotaph.stages.approve import approve_here
from cenotaph.stages.challenge import challenge
from cenotaph.stores import open_reader
from cenotaph_proof.errors import OrderError
from cenotaph_proof.statements import Challenge, Inventory, Probe
from small_case import STORES, SmallCase, build_estate, csv, grep, people, put, table, values

BROUGHT = [
    {"store": "health", "collection": "visits", "values": {"id_number": people(0, 1)[0].identity}},
    {"store": "health", "collection": "visits", "values": {"id_number": people(19, 1)[0].identity}},
]


@pytest.fixture(scope="session")
def surveyed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case of one database and one folder, surveyed; the auditor committed to two outside records."""
    return a_case(tmp_path_factory.mktemp("surveyed"))


@pytest.fixture
def case(surveyed: Path, tmp_path: Path) -> SmallCase:
    """A copy of it, to be lied about."""
    shutil.copytree(surveyed, tmp_path / "copy")
    return SmallCase(tmp_path / "copy")


def a_case(root: Path, *, decoy: bool = False) -> Path:
    build_estate(root / "estate")
    if decoy:
        (root / "estate" / "health.db").unlink()
        table(root / "estate" / "health.db", "visits", people(500, 20))
        table(root / "estate" / "health.db", "codes", people(600, 10))
    put(root / "outside.json", json.dumps(BROUGHT).encode())
    made = SmallCase.make(root, STORES)
    made.open()
    for key, outside in (("audit", root / "outside.json"), ("zhao", None)):
        approve_here(
            made.path,
            made.key(key),
            made.clock,
            charter=True,
            withdraw=False,
            outside=outside,
            lasts=None,
        )
    made.survey()
    return root


def challenged(case: SmallCase, addresses: dict[str, str] | None = None) -> Challenge:
    """The auditor's challenge, logged."""
    session = case.session(addresses=addresses)
    challenge(session, open_reader, case.root / "outside.json")
    case.admit()
    found = case.now().latest(Challenge)
    assert found is not None
    return found.body(Challenge)


def test_an_honest_estate_is_accepted(case: SmallCase) -> None:
    """The same challenge accepts where nobody lies: it finds the drawn chunks and both outside records."""
    case.go("seal", "plan")

    body = challenged(case)

    assert body.decision == "accept", body.reasons
    assert (body.found, body.brought) == (2, 2)
    assert all(s.read and s.matched == s.drawn > 0 for s in body.stores)


def test_a_decoy_without_the_outside_records_is_rejected(tmp_path: Path) -> None:
    """The estate that is shown was generated for the ceremony: seal and store agree, and a resident's record
    is in neither."""
    case = SmallCase(a_case(tmp_path / "root", decoy=True))
    case.go("seal", "plan")

    body = challenged(case)

    assert all(s.matched == s.drawn for s in body.stores)  # the decoy answers every sample
    assert body.decision == "reject"
    assert body.reasons == ("2 of 2 outside records are missing",)


def test_samples_from_a_decoy_do_not_match_the_seal(case: SmallCase) -> None:
    """The auditor's own way in leads to another database than the one that was sealed."""
    case.go("seal", "plan")
    decoy = case.root / "decoy.db"
    table(decoy, "visits", people(700, 20))
    table(decoy, "codes", people(800, 10))

    body = challenged(case, {"health": f"sqlite:{decoy}"})

    assert body.decision == "reject"
    assert any(r.startswith("store health: ") and "do not match the seal" in r for r in body.reasons)
    assert body.found == 0


def test_a_rejected_seal_opens_no_gate(case: SmallCase) -> None:
    """After a rejection the plan cannot be carried out, and the same seal cannot be challenged again."""
    case.go("seal", "plan")
    with sqlite3.connect(case.root / "estate" / "health.db") as db:
        db.execute("UPDATE visits SET phone = '13900000000' WHERE id = 3")
    db.close()
    assert challenged(case).decision == "reject"

    with pytest.raises(OrderError, match="rejected"):
        case.approve("audit")
    case.approve("zhao")
    case.admit()
    with pytest.raises(OrderError, match="the challenge was rejected by auditor Audit Co"):
        case.now().approved_plan(case.clock())


def test_a_store_that_changed_since_the_seal_is_rejected(case: SmallCase) -> None:
    """One row less, and the drawn chunk that held it is not as sealed."""
    case.go("seal", "plan")
    lines = (case.root / "estate" / "export" / "a.csv").read_bytes().splitlines(keepends=True)
    (case.root / "estate" / "export" / "a.csv").write_bytes(b"".join(lines[:-1]))

    body = challenged(case)

    assert body.decision == "reject"
    assert any(r.startswith("store export: ") for r in body.reasons)


@pytest.mark.parametrize("kept", [0, 1])
def test_thinned_needles_are_rejected(case: SmallCase, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    """The operator seals a set of needles that lacks most values: a probe with it would find nothing."""

    listed = seal_stage._needles

    def thinned(*given: Any) -> NeedleList:
        return replace(listed(*given), parts=listed(*given).parts[:kept])

    monkeypatch.setattr(seal_stage, "_needles", thinned)
    case.go("seal", "plan")

    body = challenged(case)

    assert body.decision == "reject"
    assert any("values of drawn records are missing from the needles" in r for r in body.reasons)


# ── what passes although it is a lie (docs/limits.md) ────────────────────────────────────────────


def test_a_copy_made_before_the_seal_passes(case: SmallCase) -> None:
    """Somebody copied the database elsewhere before it was sealed. The case verifies; the copy stays."""
    copy = case.root / "elsewhere.db"
    shutil.copyfile(case.root / "estate" / "health.db", copy)
    case.go("seal", "plan")
    challenged(case)
    case.go("approve-auditor", "certify")

    verdict = case.verdict()

    assert verdict.exit_code == 0
    assert {s.reached for s in verdict.certificate.stores} == {"L2"}
    assert not grep(case.root / "estate", values(people(0, 20)))
    assert grep(copy, values(people(0, 20))) == [copy]
    assert any("a copy made before the seal" in f.text for f in verdict.not_shown)


def test_a_copy_inside_the_estate_after_the_survey_is_residue(case: SmallCase) -> None:
    """The same copy, dropped into the folder that is a store, is found: the probe rejects."""
    case.go("seal", "plan")
    challenged(case)
    case.go("approve-auditor", "destroy")
    put(case.root / "estate" / "export" / "kept.csv", csv(people(200, 10)))

    case.probe()
    case.admit()

    found = case.now().latest(Probe)
    assert found is not None
    assert found.body(Probe).decision == "reject"
    assert case.now().require(Inventory)
    with pytest.raises(OrderError, match="no accepted probe"):
        case.certify()


def test_after_a_rejection_the_case_goes_on_with_a_new_seal(case: SmallCase) -> None:
    """The store is put back as it was, sealed again under a fresh nonce, challenged, and destroyed."""
    export = case.root / "estate" / "export" / "a.csv"
    honest = export.read_bytes()
    case.go("seal", "plan")
    export.write_bytes(honest.replace(b"2020", b"2019"))
    assert challenged(case).decision == "reject"
    export.write_bytes(honest)

    case.go("seal", "plan")
    assert challenged(case).decision == "accept"
    case.go("approve-auditor", "certify")

    verdict = case.verdict()
    assert verdict.exit_code == 0
    assert any("decision: reject" in f.text for f in verdict.attested)


def test_an_auditor_who_can_read_no_store_signs_nothing(tmp_path: Path) -> None:
    """That nothing could be opened is no reason to accept, nor to reject a seal for ever: the nonce stays
    unrevealed."""
    build_estate(tmp_path / "estate")
    case = SmallCase.make(tmp_path, STORES.partition("\n\n")[0] + "\n")
    case.go("open", "plan")
    put(tmp_path / "broken.db", b"SQLite format 3\0" + b"\xff" * 4096)

    with pytest.raises(TransientStoreError, match="no store could be read, so nothing was signed"):
        case.challenge({"health": f"sqlite:{tmp_path / 'broken.db'}"})

    assert not list(case.path.glob("statements/incoming/*"))
    case.challenge()
    case.admit()
    assert case.now().require(Challenge).body(Challenge).decision == "accept"


def test_an_address_of_another_kind_of_store_is_refused(case: SmallCase) -> None:
    """A database cannot stand in for a folder: the auditor is told before anything is read."""
    case.go("seal", "plan")

    with pytest.raises(UsageError, match="store export is of kind files"):
        challenged(case, {"export": f"sqlite:{case.root / 'estate' / 'health.db'}"})
