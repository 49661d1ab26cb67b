"""What people must see: apps switched off, a drive shredded, a copy gone, an objection answered.

A whole case through the commands. An app that still answers stops the auditor until it is switched off. Of
names, addresses and photographs nothing but digests leaves those who hold them.
"""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cenotaph.cli.main import cli
from cenotaph_proof import envelope
from cenotaph_proof.__main__ import main as proof_main
from cenotaph_proof.__main__ import verify_main
from cenotaph_proof.statements import Plan, Probe
from small_case import SmallCase, grep, people, table

NEEDLE = "liwei19620417"  # a person's name, in everything that must stay where it is
STEPS = [
    "health code: switched off (notary has not testified)",
    "travel card: switched off (auditor, notary has not testified)",
    "Statistics Office: copy gone (notary has not testified)",
    "tape library 3: medium destroyed (notary has not testified)",
]


class Apps(BaseHTTPRequestHandler):
    """Two apps of one server: what each answers is what the operator set."""

    answers: ClassVar[dict[str, int]] = {}

    def do_GET(self) -> None:
        self.send_response(self.answers[self.path.split("/")[1]], NEEDLE)
        self.send_header("X-User", NEEDLE)
        self.end_headers()
        self.wfile.write(NEEDLE.encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def port() -> Iterator[int]:
    Apps.answers = {"code": 410, "card": 200}
    with ThreadingHTTPServer(("127.0.0.1", 0), Apps) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def case_text(port: int, job: Path, host: str) -> str:
    return f"""\
contact = "objections@bureau.example"

[[app]]
name = "health code"
purpose = "movement permission"
stores = ["health"]
retire = true
endpoint = "http://127.0.0.1:{port}/code/{NEEDLE}"

[[app]]
name = "travel card"
stores = ["health"]
retire = true
by = ["auditor", "notary"]
endpoint = "http://127.0.0.1:{port}/card/{NEEDLE}"
job = "{job}"
host = "{host}"

[[recipient]]
name = "Statistics Office"
why = "yearly report"
confirm = true

[[step]]
says = "medium destroyed"
about = "tape library 3"

[[store]]
name = "health"
url = "sqlite:../estate/health.db"
"""


def run(*line: str | Path, code: int = 0) -> Any:
    """A command in this process; the JSON at the end of what it printed, else its lines."""
    program, *words = map(str, line)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            if program == "cenotaph":
                ended = cli.main(words, "cenotaph", standalone_mode=False) or 0
            else:
                ended = {"cenotaph-proof": proof_main, "cenotaph-verify": verify_main}[program](words)
        except SystemExit as stopped:
            ended = int(stopped.code or 0)
    assert ended == code, out.getvalue()
    last = out.getvalue().splitlines()[-1]
    return json.loads(last) if last.startswith("{") else out.getvalue()


def test_what_people_must_see(tmp_path: Path, port: int) -> None:
    """From the plan that names the steps to a verdict that says who saw which of them, and who did not."""
    table(tmp_path / "estate" / "health.db", "visits", people(0, 20))
    job = tmp_path / "cron.d" / NEEDLE
    job.parent.mkdir()
    job.write_text("0 3 * * * /opt/sync\n")
    case = SmallCase.make(tmp_path, case_text(port, job, socket.gethostname()))
    here = ("--case", case.path, "--json")

    # the plan names what is to be seen, and `doctor` what an auditor will look at
    looked = {c["what"]: c["says"] for c in run("cenotaph", "doctor", *here)["checks"]}
    assert looked["endpoint of app health code"] == "gone: answers 410 Gone"
    assert looked["endpoint of app travel card"] == "still there: answers 200"
    assert looked["job of app travel card"] == "still there: its file is there"
    case.go("open", "plan")
    assert case.now().charter.contact == "objections@bureau.example"
    assert len(case.now().require(Plan).body(Plan).steps or ()) == 4
    assert "  tape library 3: medium destroyed (notary)" in run(
        "cenotaph", "plan", "--show", "--case", case.path
    )

    # an objection, in the notice period, and its answer
    objected = run(
        "cenotaph-proof", "testify", "--case", case.path, "--key", case.key("paper"),
        "--says", "objects", "--about", "the scope", "--why", "an app is missing",
    )  # fmt: skip
    status = run("cenotaph", "status", *here)
    assert status["to_testify"] == STEPS
    assert len(status["unanswered"]) == 1
    run(
        "cenotaph", "testify", *here, "--key", case.key("bureau"),
        "--answers", objected["statement"], "--why", "it never held records",
    )  # fmt: skip
    assert run("cenotaph", "status", *here)["unanswered"] == []

    # one app still answers: the auditor rejects, keeps the share, and comes again
    case.go("challenge", "destroy")
    rejected = run("cenotaph", "probe", *here, "--key", case.key("audit"), code=3)
    assert rejected["decision"] == "reject"
    case.admit()
    body = case.now().require(Probe).body(Probe)
    assert body.reasons == (
        "app travel card is still there (endpoint: answers 200)",
        "app travel card is still there (job: its file is there)",
    )
    assert not body.share_destroyed
    assert "switch off what is still there" in run("cenotaph", "status", *here)["next"][0]
    run("cenotaph", "certify", *here, code=4)

    Apps.answers["card"] = 404
    job.unlink()
    own = f"http://127.0.0.1:{port}/other/"  # an address that the auditor knows, and the case file does not
    Apps.answers["other"] = 404
    probing = ("cenotaph", "probe", *here, "--key", case.key("audit"), "--endpoint")
    assert "the charter names no app card" in run(*probing, f"card={own}", code=2)
    assert run(*probing, f"travel card={own}")["decision"] == "accept"
    case.admit()
    states = [(a.app, a.check, a.state, a.note) for a in case.now().require(Probe).body(Probe).apps or ()]
    assert states == [
        ("health code", "endpoint", "gone", "answers 410 Gone"),
        ("travel card", "endpoint", "gone", "answers 404 Not Found"),
        ("travel card", "job", "gone", "its file is not there"),
        ("travel card", "endpoint", "gone", "answers 404 Not Found"),
    ]

    # people say what they saw, one of them with a photograph
    photograph = tmp_path / "photos" / f"{NEEDLE}.jpg"
    photograph.parent.mkdir()
    photograph.write_bytes(b"\xff\xd8 a shredded drive " + NEEDLE.encode())
    words = ("--says", "medium destroyed", "--about", "tape library 3", "--evidence", photograph)
    told = run("cenotaph-proof", "testify", "--case", case.path, "--key", case.key("zhao"), *words)
    assert told["to_testify"] == STEPS[:3]
    for key, says, about in (
        ("zhao", "copy gone", "Statistics Office"),
        ("zhao", "switched off", "health code"),
        ("audit", "switched off", "travel card"),
    ):
        told = run("cenotaph", "testify", *here, "--key", case.key(key), "--says", says, "--about", about)
    assert told["to_testify"] == ["travel card: switched off (notary has not testified)"]
    refused = run("cenotaph", "certify", "--case", case.path, code=4)
    assert "this is missing: travel card: switched off (notary has not testified)" in refused
    run("cenotaph", "certify", *here, "--without-testimony")

    # whoever has the proof file reads it, and checks the photograph that they are shown
    verdict = case.verdict()
    attested, not_shown = ([f.text for f in lines] for lines in (verdict.attested, verdict.not_shown))
    for line in (
        "auditor Audit Co looked at the endpoint of app travel card: gone (answers 404 Not Found)",
        "notary Zhao & Partners testifies to a step of the plan, tape library 3: medium destroyed; "
        "1 file of evidence named by digest",
        "notary Zhao & Partners testifies to a step of the plan, Statistics Office: copy gone",
        "log-witness Daily Paper testifies about the scope: objects; in their words: an app is missing",
        "operator Big Data Bureau testifies about the scope: answers, to Daily Paper; "
        "in their words: it never held records",
    ):
        assert line in attested
    assert [line for line in not_shown if "step of the plan" in line or "app" in line] == [
        "A step of the plan, travel card: switched off. Nobody of these roles testified to it: notary."
    ]
    proof = case.desk().proof_path()
    assert "方案中的一步“tape library 3”" in run(
        "cenotaph-verify", proof, "--trust", tmp_path / "trust.toml", "--language", "zh"
    )
    shown = photograph.with_name(photograph.name + ".evidence")
    named = run("cenotaph-proof", "evidence", shown, "--proof", proof, "--trust", tmp_path / "trust.toml")
    assert [n["organisation"] for n in named["named_by"]] == ["Zhao & Partners"]

    # nothing of what was shown, and no address, is in what is published
    secrets = [NEEDLE.encode(), b"127.0.0.1", f":{port}".encode()]
    assert NEEDLE.encode() in shown.read_bytes()
    assert all(secret in (case.path / "case.toml").read_bytes() for secret in secrets)
    told_to_all = [envelope.open_(data).payload for data in case.desk().log().entries()]
    assert sum(b"testimony" in payload for payload in told_to_all) >= 6
    assert [s for s in secrets if any(s in payload for payload in told_to_all)] == []
    assert grep(case.path / "statements", secrets) == grep(tmp_path / "log", secrets) == []
