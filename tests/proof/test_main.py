"""The small commands, as people and scripts call them."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from cenotaph.testing.ceremony import NOTARY, OPERATOR, WITNESSES, Ceremony
from cenotaph.testing.lying import LyingOperator
from cenotaph_proof import merkle, note
from cenotaph_proof.__main__ import main, verify_main
from cenotaph_proof.folder import SO_FAR
from cenotaph_proof.keys import PublicKey, SecretKey
from cenotaph_proof.witness import Request


class Ground:
    """Files of a case on a reader's disk."""

    def __init__(self, folder: Path, c: Ceremony) -> None:
        self.folder, self.c = folder, c
        self.proof = folder / "case.cenotaph"
        self.proof.write_bytes(c.proof())
        tables = [self._table(name) for name in c.parties()]
        policy = f"[policy]\napprove = {{ auditor = 1, notary = 1 }}\nwitness = {c.witness}\n"
        self.trust = folder / "trust.toml"
        self.trust.write_text("".join(tables) + policy, "utf-8")

    def _table(self, name: str) -> str:
        key = self.c.key(name).public.to_text().replace("\n", "\\n").replace('"', '\\"')
        role = self.c.key(name).role
        return f'[[party]]\norganisation = "{name}"\nrole = "{role}"\nkey = "{key}"\n'


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path, Ceremony().run())


def test_verifying(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    """0 with a trust file, 6 without, and the verdict on stdout."""
    assert verify_main([str(ground.proof), "--trust", str(ground.trust)]) == 0
    assert capsys.readouterr().out.startswith("VERIFIED\n")
    assert verify_main([str(ground.proof)]) == 6


@pytest.mark.parametrize("arguments", [["{pipe}"], ["{proof}", "--compare", "{pipe}"]])
def test_a_file_may_come_through_a_pipe(
    ground: Ground, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """`… | cenotaph-verify /dev/stdin`: the beginning of a file is looked at and not lost."""
    reader, writer = os.pipe()
    sending = threading.Thread(target=_send, args=(writer, ground.proof.read_bytes()))
    sending.start()
    given = [a.format(pipe=f"/dev/fd/{reader}", proof=ground.proof) for a in arguments]

    assert verify_main([*given, "--trust", str(ground.trust)]) == 0
    assert capsys.readouterr().out.startswith("VERIFIED\n")
    os.close(reader)
    sending.join()


def _send(writer: int, data: bytes) -> None:
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(data)


def test_json(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    """One object on the last line, for a verdict and for a refusal."""
    assert verify_main([str(ground.proof), "--trust", str(ground.trust), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["verdict"] == "verified"

    ground.proof.write_bytes(LyingOperator().padded_counts())
    assert verify_main([str(ground.proof), "--trust", str(ground.trust), "--json"]) == 3
    refused = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert refused["verdict"] == "does not verify"
    assert refused["step"] == "verify 7"


def test_errors(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    """2 for a trust file that is none, 1 for a file that is not there; never a traceback."""
    assert verify_main([str(ground.proof), "--trust", str(ground.proof)]) == 2
    assert verify_main([str(ground.folder / "nothing.cenotaph")]) == 1
    assert verify_main([str(ground.folder)]) == 1
    said = capsys.readouterr().err
    assert said.count("cenotaph-verify: error:") == 3


def test_comparing(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    """Two readers hold their files together: 3 when the operator gave them two histories."""
    first, second = LyingOperator().second_history()
    (ground.folder / "mine").write_bytes(first)
    (ground.folder / "yours").write_bytes(second)
    mine, yours = str(ground.folder / "mine"), str(ground.folder / "yours")

    assert verify_main([mine, "--trust", str(ground.trust), "--compare", mine]) == 0
    assert verify_main([mine, "--trust", str(ground.trust), "--compare", yours]) == 3
    assert "the operator signed two histories" in capsys.readouterr().err


def test_keygen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key pair, and no overwriting of one."""
    arguments = ["keygen", "--role", "notary", "--organisation", NOTARY, "--out", str(tmp_path / "zhao")]

    assert main(arguments) == 0
    assert main(arguments) == 2

    said = capsys.readouterr()
    public = PublicKey.load(tmp_path / "zhao.pub")
    assert json.loads(said.out.splitlines()[0])["key"] == public.key_id
    assert SecretKey.load(tmp_path / "zhao").public == public
    assert "already there" in said.err


def test_approving(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A notary approves from a copy of the case; what is too early is *blocked*, 4."""
    c = Ceremony().run(last="open")
    c.key(NOTARY).save(tmp_path / "zhao")
    (tmp_path / "case" / "statements").mkdir(parents=True)
    (tmp_path / "case" / "statements" / SO_FAR).write_bytes(c.proof())
    common = ["--case", str(tmp_path / "case"), "--key", str(tmp_path / "zhao")]

    assert main(["approve", *common, "--charter", "--lasts", "30d"]) == 0
    assert Path(json.loads(capsys.readouterr().out)["statement"]).exists()
    assert main(["approve", *common]) == 4
    assert "the case has no plan yet" in capsys.readouterr().err
    assert main(["approve", *common, "--charter", "--lasts", "soon"]) == 1


def test_witnessing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A witness cosigns what grows from what it saw, and refuses a second history."""
    c = Ceremony().run(last="countersign")
    c.key(WITNESSES[0]).save(tmp_path / "paper")
    (tmp_path / "bureau.pub").write_text(c.key(OPERATOR).public.to_text(), "utf-8")

    def request(old: int, size: int) -> list[str]:
        leaves = [merkle.leaf_hash(data) for data in c.entries[:size]]
        signed = note.sign_checkpoint(note.Checkpoint(c.origin, size, merkle.root(leaves)), c.key(OPERATOR))
        proof = tuple(merkle.consistency_proof(leaves, old))
        (tmp_path / "request").write_bytes(Request(old, proof, signed).to_bytes())
        state = str(tmp_path / "state")
        return [
            "witness",
            *("--key", str(tmp_path / "paper"), "--state", state),
            *("--operator", str(tmp_path / "bureau.pub")),
            str(tmp_path / "request"),
        ]

    assert main(request(0, 2)) == 0
    assert capsys.readouterr().out.startswith("— cenotaph.witness/")
    assert main(request(2, 3)) == 0
    c.entries[1] = c.entries[0]
    assert main(request(3, 3)) == 1
    assert "two histories" in capsys.readouterr().err


def test_the_command_needs_a_subcommand() -> None:
    """argparse's own code for wrong usage, 2."""
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
