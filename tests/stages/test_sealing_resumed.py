"""A seal that was interrupted goes on with what it had not read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cenotaph.engines import local
from cenotaph.stages import seal as stage
from cenotaph.stores import open_reader
from cenotaph_proof.statements import Seal
from small_case import STORES, SmallCase, build_estate


@pytest.mark.parametrize("overwritten", [0, 1])
def test_an_interrupted_seal_goes_on_and_seals_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwritten: int
) -> None:
    """After Ctrl-C the second run reads only what is missing, and nothing of the first is left behind. What a
    run that was killed while it cleaned up had overwritten already is read again; nor are needles left that
    this seal does not name."""
    build_estate(tmp_path / "estate")
    case = SmallCase.make(tmp_path, STORES)
    case.go("open", "survey")
    read: list[str] = []
    run = local.run

    def watched(function, tasks, *, workers=2, stop_after=None) -> Iterator:
        for task, result in run(function, tasks, workers=workers):
            read.append(task.target.store)
            yield task, result
            if len(read) == stop_after:
                raise KeyboardInterrupt

    monkeypatch.setattr(local, "run", lambda f, t, workers: watched(f, t, workers=1, stop_after=2))
    with pytest.raises(KeyboardInterrupt):
        stage.seal(case.desk(), open_reader)
    first = len(read)
    kept = sorted(case.path.glob("annex/sealing-*"))
    stale = case.path / "annex" / "needles-0123-of-an-inventory-before.sealed"
    stale.write_bytes(b"numbers")
    for path in kept[:overwritten]:
        path.write_bytes(bytes(path.stat().st_size))
    read.clear()
    monkeypatch.setattr(local, "run", lambda f, t, workers: watched(f, t, workers=workers))

    sealed = stage.seal(case.desk(), open_reader).body(Seal)

    partitions = sum(1 for _ in case.desk().estate(case.now()).partitions())
    assert first == 2
    assert len(kept) >= 1
    assert len(read) == partitions - len(kept) + overwritten
    assert sealed.records == sum(s.records for s in sealed.stores) > 0
    assert not list(case.path.glob("annex/sealing-*"))
    session = case.session()
    named = [f"{name}.sealed" for name, _ in session.needles().read(session.case_key)[0].parts]
    assert sorted(named) == sorted(path.name for path in case.path.glob("annex/needles-*"))
    assert not stale.exists()
    assert session.seal.needles == sealed.needles
    monkeypatch.setattr(
        local, "run", lambda f, t, workers: watched(f, t, workers=1, stop_after=len(read) + 1)
    )
    with pytest.raises(KeyboardInterrupt):
        stage.seal(case.desk(), open_reader)
    assert len(session.needles().known(session.case_key)) > 0  # another seal that is not made spoils none
