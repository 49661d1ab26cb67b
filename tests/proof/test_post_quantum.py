"""A log witness with an ML-DSA-44 key beside its Ed25519 one: two lines, one time, or it has not signed."""

from __future__ import annotations

import dataclasses

import pytest

from cenotaph_proof import keys, merkle, note
from cenotaph_proof.errors import FormatError, LogError, SignatureError
from cenotaph_proof.keys import PublicKey, SecretKey
from cenotaph_proof.note import Checkpoint, NoteKey
from cenotaph_proof.witness import Witness

ROOT = merkle.leaf_hash(b"a")
NOW = 1_700_000_000


@pytest.fixture
def university(paper) -> SecretKey:
    """A log witness with both keys."""
    return dataclasses.replace(paper, organisation="University", mldsa44_seed=bytes(range(32)))


def _checkpoint(operator, size: int = 5) -> bytes:
    return note.sign_checkpoint(Checkpoint(note.log_origin(operator.public), size, ROOT), operator)


def _lines(signed: bytes, key: SecretKey, time: int = NOW) -> list[bytes]:
    return note.cosign(signed, key, time).splitlines(keepends=True)


def _seen(data: bytes, operator, witness) -> tuple[tuple[str, int], ...]:
    return note.verify_checkpoint(data, operator.public, [witness.public]).cosignatures


def test_two_lines_are_one_cosignature(operator, university):
    """Both keys sign under one name at one time; the witness counts once."""
    signed = _checkpoint(operator)
    first, second = (note.NoteSignature.parse(line) for line in _lines(signed, university))

    assert first.name == second.name == f"cenotaph.witness/{university.public.key_id[:16]}"
    assert first.signature[:8] == second.signature[:8] == NOW.to_bytes(8, "big")
    assert (len(first.signature), len(second.signature)) == (8 + 64, 8 + 2420)
    cosigned = signed + note.cosign(signed, university, NOW)
    assert _seen(cosigned, operator, university) == ((university.public.key_id, NOW),)


def test_what_the_second_key_signs(operator, university):
    """The message of tlog-cosignature, written out: label, witness, time, log, from 0, to 5, root."""
    signed = _checkpoint(operator)
    signature = note.NoteSignature.parse(_lines(signed, university)[1]).signature[8:]
    name, origin = note.witness_note_key(university.public).name, note.log_origin(operator.public)
    message = (
        b"subtree/v1\n\x00"
        + bytes([len(name)])
        + name.encode()
        + NOW.to_bytes(8, "big")
        + bytes([len(origin)])
        + origin.encode()
        + bytes(8)
        + (5).to_bytes(8, "big")
        + ROOT
    )
    assert university.public.mldsa44 is not None
    keys.verify_mldsa44(university.public.mldsa44, signature, message)


@pytest.mark.parametrize("kept", [0, 1])
def test_one_line_alone_is_no_cosignature(operator, university, kept):
    """Either line verifies, and neither counts without the other."""
    signed = _checkpoint(operator)
    assert _seen(signed + _lines(signed, university)[kept], operator, university) == ()


def test_lines_of_two_times_are_no_cosignature(operator, university):
    """A witness says when it saw what once."""
    signed = _checkpoint(operator)
    mixed = signed + _lines(signed, university)[0] + _lines(signed, university, NOW + 1)[1]
    assert _seen(mixed, operator, university) == ()


@pytest.mark.parametrize("line", [0, 1])
def test_a_changed_line_is_refused(operator, university, line):
    """A bit of time or signature, of either line."""
    signed = _checkpoint(operator)
    lines = [note.NoteSignature.parse(data) for data in _lines(signed, university)]
    for at in (7, 8, 40, len(lines[line].signature) - 1):
        raw = bytearray(lines[line].signature)
        raw[at] ^= 1
        changed = [*lines[:line], dataclasses.replace(lines[line], signature=bytes(raw)), *lines[line + 1 :]]
        with pytest.raises(SignatureError):
            _seen(signed + b"".join(x.to_bytes() for x in changed), operator, university)


def test_a_line_moved_to_another_checkpoint_is_refused(operator, university):
    """The second key signs size and root too."""
    line = _lines(_checkpoint(operator, size=4), university)[1]
    with pytest.raises(SignatureError):
        _seen(_checkpoint(operator) + line, operator, university)


def test_the_second_key_is_not_known_to_whom_it_was_not_named(operator, university):
    """A trust file without the key refuses its line: what cannot be checked has no place in a proof."""
    older = dataclasses.replace(university, mldsa44_seed=None)
    signed = _checkpoint(operator)
    with pytest.raises(LogError, match="nobody"):
        _seen(signed + note.cosign(signed, university, NOW), operator, older)


def test_the_first_cosignature_stays_with_both_its_lines(operator, university):
    """Asked again later, a witness's new lines change nothing; nobody's line takes another's place."""
    signed = _checkpoint(operator)
    whole = note.add_signatures(signed, [note.cosign(signed, university, NOW)])
    assert note.add_signatures(whole, [note.cosign(signed, university, NOW + 20)]) == whole
    own = note.parse_note(signed).signatures[0]
    forged = dataclasses.replace(own, signature=bytes(64)).to_bytes()
    stranger = dataclasses.replace(own, key_hash=b"none").to_bytes()
    read = note.parse_note(note.add_signatures(whole, [forged + stranger]))
    assert read.signatures[0] == own
    assert len(read.signatures) == 4


def test_the_witness_answers_with_both_lines(operator, university, tmp_path):
    """One head is remembered; both lines come back."""
    witness = Witness(tmp_path / "state", university, [operator.public])
    signed = _checkpoint(operator, size=1)
    lines = witness.add_checkpoint(0, [], signed, now=NOW)
    assert lines.count(b"\n") == 2
    assert _seen(signed + lines, operator, university) == ((university.public.key_id, NOW),)


def test_key_files_with_three_halves(university, tmp_path):
    """Written, read back, and the public one does not hold the seed."""
    university.save(tmp_path / "key")
    assert SecretKey.load(tmp_path / "key") == university
    public = PublicKey.load(tmp_path / "key.pub")
    assert public == university.public
    assert public.mldsa44 is not None
    assert len(public.mldsa44) == 1312
    assert bytes(range(32)).hex() not in (tmp_path / "key.pub").read_text()
    assert bytes(range(32)).hex() not in repr(university)


def test_only_a_log_witness_has_such_a_key(operator, university):
    """It is for cosignatures alone."""
    with pytest.raises(FormatError, match="only a log witness"):
        SecretKey.generate("A", "auditor", post_quantum=True)
    with pytest.raises(FormatError, match="only a log witness"):
        dataclasses.replace(operator.public, mldsa44=university.public.mldsa44)
    with pytest.raises(FormatError, match="no ML-DSA-44 half"):
        operator.sign_mldsa44(b"x")
    assert SecretKey.generate("A", "log-witness", post_quantum=True).public.mldsa44


@pytest.mark.parametrize(
    ("find", "put"),
    [
        ('"mldsa44":"', '"mldsa44":"00'),
        ('"mldsa44":"', '"mldsa44":"G'),
        ('"mldsa44":', '"mldsa87":'),
        ("log-witness", "notary"),
    ],
)
def test_a_malformed_third_half_is_refused(university, find, put):
    """Too long, no digits, another name, another role."""
    with pytest.raises(FormatError):
        PublicKey.from_text(university.public.to_text().replace(find, put, 1))


def test_verifier_keys_of_a_witness(operator, university, auditor):
    """What others read: one line a key, read back, each with the hash that its lines carry."""
    first, second = note.note_keys(university.public)
    assert [NoteKey.from_text(key.to_text()) for key in (first, second)] == [first, second]
    carried = [note.NoteSignature.parse(line) for line in _lines(_checkpoint(operator), university)]
    assert [first.names(carried[0]), second.names(carried[1])] == [True, True]
    assert [key.kind for key in note.note_keys(operator.public)] == [note.ED25519]
    with pytest.raises(LogError, match="signs no checkpoints"):
        note.note_keys(auditor.public)


def test_a_signature_of_another_length_is_refused(university):
    """2,420 bytes, under a key of 1,312."""
    public = university.public.mldsa44
    signature = university.sign_mldsa44(b"x")
    keys.verify_mldsa44(public, signature, b"x")
    for key, data in ((public, signature[:-1]), (public, signature + b"\0"), (public[:-1], signature)):
        with pytest.raises(SignatureError, match="bytes"):
            keys.verify_mldsa44(key, data, b"x")
    with pytest.raises(SignatureError, match="does not verify"):
        keys.verify_mldsa44(public, signature, b"y")


def test_names_longer_than_the_message_can_hold_are_refused(operator, university):
    """Another log's origin may have more than 255 bytes: no such signature verifies."""
    body = Checkpoint("x" * 256, 1, ROOT).body()
    key = note.note_keys(university.public)[1]
    line = note.NoteSignature(key.name, key.key_hash, NOW.to_bytes(8, "big") + bytes(2420))
    with pytest.raises(SignatureError, match="255"):
        key.verify(body, line)
