"""The operator chooses what a probe searches for; the auditor looks whether that was chosen honestly."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from cenotaph.cli.report import read_body
from cenotaph.engines import local
from cenotaph.stages import survey
from cenotaph_proof.statements import Challenge
from small_case import SmallCase, people, table

STORE = '[[store]]\nname = "health"\nurl = "sqlite:../estate/health.db"\n\n'


def test_needles_that_leave_the_persons_out_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ticket numbers as the only needles, names and addresses could stay in any file unseen."""
    case = _visitors(tmp_path)
    case.go(last="countersign-notary")
    with monkeypatch.context() as lying:
        lying.setattr(local, "run", _here)
        lying.setattr(survey, "_needles", lambda collection, findings: ((4, "id"),))
        case.survey()
    case.go("seal", "plan")

    assert _reasons(case.challenge()) == ["store health: columns of personal data are not among the needles"]


def test_needles_that_the_survey_chose_are_accepted(tmp_path: Path) -> None:
    """The control: the same store, surveyed honestly."""
    case = _visitors(tmp_path)
    case.go(last="plan")

    assert _reasons(case.challenge()) == []


@pytest.mark.parametrize("change", ["ADD COLUMN more TEXT", "DROP COLUMN day"])
def test_a_table_that_changed_its_columns_is_rejected_in_words(tmp_path: Path, change: str) -> None:
    """Altered between seal and challenge: its chunks do not match, and nothing stops half-way."""
    table(tmp_path / "estate" / "health.db", "visits", people(0, 8))
    case = SmallCase.make(tmp_path, STORE)
    case.go(last="plan")
    with sqlite3.connect(tmp_path / "estate" / "health.db") as db:
        db.execute(f"ALTER TABLE visits {change}")
    db.close()

    assert _reasons(case.challenge()) == ["store health: 1 of 1 drawn chunks do not match the seal"]


def _visitors(root: Path) -> SmallCase:
    (root / "estate").mkdir()
    with sqlite3.connect(root / "estate" / "health.db") as db:
        db.execute(
            "CREATE TABLE visitors (id INTEGER PRIMARY KEY, name TEXT, address TEXT, email TEXT, ticket TEXT)"
        )
        db.executemany(
            "INSERT INTO visitors (name, address, email, ticket) VALUES (?,?,?,?)",
            [
                (
                    f"王小{chr(0x4E00 + 7 * n)}",
                    f"无锡市滨湖区太湖大道{n}号",
                    f"u{n}@example.cn",
                    f"T-{n:08d}",
                )
                for n in range(200)
            ],
        )
    db.close()
    return SmallCase.make(root, STORE)


def _here(function: object, tasks: Iterable[object], *, workers: int = 1) -> Iterator[tuple[object, object]]:
    """The engine, in this process, where the operator's tool can be changed."""
    for task in tasks:
        yield task, function(task)  # type: ignore[operator]  # as `local.run` calls it


def _reasons(path: Path) -> list[str]:
    return list(read_body(path, Challenge).reasons)
