"""Time stamps by a believed authority date the log; one that lies stops the file, others show nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from authorities import TimeStampAuthority
from cenotaph.testing.ceremony import START, Ceremony, Estate, as_stream
from cenotaph_proof import bundle as bundles
from cenotaph_proof import note as notes
from cenotaph_proof import stamp, tokens, verify
from cenotaph_proof.bundle import Bundle
from cenotaph_proof.errors import FormatError, LogError, ProofError, SignatureError
from cenotaph_proof.stamp import Stamp
from cenotaph_proof.trust import Authority, Trust
from cenotaph_proof.verdict import Fact, Verdict

ONE = (Estate("health", (20,)),)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TimeStampAuthority:
    return TimeStampAuthority(tmp_path_factory.mktemp("authority") / "one", "Time Co")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> TimeStampAuthority:
    return TimeStampAuthority(tmp_path_factory.mktemp("authority") / "two", "Clock & Sons")


@pytest.fixture(scope="module")
def ceremony() -> Ceremony:
    return Ceremony(estate=ONE).run()


@pytest.fixture(scope="module")
def stamped(ceremony: Ceremony, authority: TimeStampAuthority) -> Bundle:
    """A whole case, its last checkpoint stamped."""
    return with_stamps(ceremony, stamp_of(ceremony.bundle().checkpoints[-1], authority))


@pytest.fixture(scope="module")
def believing(ceremony: Ceremony, authority: TimeStampAuthority) -> Trust:
    return ceremony.trust(authorities=(believed(authority),))


def believed(authority: TimeStampAuthority) -> Authority:
    return Authority(authority.name, authority.root_file.read_bytes())


def stamp_of(note: bytes, authority: TimeStampAuthority) -> Stamp:
    return Stamp(note, authority.reply(stamp.request(note)))


def with_stamps(ceremony: Ceremony, *stamps: Stamp) -> Bundle:
    return replace(ceremony.bundle(), stamps=stamps)


def verdict_on(bundle: Bundle, trust: Trust | None) -> Verdict:
    return verify.verify(as_stream(bundles.write(bundle)), trust)


def said(verdict: Verdict) -> dict[str, Fact]:
    """The lines that speak of time stamps, by code."""
    lines = (*verdict.proven, *verdict.attested, *verdict.not_shown)
    return {line.code: line for line in lines if "timestamp" in line.code}


def test_what_is_read_is_written_again(stamped: Bundle) -> None:
    """`write(read(x)) == x`, with time stamps; without any the first line does not speak of them."""
    proof = bundles.write(stamped)

    assert bundles.write(bundles.read(as_stream(proof))) == proof
    assert b'"format":"cenotaph-proof/v1","timestamps":1}\n' in proof
    assert b"timestamp" not in bundles.write(replace(stamped, stamps=()))


def test_a_believed_authority_dates_the_log(stamped: Bundle, believing: Trust) -> None:
    """Its word is attested, not proven: so many statements existed by then. The accuracy is added."""
    verdict = verdict_on(stamped, believing)

    line = said(verdict)["attested.timestamp"]
    assert line in verdict.attested
    assert line.args["authority"] == "Time Co"
    assert line.args["statements"] == len(stamped.entries)
    assert line.args["time"]["time"] > START
    assert line.text.startswith(f"Time Co attests that the first {len(stamped.entries)} statements of this")


def test_who_is_not_believed_shows_nothing(
    stamped: Bundle, ceremony: Ceremony, other: TimeStampAuthority
) -> None:
    """By an unknown authority, or where no authority is believed: counted under not shown, no more."""
    elsewhere = verdict_on(stamped, ceremony.trust(authorities=(believed(other),)))
    assert set(said(elsewhere)) == {"not-shown.timestamps-of-others"}

    nobody = verdict_on(stamped, ceremony.trust())
    assert set(said(nobody)) == {"not-shown.timestamps-unchecked"}
    assert said(nobody)["not-shown.timestamps-unchecked"].args == {"stamps": 1}
    assert nobody.exit_code == 0
    assert set(said(verdict_on(stamped, None))) == {"not-shown.timestamps-unchecked"}


def test_without_the_extra_nothing_fails(
    stamped: Bundle, believing: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has not installed what checks tokens reads that nobody checked them."""
    monkeypatch.setattr(stamp, "can_check", lambda: False)

    assert set(said(verdict_on(stamped, believing))) == {"not-shown.timestamps-unchecked"}


def test_two_authorities_date_one_checkpoint(
    ceremony: Ceremony, authority: TimeStampAuthority, other: TimeStampAuthority
) -> None:
    """Each counts for itself; they stand in the order of the digests of their tokens."""
    note = ceremony.bundle().checkpoints[-1]
    both = with_stamps(ceremony, stamp_of(note, authority), stamp_of(note, other))
    trust = ceremony.trust(authorities=(believed(authority), believed(other)))

    lines = [line for line in verdict_on(both, trust).attested if line.code == "attested.timestamp"]
    assert {line.args["authority"] for line in lines} == {"Time Co", "Clock & Sons"}


def test_a_signer_that_a_token_does_not_carry_may_be_in_the_trust_file(
    ceremony: Ceremony, authority: TimeStampAuthority, other: TimeStampAuthority
) -> None:
    """An authority that was asked without `certReq` sends no certificate; the root alone then does not do."""
    note = ceremony.bundle().checkpoints[-1]
    bare = Stamp(note, authority.reply(stamp.request(note).replace(b"\x01\x01\xff", b"\x01\x01\x00")))
    chain = (authority.folder / "chain.pem").read_bytes()

    whole = ceremony.trust(authorities=(Authority("Time Co", chain),))
    assert "attested.timestamp" in said(verdict_on(with_stamps(ceremony, bare), whole))
    with pytest.raises(SignatureError, match="does not verify"):
        verdict_on(with_stamps(ceremony, bare), ceremony.trust(authorities=(believed(authority),)))


Lie = Callable[[Ceremony, Bundle, TimeStampAuthority], Bundle]


def over_other_bytes(ceremony: Ceremony, stamped: Bundle, authority: TimeStampAuthority) -> Bundle:
    """The token of another checkpoint."""
    older = stamp_of(ceremony.bundle().checkpoints[0], authority)
    return with_stamps(ceremony, Stamp(stamped.stamps[0].note, older.token))


def signature_changed(ceremony: Ceremony, stamped: Bundle, authority: TimeStampAuthority) -> Bundle:
    """The last byte of the token is its signature's."""
    (one,) = stamped.stamps
    return with_stamps(ceremony, Stamp(one.note, one.token[:-1] + bytes([one.token[-1] ^ 1])))


def no_token(ceremony: Ceremony, stamped: Bundle, authority: TimeStampAuthority) -> Bundle:
    """Something else in the token's place."""
    return with_stamps(ceremony, Stamp(stamped.stamps[0].note, b"\x30\x03\x02\x01\x00"))


def not_granted(ceremony: Ceremony, stamped: Bundle, authority: TimeStampAuthority) -> Bundle:
    """The authority's answer to what it does not do."""
    answer = authority.reply(stamp.request(b"x").replace(b"\x03\x04\x02\x01\x05", b"\x03\x04\x02\x04\x05"))
    return with_stamps(ceremony, Stamp(stamped.stamps[0].note, answer))


def of_another_log(ceremony: Ceremony, stamped: Bundle, authority: TimeStampAuthority) -> Bundle:
    """A checkpoint of the same size whose root is another's: well signed, well stamped."""
    split = Ceremony(estate=(Estate("health", (21,)),)).run()
    return with_stamps(ceremony, stamp_of(split.bundle().checkpoints[-1], authority))


def badly_cosigned(ceremony: Ceremony, stamped: Bundle, authority: TimeStampAuthority) -> Bundle:
    """A cosignature in the note that does not verify."""
    parsed = notes.parse_note(stamped.checkpoints[-1])
    line = parsed.signatures[-1]
    bad = replace(line, signature=line.signature[:-1] + bytes([line.signature[-1] ^ 1]))
    note = replace(parsed, signatures=(*parsed.signatures[:-1], bad)).to_bytes()
    return with_stamps(ceremony, stamp_of(note, authority))


@pytest.mark.parametrize(
    ("lie", "error", "words"),
    [
        (over_other_bytes, SignatureError, "over other bytes than its checkpoint"),
        (signature_changed, SignatureError, "names Time Co does not verify"),
        (no_token, FormatError, "no TimeStampResp in DER"),
        (not_granted, FormatError, "status 2, not granted"),
        (of_another_log, LogError, "does not cover the log's entries as they are"),
        (badly_cosigned, SignatureError, "the signature does not verify"),
    ],
)
def test_a_time_stamp_that_lies_is_refused(
    lie: Lie,
    error: type[ProofError],
    words: str,
    ceremony: Ceremony,
    stamped: Bundle,
    authority: TimeStampAuthority,
    believing: Trust,
) -> None:
    """Under an authority that is believed the file does not verify, at step 5."""
    with pytest.raises(error, match=words) as refused:
        verdict_on(lie(ceremony, stamped, authority), believing)
    assert refused.value.step == "verify 5"


def test_a_checkpoint_from_the_future_is_refused(authority: TimeStampAuthority) -> None:
    """A token over cosignatures dated after it: somebody's clock lies."""
    ahead = Ceremony(estate=ONE, now=START + (1 << 30)).run()
    bundle = with_stamps(ahead, stamp_of(ahead.bundle().checkpoints[-1], authority))
    assert verdict_on(bundle, ahead.trust()).exit_code == 0

    with pytest.raises(SignatureError, match="dates a time stamp before what it stamps"):
        verdict_on(bundle, ahead.trust(authorities=(believed(authority),)))


def test_time_stamps_stand_in_order_and_once(stamped: Bundle) -> None:
    """By the size of what they stamp, then by digest; none twice. They name this case's part of the log."""
    line = bundles.write(stamped).splitlines(keepends=True)[-1]
    proof = bundles.write(stamped).replace(b'"timestamps":1', b'"timestamps":2') + line
    with pytest.raises(FormatError, match="time stamps are not in ascending order"):
        bundles.read(as_stream(proof))

    with pytest.raises(FormatError, match="first line is malformed"):
        bundles.read(as_stream(bundles.write(stamped).replace(b'"timestamps":1', b'"timestamps":0')))
    with pytest.raises(FormatError, match="something other than this case"):
        bundles.replay(replace(stamped, entries=stamped.entries[:-1], checkpoints=stamped.checkpoints[:-1]))


def test_a_whole_chain_in_another_order_is_refused_with_a_hint(tmp_path: Path) -> None:
    """OpenSSL with `certs =` writes certificates as they come, which DER does not allow: ask without them."""
    whole = TimeStampAuthority(tmp_path / "whole", "Whole Chain Co", whole_chain=True)

    with pytest.raises(FormatError, match="no TimeStampResp in DER") as refused:
        tokens.check_answer(whole.reply(stamp.request(b"note")), b"note")
    assert "without the chain" in (refused.value.hint or "")


def test_openssl_reads_what_we_ask_and_agrees_on_the_answer(
    ceremony: Ceremony, authority: TimeStampAuthority, tmp_path: Path
) -> None:
    """The second path that docs/verify names needs none of our code."""
    note = ceremony.bundle().checkpoints[-1]
    (tmp_path / "note").write_bytes(note)
    (tmp_path / "query").write_bytes(stamp.request(note))
    (tmp_path / "reply").write_bytes(authority.reply(stamp.request(note)))
    text = subprocess.run(
        ["openssl", "ts", "-query", "-in", tmp_path / "query", "-text"], check=True, capture_output=True
    ).stdout
    assert b"Hash Algorithm: sha256" in text
    assert b"Certificate required: yes" in text

    verify_it = ["openssl", "ts", "-verify", "-in", tmp_path / "reply", "-CAfile", authority.root_file]
    done = subprocess.run([*verify_it, "-data", tmp_path / "note"], capture_output=True, check=False)
    assert b"Verification: OK" in done.stdout + done.stderr


@pytest.mark.parametrize("tag", [0x03, 0x05, 0x27])
def test_a_name_of_an_odd_type_is_an_error_of_ours(
    tag: int, stamped: Bundle, authority: TimeStampAuthority
) -> None:
    """atheris found two of these: what `cryptography` then raises differs from type to type."""
    (one,) = stamped.stamps
    name = f"{authority.name} root".encode()
    assert one.token.count(b"\x0c" + bytes([len(name)]) + name) == 2  # in the certificate, and of the signer
    odd = one.token.replace(b"\x0c" + bytes([len(name)]) + name, bytes([tag, len(name)]) + name)

    with pytest.raises(ProofError):
        tokens.check(odd, one.note, [believed(authority)], 0)
