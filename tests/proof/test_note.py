"""Signed notes, checkpoints and cosignatures."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from some_keys import a_key

from cenotaph_proof import note
from cenotaph_proof.errors import FormatError, LogError, ProofError, SignatureError
from cenotaph_proof.merkle import EMPTY_ROOT, leaf_hash
from cenotaph_proof.note import Checkpoint

ROOT = leaf_hash(b"a")
NOW = 1_700_000_000


def _checkpoint(operator, size: int = 5, root: bytes = ROOT) -> bytes:
    return note.sign_checkpoint(Checkpoint(note.log_origin(operator.public), size, root), operator)


def test_a_cosigned_checkpoint_tells_who_saw_it_when(operator, paper, library):
    """The operator's signature and two cosignatures, each with its time."""
    signed = _checkpoint(operator)
    cosigned = signed + note.cosign(signed, paper, NOW) + note.cosign(signed, library, NOW + 9)

    seen = note.verify_checkpoint(cosigned, operator.public, [library.public, paper.public])
    assert seen.checkpoint == Checkpoint(note.log_origin(operator.public), 5, ROOT)
    assert seen.cosignatures == ((paper.public.key_id, NOW), (library.public.key_id, NOW + 9))


def test_names_follow_from_the_keys(operator, paper):
    """Log and witness are named by their keys, so that a trust file fixes both."""
    assert note.log_origin(operator.public) == "cenotaph.log/" + operator.public.key_id[:16]
    assert note.witness_note_key(paper.public).name == "cenotaph.witness/" + paper.public.key_id[:16]


def test_a_cosignature_is_over_the_time(operator, paper):
    """A cosignature with another time on it does not verify."""
    signed = _checkpoint(operator)
    line = note.NoteSignature.parse(note.cosign(signed, paper, NOW))
    later = (NOW + 1).to_bytes(8, "big") + line.signature[8:]
    moved = note.NoteSignature(line.name, line.key_hash, later).to_bytes()

    with pytest.raises(SignatureError):
        note.verify_checkpoint(signed + moved, operator.public, [paper.public])


def test_a_cosignature_of_another_checkpoint_does_not_verify(operator, paper):
    """Lines cannot be moved from one checkpoint to another."""
    line = note.cosign(_checkpoint(operator, size=4), paper, NOW)
    with pytest.raises(SignatureError):
        note.verify_checkpoint(_checkpoint(operator) + line, operator.public, [paper.public])


def test_a_line_by_nobody_in_the_trust_file_is_refused(operator, paper):
    """Unknown signers are not ignored: what cannot be checked has no place in a proof."""
    signed = _checkpoint(operator)
    with pytest.raises(LogError, match="nobody"):
        note.verify_checkpoint(signed + note.cosign(signed, paper, NOW), operator.public, [])


def test_a_witness_counts_once(operator, paper):
    """Two lines by one key are refused, and so is the operator's line twice."""
    signed = _checkpoint(operator)
    twice = signed + note.cosign(signed, paper, NOW) + note.cosign(signed, paper, NOW + 1)
    with pytest.raises(LogError, match="twice"):
        note.verify_checkpoint(twice, operator.public, [paper.public])
    with pytest.raises(LogError, match="twice"):
        note.verify_checkpoint(twice, operator.public, [paper.public, paper.public])
    own = signed.rpartition(b"\n\n")[2]
    with pytest.raises(LogError, match="nobody"):
        note.verify_checkpoint(signed + own, operator.public, [paper.public])


def test_a_checkpoint_needs_its_operator_first(operator, paper):
    """Cosignatures alone, or before the operator's line, are refused."""
    signed = _checkpoint(operator)
    body, _, own = signed.rpartition(b"\n\n")
    cosignature = note.cosign(signed, paper, NOW)
    for lines in (cosignature, cosignature + own):
        with pytest.raises(SignatureError):
            note.verify_checkpoint(body + b"\n\n" + lines, operator.public, [paper.public])


def test_another_operators_checkpoint_is_refused(operator):
    """An operator signs the origin that follows from their key, and no other."""
    other = a_key("Other Bureau", "operator")
    with pytest.raises(LogError, match="another operator"):
        note.verify_checkpoint(_checkpoint(other), operator.public)
    with pytest.raises(LogError, match="another operator"):
        note.sign_checkpoint(Checkpoint(note.log_origin(other.public), 1, ROOT), operator)


def test_roles_are_kept_apart(operator, auditor, paper):
    """Operators sign checkpoints and log witnesses cosign them; no other key does either."""
    with pytest.raises(LogError, match="role auditor"):
        _checkpoint(auditor)
    with pytest.raises(LogError, match="role operator"):
        note.cosign(_checkpoint(operator), operator, NOW)


def test_an_empty_log_has_the_empty_root(operator):
    """Size 0 with any other root is refused."""
    assert note.verify_checkpoint(_checkpoint(operator, 0, EMPTY_ROOT), operator.public).checkpoint.size == 0
    with pytest.raises(LogError, match="empty"):
        note.verify_checkpoint(_checkpoint(operator, 0, ROOT), operator.public)


def test_no_bit_of_a_cosigned_checkpoint_can_change(operator, paper):
    """Every single-bit change is refused by format, origin, key or signature."""
    signed = _checkpoint(operator)
    cosigned = signed + note.cosign(signed, paper, NOW)
    accepted = [
        (at, bit)
        for at in range(len(cosigned))
        for bit in range(8)
        if not _is_refused(
            cosigned[:at] + bytes([cosigned[at] ^ 1 << bit]) + cosigned[at + 1 :], operator, paper
        )
    ]
    assert accepted == []
    assert not _is_refused(cosigned, operator, paper)


def _is_refused(data, operator, paper) -> bool:
    try:
        note.verify_checkpoint(data, operator.public, [paper.public])
    except ProofError:
        return True
    return False


@given(st.integers(0, 2**53 - 1), st.binary(min_size=32, max_size=32))
@settings(max_examples=50)
def test_a_checkpoint_is_written_one_way(size, root):
    """Reading and writing again gives the same bytes, for the text and for the note."""
    operator = a_key("Big Data Bureau", "operator")
    signed = _checkpoint(operator, size, root)

    assert note.parse_note(signed).to_bytes() == signed
    assert Checkpoint.parse(note.parse_note(signed).body).body() == note.parse_note(signed).body


@given(st.binary(max_size=60) | st.text(st.sampled_from("— a+AB=1\n"), max_size=30).map(str.encode))
def test_any_bytes_are_refused_or_a_note(data):
    """Whatever arrives is refused or writes back to itself."""
    for candidate in (data, b"text\n\n" + data, "text\n\n— name ".encode() + data):
        try:
            read = note.parse_note(candidate)
        except FormatError:
            continue
        assert read.to_bytes() == candidate


GOOD = base64.b64encode(ROOT).decode()


@pytest.mark.parametrize(
    "size",
    ["+5", "1_0", "05", "٣", "-1", " 5", "5 ", "", "0x5", "5.0", "5e0", "5\n", str(2**53), "9" * 5000],
)
def test_a_size_has_one_spelling(size):
    """Signs, spaces, leading zeros, other digits and numbers beyond 2^53 - 1 are refused."""
    with pytest.raises(FormatError):
        Checkpoint.parse(f"log\n{size}\n{GOOD}\n".encode())
    with pytest.raises(FormatError):
        note.parse_number(size)


@pytest.mark.parametrize(
    "body",
    [
        f"log\n5\n{GOOD}",
        f"log\n5\n{GOOD}\n\n",
        f"log\n5\n{GOOD}\nextension\n",
        f"\n5\n{GOOD}\n",
        f"log\r\n5\n{GOOD}\n",
        f"log\n5\n{GOOD[:-1]}\n",
        f"log\n5\n{GOOD[:-2]}h=\n" if GOOD[-2] != "h" else "",
        "log\n5\nAAAA\n",
        "log\n5\n",
        "",
    ],
)
def test_a_checkpoint_of_another_shape_is_refused(body):
    """Extension lines, other line ends, loose base64 and short roots."""
    with pytest.raises(FormatError):
        Checkpoint.parse(body.encode())


def test_a_note_is_bounded():
    """More than 100 signatures or a million bytes are not read."""
    line = "— name AAAAAAA=\n".encode()
    assert len(note.parse_note(b"a\n\n" + line * 100).signatures) == 100
    with pytest.raises(FormatError, match="101"):
        note.parse_note(b"a\n\n" + line * 101)
    with pytest.raises(FormatError, match="at most"):
        note.parse_note(b"a" * 1_000_000 + b"\n\n" + line)


@pytest.mark.parametrize("time", [0, -1, 2**53])
def test_a_cosignature_has_a_time(operator, paper, time):
    """Time 0 means "no time" in tlog-cosignature; we neither make nor accept it."""
    with pytest.raises(FormatError, match="time"):
        note.cosign(_checkpoint(operator), paper, time)


def test_a_cosignature_without_a_time_is_refused(operator, paper):
    """Signed well, but at time 0."""
    signed = _checkpoint(operator)
    body = note.parse_note(signed).body
    signer = note.witness_note_key(paper.public)
    zero = paper.sign(b"cosignature/v1\ntime 0\n" + body)
    line = note.NoteSignature(signer.name, signer.key_hash, bytes(8) + zero).to_bytes()

    with pytest.raises(LogError, match="no time"):
        note.verify_checkpoint(signed + line, operator.public, [paper.public])


def test_adding_signatures_keeps_the_first_of_each(operator, paper, library):
    """The earliest cosignature stays: a notice period runs from it."""
    signed = _checkpoint(operator)
    first, later = note.cosign(signed, paper, NOW), note.cosign(signed, paper, NOW + 60)
    other = note.cosign(signed, library, NOW + 60)

    assert note.add_signatures(signed + first, [later, other]) == signed + first + other
