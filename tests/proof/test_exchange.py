"""What travels between a party and an inbox: one form to write it, and everything else refused."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from some_keys import a_key

from cenotaph_proof.envelope import MAX_BYTES, encode_base64
from cenotaph_proof.errors import FormatError, SignatureError
from cenotaph_proof.network import exchange
from cenotaph_proof.network.exchange import BLOCK, MAX_SHARE, Parts

AUDITOR = a_key("Audit Co", "auditor")
NOW, NONCE, HOST = 1_790_000_000, "0f" * 16, "inbox.example.org"
REQUEST = ("POST", HOST, "/incoming")


def signed(body: bytes = b"body", request: tuple[str, str, str] = REQUEST) -> dict[str, str]:
    """Headers of a signed request, as a server sees them."""
    made = exchange.sign_request(AUDITOR, *request, body, now=NOW, nonce=NONCE)
    return {name.lower(): value for name, value in made.items()}


def verify(headers: dict[str, str], request: tuple[str, str, str] = REQUEST) -> exchange.Said:
    said = exchange.read_request(headers)
    exchange.verify_request(AUDITOR.public, *request, said, headers)
    return said


# ── signed requests ──────────────────────────────────────────────────────────────────────────────


def test_a_signed_request_says_who_when_and_over_what():
    """What was signed is what is read back."""
    said = verify(signed())

    assert (said.key_id, said.created, said.nonce) == (AUDITOR.public.key_id, NOW, NONCE)
    assert said.digest == hashlib.sha256(b"body").digest()


def test_the_signature_is_over_the_lines_of_rfc_9421():
    """Built here by hand from the RFC, section 2.5: another implementation would sign the same bytes."""
    digest = "sha-256=:Iw2DWNyOiJC0xY3utikS7i8gNXrpKlzIYbmOaP4xrLU=:"
    parameters = (
        '("@method" "@authority" "@path" "content-digest")'
        f';created={NOW};nonce="{NONCE}";keyid="{AUDITOR.public.key_id}";alg="ed25519";tag="cenotaph-exchange"'
    )
    lines = [
        '"@method": POST',
        f'"@authority": {HOST}',
        '"@path": /incoming',
        f'"content-digest": {digest}',
        f'"@signature-params": {parameters}',
    ]
    headers = signed()

    signature = encode_base64(AUDITOR.sign("\n".join(lines).encode()))
    assert headers == {
        "content-digest": digest,
        "signature-input": f"sig={parameters}",
        "signature": f"sig=:{signature}:",
    }


@pytest.mark.parametrize(
    "request_", [("GET", HOST, "/incoming"), ("POST", "other.example", "/incoming"), ("POST", HOST, "/case")]
)
def test_a_signature_holds_for_one_method_host_and_path(request_):
    """A server that was sent a request cannot show it to another, or as another."""
    with pytest.raises(SignatureError):
        verify(signed(), request_)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("signature-input", f"created={NOW}", f"created={NOW + 1}"),
        ("signature-input", f"created={NOW}", f"created=+{NOW}"),
        ("signature-input", NONCE, "0e" * 16),
        ("signature-input", NONCE, NONCE.upper()),
        ("signature-input", '"@path" ', ""),
        ("signature-input", "ed25519", "ecdsa-p256-sha256"),
        ("signature-input", "cenotaph-exchange", "another"),
        ("signature-input", "sig=", "sig2="),
        ("content-digest", "sha-256", "sha-512"),
        ("content-digest", "=:", "=: "),
        ("signature", "sig=:", "sig=: "),
        ("signature", "sig=", ""),
    ],
)
def test_a_request_signed_in_any_other_form_is_refused(name, old, new):
    """One form is read; nothing about it is negotiated."""
    headers = signed()
    assert old in headers[name]

    with pytest.raises(SignatureError):
        verify({**headers, name: headers[name].replace(old, new, 1)})


@pytest.mark.parametrize("name", ["signature", "signature-input", "content-digest"])
def test_an_unsigned_request_is_refused(name):
    """Each of the three headers must be there."""
    headers = signed()
    del headers[name]

    with pytest.raises(SignatureError):
        verify(headers)


def test_another_partys_signature_is_not_ours():
    """The key that is named is the one that signed."""
    headers = signed()
    other = a_key("Zhao & Partners", "notary")

    with pytest.raises(SignatureError, match="not signed by this key"):
        exchange.verify_request(other.public, *REQUEST, exchange.read_request(headers), headers)


# ── envelopes with their parts ───────────────────────────────────────────────────────────────────

PARTS = st.builds(Parts, st.binary(max_size=60), st.none() | st.binary(max_size=60), st.none() | st.binary())


@given(PARTS)
def test_parts_are_read_as_they_were_written(parts):
    """Also where one part looks like the lines that announce another."""
    assert Parts.parse(parts.to_bytes()) == parts


@given(PARTS, st.data())
def test_parts_that_were_changed_in_length_are_refused_or_others(parts, data):
    """Nothing is cut off or left over: what is read writes back to exactly what came."""
    body = parts.to_bytes()
    at = data.draw(st.integers(0, len(body)))
    changed = body[:at] + data.draw(st.binary(max_size=3)) + body[at + data.draw(st.integers(0, 3)) :]
    try:
        read = Parts.parse(changed)
    except FormatError:
        return
    assert read.to_bytes() == changed


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"envelope 1\n",
        b"envelope 1\n\n",
        b"envelope 1\n\nab",
        b"envelope 01\n\na",
        b"envelope +1\n\na",
        "envelope ١\n\na".encode(),
        b"share 1\n\na",
        b"attachment 0\nenvelope 1\n\na",
        b"envelope 1\nshare 1\nshare 1\n\nabc",
        b"envelope %d\n\n" % (MAX_BYTES + 1) + bytes(MAX_BYTES + 1),
        b"envelope 1\nshare %d\n\na" % (MAX_SHARE + 1) + bytes(MAX_SHARE + 1),
        b"envelope 1\nattachment 999999999\n\na",
        b"envelope 1\nattachment 9999999999\n\na",
    ],
)
def test_what_is_no_envelope_with_parts_is_refused(body):
    """Wrong order, wrong lengths, other digits, parts longer than they may be."""
    with pytest.raises(FormatError):
        Parts.parse(body)


# ── copies ───────────────────────────────────────────────────────────────────────────────────────

FILES = {
    "case.toml": b"[case]\n",
    "annex/annex-key-0123456789abcdef.sealed": b"mine",
    "annex/inventory.sealed": bytes(1000),
    "statements/0001-charter.json": b"x" * BLOCK,
    "statements/attachments/" + "ab" * 32 + ".json": b"{}",
    "statements/so-far.cenotaph": b"",
}


def lay(folder: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def read(data: bytes, limit: int = 1 << 20) -> dict[str, bytes]:
    return {f.path: b"".join(f.parts) for f in exchange.read_copy(io.BytesIO(data), limit)}


def copy_of(case: Path, *, private: bool = True, key_id: str = "0123456789abcdef" + "0" * 48) -> bytes:
    files = list(exchange.copied(case, private=private, key_id=key_id))
    data = b"".join(exchange.write_copy(files))
    assert len(data) == exchange.copy_length(files)
    return data


def test_a_copy_is_read_as_it_was_written(tmp_path):
    """Every file of the case, and nothing else: also by an independent reader of archives."""
    data = copy_of(lay(tmp_path, FILES))

    assert read(data) == FILES
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert {m.name: archive.extractfile(m).read() for m in archive} == FILES


def test_what_is_sealed_to_others_or_not_of_the_case_does_not_travel(tmp_path):
    """Key shares, other parties' keys, what waits, hidden files, journals and links stay where they are."""
    others = {
        "annex/annex-key-fedcba9876543210.sealed": b"theirs",
        "annex/operator-share-0123456789abcdef.sealed": b"share",
        "annex/share-0123456789abcdef.sealed": b"share",
        "annex/notes.txt": b"clear",
        "annex/.inventory.sealed.new": b"half",
        "statements/incoming/a.json": b"waiting",
        "statements/incoming/a.share": b"share",
        "statements/case-id": b"id",
        "journal.sqlite": b"rows",
        "keys/Bureau": b"secret",
        "lists/held.txt": b"a person",
    }
    case = lay(tmp_path / "case", {**FILES, **others})
    (tmp_path / "secret").write_bytes(b"elsewhere")
    (case / "annex" / "linked.sealed").symlink_to(tmp_path / "secret")

    assert read(copy_of(case)) == FILES


def test_a_log_witness_gets_statements_alone(tmp_path):
    """The case file and the annex are for those who approve."""
    found = read(copy_of(lay(tmp_path, FILES), private=False))

    assert found == {path: data for path, data in FILES.items() if path.startswith("statements/")}


def test_a_file_that_went_or_shrank_ends_the_copy_early(tmp_path):
    """The reader sees that it is cut off; it never takes half a file for a whole one."""
    files = list(exchange.copied(lay(tmp_path, FILES), private=True, key_id="0" * 64))
    (tmp_path / "annex/inventory.sealed").write_bytes(b"short")

    with pytest.raises(FormatError, match="cut off"):
        read(b"".join(exchange.write_copy(files)))


def entry(name: str, data: bytes = b"", form: int = tarfile.USTAR_FORMAT, **fields: object) -> bytes:
    """An entry of an archive as the standard library writes it."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o600
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(form, "utf-8") + data + bytes(-len(data) % BLOCK)


END = bytes(2 * BLOCK)
GOOD = entry("case.toml", b"[case]")


@pytest.mark.parametrize(
    "data",
    [
        entry("case.toml", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        entry("case.toml", type=tarfile.LNKTYPE, linkname="keys/AuditCo"),
        entry("annex/a.sealed", type=tarfile.FIFOTYPE),
        entry("annex/a.sealed", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        entry("annex", type=tarfile.DIRTYPE),
        entry("../case.toml", b"x"),
        entry("annex/../../case.toml", b"x"),
        entry("/etc/cron.d/x", b"x"),
        entry("annex/.ssh.sealed", b"x"),
        entry("keys/AuditCo", b"x"),
        entry("statements/incoming/a.json", b"x"),
        entry("statements/case-id", b"x"),
        entry("case.toml\n", b"x"),
        entry("case.toml", b"x", mode=0o4755),
        entry("case.toml", b"x", uname="root"),
        entry("case.toml", b"x", mtime=1),
        entry("annex/" + "a" * 101 + ".sealed", b"x", tarfile.GNU_FORMAT),
        entry("annex/é.sealed", b"x", tarfile.PAX_FORMAT),
        entry("case.toml", b"x", tarfile.GNU_FORMAT),
        GOOD + GOOD,
        GOOD[:600],
        GOOD[:BLOCK] + b"[case]" + b"x" * (BLOCK - 6),
        b"not an archive" * 100,
    ],
)
def test_whatever_is_no_plain_file_of_a_case_is_refused(data):
    """Links, devices, ways out of the folder, other formats, files twice, bytes between files."""
    assert read(GOOD + END) == {"case.toml": b"[case]"}

    with pytest.raises(FormatError):
        read(data + END)


@pytest.mark.parametrize("end", [b"", bytes(BLOCK), END + b"x", bytes(BLOCK) + b"x" * BLOCK, END + END])
def test_a_copy_ends_where_it_says(end):
    """Two blocks of zeros, and nothing behind them."""
    with pytest.raises(FormatError):
        read(GOOD + end)


def test_a_copy_beyond_the_limit_is_refused():
    """Before its bytes are read."""
    with pytest.raises(FormatError, match="too much"):
        read(entry("case.toml", bytes(100)) + END, limit=99)


@given(st.binary(max_size=3 * BLOCK), st.integers(0, 3 * BLOCK))
def test_no_bytes_confuse_the_reader(noise, at):
    """Whatever stands there is refused, or is a copy of files that may be in one."""
    try:
        found = read((GOOD + END)[:at] + noise)
    except FormatError:
        return
    assert all(exchange.is_copied(path) for path in found)
