"""Every byte and every line of a proof file is covered: changed, dropped, doubled or moved, it is refused.

`CENOTAPH_EVERY_BYTE=1` changes every byte of the file, three minutes long, not every seventeenth.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cenotaph.testing.ceremony import VOLUMES, Ceremony, Estate, as_stream
from cenotaph_proof import verify
from cenotaph_proof.__main__ import verify_main
from cenotaph_proof.errors import ProofError
from cenotaph_proof.trust import Trust

ONE = (Estate("health", (4_000,)),)
STRIDE = 1 if os.environ.get("CENOTAPH_EVERY_BYTE") else 17
FLIPS = (0x01, 0x20, 0x80)  # another digit or letter, another case, no ASCII any more


@pytest.fixture(scope="module")
def small() -> tuple[bytes, Trust]:
    """The smallest whole case: one store, one collection, one auditor, one notary, one witness."""
    case = Ceremony(estate=ONE).run()
    return case.proof(), case.trust()


def step_of(proof: bytes, trust: Trust | None) -> str | None:
    """The step at which a proof file is refused; None where it verifies. Other errors are defects."""
    try:
        verify.verify(as_stream(proof), trust)
    except ProofError as error:
        return error.step or "no step"
    return None


def test_a_changed_byte_is_refused(small: tuple[bytes, Trust]) -> None:
    """A byte is changed, in three ways by turns: never does the file verify, always a step is named."""
    proof, trust = small
    assert step_of(proof, trust) is None

    for at in range(0, len(proof), STRIDE):
        changed = bytearray(proof)
        changed[at] ^= FLIPS[at % len(FLIPS)]
        assert (step_of(bytes(changed), trust) or "").startswith("verify "), at


def test_a_changed_byte_of_a_case_with_a_volume_is_refused() -> None:
    """The same, every 101st byte, where plan, destruction, probe and certificate speak of a volume."""
    case = Ceremony(estate=(Estate("health", (4_000,), shared=("free_space",)),), volumes=VOLUMES).run()
    proof, trust = case.proof(), case.trust()
    assert step_of(proof, trust) is None

    for at in range(0, len(proof), 6 * STRIDE - 1):
        changed = bytearray(proof)
        changed[at] ^= FLIPS[at % len(FLIPS)]
        assert (step_of(bytes(changed), trust) or "").startswith("verify "), at


def test_a_changed_byte_is_refused_without_a_trust_file(small: tuple[bytes, Trust]) -> None:
    """The same, every 97th byte, where keys are only as the operator names them."""
    proof, _ = small

    for at in range(0, len(proof), 97):
        changed = bytearray(proof)
        changed[at] ^= 0x04
        assert step_of(bytes(changed), None) is not None, at


def test_a_cut_anywhere_is_refused(small: tuple[bytes, Trust]) -> None:
    """A file that ends early does not verify, wherever it ends."""
    proof, trust = small

    for length in range(0, len(proof), 37):
        assert step_of(proof[:length], trust) == "verify 1", length


def _lines_changed(proof: bytes) -> Iterator[tuple[str, bytes]]:
    lines = proof.splitlines(keepends=True)
    for at in range(len(lines)):
        yield f"line {at} dropped", b"".join(lines[:at] + lines[at + 1 :])
        yield f"line {at} doubled", b"".join(lines[: at + 1] + lines[at:])
        for other in range(at + 1, len(lines)):
            moved = list(lines)
            moved[at], moved[other] = moved[other], moved[at]
            yield f"lines {at} and {other} change places", b"".join(moved)


def test_a_dropped_doubled_or_moved_line_is_refused(small: tuple[bytes, Trust]) -> None:
    """Lines have one order, and the first line counts them."""
    proof, trust = small

    for what, changed in _lines_changed(proof):
        assert step_of(changed, trust) is not None, what


def _recounted(proof: bytes) -> bytes:
    """The header made to agree with the lines that follow it: what a careful forger would do."""
    head, *rest = proof.splitlines(keepends=True)
    header = json.loads(head)
    for kind, key in (("entry", "entries"), ("checkpoint", "checkpoints"), ("attachment", "attachments")):
        header[key] = sum(line.startswith(b'{"' + kind.encode()) for line in rest)
    return json.dumps(header, separators=(",", ":"), sort_keys=True).encode() + b"\n" + b"".join(rest)


def test_only_a_checkpoint_that_nothing_leans_on_can_be_left_out(small: tuple[bytes, Trust]) -> None:
    """With the header recounted, no statement can go. A checkpoint can, where no statement names it and no
    time hangs on it: the next one covers its entries, so that less is shown than before, and nothing else."""
    proof, trust = small
    lines = proof.splitlines(keepends=True)
    assert _recounted(proof) == proof

    spared = []
    for at in range(1, len(lines)):
        if step_of(_recounted(b"".join(lines[:at] + lines[at + 1 :])), trust) is None:
            assert lines[at].startswith(b'{"checkpoint"'), at
            spared.append(at)
        assert step_of(_recounted(b"".join(lines[: at + 1] + lines[at:])), trust) is not None, at

    last = len(lines) - 1
    assert last not in spared  # the checkpoint over the certificate
    assert len(spared) < sum(line.startswith(b'{"checkpoint"') for line in lines)


def test_the_command_says_where_it_failed(
    small: tuple[bytes, Trust], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A forged file exits 3 and names the step of spec/verify.md; an honest one without trust exits 6."""
    proof, _ = small
    path = tmp_path / "case.cenotaph"

    path.write_bytes(proof)
    assert verify_main([str(path)]) == 6
    assert capsys.readouterr().out.startswith("Keys as named by the operator")

    path.write_bytes(proof[:5000] + bytes([proof[5000] ^ 1]) + proof[5001:])
    assert verify_main([str(path)]) == 3
    assert "does not verify at step" in capsys.readouterr().err
