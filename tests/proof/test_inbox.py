"""The inbox: who may fetch what, and what is taken in; nothing that a party sends harms the case."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from cenotaph.testing.ceremony import AUDITORS, NOTARY, OPERATOR, Ceremony
from cenotaph_proof import acts
from cenotaph_proof.folder import SO_FAR, CaseFolder
from cenotaph_proof.keys import SecretKey
from cenotaph_proof.network import exchange, inbox
from cenotaph_proof.network.address import Address
from cenotaph_proof.network.exchange import Parts
from cenotaph_proof.network.inbox import InboxService
from cenotaph_proof.network.serving import Answer, Request

AUDITOR = AUDITORS[0]
AT = Address.parse("https://inbox.example.org/visits")


class Party:
    """An inbox over a ceremony's case, and parties that call it, without a network between them."""

    def __init__(self, folder: Path, last: str = "open") -> None:
        self.c = Ceremony().run(last=last)
        self.case = folder / "case"
        self.incoming = self.case / "statements" / "incoming"
        self.folder = folder
        self.now = self.c.now
        self.calls = 0
        self.grow()
        (self.case / "annex").mkdir()
        (self.case / "annex" / "inventory.sealed").write_bytes(b"sealed")
        (self.case / "case.toml").write_text("[case]\n")
        self.served = InboxService(self.case, AT, lambda: self.now)

    def grow(self) -> None:
        """What was logged until now, as the operator's commands write it."""
        (self.case / "statements").mkdir(parents=True, exist_ok=True)
        (self.case / "statements" / ".new").write_bytes(self.c.proof())
        (self.case / "statements" / ".new").replace(self.case / "statements" / SO_FAR)

    def approval(self, name: str) -> Parts:
        """A party's approval of the charter, with what lies beside it."""
        key_file = self.folder / name.split()[0]
        if not key_file.exists():
            self.c.key(name).save(key_file)
        at_home = CaseFolder(self.folder / f"home of {key_file.name}")
        at_home.statements.mkdir(parents=True, exist_ok=True)
        (at_home.statements / SO_FAR).write_bytes(self.c.proof())
        path = acts.approve(at_home, key_file, charter=True, now=self.now)
        share = path.with_suffix(".share")
        return Parts(path.read_bytes(), share.read_bytes() if share.exists() else None)

    def call(self, key: SecretKey, method: str, path: str, body: bytes = b"", /, **changes: object) -> Answer:
        """A signed request; `changes` are of what is signed: method, authority, path, body, now, nonce."""
        self.calls += 1
        signed: dict[str, object] = {
            "method": method,
            "authority": AT.authority,
            "path": AT.prefix + path,
            "body": body,
            "now": self.now,
            "nonce": f"{self.calls:032x}",
            **changes,
        }
        headers = exchange.sign_request(key, **signed)  # type: ignore[arg-type]  # as sign_request has them
        return self.raw(method, AT.prefix + path, {k.lower(): v for k, v in headers.items()}, body)

    def raw(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        request = Request(method, path, headers or {})
        allowed = self.served.limit(request)
        if isinstance(allowed, Answer):
            return allowed
        assert len(body) <= allowed
        return self.served.answer(replace(request, body=body))

    def send(self, name: str, parts: Parts, **changes: object) -> Answer:
        return self.call(self.c.key(name), "POST", "incoming", parts.to_bytes(), **changes)

    def waiting(self) -> list[str]:
        return sorted(path.name for path in self.incoming.iterdir()) if self.incoming.exists() else []


@pytest.fixture
def party(tmp_path: Path) -> Party:
    return Party(tmp_path)


def copied(answer: Answer) -> set[str]:
    """The paths in a copy that was answered."""
    assert answer.stream is not None
    data = b"".join(answer.stream)
    assert len(data) == answer.size
    return {data[at : at + 100].rstrip(b"\0").decode() for at in range(0, len(data) - 1024, 512)} & {
        "case.toml",
        "annex/inventory.sealed",
        f"statements/{SO_FAR}",
    }


def test_what_was_logged_is_public(party):
    """Anyone reads the proof file so far, without a signature."""
    answer = party.raw("GET", "/visits/so-far.cenotaph")

    assert answer.status == 200
    assert b"".join(answer.stream) == party.c.proof()


def test_parties_of_the_charter_fetch_the_case_before_it_is_countersigned(party):
    """The copy is what they decide on."""
    for name in (AUDITOR, NOTARY):
        answer = party.call(party.c.key(name), "GET", "case")
        assert answer.status == 200
        assert copied(answer) == {"case.toml", "annex/inventory.sealed", f"statements/{SO_FAR}"}
        assert answer.said == {"route": "case", "party": name}


def test_a_log_witness_fetches_statements_alone(party):
    """It cosigns; the clear names in the annex are none of its business."""
    (witness, *_) = party.c.witnesses

    assert copied(party.call(party.c.key(witness), "GET", "case")) == {f"statements/{SO_FAR}"}


@pytest.mark.parametrize("name", [OPERATOR, "Stranger"])
def test_nobody_else_is_a_party(party, name):
    """The operator has the case; a stranger's signature, good as it is, is none of the charter's."""
    key = party.c.key(name) if name == OPERATOR else SecretKey.generate(name, "auditor")

    assert party.call(key, "GET", "case").status == 403
    assert party.call(key, "POST", "incoming", b"x").status == 403


@pytest.mark.parametrize("path", ["case", "incoming"])
def test_an_unsigned_request_gets_nothing(party, path):
    """401, before a byte of its body is read."""
    method = "GET" if path == "case" else "POST"
    assert party.raw(method, f"/visits/{path}").status == 401


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "POST"},
        {"authority": "another.example.org"},
        {"path": "/other/case"},
        {"body": b"another"},
        {"now": 1},
        {"now": 2**40},
    ],
)
def test_a_request_that_was_signed_for_something_else_is_refused(party, changes):
    """For another server, another case, another body, another time."""
    answer = party.call(party.c.key(AUDITOR), "GET", "case", **changes)

    # A GET has no body to compare: what it says of one is as signed, and harmless.
    assert answer.status == (200 if "body" in changes else 401)


def test_a_body_other_than_the_signed_one_is_refused(party):
    """The head is checked before the body is read, and the body before it is used."""
    parts = party.approval(NOTARY)

    assert party.send(NOTARY, parts, body=b"another").status == 401
    assert party.waiting() == []


def test_a_request_is_answered_once(party):
    """Whoever saw it cannot ask the same again: within the window by its nonce, after it by its time."""
    key, nonce = party.c.key(AUDITOR), "ab" * 16
    assert party.call(key, "GET", "case", nonce=nonce).status == 200
    assert party.call(key, "GET", "case", nonce=nonce).status == 401
    assert party.call(party.c.key(NOTARY), "GET", "case", nonce=nonce).status == 200
    then = party.now
    party.now += exchange.WINDOW
    assert party.call(key, "GET", "case", nonce=nonce, now=then).status == 401
    party.now += 1
    assert party.call(key, "GET", "case", nonce="cd" * 16, now=then).status == 401


def test_a_server_that_forgot_its_nonces_takes_none_of_before(party):
    """Started again, it refuses what was signed before it was."""
    asked = {"now": party.now, "nonce": "ab" * 16}
    assert party.call(party.c.key(AUDITOR), "GET", "case", **asked).status == 200
    party.now += 1
    party.served = InboxService(party.case, AT, lambda: party.now)

    assert party.call(party.c.key(AUDITOR), "GET", "case", **asked).status == 401
    assert party.call(party.c.key(AUDITOR), "GET", "case").status == 200


def test_nonces_are_bounded(party, monkeypatch):
    """Memory does not grow with requests; old nonces make room."""
    monkeypatch.setattr(inbox, "NONCES", 3)
    key = party.c.key(AUDITOR)
    assert [party.call(key, "GET", "case").status for _ in range(4)] == [200, 200, 200, 503]
    party.now += exchange.WINDOW + 1
    assert party.call(key, "GET", "case").status == 200


def test_an_envelope_waits_as_if_its_party_had_been_here(party):
    """Name, bytes and share are those that `approve` on this machine leaves; it is logged by nobody yet."""
    parts = party.approval(AUDITOR)
    answer = party.send(AUDITOR, parts)

    digest = hashlib.sha256(parts.envelope).hexdigest()
    assert (answer.status, json.loads(answer.body)) == (201, {"digest": digest, "state": "waiting"})
    name = f"{digest[:16]}-approval"
    assert party.waiting() == [f"{name}.json", f"{name}.share"]
    assert (party.incoming / f"{name}.json").read_bytes() == parts.envelope
    assert (party.incoming / f"{name}.share").read_bytes() == parts.share
    assert len(CaseFolder(party.case).replay().by_digest) == 1


def test_sending_again_does_no_harm(party):
    """A party that saw no answer asks again: before the operator took it, and after."""
    parts = party.approval(NOTARY)
    party.send(NOTARY, parts)
    assert party.send(NOTARY, parts).status == 200
    party.c.log(parts.envelope)
    party.grow()
    for path in party.incoming.iterdir():
        path.unlink()
    answer = party.send(NOTARY, parts)

    assert (answer.status, json.loads(answer.body)["state"]) == (200, "logged")
    assert party.waiting() == []


def test_nothing_is_written_over(party):
    """What lies there under the same name stays, whatever it is."""
    parts = party.approval(NOTARY)
    party.incoming.mkdir(parents=True)
    name = f"{hashlib.sha256(parts.envelope).hexdigest()[:16]}-approval.json"
    (party.incoming / name).write_bytes(b"another")

    assert party.send(NOTARY, parts).status == 429
    assert (party.incoming / name).read_bytes() == b"another"


def test_an_envelope_by_another_than_its_sender_is_refused(party):
    """Else somebody could send another's approval with a false share."""
    assert party.send(NOTARY, party.approval(AUDITOR)).status == 422
    assert party.waiting() == []


def test_only_statements_of_this_case_are_taken(party, tmp_path):
    """Not of another case of the same parties, not a charter, not an envelope that was changed."""
    (tmp_path / "other").mkdir()
    other = Party(tmp_path / "other")
    other.c = Ceremony(attempt=2).run(last="open")
    foreign = other.approval(NOTARY)
    charter = Parts(party.c.entries[0])
    cut = party.approval(NOTARY)

    assert party.send(NOTARY, foreign).status == 422
    assert party.call(party.c.key(NOTARY), "POST", "incoming", charter.to_bytes()).status == 422
    assert party.send(NOTARY, replace(cut, envelope=cut.envelope[:-1])).status == 422
    assert party.waiting() == []


def test_what_lies_beside_an_envelope_belongs_to_it(party):
    """A share comes with an auditor's approval; an attachment is the one that the statement names."""
    approval = party.approval(NOTARY)

    assert party.send(NOTARY, replace(approval, share=b"x" * 80)).status == 422
    assert party.send(NOTARY, replace(approval, attachment=b"{}")).status == 422
    assert party.waiting() == []


def test_a_party_fills_its_own_quota_alone(party, monkeypatch):
    """Too much of one is refused, and the others' is still taken."""
    monkeypatch.setattr(inbox, "WAITING", 2)
    sent = []
    for _ in range(3):
        party.now += 1  # another time, so another envelope
        sent.append(party.send(NOTARY, party.approval(NOTARY)).status)

    assert sent == [201, 201, 429]
    assert party.send(AUDITOR, party.approval(AUDITOR)).status == 201


def test_a_partys_bytes_are_bounded_too(party, monkeypatch):
    """Counted with all that is beside the envelopes."""
    parts = party.approval(AUDITOR)
    monkeypatch.setattr(inbox, "WAITING_BYTES", len(parts.envelope) + 79)

    assert party.send(AUDITOR, parts).status == 429


def test_before_the_case_is_open_there_is_nothing(tmp_path):
    """503, and no crash."""
    served = InboxService(tmp_path, AT, lambda: 1_790_000_000)
    headers = exchange.sign_request(
        SecretKey.generate("Audit Co", "auditor"),
        "GET",
        AT.authority,
        "/visits/case",
        b"",
        now=1,
        nonce="0" * 32,
    )
    for path, signed in (("so-far.cenotaph", {}), ("case", headers)):
        answer = served.limit(Request("GET", f"/visits/{path}", {k.lower(): v for k, v in signed.items()}))
        assert isinstance(answer, Answer)
        assert answer.status == 503


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/visits", 404),
        ("GET", "/visits/", 200),
        ("GET", "/visits/../case", 404),
        ("GET", "/visits/case/", 404),
        ("GET", "/visits/case?x=1", 404),
        ("GET", "/visits/statements/so-far.cenotaph", 404),
        ("POST", "/visits/case", 405),
        ("GET", "/visits/incoming", 405),
        ("PUT", "/visits/so-far.cenotaph", 405),
    ],
)
def test_there_are_four_things_to_call(party, method, path, status):
    """No other path leads anywhere: none is taken for a file's."""
    assert party.raw(method, path).status == status
