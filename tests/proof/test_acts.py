"""What a party signs and keeps on its own machine."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from cenotaph.testing.ceremony import AUDITORS, NOTARY, OPERATOR, Ceremony
from cenotaph_proof import acts, draw, envelope, statements
from cenotaph_proof.case import Case
from cenotaph_proof.errors import FormatError, KeyFileError, OrderError
from cenotaph_proof.folder import SO_FAR, CaseFolder, Secrets, wipe
from cenotaph_proof.statements import Approval, Challenge

AUDITOR = AUDITORS[0]
A_RECORD = {"store": "health", "collection": "visits", "values": {"id": "1"}}


class Party:
    """One party with a copy of the case, and its key beside it."""

    def __init__(self, folder: Path, c: Ceremony, name: str) -> None:
        self.c, self.name = c, name
        self.case = CaseFolder(folder / "case")
        self.key = folder / "keys" / name.split()[0]
        self.key.parent.mkdir()
        c.key(name).save(self.key)
        self.receive()

    def receive(self) -> None:
        """A new copy of the statements arrives."""
        self.case.statements.mkdir(parents=True, exist_ok=True)
        (self.case.statements / SO_FAR).write_bytes(self.c.proof())

    def approve(self, **options: object) -> Approval:
        path = acts.approve(self.case, self.key, **{"charter": False, "now": self.c.now, **options})  # type: ignore[arg-type]
        self.sent = path
        body = statements.parse(envelope.open_(path.read_bytes()).payload, {}).body
        assert isinstance(body, Approval)
        return body

    def log(self) -> None:
        """The operator logs what was sent; the rules take it."""
        self.c.log(self.sent.read_bytes())
        self.sent.unlink()
        self.c.replay(Case)
        self.receive()


def test_an_auditor_commits_to_what_it_keeps(tmp_path: Path) -> None:
    """Approving the charter makes share and nonces, keeps them, and sends commitments alone."""
    c = Ceremony().run(last="open")
    auditor = Party(tmp_path, c, AUDITOR)
    outside = tmp_path / "outside.json"
    outside.write_text(json.dumps([A_RECORD, A_RECORD]))

    body = auditor.approve(charter=True, outside=outside)
    auditor.log()

    kept = Secrets(auditor.key, c.case_id).load()
    assert body.commitments is not None
    assert body.commitments.share == draw.commitment("share", bytes.fromhex(kept["share"]))
    for what, commitment in (
        ("challenge nonce", body.commitments.challenge_nonce),
        ("probe nonce", body.commitments.probe_nonce),
    ):
        assert draw.commitment(what, bytes.fromhex(kept[commitment])) == commitment
    assert body.commitments.outside_records == 2
    salt = bytes.fromhex(kept["outside"])
    assert body.commitments.outside == acts.outside_commitment(salt, outside.read_bytes())
    assert kept["share"] not in auditor.case.statements.joinpath(SO_FAR).read_text()


def test_the_share_travels_sealed_to_the_operator(tmp_path: Path) -> None:
    """Beside the approval lies the share, which only the operator's key opens."""
    c = Ceremony().run(last="open")
    auditor = Party(tmp_path, c, AUDITOR)
    auditor.approve(charter=True)

    (sealed,) = auditor.case.incoming.glob("*.share")

    share = c.key(OPERATOR).open_sealed(acts.share_info(c.case_id), sealed.read_bytes())
    assert share.hex() == Secrets(auditor.key, c.case_id).load()["share"]


def test_approving_the_charter_again_keeps_the_share(tmp_path: Path) -> None:
    """The case key depends on the share: a second approval must not lose it."""
    c = Ceremony().run(last="open")
    auditor = Party(tmp_path, c, AUDITOR)

    first = auditor.approve(charter=True).commitments
    second = auditor.approve(charter=True).commitments

    assert first is not None
    assert second is not None
    assert first.share == second.share


def test_a_notary_approves_charter_and_plan(tmp_path: Path) -> None:
    """Without commitments, until the policy's date or the one it says."""
    c = Ceremony().run(last="open")
    c.approve_charter(AUDITOR)
    notary = Party(tmp_path, c, NOTARY)
    assert notary.approve(charter=True).commitments is None
    notary.log()
    c.run("survey", "challenge")
    notary.receive()

    body = notary.approve(lasts=3600)
    notary.log()

    assert (body.of, body.decision, body.until - body.signed) == ("plan", "approve", 3600)


def test_an_auditor_approves_what_it_challenged(tmp_path: Path) -> None:
    """Before its own challenge there is nothing it could say; after a rejection nothing it may."""
    c = Ceremony().run(last="plan")
    auditor = Party(tmp_path, c, AUDITOR)
    with pytest.raises(OrderError, match="you have not challenged this plan yet"):
        auditor.approve()

    c.challenge(decision="reject", reasons=("a chunk differs",))
    auditor.receive()

    assert c.bodies["challenge"] == c.replay().require(Challenge).body(Challenge)
    with pytest.raises(OrderError, match="your own challenge rejected"):
        auditor.approve()


def test_an_accepted_challenge_is_cited(tmp_path: Path) -> None:
    """The auditor's approval of a plan names the challenge it rests on."""
    c = Ceremony().run(last="challenge")
    auditor = Party(tmp_path, c, AUDITOR)

    auditor.approve()

    cites = statements.parse(envelope.open_(auditor.sent.read_bytes()).payload, {}).cites
    assert {x.kind: x.digest for x in cites}["challenge"] == c.newest["challenge"]
    auditor.log()


def test_a_withdrawal_needs_no_challenge(tmp_path: Path) -> None:
    """Whoever doubts takes the approval back at once."""
    c = Ceremony().run(last="approve")
    auditor = Party(tmp_path, c, AUDITOR)

    assert auditor.approve(withdraw=True).decision == "withdraw"
    auditor.log()


def test_an_operator_approves_nothing(tmp_path: Path) -> None:
    """The operator is no party that approves."""
    c = Ceremony().run(last="open")
    with pytest.raises(KeyFileError, match="is not auditor or notary or owner in this case"):
        Party(tmp_path, c, OPERATOR).approve(charter=True)


def test_outside_records_are_a_list_of_bounded_size(tmp_path: Path) -> None:
    """Anything else is refused before it is committed to."""
    c = Ceremony().run(last="open")
    auditor = Party(tmp_path, c, AUDITOR)
    bad = tmp_path / "outside.json"
    bad.write_text(json.dumps(A_RECORD))
    with pytest.raises(OrderError, match="not a JSON list of objects"):
        auditor.approve(charter=True, outside=bad)
    bad.write_bytes(b" " * (acts.OUTSIDE_LIMIT + 1))
    with pytest.raises(OrderError, match="larger than 16 MiB"):
        auditor.approve(charter=True, outside=bad)


def test_a_folder_that_was_never_opened(tmp_path: Path) -> None:
    """The error says what to do."""
    with pytest.raises(OrderError, match="holds no opened case"):
        CaseFolder(tmp_path).replay()


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────


def test_secrets_are_its_owners_alone(tmp_path: Path) -> None:
    """File and folder can be read by nobody else."""
    secrets = Secrets(tmp_path / "key", "ab" * 32)
    secrets.remember(share="00" * 32)

    assert stat.S_IMODE(secrets.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(secrets.path.parent.stat().st_mode) == 0o700
    assert secrets.load() == {"share": "00" * 32}


def test_a_forgotten_secret_is_overwritten_in_its_old_place(tmp_path: Path) -> None:
    """A second name for the old file shows that its bytes are gone, not only its name."""
    secrets = Secrets(tmp_path / "key", "ab" * 32)
    secrets.remember(share="5e" * 32, other="00" * 32)
    old = tmp_path / "old-bytes"
    old.hardlink_to(secrets.path)
    assert b"5e5e" in old.read_bytes()

    assert secrets.forget("share")

    assert not old.read_bytes().strip(b"\0")
    assert secrets.load() == {"other": "00" * 32}
    assert not secrets.forget("share")


def test_secrets_of_another_form_are_refused(tmp_path: Path) -> None:
    """A damaged file is no empty one."""
    secrets = Secrets(tmp_path / "key", "ab" * 32)
    secrets.path.parent.mkdir()
    secrets.path.write_text(json.dumps({"share": 5}))

    with pytest.raises(FormatError, match="not a file of case secrets"):
        secrets.load()


def test_wiping_nothing_is_a_success(tmp_path: Path) -> None:
    """A wipe can be repeated after a crash; a symlink is not followed."""
    wipe(tmp_path / "missing")
    target = tmp_path / "target"
    target.write_text("kept")
    (tmp_path / "link").symlink_to(target)

    with pytest.raises(OSError, match=r"."):
        wipe(tmp_path / "link")

    assert target.read_text() == "kept"
