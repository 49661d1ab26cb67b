"""`cenotaph demo`: an invented city, and a whole case through it, from opening to verifying.

Every party acts in this one process, with a key of its own: a rehearsal, not a ceremony.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cenotaph.cli import papers, report, ui
from cenotaph.clock import wall_clock
from cenotaph.desk import Desk
from cenotaph.discovery.undeclared import find
from cenotaph.errors import UsageError
from cenotaph.session import Session
from cenotaph.stages.approve import approve_here
from cenotaph.stages.certify import certify
from cenotaph.stages.challenge import challenge
from cenotaph.stages.destroy import destroy
from cenotaph.stages.open import open_case
from cenotaph.stages.plan import plan
from cenotaph.stages.probe import probe
from cenotaph.stages.publish import publish
from cenotaph.stages.seal import seal
from cenotaph.stages.survey import survey
from cenotaph.stores import open_eraser, open_reader
from cenotaph.testing.city import City, build_city
from cenotaph_proof import report as verdicts
from cenotaph_proof import trust, verify
from cenotaph_proof.commands import trusting
from cenotaph_proof.folder import wipe
from cenotaph_proof.keys import SecretKey
from cenotaph_proof.statements import Certificate, Plan, Probe
from cenotaph_proof.verdict import Verdict

T = TypeVar("T")
MARK = ".cenotaph-demo"
PARTIES = (
    ("Big Data Bureau", "operator", "bureau"),
    ("Audit Co", "auditor", "audit-co"),
    ("Zhao & Partners", "notary", "zhao"),
    ("Daily Paper", "log-witness", "daily-paper"),
)
OUTSIDE = 12  # records that volunteers bring to the auditor


def run(folder: Path, *, residents: int, records: int, seed: int, as_json: bool = False) -> int:
    """Run the demo in `folder`; returns the verifier's exit code."""
    show = _Show(as_json)
    _prepare(folder)
    city = show.step(
        "build",
        f"an invented city of {residents:,} residents",
        lambda: build_city(folder / "city", residents=residents, records=records, seed=seed),
    )
    case = folder / "case"
    _write_case(folder, city, case)
    _find(folder, city, case, show)
    _before(case, folder / "keys", show)
    _destroy(case, folder / "keys", show)
    desk = Desk(case)
    certified = show.step(
        "certify", "keys and annex are destroyed, the certificate is signed", lambda: certify(desk)
    )
    show.lines(report.grade_lines(certified))
    paper = show.step("paper", "the certificate in PDF, the proof file inside", lambda: papers.beside(desk))
    show.step(
        "publish", "a site for any web server, in two languages", lambda: publish(desk, folder / "site")
    )
    started = time.monotonic()
    verdict = verify.verify_file(desk.proof_path(), trust.load(folder / "trust.toml"))
    show.say(f"verify: {time.monotonic() - started:.2f} s", "")
    _end(folder, desk, verdict, certified.body(Certificate), paper, as_json)
    return verdict.exit_code


def _prepare(folder: Path) -> None:
    """An empty folder of our own; an earlier demo's is emptied, anything else is refused."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).exists():
            raise UsageError(
                f"{folder} is not empty and not an earlier demo's", hint="choose another: --dir DIR"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def _write_case(folder: Path, city: City, case: Path) -> None:
    keys = folder / "keys"
    keys.mkdir()
    case.mkdir()
    publics = []
    for organisation, role, name in PARTIES:
        key = SecretKey.generate(organisation, role)
        key.save(keys / name)
        publics.append(key.public)
    parties = "".join(_party(*party) for party in PARTIES if party[1] != "operator")
    head = (
        '[case]\nname = "demo-city"\noperator = "Big Data Bureau"\n'
        'key = "file:../keys/bureau"\nlog = "../log"\n'
        'basis = "the epidemic is over: purpose achieved"\nnotice = "0h"\nsearch = ["../city"]\n\n'
    )
    policy = "[policy]\napprove = { auditor = 1, notary = 1 }\nwitness = 1\n"
    (case / "case.toml").write_text(
        head + city.case_toml(case, found=True) + "\n" + parties + policy, "utf-8"
    )
    trusted = trusting.write(publics, {"auditor": 1, "notary": 1}, witness=1)
    (folder / "trust.toml").write_text(trusted, "utf-8")
    outside = json.dumps(city.outside_records(OUTSIDE), ensure_ascii=False)
    (folder / "outside.json").write_text(outside, "utf-8")


def _party(organisation: str, role: str, name: str) -> str:
    lines = [f'organisation = "{organisation}"', f'role = "{role}"', f'key = "../keys/{name}.pub"']
    if role == "log-witness":
        lines.append(f'cosign = "file:../keys/{name}"')
    return "[[party]]\n" + "\n".join(lines) + "\n\n"


def _find(folder: Path, city: City, case: Path, show: _Show) -> None:
    declared = [folder / "city" / s.path for s in city.stores if s.declared]
    found = show.step(
        "survey --find",
        "stores that nobody declared",
        lambda: [
            f for f in find([folder / "city"], [*declared, folder / "city" / "bystander"]) if f.personal
        ],
    )
    for item in found:
        exposed = "; ".join(e.sentence for e in item.exposures[:2])
        show.lines([f"{item.kind}, {item.bytes:,} bytes, personal: {', '.join(item.personal)}. {exposed}"])


def _before(case: Path, keys: Path, show: _Show) -> None:
    desk = Desk(case)
    outside = case.parent / "outside.json"
    show.step("open", "the charter is signed and logged", lambda: open_case(desk))
    for name in ("audit-co", "zhao"):
        brought = outside if name == "audit-co" else None
        _approve(case, keys / name, show, charter=True, outside=brought)
    surveyed = show.step(
        "survey", "every collection, copy and partition", lambda: survey(desk, open_reader, show.progress)
    )
    show.lines(report.inventory_lines(surveyed), limit=12)
    sealed = show.step("seal", "every record, under one root", lambda: seal(desk, open_reader, show.progress))
    show.lines(report.seal_lines(sealed))
    planned = show.step("plan", "in words, before anybody agrees", lambda: plan(desk))
    show.lines([f"plan {planned.digest[:8]}: {planned.body(Plan).records:,} records"])
    session = Session(case, keys / "audit-co")
    show.step(
        "challenge",
        "the auditor draws, and reads the live stores",
        lambda: challenge(session, open_reader, outside, show.progress),
    )
    wipe(outside)  # the volunteers keep their records; the demo leaves no copy of them
    desk.admit_incoming()
    for name in ("audit-co", "zhao"):
        _approve(case, keys / name, show, charter=False, outside=None)


def _approve(case: Path, key: Path, show: _Show, *, charter: bool, outside: Path | None) -> None:
    who = next(organisation for organisation, _, name in PARTIES if name == key.name)

    def act() -> Path:
        return approve_here(
            case, key, wall_clock, charter=charter, withdraw=False, outside=outside, lasts=None
        )

    show.step("approve --charter" if charter else "approve", who, act)


def _destroy(case: Path, keys: Path, show: _Show) -> None:
    desk = Desk(case)
    digest = desk.case().require(Plan).digest
    done = show.step(
        "destroy",
        f"--confirm {digest[:8]}",
        lambda: destroy(desk, open_reader, open_eraser, digest[:8], show.progress),
    )
    if done is not None:
        show.lines(report.destruction_lines(done)[-1:])
    session = Session(case, keys / "audit-co")
    path = show.step(
        "probe",
        "the auditor searches for what was destroyed",
        lambda: probe(session, open_reader, show.progress),
    )

    show.lines(report.probe_lines(report.read_body(path, Probe))[-1:])


def _end(
    folder: Path, desk: Desk, verdict: Verdict, body: Certificate, paper: Path | None, as_json: bool
) -> None:
    if as_json:
        value = {"stage": "demo", **verdicts.to_json(verdict), "proof": str(desk.proof_path())}
        ui.result(value, [], True)
        return
    print()
    print(verdicts.render(verdict))
    print(f"{body.persons or 0:,} persons, {body.returned:,} bytes of storage returned. Try next:")
    proof = desk.proof_path()
    print(f"  verify it      cenotaph-verify {proof} --trust {folder / 'trust.toml'}")
    print(f"  doubt it       cenotaph-verify {proof}   (without a trust file: exit code 6)")
    print(f"  tamper with it sed 's/a/b/' {proof} > t.cenotaph; cenotaph-verify t.cenotaph")
    print(f"  in a browser   {folder / 'site' / 'verify.html'}: drop the proof file and trust.toml on it")
    print(f"  read the site  {folder / 'site' / 'index.html'}, {folder / 'site' / 'zh' / 'index.html'}")
    if paper is not None:
        print(f"  on paper       {paper}")
    print("  your own case  cenotaph init my-case")


class _Show:
    """Steps on stderr as they happen, with the time each took."""

    def __init__(self, as_json: bool) -> None:
        self._progress = ui.Progress("demo")

    def progress(self, what: str, done: int, total: int) -> None:
        self._progress(what, done, total)

    def step(self, name: str, what: str, act: Callable[[], T]) -> T:
        started = time.monotonic()
        result = act()
        self._progress.end()
        self.say(f"{name:<18} {what}", f"{time.monotonic() - started:6.1f} s")
        return result

    def lines(self, lines: list[str], limit: int = 20) -> None:
        for line in lines[:limit]:
            print(f"    {line}", file=sys.stderr)
        if len(lines) > limit:
            print(f"    … and {len(lines) - limit} lines more", file=sys.stderr)

    def say(self, text: str, took: str) -> None:
        print(f"{text:<70} {took}", file=sys.stderr)
