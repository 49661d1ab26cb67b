"""The journal and the log are what they were, or nothing is destroyed; abandoned attempts stay visible."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from test_interrupted import destroyed, locked

from cenotaph.errors import PartialError
from cenotaph.journal import JournalError
from cenotaph_proof import report
from cenotaph_proof.errors import LogError
from cenotaph_proof.statements import Charter, Destruction
from small_case import STORES, SmallCase, build_estate, csv, people, put


def half_destroyed(case: SmallCase) -> None:
    """Destroy one store of two; the other is in use."""
    with locked(case.root / "estate" / "health.db"), pytest.raises(PartialError):
        case.destroy()


def test_a_damaged_journal_is_refused(approved: SmallCase) -> None:
    """An entry that says other than it said: nothing more is destroyed on its word."""
    half_destroyed(approved)
    with sqlite3.connect(approved.desk().journal_path()) as db:
        db.execute("UPDATE entry SET body = replace(body, '10', '11') WHERE kind = 'done'")
    db.close()

    with pytest.raises(JournalError, match="was changed"):
        approved.destroy()

    assert (approved.root / "estate" / "health.db").stat().st_size > 0


def test_an_older_journal_is_refused(approved: SmallCase, tmp_path: Path) -> None:
    """A journal restored from before the last destruction would count twice: every command refuses it."""
    half_destroyed(approved)
    older = shutil.copy2(approved.desk().journal_path(), tmp_path / "older")
    approved.destroy()
    for path in approved.path.glob("journal.sqlite*"):
        path.unlink()
    shutil.copy2(older, approved.desk().journal_path())

    for act in (approved.destroy, approved.plan, approved.certify):
        with pytest.raises(JournalError, match="not the one that the last destruction was signed from"):
            act()

    assert destroyed(approved) == 50


@pytest.mark.parametrize("copies_too", [False, True])
def test_an_older_log_is_refused_before_it_grows(
    approved: SmallCase, tmp_path: Path, copies_too: bool
) -> None:
    """A log restored from an older copy is never appended to: the statements beside it, or the log witness,
    know a longer one. With the newest copy back, the case goes on."""
    shutil.copytree(approved.root / "log", tmp_path / "log")
    shutil.copytree(approved.path / "statements", tmp_path / "statements")
    approved.destroy()
    newest = tmp_path / "newest"
    shutil.move(approved.root / "log", newest)
    shutil.copytree(tmp_path / "log", approved.root / "log")
    if copies_too:
        shutil.rmtree(approved.path / "statements")
        shutil.copytree(tmp_path / "statements", approved.path / "statements")
    size = approved.desk().log().size

    with pytest.raises(LogError) as refused:
        approved.admit()

    assert "older copy" in str(refused.value.hint)
    assert approved.desk().log().size == size
    shutil.rmtree(approved.root / "log")
    shutil.move(newest, approved.root / "log")
    approved.admit()
    approved.go("probe", "certify")
    assert approved.verdict().exit_code == 0


def test_an_abandoned_attempt_stays_visible(tmp_path: Path) -> None:
    """A first case is opened, sealed and given up; the second, in the same log, lists it in its charter, its
    certificate and the verdict."""
    build_estate(tmp_path / "estate")
    first = SmallCase.make(tmp_path, STORES, name="first")
    first.go("open", "seal")
    given_up = first.now().require(Charter).digest
    (tmp_path / "case").rename(tmp_path / "abandoned")
    second = SmallCase.make(tmp_path, STORES, name="second")

    second.go("open", "certify")

    assert second.now().charter.earlier == (given_up,)
    assert second.certificate().abandoned == (given_up,)
    verdict = second.verdict()
    assert verdict.exit_code == 0
    assert "1 earlier attempt in this log was never finished" in report.render(verdict)


def test_two_cases_share_a_log(tmp_path: Path) -> None:
    """Two cases under way in one log: each certifies what it destroyed and nothing of the other's."""
    put(tmp_path / "estate" / "one" / "a.csv", csv(people(0, 10)))
    put(tmp_path / "estate" / "two" / "b.csv", csv(people(50, 12)))
    store = '[[store]]\nname = "{0}"\nurl = "files:../estate/{0}"\n\n'
    one = SmallCase.make(tmp_path, store.format("one"), name="one", folder="case-one")
    two = SmallCase.make(tmp_path, store.format("two"), name="two", folder="case-two")
    one.go("open", "approve-notary")
    two.go("open", "destroy")
    one.go("destroy", "certify")
    two.go("probe", "certify")

    for case, records in ((one, 10), (two, 12)):
        assert case.certificate().destroyed == records
        assert sum(1 for _ in case.now().all(Destruction)) == 1
        assert case.verdict().exit_code == 0
