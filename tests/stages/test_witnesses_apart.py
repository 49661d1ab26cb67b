"""Log witnesses on the network: how many must cosign, who is missing, who saw another history, who lies."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cenotaph.cli import checks
from cenotaph.config import load
from cenotaph.errors import UsageError
from cenotaph.stages.open import open_case
from cenotaph.stores import open_reader
from cenotaph_proof import note
from cenotaph_proof.errors import HistoryError, ThresholdError
from cenotaph_proof.keys import PublicKey, SecretKey
from cenotaph_proof.log import Log
from servers import Server, lying, running
from small_case import STORES, SmallCase, build_estate

NAMES = ("Daily Paper", "City Library", "State University")
POLICY = "[policy]\napprove = {}\nwitness = 2\n"


class Witnesses:
    """Three log witnesses, each a process; a new operator's key in `operators` is enough for a new log.

    The third cosigns with ML-DSA-44 too.
    """

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.keys, self.operators = root / "keys", root / "operators"
        self.keys.mkdir()
        self.operators.mkdir()
        self.servers: dict[str, Server] = {}
        for name in NAMES:
            SecretKey.generate(name, "log-witness", post_quantum=name == NAMES[2]).save(self.keys / name)
            line = ("cenotaph-proof", "witness", "serve", "--key", self.keys / name, "--state", root / name)
            more = ("--operators", self.operators, "--listen", "127.0.0.1:0")
            self.servers[name] = stack.enter_context(running(*line, *more, errors=root / f"{name} errors"))


@pytest.fixture(scope="module")
def witnesses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witnesses]:
    with ExitStack() as stack:
        yield Witnesses(tmp_path_factory.mktemp("witnesses"), stack)


@pytest.fixture(scope="module")
def nowhere() -> str:
    """An address where nobody listens."""
    with lying(lambda path, body: (200, "text/plain", b"")) as url:
        return url


class Three:
    """A case of which two of three log witnesses must cosign; addresses come from the surroundings."""

    def __init__(self, root: Path, witnesses: Witnesses, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.witnesses, self._surroundings = root, witnesses, monkeypatch
        build_estate(root / "estate")
        shutil.copytree(witnesses.keys, root / "keys")
        SecretKey.generate("Big Data Bureau", "operator").save(root / "keys" / "bureau")
        shutil.copy(root / "keys" / "bureau.pub", witnesses.operators / f"{root.name}.pub")
        parties = [("Big Data Bureau", "operator", "bureau"), *((n, "log-witness", n) for n in NAMES)]
        self.case = SmallCase.make(root, STORES, parties=parties, policy=POLICY)
        text = (self.case.path / "case.toml").read_text("utf-8")
        for number, name in enumerate(NAMES):
            text = text.replace(f'"file:../keys/{name}"', f'"env:WITNESS_{number}"')
        (self.case.path / "case.toml").write_text(text, "utf-8")
        self.at({})

    def at(self, elsewhere: dict[str, str]) -> None:
        """Where the witnesses are found; those not named, where they are."""
        for number, name in enumerate(NAMES):
            url = elsewhere.get(name) or self.witnesses.servers[name].url
            self._surroundings.setenv(f"WITNESS_{number}", url)

    def log(self) -> Log:
        return Log.open(self.root / "log", SecretKey.load(self.root / "keys" / "bureau"))

    def cosigned(self, size: int) -> set[str]:
        """The organisations that cosigned the head of this size."""
        keys = [PublicKey.load(self.root / "keys" / f"{name}.pub") for name in NAMES]
        operator = PublicKey.load(self.root / "keys" / "bureau.pub")
        seen = note.verify_checkpoint(self.log().cosigned()[size], operator, keys)
        return {k.organisation for k in keys for key_id, _ in seen.cosignatures if key_id == k.key_id}

    def restore_log(self, older: Path) -> None:
        """The operator's mistake: an older copy of the log and of the statements takes their place."""
        for name in ("log", "case"):
            shutil.rmtree(self.root / name)
            shutil.copytree(older / name, self.root / name)

    def save(self, to: Path) -> Path:
        for name in ("log", "case"):
            shutil.copytree(self.root / name, to / name)
        return to


@pytest.fixture
def three(tmp_path: Path, witnesses: Witnesses, monkeypatch: pytest.MonkeyPatch) -> Three:
    monkeypatch.setattr("cenotaph_proof.network.witness_client.PAUSE", 0.01)
    monkeypatch.setattr("cenotaph.cosigning.GRACE", 30.0)
    return Three(tmp_path, witnesses, monkeypatch)


def test_all_that_answer_cosign(three: Three) -> None:
    """One more than must: the third makes the proof stronger, and nobody is missing."""
    desk = three.case.desk()
    open_case(desk)

    assert three.cosigned(1) == set(NAMES)
    assert len(note.parse_note(three.log().cosigned()[1]).signatures) == 1 + 3 + 1
    assert desk.unheard == []


def test_enough_are_enough_and_the_missing_one_is_told(three: Three, nowhere: str) -> None:
    """Two of three: one is down, the case opens, and it is said who did not cosign, and why. When it is
    back, it catches up with the next statement."""
    three.at({"City Library": nowhere})
    desk = three.case.desk()
    open_case(desk)

    assert three.cosigned(1) == {"Daily Paper", "State University"}
    assert desk.unheard == ["City Library (127.0.0.1 cannot be reached)"]
    three.at({})
    three.case.survey()
    assert three.cosigned(2) == set(NAMES)


def test_too_few_block_and_are_named(three: Three, nowhere: str) -> None:
    """One of three: the command is blocked, and goes on when the witnesses answer again; nothing is signed
    twice."""
    three.at({"City Library": nowhere, "Daily Paper": nowhere})
    with pytest.raises(ThresholdError) as blocked:
        open_case(three.case.desk())

    assert "has 1 of 2 cosignatures" in blocked.value.message
    assert "Daily Paper (" in blocked.value.message
    assert "City Library (" in blocked.value.message
    assert "State University" not in blocked.value.message
    assert three.log().size == 1
    three.at({})
    open_case(three.case.desk())
    assert three.log().size == 1
    assert three.cosigned(1) == set(NAMES)


def test_an_older_log_is_refused_before_anything_is_appended(three: Three, tmp_path: Path) -> None:
    """Restored from a copy, with everything that this machine could know by itself: the witnesses know
    better, and no second history is signed."""
    three.case.open()
    older = three.save(tmp_path / "older")
    three.case.survey()
    three.restore_log(older)

    with pytest.raises(HistoryError, match=r"another history of this log: it has seen 2 .* has 1"):
        three.case.survey()
    assert three.log().size == 1


def test_one_witness_that_claims_to_know_more_stops_nobody(three: Three) -> None:
    """Two of the three know this head as the newest: then no two can have seen more."""
    three.case.open()
    with lying(lambda path, body: (409, "text/x.tlog.size", b"99\n")) as liar:
        three.at({"City Library": liar})
        desk = three.case.desk()
        assert desk.admit_incoming() == []
        three.case.survey()
    assert three.cosigned(2) == {"Daily Paper", "State University"}


def test_a_fork_is_not_cosigned_by_those_who_saw_the_other(
    three: Three, nowhere: str, tmp_path: Path
) -> None:
    """The operator goes on with a copy of the log, while one witness is not looking: the two that saw the
    first history refuse the second, one of them is enough to stop it, and the error says which."""
    three.case.open()
    other = three.save(tmp_path / "other")
    three.at({"State University": nowhere})
    three.case.survey()
    assert three.cosigned(2) == {"Daily Paper", "City Library"}
    three.restore_log(other)
    three.at({"Daily Paper": nowhere})

    with pytest.raises(HistoryError, match="City Library has seen another history"):
        three.case.survey()
    assert three.log().size == 1


def test_doctor_finds_a_witness_that_does_not_answer(three: Three, nowhere: str) -> None:
    """Before the case is opened, when its address can still be changed."""
    three.at({"City Library": nowhere})
    found = {c.what: c for c in checks.run(three.case.path, open_reader)}

    assert found["log witness Daily Paper"].good
    assert not found["log witness City Library"].good
    assert found["log witness City Library"].says == "127.0.0.1 cannot be reached"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"env:WITNESS_0"', '"http://paper.example.org/"', "not this machine"),
        ('"env:WITNESS_0"', '"https://paper.example.org/?log=1"', "an address is written"),
        ('role = "log-witness"', 'role = "notary"', "only a log witness cosigns"),
    ],
)
def test_where_a_witness_is_is_read_strictly(three: Three, old: str, new: str, message: str) -> None:
    """In clear to others, with a query, or of a party that does not cosign: refused when the file is read."""
    path = three.case.path / "case.toml"
    path.write_text(path.read_text("utf-8").replace(old, new, 1), "utf-8")

    with pytest.raises(UsageError, match=message):
        load(path)
