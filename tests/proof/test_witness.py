"""The log witness: it never cosigns two histories, also when it is killed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from some_keys import a_key

from cenotaph_proof import merkle, note
from cenotaph_proof._durable import locked
from cenotaph_proof.errors import FormatError, WitnessError
from cenotaph_proof.note import Checkpoint
from cenotaph_proof.witness import Request, Witness

NOW = 1_700_000_000
LEAVES = [merkle.leaf_hash(b"%d" % number) for number in range(20)]
FORKED = [*LEAVES[:3], merkle.leaf_hash(b"another"), *LEAVES[4:]]


@pytest.fixture
def witness(tmp_path, operator, paper) -> Witness:
    """A witness that has seen the first five entries of the operator's log."""
    made = Witness(tmp_path / "state", paper, [operator.public])
    made.add_checkpoint(0, [], _head(operator, 5), now=NOW)
    return made


def _head(operator, size: int, leaves=LEAVES) -> bytes:
    head = Checkpoint(note.log_origin(operator.public), size, merkle.root(leaves[:size]))
    return note.sign_checkpoint(head, operator)


def _refusal(witness, *arguments, now: int = NOW + 1) -> WitnessError:
    with pytest.raises(WitnessError) as refused:
        witness.add_checkpoint(*arguments, now=now)
    return refused.value


def test_a_grown_log_is_cosigned(witness, operator, paper):
    """The line verifies as this witness's, at the time that was given."""
    grown = _head(operator, 9)
    line = witness.add_checkpoint(5, merkle.consistency_proof(LEAVES[:9], 5), grown, now=NOW + 60)

    seen = note.verify_checkpoint(grown + line, operator.public, [paper.public])
    assert seen.cosignatures == ((paper.public.key_id, NOW + 60),)
    assert witness.size(operator.public) == 9


def test_the_same_checkpoint_is_cosigned_again(witness, operator):
    """An operator who crashed before storing the line asks once more."""
    assert witness.add_checkpoint(5, [], _head(operator, 5), now=NOW + 1)


def test_an_empty_log_is_cosigned(tmp_path, operator, paper):
    """Size 0, from nothing, and then its first entries."""
    made = Witness(tmp_path / "state", paper, [operator.public])
    assert made.add_checkpoint(0, [], _head(operator, 0), now=NOW)
    assert made.add_checkpoint(0, [], _head(operator, 3), now=NOW)


def test_a_second_history_is_refused(witness, operator):
    """A fork of the same size, and one that grew, with either proof: both are refused and leave no trace."""
    same = _refusal(witness, 5, [], _head(operator, 5, FORKED))
    assert (same.status, same.size) == (409, 5)
    for leaves in (LEAVES, FORKED):
        proof = merkle.consistency_proof(leaves[:9], 5)
        assert _refusal(witness, 5, proof, _head(operator, 9, FORKED)).status == 422
    assert witness.size(operator.public) == 5


def test_the_honest_history_is_not_harmed_by_a_refused_one(witness, operator):
    """After refusing a fork, the witness goes on with the log it knows."""
    _refusal(witness, 5, merkle.consistency_proof(FORKED[:9], 5), _head(operator, 9, FORKED))
    assert witness.add_checkpoint(5, merkle.consistency_proof(LEAVES[:9], 5), _head(operator, 9), now=NOW + 1)


def test_what_was_refused_is_kept_as_evidence(witness, tmp_path, operator):
    """Two heads of one size, both signed by the operator: whoever holds them needs no witness's word. Asking
    with a wrong old size is no evidence of anything, and no operator fills the disk."""
    _refusal(witness, 4, [], _head(operator, 9))
    assert witness.refused() == 0
    _refusal(witness, 5, [], _head(operator, 5, FORKED))
    _refusal(witness, 5, [], _head(operator, 5, FORKED))
    assert witness.refused() == 1
    (refused,) = (tmp_path / "state.refused").glob("5-*.refused")
    kept = [
        note.verify_checkpoint(path.read_bytes(), operator.public).checkpoint
        for path in (refused, refused.with_suffix(".seen"))
    ]
    assert [head.size for head in kept] == [5, 5]
    assert {head.root for head in kept} == {merkle.root(LEAVES[:5]), merkle.root(FORKED[:5])}

    for number in range(120):
        _refusal(witness, 5, [], _head(operator, 5, [merkle.leaf_hash(b"other %d" % number)] * 5))
    assert witness.refused() == 100


def test_a_larger_head_without_its_proof_is_no_evidence(witness, tmp_path, operator):
    """Anybody can bring an honest head and leave the proof out. It is counted against nobody, and crowds out
    no evidence; it goes when the log has grown to it."""
    folder = tmp_path / "state.refused"
    honest = _head(operator, 9)
    assert _refusal(witness, 5, [], honest).status == 422
    for number in range(120):
        _refusal(witness, 5, [], _head(operator, 9, [merkle.leaf_hash(b"other %d" % number)] * 9))
    assert witness.refused() == 0
    assert len(list(folder.iterdir())) == 100

    _refusal(witness, 5, [], _head(operator, 5, FORKED))
    assert witness.refused() == 1
    (first,) = [path for path in folder.iterdir() if path.read_bytes() == honest]
    witness.add_checkpoint(5, merkle.consistency_proof(LEAVES[:9], 5), honest, now=NOW + 1)
    assert not first.exists()


def test_a_larger_head_of_another_history_becomes_evidence(witness, tmp_path, operator):
    """Once the log has grown to its size with another root, the two prove two histories."""
    _refusal(witness, 5, merkle.consistency_proof(FORKED[:9], 5), _head(operator, 9, FORKED))
    assert witness.refused() == 0

    witness.add_checkpoint(5, merkle.consistency_proof(LEAVES[:9], 5), _head(operator, 9), now=NOW + 1)

    assert witness.refused() == 1
    kept = {path.suffix: path.read_bytes() for path in (tmp_path / "state.refused").iterdir()}
    assert kept == {".refused": _head(operator, 9, FORKED), ".seen": _head(operator, 9)}


def test_a_stranger_makes_no_evidence(witness, operator):
    """The head that is known, brought with a proof that is none, speaks against nobody; nor does a line that
    anybody can add make another head of one that was refused."""
    forked = _head(operator, 5, FORKED)
    for name in ("one", "other"):
        line = note.NoteSignature(name, b"abcd", bytes(64)).to_bytes()
        known = note.add_signatures(_head(operator, 5), [line])
        assert _refusal(witness, 5, [bytes(32)], known).status == 422
        assert witness.refused() == (0 if name == "one" else 1)
        _refusal(witness, 5, [], note.add_signatures(forked, [line]))
    assert witness.refused() == 1


@pytest.mark.parametrize("old", [0, 4, 6])
def test_another_old_size_is_answered_with_the_size_it_knows(witness, operator, old):
    """409 with the size: how an operator who lost count finds out."""
    refused = _refusal(witness, old, [], _head(operator, 9))
    assert (refused.status, refused.size) == (409, 5)


def test_a_log_does_not_shrink(witness, operator):
    """An earlier head is refused, from the old size and from its own."""
    assert _refusal(witness, 5, [], _head(operator, 4)).status == 400
    assert _refusal(witness, 4, [], _head(operator, 4)).status == 409


def test_an_unknown_log_is_refused(witness):
    """404: the witness cosigns only for operators it was told of."""
    assert _refusal(witness, 0, [], _head(a_key("Other Bureau", "operator"), 5)).status == 404


def test_an_unsigned_or_forged_checkpoint_is_refused(witness, operator, paper):
    """403: another's signature, a changed size, or cosignatures alone."""
    good = _head(operator, 5)
    body, _, _ = good.rpartition(b"\n\n")
    assert _refusal(witness, 5, [], body + b"\n\n" + note.cosign(good, paper, NOW)).status == 403
    assert _refusal(witness, 5, [], good.replace(b"\n5\n", b"\n6\n")).status == 403


def test_other_signatures_are_ignored(witness, operator, library):
    """A checkpoint may come with another witness's line."""
    good = _head(operator, 5)
    assert witness.add_checkpoint(5, [], good + note.cosign(good, library, NOW), now=NOW + 1)


@pytest.mark.parametrize("data", [b"", b"checkpoint", b"a\n\n\xe2\x80\x94 a AAAAAAA=\n"])
def test_what_is_no_checkpoint_is_refused(witness, data):
    """400."""
    assert _refusal(witness, 0, [], data).status == 400


def test_a_bad_proof_is_refused(witness, operator):
    """422: missing, changed, cut, too long; 400 beyond 63 hashes; a size of 0 has one root."""
    proof, grown = merkle.consistency_proof(LEAVES[:9], 5), _head(operator, 9)
    for bad in ([], proof[:-1], [*proof, LEAVES[0]], [LEAVES[0], *proof[1:]], [b"short", *proof[1:]]):
        assert _refusal(witness, 5, bad, grown).status == 422
    assert _refusal(witness, 5, [LEAVES[0]] * 64, grown).status == 400


def test_an_empty_log_with_a_root_is_refused(tmp_path, operator, paper):
    """422, as tlog-witness fixes it."""
    made = Witness(tmp_path / "state", paper, [operator.public])
    head = Checkpoint(note.log_origin(operator.public), 0, LEAVES[0])
    assert _refusal(made, 0, [], note.sign_checkpoint(head, operator)).status == 422


def test_a_clock_that_went_back_is_not_signed(witness, operator):
    """Times of one log never decrease; the witness says that its clock is wrong."""
    grown, proof = _head(operator, 9), merkle.consistency_proof(LEAVES[:9], 5)
    assert _refusal(witness, 5, proof, grown, now=NOW - 1).status == 503
    assert witness.add_checkpoint(5, proof, grown, now=NOW)


def test_the_state_outlives_the_process(witness, tmp_path, operator, paper):
    """Opened again, the witness remembers, for each log by itself."""
    other = a_key("Other Bureau", "operator")
    again = Witness(tmp_path / "state", paper, [operator.public, other.public])
    assert again.size(operator.public) == 5
    assert again.add_checkpoint(0, [], _head(other, 3), now=NOW - 50)
    assert _refusal(again, 0, [], _head(operator, 3)).status == 409


DIE_AT = """
import os, sys
from pathlib import Path
from cenotaph_proof.keys import PublicKey, SecretKey
from cenotaph_proof.witness import Request, Witness

folder, dies_at, request, calls = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], 0

def dying(real):
    def call(*arguments):
        global calls
        calls += 1
        if calls == dies_at:
            os._exit(9)
        return real(*arguments)
    return call

os.fsync, Path.replace = dying(os.fsync), dying(Path.replace)
witness = Witness(folder / "state", SecretKey.load(folder / "paper"), [PublicKey.load(folder / "bureau.pub")])
asked = Request.parse((folder / request).read_bytes())
line = witness.add_checkpoint(asked.old_size, asked.consistency_proof, asked.note, now=1700000060)
sys.stdout.buffer.write(line)
"""


def test_a_witness_that_is_killed_does_not_forget_what_it_answered(witness, tmp_path, operator, paper):
    """Killed before any flush or rename: no answer left unless the new head is on the disk."""
    operator.save(tmp_path / "bureau")
    paper.save(tmp_path / "paper")
    state = (tmp_path / "state").read_bytes()
    asked = Request(5, tuple(merkle.consistency_proof(LEAVES[:9], 5)), _head(operator, 9))
    (tmp_path / "request").write_bytes(asked.to_bytes())
    for dies_at in range(1, 20):
        (tmp_path / "state").write_bytes(state)
        command = [sys.executable, "-c", DIE_AT, str(tmp_path), str(dies_at), "request"]
        answer = subprocess.run(command, check=False, capture_output=True).stdout
        assert witness.size(operator.public) == 9 or not answer
        if answer:
            break
        assert witness.size(operator.public) in (5, 9)
    assert dies_at == 4


def test_a_request_waits_for_the_one_before(witness, tmp_path, operator, paper):
    """Checked against what the witness knows when its turn comes, not when it was asked.

    Else two requests for two extensions of one head could both be answered.
    """
    operator.save(tmp_path / "bureau")
    paper.save(tmp_path / "paper")
    forked = [*LEAVES[:5], *FORKED[:4]]
    asked = Request(5, tuple(merkle.consistency_proof(forked[:9], 5)), _head(operator, 9, forked))
    (tmp_path / "request").write_bytes(asked.to_bytes())
    seen = (tmp_path / "state").read_bytes()
    witness.add_checkpoint(5, merkle.consistency_proof(LEAVES[:9], 5), _head(operator, 9), now=NOW)
    grown = (tmp_path / "state").read_bytes()
    (tmp_path / "state").write_bytes(seen)

    command = [sys.executable, "-c", DIE_AT, str(tmp_path), "0", "request"]
    with locked(tmp_path / ".state.lock"):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
        (tmp_path / "state").write_bytes(grown)
    assert process.communicate(timeout=60) == (b"", None)
    assert witness.size(operator.public) == 9
    assert process.returncode == 1


def _state(size: str, time: str = "1") -> bytes:
    head = f'{{"root":"{"0" * 64}","size":{size},"time":{time}}}'
    return f'{{"format":"cenotaph-witness-state/v1","logs":{{"a":{head}}}}}'.encode()


def test_the_undamaged_state_of_these_tests_is_read(tmp_path, operator, paper):
    """Otherwise the refusals below would show nothing."""
    (tmp_path / "state").write_bytes(_state("1"))
    assert Witness(tmp_path / "state", paper, [operator.public]).size(operator.public) == 0


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{}",
        b'{"format":"cenotaph-witness-state/v2","logs":{}}',
        b'{"format":"cenotaph-witness-state/v1","logs":[]}',
        b'{"format":"cenotaph-witness-state/v1","logs":{"a":{"root":"00","size":1,"time":1}}}',
        _state(size="true"),
        _state(size="-1"),
        _state(size="1", time="null"),
    ],
)
def test_a_damaged_state_stops_the_witness(witness, tmp_path, operator, damage):
    """It does not begin anew: that would be forgetting."""
    (tmp_path / "state").write_bytes(damage)
    with pytest.raises(FormatError):
        witness.add_checkpoint(5, [], _head(operator, 5), now=NOW + 1)


def test_the_state_is_for_the_witness_alone(witness, tmp_path):
    """Mode 0600."""
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600


@given(
    st.integers(0, 2**53 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    st.binary(max_size=40),
)
def test_a_request_is_written_one_way(old_size, proof, data):
    """Reading undoes writing."""
    request = Request(old_size, tuple(proof), data)
    assert Request.parse(request.to_bytes()) == request


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 5",
        b"old 5\n",
        b"old +5\n\n",
        b"old 05\n\n",
        b"old  5\n\n",
        b"new 5\n\n",
        b"old 5\nAAAA\n\n",
        b"old 5\n!\n\n",
        "old ٣\n\n".encode(),
        b"old 5\n" + (b"A" * 43 + b"=\n") * 64 + b"\n",
    ],
)
def test_a_malformed_request_is_refused(body):
    """Numbers and hashes have one spelling; at most 63 hashes."""
    with pytest.raises(FormatError):
        Request.parse(body)
