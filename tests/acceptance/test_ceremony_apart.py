"""A whole case in which everybody is elsewhere: three log witnesses, two auditors, two notaries, an owner.

Each works by commands of its own, on a copy that it fetched, and talks over TLS. One of each kind fails: a
witness is down, an auditor and a notary stay away after the charter, or the auditor rejects. What the quorums
promise is what happens: too few block, with a message that names who is missing; enough go on.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from by_command import Ran, command
from cenotaph_proof.keys import SecretKey
from servers import Certificates, Server, make_certificates, start, witness_line
from small_case import csv, people, put, table

WITNESSES = {"paper": "Daily Paper", "library": "City Library", "university": "State University"}
AUDITORS = {"audit": "Audit Co", "second": "Second Auditors"}
NOTARIES = {"zhao": "Zhao & Partners", "chen": "Chen & Partners"}
OWNERS = {"hospital": "Hospital Group"}
PARTIES = AUDITORS | NOTARIES | OWNERS
POLICY = "[policy]\napprove = { auditor = 1, notary = 1, owner = 1 }\nwitness = 2\n"
STORES = """\
[[store]]
name = "health"
url = "sqlite:../estate/health.db"
owner = "Hospital Group"

[[store]]
name = "export"
url = "files:../estate/export"

"""


class Apart:
    """The operator's machine in `root`, every party's in a folder of its own; servers on ports that stay."""

    def __init__(self, root: Path) -> None:
        self.root, self.case, self.ran = root, root / "case", dict[str, Ran]()
        self.earlier = root / "earlier"
        self.tls: Certificates = make_certificates(root / "tls")
        self.servers: dict[str, Server] = {}
        for name, organisation, role in self.everybody():
            self.key(name).parent.mkdir(parents=True, exist_ok=True)
            SecretKey.generate(organisation, role).save(self.key(name))
        table(root / "estate" / "health.db", "visits", people(0, 12))
        put(root / "estate" / "export" / "a.csv", csv(people(100, 8)))
        for name in WITNESSES:
            self.up(name)
        self.case.mkdir()
        (self.case / "case.toml").write_text(self.case_file(), "utf-8")
        (root / "trust.toml").write_text(self.parties(at="", cosign=False) + POLICY, "utf-8")

    @staticmethod
    def everybody() -> Iterator[tuple[str, str, str]]:
        yield "bureau", "Big Data Bureau", "operator"
        for role, named in (
            ("auditor", AUDITORS),
            ("notary", NOTARIES),
            ("owner", OWNERS),
            ("log-witness", WITNESSES),
        ):
            yield from ((name, organisation, role) for name, organisation in named.items())

    def key(self, name: str) -> Path:
        """A party's secret key, on its own machine."""
        return self.root / name / "key"

    def parties(self, *, at: str, cosign: bool) -> str:
        tables = []
        for name, organisation, role in self.everybody():
            lines = ["[[party]]", f'organisation = "{organisation}"', f'role = "{role}"']
            lines.append(f'key = "{at}{name}/key.pub"')
            if cosign and role == "log-witness":
                lines.append(f'cosign = "{self.servers[name].url}"\ncosign_ca = "../tls/ca.pem"')
            if role != "operator" or not cosign:
                tables.append("\n".join(lines) + "\n\n")
        return "".join(tables)

    def case_file(self) -> str:
        head = '[case]\nname = "apart"\noperator = "Big Data Bureau"\n'
        head += 'key = "file:../bureau/key"\nlog = "../log"\n\n'
        return head + STORES + self.parties(at="../", cosign=True) + POLICY + "[limits]\nworkers = 1\n"

    # ── machines ─────────────────────────────────────────────────────────────────────────────────

    def up(self, name: str, state: Path | None = None) -> None:
        """Start a witness, where it was before if it was."""
        port = f"127.0.0.1:{self.servers[name].port if name in self.servers else 0}"
        line = witness_line(state or self.root / name, self.key(name), [self.root / "bureau" / "key.pub"])
        line = [word for word in line if word not in ("--listen", "127.0.0.1:0")]
        errors = self.root / name / "errors"
        self.servers[name] = start(*line, "--listen", port, *self.tls.served, errors=errors)

    def down(self, *names: str) -> None:
        for name in names:
            self.servers[name].kill()

    def serve_inbox(self) -> None:
        line = ("cenotaph", "inbox", "serve", "--case", self.case, "--listen", "127.0.0.1:0")
        self.servers["inbox"] = start(*line, *self.tls.served, errors=self.root / "inbox errors")

    def operator(self, *line: str | Path, code: int = 0, case: Path | None = None) -> Ran:
        return command("cenotaph", *line, "--case", case or self.case, "--json", code=code, cwd=self.root)

    def confirm(self, code: int = 0, case: Path | None = None) -> Ran:
        """Destroy, with the digest of the newest plan."""
        plans = sorted(((case or self.case) / "statements").glob("*-plan.json"))
        digest = hashlib.sha256(plans[-1].read_bytes()).hexdigest()
        return self.operator("destroy", "--confirm", digest[:8], code=code, case=case)

    def party(self, name: str, *line: str | Path, code: int = 0) -> Ran:
        """A party's command on its own copy, with its own key."""
        own = ("--key", self.key(name))
        return command(
            "cenotaph" if line[0] in ("challenge", "probe") else "cenotaph-proof", *line, *own, code=code
        )

    def fetch(self, name: str) -> Ran:
        ca = ("--ca", self.tls.authority)
        return self.party(name, "fetch", "--from", self.servers["inbox"].url, "--to", self.copy(name), *ca)

    def send(self, name: str) -> Ran:
        return self.party(name, "send", "--case", self.copy(name), "--ca", self.tls.authority)

    def copy(self, name: str) -> Path:
        return self.root / name / "copy"

    def approve(self, name: str, *more: str) -> Ran:
        """Fetch, read, sign, send."""
        self.fetch(name)
        ran = self.party(name, "approve", "--case", self.copy(name), *more)
        self.send(name)
        return ran

    def look(self, name: str, what: str, estate: Path | None = None, code: int = 0) -> Ran:
        """An auditor's challenge or probe, by its own way to the stores."""
        self.fetch(name)
        where = estate or self.root / "estate"
        own = ("--store", f"health=sqlite:{where}/health.db", "--store", f"export=files:{where}/export")
        ran = self.party(name, what, "--case", self.copy(name), *own, "--json", code=code)
        self.send(name)
        return ran

    def snapshot(self) -> None:
        """Everything but the parties' copies, as it is now, in `earlier`."""
        copies = shutil.ignore_patterns("copy")
        for path in [path for path in self.root.iterdir() if path.is_dir()]:
            shutil.copytree(path, self.earlier / path.name, ignore=copies)


def play(world: Apart) -> None:
    """The case from opening to certificate. `ran` keeps what each telling moment said."""
    ran = world.ran
    world.down("library")
    ran["open, one witness down"] = world.operator("open")
    world.serve_inbox()
    with ThreadPoolExecutor(2) as at_once:
        countersign = [n for n in PARTIES if n != "hospital"]
        list(at_once.map(lambda name: world.approve(name, "--charter"), countersign))
    ran["survey, owner missing"] = world.operator("survey", code=4)
    world.down("paper")
    world.approve("hospital", "--charter")
    ran["survey, two witnesses down"] = world.operator("survey", code=4)
    world.up("library")
    ran["survey"] = world.operator("survey")
    world.operator("seal")
    world.operator("plan")
    world.snapshot()
    ran["challenge"] = world.look("audit", "challenge")
    world.party("audit", "approve", "--case", world.copy("audit"))
    world.send("audit")
    world.approve("hospital")
    ran["destroy, no notary"] = world.confirm(code=4)
    world.approve("zhao")
    ran["destroy"] = world.confirm()
    ran["probe"] = world.look("audit", "probe")
    ran["certify"] = world.operator("certify")
    world.fetch("audit")
    ran["verify"] = verify(world, world.case / "apart.cenotaph")


def fall_apart(world: Apart) -> None:
    """The operator goes on from an older copy: with the witnesses as they are, and with witnesses that it
    made forget. There the second auditor rejects what it is shown."""
    ran, older = world.ran, world.earlier
    ran["plan, from an older copy"] = world.operator("plan", code=1, case=older / "case")
    world.down("library", "university", "inbox")
    for name in ("library", "university"):
        world.up(name, older / name)
    newer, world.case = world.case, older / "case"
    world.serve_inbox()
    table(older / "other" / "health.db", "visits", people(1, 12))
    shutil.copytree(older / "estate" / "export", older / "other" / "export")
    shutil.rmtree(world.copy("second"))
    ran["challenge, other rows"] = world.look("second", "challenge", older / "other", code=3)
    ran["destroy, rejected"] = world.confirm(code=4)
    ran["fetch the other history"] = world.party(
        "audit",
        "fetch",
        "--from",
        world.servers["inbox"].url,
        "--to",
        world.copy("audit"),
        "--ca",
        world.tls.authority,
        code=1,
    )
    other = older / "case" / "statements" / "so-far.cenotaph"
    ran["compare"] = verify(world, newer / "apart.cenotaph", "--compare", other, code=3)


def verify(world: Apart, proof: Path, *more: str | Path, code: int = 0) -> Ran:
    return command("cenotaph-verify", proof, "--trust", world.root / "trust.toml", *more, code=code)


pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # some sixty commands


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    made = Apart(tmp_path_factory.mktemp("apart"))
    try:
        play(made)
        fall_apart(made)
        yield made
    finally:
        made.down(*made.servers)


def test_a_witness_that_is_down_is_told_and_missed_by_nobody(world):
    """Two of three are enough: the case opens, and the operator hears who did not cosign."""
    assert "log witness City Library (" in world.ran["open, one witness down"].err
    assert "did not cosign; the others were enough" in world.ran["open, one witness down"].err


def test_one_witness_is_too_few(world):
    """Blocked, with the names of both that are missing; the same command goes on when one is back."""
    said = world.ran["survey, two witnesses down"].err

    assert "has 1 of 2 cosignatures; missing: Daily Paper (" in said
    assert "City Library (" in said
    assert "State University" not in said
    assert world.ran["survey"].code == 0


def test_everybody_countersigns_the_charter(world):
    """One that has not is named, and nothing is surveyed."""
    assert (
        "the charter is not countersigned by owner Hospital Group" in world.ran["survey, owner missing"].err
    )


def test_without_a_notary_nothing_is_destroyed(world):
    """An auditor and the owner approved; the message says who has not, and one of the two is enough."""
    said = world.ran["destroy, no notary"].err

    assert "auditor Audit Co has signed" in said
    assert "owner Hospital Group has signed" in said
    assert "notary Zhao & Partners has not" in said
    assert "notary Chen & Partners has not" in said
    assert world.ran["destroy"].code == 0


def test_the_case_is_certified_and_verifies(world):
    """One auditor, one notary, the owner and two witnesses carried it, over the network, to the end."""
    assert any(people_left(world.earlier / "estate"))
    assert world.ran["challenge"].value["decision"] == "accept"
    assert world.ran["probe"].value["decision"] == "accept"
    assert world.ran["verify"].out.startswith("VERIFIED\n")
    assert not any(people_left(world.root / "estate"))


def people_left(estate: Path) -> Iterator[bytes]:
    """Values of the people that any file of the estate still holds."""
    data = b"".join(path.read_bytes() for path in estate.rglob("*") if path.is_file())
    return (p.identity.encode() for p in (*people(0, 12), *people(100, 8)) if p.identity.encode() in data)


def test_the_annex_left_the_auditors_copy_too(world):
    """What was destroyed at the operator's was overwritten where it had been fetched to."""
    annex = world.root / "audit" / "copy" / "annex"

    assert annex.is_dir()
    assert list(annex.iterdir()) == []


def test_no_secret_left_its_machine(world):
    """The operator's folder holds no party's secret key, and no share in clear."""
    operator = b"".join(
        p.read_bytes() for name in ("case", "log") for p in (world.root / name).rglob("*") if p.is_file()
    )

    for name in (*PARTIES, *WITNESSES):
        assert world.key(name).read_bytes() not in operator


def test_witnesses_refuse_the_fork(world):
    """From an older copy of everything, the operator's next command stops before it appends."""
    said = world.ran["plan, from an older copy"].err

    assert "has seen another history of this log" in said
    assert "Bring back the newest" in said


def test_an_auditor_that_rejects_stops_the_destruction(world):
    """It read other rows in the store it was shown: nothing is destroyed, whoever else would agree."""
    assert world.ran["challenge, other rows"].value["decision"] == "reject"
    assert "rejected" in world.ran["destroy, rejected"].err
    assert any(people_left(world.earlier / "estate"))


def test_a_party_that_is_shown_another_history_finds_out(world):
    """With witnesses that were made to forget, the operator shows the auditor another log than before."""
    assert "signed two histories" in world.ran["fetch the other history"].err


def test_two_readers_prove_the_split_view(world):
    """The two proof files are the proof: the operator's own signatures, and who cosigned both."""
    said = world.ran["compare"].err

    assert "signed two histories" in said
    assert "State University" in said
