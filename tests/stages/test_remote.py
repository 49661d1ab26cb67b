"""Parties who work elsewhere: on a copy of the case, and through their own way to the stores."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cenotaph.stages import approve
from cenotaph_proof.statements import Certificate, Challenge, Plan, Probe
from small_case import STORES, SmallCase, build_estate


def copy_for(party: str, case: SmallCase, to: Path) -> SmallCase:
    """What the operator sends: case.toml, statements and annex. The party's key is already there."""
    shutil.rmtree(to / "case", ignore_errors=True)
    (to / "case").mkdir(parents=True)
    shutil.copy(case.path / "case.toml", to / "case")
    for name in ("statements", "annex"):
        if (case.path / name).exists():
            shutil.copytree(case.path / name, to / "case" / name)
    if not (to / "keys").exists():
        (to / "keys").mkdir()
        shutil.move(case.key(party), to / "keys" / party)
    return SmallCase(to)


def bring(case: SmallCase, file: Path) -> None:
    """The operator adds what a party sent."""
    desk = case.desk()
    assert approve.add(desk, file)
    assert desk.refused == []


def addresses(case: SmallCase) -> dict[str, str]:
    estate = case.root / "estate"
    return {"health": f"sqlite:{estate}/health.db", "export": f"files:{estate}/export"}


def test_every_party_can_work_from_a_copy(tmp_path: Path) -> None:
    """Auditor and notary hold their keys elsewhere and send envelopes; the auditor reads the stores by
    addresses of their own. The case verifies, at the grade that was asked for."""
    build_estate(tmp_path / "operator" / "estate")
    case = SmallCase.make(tmp_path / "operator", STORES)
    case.open()
    for party in ("audit", "zhao"):
        bring(case, copy_for(party, case, tmp_path / party).countersign(party))
    case.go("survey", "plan")
    auditor = copy_for("audit", case, tmp_path / "audit")
    bring(case, auditor.challenge(addresses(case)))
    for party in ("audit", "zhao"):
        bring(case, copy_for(party, case, tmp_path / party).approve(party))
    case.destroy()
    bring(case, copy_for("audit", case, tmp_path / "audit").probe(addresses(case)))
    case.certify()

    assert not (case.root / "keys" / "audit").exists()
    assert [s.reached for s in case.certificate().stores] == ["L2", "L2"]
    assert case.verdict().exit_code == 0


@pytest.fixture(scope="module")
def planned_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("planned")
    build_estate(root / "estate")
    SmallCase.make(root, STORES).go("open", "plan")
    return root


def test_a_store_that_no_auditor_reads_stays_l1(planned_root: Path, tmp_path: Path) -> None:
    """The auditor cannot reach one store: it is challenged and probed as unread, its grade is L1 with the
    reason, `certify` exits 3 since the plan promised more, and the proof verifies all the same."""
    shutil.copytree(planned_root, tmp_path / "here", symlinks=True)
    case = SmallCase(tmp_path / "here")
    (tmp_path / "nothing.db").write_bytes(b"no database" * 1000)
    nowhere = {"health": f"sqlite:{tmp_path}/nothing.db"}
    case.challenge(nowhere)
    case.admit()
    drawn = {s.name: s.read for s in case.now().require(Challenge).body(Challenge).stores}
    assert drawn == {"health": False, "export": True}
    case.approve("audit")
    case.approve("zhao")
    case.destroy()
    case.probe(nowhere)
    case.admit()
    assert case.now().require(Probe).body(Probe).decision == "accept"
    assert [s.grade for s in case.now().require(Plan).body(Plan).stores] == ["L2", "L2"]

    program = Path(sys.executable).with_name("cenotaph")
    done = subprocess.run(
        [str(program), "certify", "--case", str(case.path)], capture_output=True, check=False
    )

    assert done.returncode == 3
    assert b"a lower grade than the plan said was reached in: health" in done.stderr
    stores = {s.name: s for s in case.now().require(Certificate).body(Certificate).stores}
    assert {name: s.reached for name, s in stores.items()} == {"health": "L1", "export": "L2"}
    assert "no auditor read this store" in stores["health"].why_not_higher
    assert case.verdict().exit_code == 0
