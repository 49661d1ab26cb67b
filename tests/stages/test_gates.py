"""Destroying is refused until everybody who must agree has agreed, and in time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cenotaph.errors import RefusedError
from cenotaph.journal import Journal
from cenotaph.stages.plan import plan
from cenotaph_proof.errors import OrderError, ThresholdError
from cenotaph_proof.statements import Destruction
from small_case import PARTIES, STORES, Clock, SmallCase, build_estate

DAY = 86_400


@pytest.fixture(scope="module")
def waiting_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case with three days of notice, planned and challenged, not yet approved."""
    root = tmp_path_factory.mktemp("waiting")
    build_estate(root / "estate")
    SmallCase.make(root, STORES, notice="72h", clock=Clock()).go("open", "admit")
    return root


@pytest.fixture
def waiting(waiting_root: Path, tmp_path: Path, clock: Clock) -> SmallCase:
    shutil.copytree(waiting_root, tmp_path / "here", symlinks=True)
    clock.pass_(600)
    return SmallCase(tmp_path / "here", clock)


def untouched(case: SmallCase) -> bool:
    estate = case.root / "estate"
    return (estate / "export" / "a.csv").exists() and (estate / "health.db").stat().st_size > 0


def test_a_wrong_confirmation_is_refused(approved: SmallCase) -> None:
    """Seven characters of the right digest are too few, eight of another are wrong; nothing is destroyed."""
    digest = approved.now().approved_plan(approved.clock()).digest
    for wrong in (digest[:7], "0" * 8, "", digest + "0"):
        with pytest.raises(RefusedError, match="not that of the newest plan") as refused:
            approved.destroy(confirm=wrong)
        assert refused.value.exit_code == 4
        assert digest[:8] in str(refused.value.hint)
    assert untouched(approved)


def test_a_missing_approval_is_named(waiting: SmallCase, clock: Clock) -> None:
    """Who has signed, who has not, and what to do: the message names each."""
    waiting.approve("audit")

    with pytest.raises(ThresholdError) as refused:
        waiting.destroy()

    said = f"{refused.value.message} {refused.value.hint}"
    words = "the plan has 1 of 2 approvals: auditor Audit Co has signed, notary Zhao & Partners has not"
    assert words in said
    assert "cenotaph approve --add FILE" in said
    assert untouched(waiting)


def test_the_notice_period_is_waited_for(waiting: SmallCase, clock: Clock) -> None:
    """Erasing begins when the notice since the last approval's publication is over, and not before."""
    waiting.approve("audit")
    waiting.approve("zhao")
    waiting.admit()
    clock.pass_(3 * DAY - 600)

    with pytest.raises(OrderError, match="notice period"):
        waiting.destroy()
    assert untouched(waiting)

    clock.pass_(600)
    assert waiting.destroy() is not None
    assert not untouched(waiting)
    waiting.go("probe", "certify")
    assert waiting.verdict().exit_code == 0


def test_narrowing_the_plan_needs_no_new_notice(waiting: SmallCase, clock: Clock) -> None:
    """A plan that only leaves something out is carried out at once: less is destroyed than was announced."""
    waiting.approve("audit")
    waiting.approve("zhao")
    waiting.admit()
    clock.pass_(3 * DAY)
    plan(waiting.desk(), {("health", 0)})

    done = waiting.destroy()

    assert done is not None
    assert [c.ordinal for c in done.body(Destruction).stores[0].collections] == [1]


def test_an_expired_approval_does_not_count(waiting: SmallCase, clock: Clock) -> None:
    """An approval given for four days opens the gate on the third and not on the fifth."""
    waiting.approve("audit", lasts=4 * DAY)
    waiting.approve("zhao")
    waiting.admit()
    clock.pass_(5 * DAY)

    with pytest.raises(ThresholdError, match="Audit Co has expired"):
        waiting.destroy()

    assert untouched(waiting)
    waiting.approve("audit")
    waiting.admit()
    clock.pass_(3 * DAY)
    assert waiting.destroy() is not None


def test_a_withdrawn_approval_does_not_count(waiting: SmallCase, clock: Clock) -> None:
    """A notary who takes its approval back before destruction begins closes the gate."""
    waiting.approve("audit")
    waiting.approve("zhao")
    waiting.admit()
    clock.pass_(3 * DAY)
    waiting.approve("zhao", withdraw=True)

    with pytest.raises(ThresholdError, match="notary Zhao & Partners has not"):
        waiting.destroy()

    assert untouched(waiting)


def test_an_approval_cannot_be_withdrawn_after_destruction_began(approved: SmallCase) -> None:
    """Also where the journal alone knows that it began: what was destroyed must stay certifiable."""
    with Journal(approved.desk().journal_path()) as journal:
        journal.append("begun", "export", 0, 0, records=10, list="", plan="")
    approved.approve("zhao", withdraw=True)

    desk = approved.desk()
    assert desk.admit_incoming() == []

    assert "after destruction began" in desk.refused[0]
    assert PARTIES[2][0] in desk.case().approved_plan(approved.clock()).approved_by
