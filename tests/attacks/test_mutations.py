"""Every byte and every line of a proof file is covered: changed, dropped, doubled or moved, it is refused.

`CENOTAPH_EVERY_BYTE=1` changes every byte of the file, three minutes long, not every seventeenth.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from authorities import TimeStampAuthority
from cenotaph.testing.ceremony import VOLUMES, Ceremony, Estate, as_stream
from cenotaph_proof import bundle as bundles
from cenotaph_proof import stamp, verify
from cenotaph_proof.__main__ import verify_main
from cenotaph_proof.errors import ProofError
from cenotaph_proof.stamp import Stamp
from cenotaph_proof.trust import Authority, Trust
from watched_case import SIGNATURE_LINES, watched_case

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


# ── with time stamps, testimony and post-quantum cosignatures ────────────────────────────────────


@pytest.fixture(scope="module")
def stamped(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Trust]:
    """A whole case whose last checkpoint is stamped by two authorities, of which one is believed."""
    case = Ceremony(estate=ONE).run()
    bundle, folder = case.bundle(), tmp_path_factory.mktemp("authorities")
    one, other = (TimeStampAuthority(folder / name, name) for name in ("Time Co", "Unknown Co"))
    note = bundle.checkpoints[-1]
    stamps = tuple(Stamp(note, a.reply(stamp.request(note))) for a in (one, other))
    believed = (Authority("Time Co", one.root_file.read_bytes()),)
    return bundles.write(replace(bundle, stamps=stamps)), case.trust(authorities=believed)


def lines_of(proof: bytes, trust: Trust) -> list[str] | None:
    """The lines of the verdict that do not count stamps of others; None where the file is refused."""
    try:
        verdict = verify.verify(as_stream(proof), trust)
    except ProofError:
        return None
    lists = (verdict.proven, verdict.attested, verdict.not_shown)
    return [fact.text for facts in lists for fact in facts if "timestamps-of-others" not in fact.code]


def test_a_changed_byte_of_a_time_stamp_is_refused_or_shows_no_more(stamped: tuple[bytes, Trust]) -> None:
    """Changed in a token by somebody believed, the file is refused, or that line is gone; in a token that
    shows nothing, nothing changes; anywhere else in a time stamp, the file is refused."""
    proof, trust = stamped
    honest = lines_of(proof, trust)
    assert honest is not None
    dated = [line for line in honest if line.startswith("Time Co attests")]
    assert len(dated) == 1
    rest = [line for line in honest if line not in dated]

    start = proof.index(b'{"timestamp"')
    refused = 0
    for at in range(start, len(proof), STRIDE + 6 * (STRIDE > 1)):
        changed = bytearray(proof)
        changed[at] ^= FLIPS[at % 2]
        found = lines_of(bytes(changed), trust)
        assert found in (None, honest, rest), at
        refused += found is None
    assert refused > 50


def test_a_dropped_doubled_or_moved_time_stamp_is_refused(stamped: tuple[bytes, Trust]) -> None:
    """Time stamps have one order and are counted. Left out with the count mended, they are just not there."""
    proof, trust = stamped
    *lines, first, second = proof.splitlines(keepends=True)

    for changed in (
        [*lines, first],
        [*lines, first, first],
        [*lines, second, first],
        [*lines, first, second, second],
    ):
        assert step_of(b"".join(changed), trust) == "verify 1"
    fewer = b"".join([*lines, first]).replace(b'"timestamps":2', b'"timestamps":1')
    assert step_of(fewer, trust) is None
    assert set(lines_of(fewer, trust) or ()) <= set(lines_of(proof, trust) or ())


@pytest.fixture(scope="module")
def watched() -> tuple[bytes, Trust]:
    """A whole case with steps that people saw, and a log witness that cosigns with ML-DSA-44 as well."""
    case = watched_case()
    return case.proof(), case.trust()


def test_what_people_saw_and_post_quantum_witnesses_sign_are_in_the_verdict(
    watched: tuple[bytes, Trust],
) -> None:
    """Else changing their bytes would show nothing."""
    proof, trust = watched
    verdict = verify.verify(as_stream(proof), trust)

    assert {"attested.step", "attested.answer", "not-shown.step", "not-shown.objection"} <= {
        fact.code for fact in (*verdict.attested, *verdict.not_shown)
    }
    assert len(max(SIGNATURE_LINES.findall(proof), key=len)) > 3000  # 2,420 bytes in Base64


def test_a_changed_byte_of_a_case_that_people_watched_is_refused(watched: tuple[bytes, Trust]) -> None:
    """Plan with steps, testimonies, cosignatures of both kinds: every 499th byte."""
    proof, trust = watched

    for at in range(0, len(proof), 30 * STRIDE - 11 if STRIDE > 1 else 1):
        changed = bytearray(proof)
        changed[at] ^= FLIPS[at % len(FLIPS)]
        assert (step_of(bytes(changed), trust) or "").startswith("verify "), at


def test_a_changed_letter_of_a_post_quantum_signature_is_refused(watched: tuple[bytes, Trust]) -> None:
    """Of the hash of the key, the time and the signature, not one letter is free: the Base64 stays sound."""
    proof, trust = watched
    line = max(SIGNATURE_LINES.finditer(proof), key=lambda match: len(match[0]))
    start, end = line.span("blob")

    for at in (*range(start, start + 24), *range(start + 24, end - 2, 149 if STRIDE > 1 else 1)):
        changed = bytearray(proof)
        changed[at] = ord("B") if proof[at] == ord("A") else ord("A")
        assert step_of(bytes(changed), trust) == "verify 5", at - start
