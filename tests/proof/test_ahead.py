"""Other processes that check signatures ahead change how long a verdict takes, and nothing else."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from cenotaph.testing.ceremony import Ceremony
from cenotaph_proof import ahead, bundle, report, verify
from cenotaph_proof.errors import SignatureError
from cenotaph_proof.keys import ROLES


@pytest.fixture(scope="module")
def honest() -> Ceremony:
    return Ceremony(auditors=2, witness=2).run()


@pytest.fixture(autouse=True)
def _any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Helpers are worth their start from a thousand entries on; here from the first."""
    monkeypatch.setattr(ahead, "FEWEST", 1)
    monkeypatch.setattr(ahead.threading, "active_count", lambda: 1)  # of the test runner's own


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "x.cenotaph"
    path.write_bytes(data)
    return path


def vouched_for(entries: list[bytes], honest: Ceremony, expected: int) -> set[int]:
    """Which entries helpers vouch for, as soon as there are so many, or ten seconds later."""
    keys = {p.key_id: p for p in honest.replay().parties(*ROLES)}
    digests = [hashlib.sha256(entry).digest() for entry in entries]
    deadline = time.monotonic() + 10
    with ahead.signatures(entries, 1, keys, helpers=2) as vouched:
        while True:
            found = {index for index, digest in enumerate(digests) if vouched(index, digest)}
            if len(found) >= expected or time.monotonic() > deadline:
                return found


def test_helpers_vouch_for_good_signatures_alone(honest: Ceremony) -> None:
    """Every entry but the first ones is vouched for; one whose signature was exchanged is not, nor one that
    was read otherwise than the helper read it."""
    entries = list(honest.entries)
    forged = 5
    at = entries[forged].index(b'"sig":"') + 8
    entries[forged] = entries[forged][:at] + bytes([entries[forged][at] ^ 1]) + entries[forged][at + 1 :]

    found = vouched_for(entries, honest, len(entries) - 2)

    assert found == set(range(1, len(entries))) - {forged}
    with ahead.signatures(entries, 1, {}, helpers=1) as vouched:
        assert not vouched(1, bytes(31) + b"\1")


def test_the_verdict_is_the_same(honest: Ceremony, tmp_path: Path) -> None:
    """With helpers and without: the same lines, from a file that several processes read at once."""
    path = written(tmp_path, honest.proof())
    told = []
    for helpers in (0, 1, 3):
        with path.open("rb") as stream:
            told.append(report.to_json(verify.verify(stream, honest.trust(), helpers)))

    assert told[0] == told[1] == told[2]


def test_a_forged_signature_is_refused_all_the_same(honest: Ceremony, tmp_path: Path) -> None:
    """Of the last statement too, which a helper sees first."""
    sealed = honest.entries[-1]
    at = sealed.index(b'"sig":"') + 8
    forged = [*honest.entries[:-1], sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]]
    whole = bundle.Bundle(
        honest.replay().charter.case, forged, list(honest.checkpoints.values()), honest.attachments
    )
    path = written(tmp_path, bundle.write(whole))

    with path.open("rb") as stream, pytest.raises(SignatureError):
        verify.verify(stream, honest.trust(), helpers=2)


def test_no_helper_is_left(honest: Ceremony, tmp_path: Path) -> None:
    """They end with the replay, whether it ended well or not."""
    with ahead.signatures(honest.entries, 1, {}, helpers=2):
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        assert len(children) >= 2
    with pytest.raises(ChildProcessError):
        os.waitpid(int(children[-1]), os.WNOHANG)
    assert not multiprocessing.active_children()
