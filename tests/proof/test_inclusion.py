"""One statement's place in the log, shown by a file of its own."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cenotaph.testing.ceremony import OPERATOR, WITNESSES, Ceremony
from cenotaph_proof import inclusion, note
from cenotaph_proof.__main__ import main
from cenotaph_proof.errors import (
    FormatError,
    LogError,
    ProofError,
    SignatureError,
    ThresholdError,
    TreeError,
)
from cenotaph_proof.inclusion import InclusionProof


@pytest.fixture(scope="module")
def c() -> Ceremony:
    """A case as far as its plan, with two of three log witnesses asked for."""
    return Ceremony(witness=2).run(last="plan")


def digest(entry: bytes) -> str:
    return hashlib.sha256(entry).hexdigest()


def proven(c: Ceremony, index: int) -> InclusionProof:
    return inclusion.prove(c.entries, c.checkpoints.values(), digest(c.entries[index]))


def test_every_statement_is_proved(c):
    """At its index, under the operator's key, with the quorum's time."""
    for index, entry in enumerate(c.entries):
        proof = InclusionProof.parse(proven(c, index).to_bytes())
        seen = inclusion.check(proof, entry, c.key(OPERATOR).public, c.trust())
        assert (seen.index, seen.checkpoint.size) == (index, index + 1)
        assert set(seen.cosigned) == set(c.witnesses)
        assert seen.complete == max(seen.cosigned.values())


def test_the_first_checkpoint_that_covers_it_is_taken(c):
    """It has the earliest time. One that nobody cosigned yet is not waited for."""
    sizes = {size: n for size, n in c.checkpoints.items() if size in (2, 5)}
    proof = inclusion.prove(c.entries, sizes.values(), digest(c.entries[2]))
    assert note.Checkpoint.parse(note.parse_note(proof.checkpoint).body).size == 5
    with pytest.raises(LogError, match="no cosigned checkpoint covers"):
        inclusion.prove(c.entries, [sizes[2]], digest(c.entries[2]))


def test_without_a_trust_file_nobody_is_known_to_have_seen_it(c):
    """The operator's signature is checked, the witnesses' lines are passed over."""
    seen = inclusion.check(proven(c, 1), c.entries[1], c.key(OPERATOR).public)
    assert (seen.cosigned, seen.complete) == ({}, None)


def test_another_entry_index_path_or_log_is_refused(c):
    """Each part is bound to the root, and the root to the operator."""
    proof, entry, operator = proven(c, 3), c.entries[3], c.key(OPERATOR).public
    for changed in (
        dataclasses.replace(proof, index=2),
        dataclasses.replace(proof, index=4),
        dataclasses.replace(proof, path=proof.path[:-1]),
        dataclasses.replace(proof, path=(*proof.path, bytes(32))),
    ):
        with pytest.raises(TreeError):
            inclusion.check(changed, entry, operator)
    with pytest.raises(TreeError):
        inclusion.check(proof, entry + b"\n", operator)
    other = dataclasses.replace(c.key("Audit Co"), role="operator").public
    with pytest.raises(LogError, match="another log"):
        inclusion.check(proof, entry, other)
    stripped = note.parse_note(proof.checkpoint)
    unsigned = note.Note(stripped.body, stripped.signatures[1:]).to_bytes()
    with pytest.raises(LogError, match="not signed by its log"):
        inclusion.check(dataclasses.replace(proof, checkpoint=unsigned), entry, operator)


def test_a_trust_file_must_hold_the_operator_and_find_its_quorum(c):
    """Too few cosignatures, or an operator that the file does not know."""
    proof, entry, operator = proven(c, 3), c.entries[3], c.key(OPERATOR).public
    with pytest.raises(ThresholdError, match=r"lacks the trust file's quorum: cosigned by .*Daily Paper"):
        inclusion.check(proof, entry, operator, c.trust(witness=3))
    others = tuple(p for p in c.trust().parties if p.role != "operator")
    with pytest.raises(SignatureError, match="does not hold this operator"):
        inclusion.check(proof, entry, operator, c.trust(parties=others))


def test_a_forged_cosignature_is_refused(c):
    """A line by a known key that does not verify spoils the proof."""
    proof, entry, operator = proven(c, 3), c.entries[3], c.key(OPERATOR).public
    foreign = note.cosign(c.checkpoints[2], c.key(WITNESSES[0]), c.now)
    moved = note.parse_note(proof.checkpoint)
    lines = (moved.signatures[0], note.NoteSignature.parse(foreign))
    forged = dataclasses.replace(proof, checkpoint=note.Note(moved.body, lines).to_bytes())
    with pytest.raises(SignatureError):
        inclusion.check(forged, entry, operator, c.trust())
    assert inclusion.check(forged, entry, operator).cosigned == {}


def test_a_statement_that_is_not_there(c):
    """Nor a digest that is none."""
    with pytest.raises(LogError, match="no statement with this digest"):
        inclusion.prove(c.entries, c.checkpoints.values(), "0" * 64)
    for text in ("", "0" * 63, "A" * 64, "0" * 64 + "\n"):
        with pytest.raises(FormatError, match="64 lower-case"):
            inclusion.prove(c.entries, c.checkpoints.values(), text)


def test_extra_data_is_read_and_not_used(c):
    """As tlog-proof allows; nobody signed it."""
    proof = dataclasses.replace(proven(c, 1), extra=b"where I found it")
    assert InclusionProof.parse(proof.to_bytes()) == proof
    assert inclusion.check(proof, c.entries[1], c.key(OPERATOR).public).index == 1


HEAD = "c2sp.org/tlog-proof@v1\n"
HASH = "A" * 43 + "=\n"


@pytest.mark.parametrize(
    "head",
    [
        "",
        HEAD,
        "c2sp.org/tlog-proof@v2\nindex 0\n",
        HEAD + "index 01\n",
        HEAD + "index +1\n",
        HEAD + "index ١\n",
        HEAD + "index 0 \n",
        HEAD + "index  0\n",
        HEAD + "index -5\n",
        HEAD + f"index {2**53}\n",
        HEAD + "Index 0\n",
        HEAD + "index 0\nindex 0\n",
        HEAD + "index 0\nextra AAAA\n",
        HEAD + "extra \nindex 0\n",
        HEAD + "extra AAAA\nextra AAAA\nindex 0\n",
        HEAD + "extra AAA\nindex 0\n",
        HEAD + "index 0\nAAAA\n",
        HEAD + "index 0\n" + HASH[:-2] + "\n",
        HEAD + "index 0\n" + HASH.replace("A=", "B=") + "\n",
        HEAD + "index 0\n" + HASH * 64,
        HEAD.replace("\n", "\r\n") + "index 0\r\n",
        "\n" + HEAD + "index 0\n",
    ],
)
def test_a_malformed_proof_is_refused(c, head):
    """Numbers of other spellings, loose base64, lines in another order, too many hashes."""
    good = HEAD + "index 0\n" + HASH
    rest = b"\n" + c.checkpoints[2]
    assert InclusionProof.parse(good.encode() + rest).path == (bytes(32),)
    with pytest.raises(FormatError):
        InclusionProof.parse(head.encode() + rest)


def test_a_proof_without_a_checkpoint_is_refused(c):
    """The note in it is read too, and the whole is bounded."""
    for rest in (b"", b"\n", b"\nnothing\n", b"\n" + c.checkpoints[2] + b"x"):
        with pytest.raises(FormatError):
            InclusionProof.parse((HEAD + "index 0\n").encode() + rest)
    with pytest.raises(FormatError, match="at most"):
        InclusionProof.parse(bytes(2_000_001))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_changed_byte_is_refused_or_changes_nothing(data):
    """What still reads and verifies writes itself as it was read."""
    c = _whole()
    raw = proven(c, 2).to_bytes()
    at = data.draw(st.integers(0, len(raw) - 1))
    changed = raw[:at] + bytes([data.draw(st.integers(0, 255))]) + raw[at + 1 :]
    try:
        proof = InclusionProof.parse(changed)
        inclusion.check(proof, c.entries[2], c.key(OPERATOR).public, c.trust())
    except ProofError:
        return
    assert proof.to_bytes() == changed
    # Who cosigned may be hidden behind an unknown name; where the entry lies cannot change.
    assert (proof.index, proof.path) == (2, proven(c, 2).path)


_made: list[Ceremony] = []


def _whole() -> Ceremony:
    if not _made:
        _made.append(Ceremony(witness=2).run(last="survey"))
    return _made[0]


# At the command line.


def test_prove_and_check_at_the_command_line(c, tmp_path, capsys):
    """From a proof file and from a case's folder; 0 with a trust file, 6 without, 3 for another statement."""
    folder = tmp_path / "case" / "statements"
    folder.mkdir(parents=True)
    (folder / "so-far.cenotaph").write_bytes(c.proof())
    (tmp_path / "case.cenotaph").write_bytes(c.proof())
    (tmp_path / "op.pub").write_text(c.key(OPERATOR).public.to_text())
    (tmp_path / "trust.toml").write_text(_trust_file(c))
    (tmp_path / "entry.json").write_bytes(c.entries[2])
    (tmp_path / "other.json").write_bytes(c.entries[1])
    said = []
    for source in ("case", "case.cenotaph"):
        out = tmp_path / f"{source}.tlog-proof"
        arguments = [str(tmp_path / source), "--statement", digest(c.entries[2]), "--out", str(out)]
        assert main(["prove", *arguments]) == 0
        said.append(out.read_bytes())
    assert said[0] == said[1]
    check = ["check-inclusion", str(out), "--operator", str(tmp_path / "op.pub")]
    capsys.readouterr()
    assert main([*check, "--trust", str(tmp_path / "trust.toml"), str(tmp_path / "entry.json")]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Entry 2 of 3 in the log of {OPERATOR}.\nCosigned by Daily Paper at 20")
    assert "Enough had cosigned at 20" in text
    assert main([*check, str(tmp_path / "entry.json")]) == 6
    assert "nobody but the operator" in capsys.readouterr().out
    assert main([*check, str(tmp_path / "other.json")]) == 3
    assert "does not verify" in capsys.readouterr().err


def test_verifier_keys_at_the_command_line(c, tmp_path, capsys):
    """What a witness or an operator gives to others, one line a key."""
    for name in (OPERATOR, WITNESSES[0]):
        path: Path = tmp_path / "key.pub"
        path.write_text(c.key(name).public.to_text())
        assert main(["vkey", str(path)]) == 0
        expected = [key.to_text() for key in note.note_keys(c.key(name).public)]
        assert capsys.readouterr().out.splitlines() == expected
    assert (
        main(
            [
                "keygen",
                "--role",
                "log-witness",
                "--organisation",
                "U",
                "--post-quantum",
                "--out",
                str(tmp_path / "u"),
            ]
        )
        == 0
    )
    capsys.readouterr()
    assert main(["vkey", str(tmp_path / "u.pub")]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.partition("+")[0] == second.partition("+")[0]
    assert (len(first), len(second)) == (87, 1795)


def _trust_file(c: Ceremony) -> str:
    tables = []
    for name in c.parties():
        key = c.key(name).public.to_text().replace("\n", "\\n").replace('"', '\\"')
        tables.append(f'[[party]]\norganisation = "{name}"\nrole = "{c.key(name).role}"\nkey = "{key}"\n')
    return "".join(tables) + "[policy]\nwitness = 2\n"
