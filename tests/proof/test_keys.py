"""Keys: who signs, what is accepted as a signature, and how a secret lies on the disk."""

from __future__ import annotations

import hashlib
import hmac
import os
import unicodedata
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st
from some_keys import a_key

from cenotaph_proof.errors import FormatError, KeyFileError, ProofError, SealedError
from cenotaph_proof.keys import ROLES, PublicKey, SecretKey, check_organisation


def test_a_key_file_is_read_back(auditor, tmp_path):
    """Both halves survive the disk, and the public one is a file of its own."""
    auditor.save(tmp_path / "AuditCo")

    assert SecretKey.load(tmp_path / "AuditCo") == auditor
    assert PublicKey.load(tmp_path / "AuditCo.pub") == auditor.public


def test_a_key_file_is_one_line_of_canonical_json(auditor):
    """The format is fixed: any language can read it."""
    public = auditor.public
    assert public.to_text() == (
        f'{{"ed25519":"{public.ed25519.hex()}","format":"cenotaph-public-key/v1",'
        f'"organisation":"Audit Co","role":"auditor","x25519":"{public.x25519.hex()}"}}\n'
    )
    assert public.key_id == hashlib.sha256(public.ed25519).hexdigest()


def test_generated_keys_differ():
    """Two calls give two signers."""
    one, two = (SecretKey.generate("A", "notary") for _ in range(2))
    assert len({one.ed25519_seed, two.ed25519_seed, one.x25519_seed, two.x25519_seed}) == 4


def test_a_secret_key_is_readable_by_its_owner_alone(auditor, tmp_path):
    """Mode 0600 from the first moment, whatever the umask."""
    before = os.umask(0)
    try:
        auditor.save(tmp_path / "key")
    finally:
        os.umask(before)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o606, 0o610, 0o777])
def test_a_secret_key_that_others_can_reach_is_refused(auditor, tmp_path, mode):
    """The error says what to type."""
    auditor.save(tmp_path / "key")
    (tmp_path / "key").chmod(mode)

    with pytest.raises(KeyFileError, match="by others") as refused:
        SecretKey.load(tmp_path / "key")
    assert "chmod 600" in refused.value.hint


@pytest.mark.parametrize("there", ["key", "key.pub"])
def test_a_key_file_is_never_overwritten(auditor, tmp_path, there):
    """Neither half is replaced, and no half pair is left behind."""
    (tmp_path / there).write_text("mine")

    with pytest.raises(KeyFileError, match="already there"):
        auditor.save(tmp_path / "key")
    assert [place.name for place in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"


def test_a_key_file_is_not_written_through_a_link(auditor, tmp_path):
    """A dangling link in place of the new key leads nowhere."""
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError):
        auditor.save(tmp_path / "key")
    assert not (tmp_path / "elsewhere").exists()


def test_secrets_do_not_show(auditor):
    """Neither `repr` nor `str` nor an error carries a seed."""
    shown = f"{auditor!r} {auditor}"
    assert auditor.ed25519_seed.hex() not in shown
    assert repr(auditor.ed25519_seed) not in shown
    assert repr(auditor.x25519_seed) not in shown
    assert "Audit Co" in shown


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_not_a_file_is_not_a_key(tmp_path, make):
    """A folder or a pipe is refused without waiting for it."""
    make(tmp_path / "key")
    with pytest.raises(KeyFileError, match="not a regular file"):
        SecretKey.load(tmp_path / "key")


def test_a_key_is_not_saved_where_there_is_no_folder(auditor, tmp_path):
    """Folders are the caller's to make."""
    with pytest.raises(KeyFileError, match="no folder"):
        auditor.save(tmp_path / "keys" / "key")


def test_a_missing_key_says_how_to_make_one(tmp_path):
    """The hint names the command."""
    with pytest.raises(KeyFileError, match="no key file") as refused:
        PublicKey.load(tmp_path / "key.pub")
    assert "keygen" in refused.value.hint


def test_the_two_halves_are_not_taken_for_each_other(auditor, tmp_path):
    """A secret key is never read as a public one, nor the other way round."""
    auditor.save(tmp_path / "key")
    (tmp_path / "key.pub").chmod(0o600)

    with pytest.raises(FormatError, match="public-key"):
        PublicKey.load(tmp_path / "key")
    with pytest.raises(FormatError, match="secret-key"):
        SecretKey.load(tmp_path / "key.pub")


def test_a_huge_key_file_is_not_read(tmp_path):
    """The reader stops after 4,096 bytes."""
    (tmp_path / "key.pub").write_bytes(b"a" * 5000)
    with pytest.raises(FormatError, match="longer"):
        PublicKey.load(tmp_path / "key.pub")


@given(st.data())
@settings(max_examples=100)
def test_a_changed_key_file_is_refused_or_is_another_key(data):
    """A changed byte never gives the same key back."""
    public = a_key("Audit Co", "auditor").public
    text = bytearray(public.to_text().encode())
    text[data.draw(st.integers(0, len(text) - 1))] ^= data.draw(st.integers(1, 127))
    try:
        changed = PublicKey.from_text(text.decode())
    except (ProofError, UnicodeDecodeError):
        return
    assert changed != public
    assert changed.to_text().encode() == text


@pytest.mark.parametrize(
    "change", [("Audit Co", "Audit Co "), ("auditor", "Auditor"), ("}\n", "}"), ("}\n", "}\n\n")]
)
def test_a_key_file_written_loosely_is_refused(auditor, change):
    """Spaces, roles and line ends have one spelling."""
    with pytest.raises(FormatError):
        PublicKey.from_text(auditor.public.to_text().replace(*change))


@pytest.mark.parametrize(
    "name",
    [
        "",
        " A",
        "A ",
        "A\u00a0",
        "A\nB",
        "A\x00",
        "A\x7f",
        "A\x85B",
        "A\u202eB",
        "A\u200bB",
        "A\u2028B",
        "A\ud800",
        unicodedata.normalize("NFD", "Zoë"),
        "A" * 121,
    ],
)
def test_a_name_that_can_deceive_is_refused(name):
    """Control and bidirectional characters, outer spaces, a second spelling, too long."""
    with pytest.raises(FormatError):
        check_organisation(name)


@pytest.mark.parametrize(
    "name", ["A", "Zoë & Söhne", "无锡市大数据管理局", "Zhao & Partners", "A" * 120, "شركة"]
)
def test_a_name_of_any_script_is_accepted(name):
    """Organisations are named in their own language."""
    check_organisation(name)


def test_roles_are_five():
    """Any other role is refused."""
    assert ROLES == ("operator", "auditor", "notary", "owner", "log-witness")
    with pytest.raises(FormatError, match="role"):
        SecretKey.generate("A", "witness")


def test_a_key_of_low_order_is_not_a_key(auditor):
    """It would sign anything, or make anyone able to read what is sealed to it."""
    good = auditor.public
    with pytest.raises(FormatError, match="Ed25519"):
        PublicKey("A", "auditor", b"\x01" + bytes(31), good.x25519)
    with pytest.raises(FormatError, match="low order"):
        PublicKey("A", "auditor", good.ed25519, b"\x01" + bytes(31))
    with pytest.raises(FormatError, match="X25519"):
        PublicKey("A", "auditor", good.ed25519, b"\xff" * 32)


@given(st.binary(max_size=200), st.binary(max_size=40))
@settings(max_examples=25)
def test_what_is_sealed_opens_for_its_reader(plaintext, info):
    """And for the same purpose only."""
    auditor = a_key("Audit Co", "auditor")
    sealed = auditor.public.seal_to(info, plaintext)

    assert auditor.open_sealed(info, sealed) == plaintext
    with pytest.raises(SealedError):
        auditor.open_sealed(info + b"x", sealed)
    with pytest.raises(SealedError):
        a_key("Big Data Bureau", "operator").open_sealed(info, sealed)


def test_a_changed_sealed_message_does_not_open(auditor):
    """Every changed or missing byte is noticed."""
    sealed = auditor.public.seal_to(b"i", b"share")
    for at in range(len(sealed)):
        with pytest.raises(SealedError):
            auditor.open_sealed(b"i", sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :])
        with pytest.raises(SealedError):
            auditor.open_sealed(b"i", sealed[:at])


def test_sealed_messages_are_rfc_9180(auditor):
    """A second implementation, checked on the RFC's own vector A.2.1, reads what we seal."""
    sealed = auditor.public.seal_to(b"purpose", b"share")
    assert _hpke_open(auditor.x25519_seed, b"purpose", sealed, b"") == b"share"


def test_the_second_hpke_implementation_agrees_with_the_rfc():
    """RFC 9180, appendix A.2.1: X25519, HKDF-SHA256, ChaCha20Poly1305, sequence number 0."""
    secret = bytes.fromhex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb")
    enc = bytes.fromhex("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a")
    ciphertext = bytes.fromhex(
        "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"
    )
    info = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
    assert _hpke_open(secret, info, enc + ciphertext, b"Count-0") == b"Beauty is truth, truth beauty"


def _hpke_open(secret: bytes, info: bytes, sealed: bytes, aad: bytes) -> bytes:
    # RFC 9180, sections 4.1 and 5.1, written out.
    private = X25519PrivateKey.from_private_bytes(secret)
    enc, ciphertext = sealed[:32], sealed[32:]
    shared = private.exchange(X25519PublicKey.from_public_bytes(enc))
    kem, suite = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x03"
    secret = _expand(
        _extract(b"", kem, b"eae_prk", shared),
        kem,
        b"shared_secret",
        enc + private.public_key().public_bytes_raw(),
        32,
    )
    context = b"\x00" + _extract(b"", suite, b"psk_id_hash", b"") + _extract(b"", suite, b"info_hash", info)
    scheduled = _extract(secret, suite, b"secret", b"")
    key, nonce = (
        _expand(scheduled, suite, b"key", context, 32),
        _expand(scheduled, suite, b"base_nonce", context, 12),
    )
    return ChaCha20Poly1305(key).decrypt(nonce, ciphertext, aad)


def _extract(salt: bytes, suite: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt, b"HPKE-v1" + suite + label + ikm, "sha256")


def _expand(prk: bytes, suite: bytes, label: bytes, info: bytes, length: int) -> bytes:
    labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(prk, labelled + b"\x01", "sha256")[:length]
