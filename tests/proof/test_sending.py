"""A party's copy of a case: fetched from an inbox that is not believed, and what was signed sent back."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cenotaph.testing.ceremony import AUDITORS, NOTARY, Ceremony
from cenotaph_proof import acts
from cenotaph_proof.__main__ import main
from cenotaph_proof.errors import (
    CallError,
    FormatError,
    HistoryError,
    KeyFileError,
    LogError,
    OrderError,
    ThresholdError,
)
from cenotaph_proof.folder import SO_FAR, CaseFolder
from cenotaph_proof.network import exchange, sending
from cenotaph_proof.network.address import Address
from cenotaph_proof.network.sending import Inbox, fetch, send, unsent
from servers import Certificates, Server, make_certificates, running

AUDITOR = AUDITORS[0]


class Served:
    """An operator's case folder with its inbox as a process, over TLS; and a party's own folder."""

    def __init__(self, root: Path, certificates: Certificates) -> None:
        self.root, self.certificates = root, certificates
        self.case, self.copy = root / "case", root / "copy"
        self.c = Ceremony().run(last="open")
        (self.case / "annex").mkdir(parents=True)
        (self.case / "annex" / "inventory.sealed").write_bytes(b"sealed")
        (self.case / "case.toml").write_text("[case]\n")
        self.show(self.c)
        (root / "keys").mkdir()
        for name in (AUDITOR, NOTARY):
            self.c.key(name).save(self.key(name))

    def key(self, name: str) -> Path:
        return self.root / "keys" / name.split()[0]

    def show(self, c: Ceremony) -> None:
        """The operator's folder holds what was logged in this telling of the case."""
        (self.case / "statements").mkdir(exist_ok=True)
        (self.case / "statements" / ".new").write_bytes(c.proof())
        (self.case / "statements" / ".new").replace(self.case / "statements" / SO_FAR)

    def inbox(self, server: Server, name: str = AUDITOR) -> Inbox:
        address = Address.parse(server.url)
        return Inbox(address, self.c.key(name), lambda: int(time.time()), self.certificates.authority)

    def fetch(self, server: Server, name: str = AUDITOR, to: Path | None = None) -> sending.Fetched:
        return fetch(self.inbox(server, name), self.key(name), to or self.copy)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def case_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("operator")


@pytest.fixture(scope="module")
def server(case_folder: Path, certificates: Certificates) -> Iterator[Server]:
    line = ("cenotaph", "inbox", "serve", "--case", case_folder / "case", "--listen", "127.0.0.1:0")
    with running(*line, *certificates.served, errors=case_folder / "errors") as made:
        yield made


@pytest.fixture
def served(case_folder: Path, certificates: Certificates, tmp_path: Path) -> Iterator[Served]:
    """The one server shows each test's own case: its folder is laid anew."""
    made = Served(tmp_path, certificates)
    shutil.rmtree(case_folder / "case", ignore_errors=True)
    (case_folder / "case").parent.mkdir(exist_ok=True)
    made.case.rename(case_folder / "case")
    made.case = case_folder / "case"
    return made


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_a_copy_is_the_operators_case(served, server):
    """Over TLS with a private authority; nobody else on the machine can read it."""
    fetched = served.fetch(server)

    assert (fetched.statements, fetched.new, fetched.files) == (1, 1, 3)
    assert files(served.copy) == files(served.case)
    assert served.copy.stat().st_mode & 0o777 == 0o700
    assert (served.copy / "case.toml").stat().st_mode & 0o777 == 0o600


def test_a_party_approves_on_its_copy_and_sends(served, server):
    """The envelope and the share arrive as they were signed; once logged, they leave the copy."""
    served.fetch(server)
    path = acts.approve(CaseFolder(served.copy), served.key(AUDITOR), charter=True, now=served.c.now)
    assert unsent(served.copy, served.c.key(AUDITOR)) == [path]
    assert unsent(served.copy, served.c.key(NOTARY)) == []

    assert send(served.inbox(server), path) == "waiting"
    assert send(served.inbox(server), path) == "waiting"
    arrived = served.case / "statements" / "incoming"
    assert files(arrived) == files(served.copy / "statements" / "incoming")
    assert len(files(arrived)) == 2
    served.c.log(path.read_bytes())
    served.show(served.c)
    assert send(served.inbox(server), path) == "logged"
    assert served.fetch(server).new == 1
    assert list((served.copy / "statements" / "incoming").iterdir()) == []


def test_the_commands_do_the_same(served, server, capsys):
    """`fetch`, `approve`, `send` from a copy that knows where it came from; each says what it did in JSON."""
    where = ["--ca", str(served.certificates.authority), "--key", str(served.key(NOTARY))]
    assert main(["fetch", "--from", server.url, "--to", str(served.copy), *where]) == 0
    assert main(["approve", "--case", str(served.copy), "--key", str(served.key(NOTARY)), "--charter"]) == 0
    assert main(["send", "--case", str(served.copy), *where]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert [line["stage"] for line in said] == ["fetch", "approve", "send"]
    assert said[2]["sent"] == [{"file": Path(said[1]["statement"]).name, "state": "waiting"}]
    assert main(["send", str(said[1]["statement"]), *where]) == 2
    assert "no inbox to send to" in capsys.readouterr().err


def test_what_went_from_the_annex_goes_here_too(served, server):
    """The annex is destroyed everywhere: a copy follows the operator's, overwritten before it goes."""
    served.fetch(server)
    kept = os.open(served.copy / "annex" / "inventory.sealed", os.O_RDONLY)
    (served.case / "annex" / "inventory.sealed").unlink()
    served.fetch(server)

    assert list((served.copy / "annex").iterdir()) == []
    assert os.read(kept, 100) == bytes(len(b"sealed"))
    os.close(kept)


# ── an operator who lies ─────────────────────────────────────────────────────────────────────────


def fork(c: Ceremony) -> Ceremony:
    """Another telling of the same case from its first statement on: the same case id, other statements."""
    return c.fresh(now=c.now + 5).run(last="open")


def test_another_history_is_found_out(served, server):
    """The split view: the copy at hand and the one that is shown now are of two logs under one key."""
    served.c.countersign()
    served.show(served.c)
    served.fetch(server)
    before = files(served.copy)
    other = fork(served.c)
    other.countersign()
    served.show(other)

    with pytest.raises(LogError, match="signed two histories"):
        served.fetch(server)
    assert files(served.copy) == before
    assert not (served.copy / sending.STAGING).exists()


def test_an_older_copy_does_not_take_the_place_of_a_newer_one(served, server):
    """What was logged stays logged."""
    older = served.c.proof()
    served.c.countersign()
    served.show(served.c)
    served.fetch(server)
    (served.case / "statements" / SO_FAR).write_bytes(older)

    with pytest.raises(HistoryError, match="shows 1 statements; this copy has 3 already"):
        served.fetch(server)


def test_another_case_does_not_take_the_place_of_this_one(served, server):
    """Each case has a folder of its own."""
    served.fetch(server)
    served.show(served.c.fresh(attempt=2).run(last="open"))

    with pytest.raises((OrderError, CallError)):
        served.fetch(server)


def test_a_copy_that_does_not_replay_is_not_kept(served, server):
    """A log in which a rule is broken is refused as a whole."""
    served.c.survey()  # before the charter was countersigned
    served.show(served.c)

    with pytest.raises(ThresholdError, match="not countersigned"):
        served.fetch(server)
    assert files(served.copy) == {}


# ── what is not written over ─────────────────────────────────────────────────────────────────────


def test_a_folder_that_fetch_did_not_make_is_left_alone(served, server, tmp_path):
    """The operator's own case, or any other folder, is never written into."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "case.toml").write_text("mine")

    with pytest.raises(KeyFileError, match="holds files that fetch did not bring"):
        served.fetch(server, to=tmp_path / "mine")
    assert files(tmp_path / "mine") == {"case.toml": b"mine"}


def test_the_key_does_not_lie_in_the_copy(served, server):
    """Where files of the operator's come and go, no secret lies."""
    served.copy.mkdir()
    inside = served.copy / "key"
    served.c.key(AUDITOR).save(inside)

    with pytest.raises(KeyFileError):
        fetch(served.inbox(server), inside, served.copy)
    (served.copy / sending.MARK).write_text(server.url)
    with pytest.raises(KeyFileError, match="lies in the folder"):
        fetch(served.inbox(server), inside, served.copy)
    assert inside.exists()


def test_a_link_in_the_copy_leads_nowhere(served, server, tmp_path):
    """A file that was replaced by a link is replaced, and what the link names is not written."""
    served.fetch(server)
    (tmp_path / "elsewhere").write_bytes(b"mine")
    (served.copy / "case.toml").unlink()
    (served.copy / "case.toml").symlink_to(tmp_path / "elsewhere")
    served.fetch(server)

    assert not (served.copy / "case.toml").is_symlink()
    assert (tmp_path / "elsewhere").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "entry",
    ["keys/AuditCo", "../escaped", "statements/incoming/a.json", "/tmp/escaped", "case.toml/../../escaped"],
)
def test_a_hostile_archive_writes_nothing_elsewhere(tmp_path, entry):
    """Whatever its names are, nothing leaves the folder that it is read into."""
    hostile = exchange._header("case.toml", 0) + exchange._header(entry, 0) + bytes(1024)
    (tmp_path / "to").mkdir()

    def extract() -> None:
        for received in exchange.read_copy(io.BytesIO(hostile), 1 << 20):
            sending._write(received, tmp_path / "to" / received.path)

    with pytest.raises(FormatError, match="no file of a case"):
        extract()
    assert set(files(tmp_path / "to")) == {"case.toml"}
    assert not (tmp_path / "escaped").exists()


# ── what is not sent ─────────────────────────────────────────────────────────────────────────────


def test_only_what_this_key_signed_is_sent(served, server, tmp_path):
    """Not another's envelope, and not a file that is none: it does not leave this machine."""
    served.fetch(server)
    path = acts.approve(CaseFolder(served.copy), served.key(NOTARY), charter=True, now=served.c.now)
    (tmp_path / "letter.json").write_text('{"dear": "operator"}')

    with pytest.raises(KeyFileError, match="signed by another key"):
        send(served.inbox(server, AUDITOR), path)
    with pytest.raises(FormatError):
        send(served.inbox(server), tmp_path / "letter.json")
    assert not (served.case / "statements" / "incoming").exists()


def test_a_refusal_says_what_to_do(served, server):
    """A wrong clock, a key of nobody's: the status, the server's words without controls, and a hint."""
    inbox = served.inbox(server)
    late = Inbox(inbox.address, inbox.key, lambda: 1, inbox.ca)
    with pytest.raises(CallError, match="status 401: the request was not signed now") as refused:
        fetch(late, served.key(AUDITOR), served.copy)
    assert "clock" in (refused.value.hint or "")
    stranger = Inbox(inbox.address, Ceremony().key("Stranger", "auditor"), inbox.clock, inbox.ca)
    with pytest.raises(CallError, match="status 403"):
        fetch(stranger, served.key(AUDITOR), served.copy)


def test_a_server_of_another_name_gets_no_request_of_use(served, server):
    """By another name of the same machine the signature is for another host: 401."""
    inbox = served.inbox(server)
    named = Address.parse(f"https://localhost:{server.port}/")

    with pytest.raises(CallError, match="status 401"):
        fetch(Inbox(named, inbox.key, inbox.clock, inbox.ca), served.key(AUDITOR), served.copy)
