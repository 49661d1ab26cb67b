"""The command `cenotaph`: the only place that knows all concrete parts.

Exit codes: 0 done, verified or nothing to do · 1 failed · 2 wrong usage · 3 does not verify, or residue ·
4 blocked · 5 partial, run again · 6 signers unidentified · 130 interrupted.
"""

from __future__ import annotations

import functools
import os
import resource
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import click

from cenotaph.cli import ui
from cenotaph.errors import CenotaphError, UsageError
from cenotaph_proof.errors import (
    FormatError,
    KeyFileError,
    OrderError,
    ProofError,
    SignatureError,
    ThresholdError,
)

F = TypeVar("F", bound=Callable[..., Any])
A_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
A_FOLDER = click.Path(path_type=Path, file_okay=False)
BLOCKED, USAGE, DOES_NOT_VERIFY, INTERRUPTED = 4, 2, 3, 130


def _code(error: Exception) -> int:
    if isinstance(error, CenotaphError):
        return error.exit_code
    if isinstance(error, OrderError | ThresholdError):
        return BLOCKED
    if isinstance(error, KeyFileError):
        return USAGE
    return DOES_NOT_VERIFY if isinstance(error, FormatError | SignatureError) else 1


class _Group(click.Group):
    """Commands in the order of a case, and every error of ours as a sentence with its exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (CenotaphError, ProofError) as error:
            ui.fail(error.message, error.hint)
            ctx.exit(_code(error))
        except OSError as error:
            ui.fail(f"{error.strerror or error} ({type(error).__name__})", None)
            ctx.exit(1)
        except KeyboardInterrupt:
            ui.fail("interrupted", "run the same command again: it goes on where it stopped")
            ctx.exit(INTERRUPTED)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="cenotaph")
def cli() -> None:
    """Destroy personal data across an estate, and make it something that people who do not trust you
    can check.

    \b
    A case, in order, and who runs each command:
      operator  init keygen open            auditor   approve --charter  challenge  approve  probe
      operator  survey seal plan            notary    approve --charter  approve
      operator  destroy certify publish     anyone    cenotaph-verify
      any party testify, until the certificate
    """


def _case_folder(value: Path | None) -> Path:
    if value is not None:
        return value
    if "CENOTAPH_CASE" in os.environ:
        return Path(os.environ["CENOTAPH_CASE"])
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "case.toml").exists():
            return folder
    raise UsageError("there is no case.toml here or above", hint="run: cenotaph init, or pass --case DIR")


def with_case(function: F) -> F:
    """--case DIR and --json."""

    @click.option(
        "--case", "folder", type=click.Path(path_type=Path), metavar="DIR", help="the case directory"
    )
    @click.option("--json", "as_json", is_flag=True, help="end with one JSON object on stdout")
    @functools.wraps(function)
    def wrapped(folder: Path | None, as_json: bool, **options: Any) -> Any:
        return function(folder=_case_folder(folder), as_json=as_json, **options)

    return wrapped  # type: ignore[return-value]  # click's decorators keep the call signature


def _key_option(who: str) -> Callable[[F], F]:
    return click.option(
        "--key", required=True, type=click.Path(path_type=Path), metavar="FILE", help=f"{who} key file"
    )


def _store_option(function: F) -> F:
    return click.option(
        "--store", "addresses", multiple=True, metavar="NAME=URL", help="how you reach a store yourself"
    )(function)


@contextmanager
def _usage() -> Iterator[None]:
    """What is malformed here was typed by the user: wrong usage, not a signature that fails."""
    try:
        yield
    except FormatError as error:
        raise UsageError(error.message, hint=error.hint) from None


def _raw_option(function: F) -> F:
    return click.option(
        "--raw-command",
        default="",
        metavar="COMMAND",
        help="what gains the right to read a volume's device, such as 'sudo -n'",
    )(function)


def _addresses(values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    if not all(name and url for name, _, url in pairs):
        raise UsageError("--store takes NAME=URL")
    return {name: url for name, _, url in pairs}


def _endpoints(values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    pairs = [value.partition("=") for value in values]
    if not all(app and url for app, _, url in pairs):
        raise UsageError("--endpoint takes APP=URL")
    return tuple((app, url) for app, _, url in pairs)


# ── before a case ────────────────────────────────────────────────────────────────────────────────


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path), default=".")
def init(folder: Path) -> None:
    """Write a commented case.toml to start from."""
    from cenotaph.cli import template

    path = template.write(folder)
    click.echo(f"{path} written: fill it in, then make keys (cenotaph keygen) and open the case.")


@cli.command()
@click.option("--role", required=True, help="operator, auditor, notary, owner or log-witness")
@click.option("--organisation", required=True)
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE")
@click.option("--post-quantum", is_flag=True, help="an ML-DSA-44 key as well, for a log witness")
def keygen(role: str, organisation: str, out: Path, post_quantum: bool) -> None:
    """Make a party's key: FILE, which stays with them, and FILE.pub, which goes into case.toml."""
    from cenotaph_proof.keys import ROLES, SecretKey

    if role not in ROLES:
        raise UsageError(f"the role {role} is not one of {', '.join(ROLES)}")
    with _usage():
        key = SecretKey.generate(organisation, role, post_quantum=post_quantum)
    out.parent.mkdir(parents=True, exist_ok=True)
    key.save(out)
    click.echo(f"{out} (keep it) and {out}.pub (give it away): key {key.public.key_id[:16]}")


@cli.command("open")
@with_case
def open_(folder: Path, as_json: bool) -> None:
    """Open the case: sign the charter and log it."""
    from cenotaph.desk import Desk
    from cenotaph.stages.open import open_case

    desk = Desk(folder)
    entry = open_case(desk)
    waiting = desk.case().countersigning_missing()
    who = ", ".join(f"{p.role} {p.organisation}" for p in waiting) or "nobody"
    _done(desk, entry, as_json, {}, [f"The case is open. To countersign the charter: {who}."])


# ── the operator's stages ────────────────────────────────────────────────────────────────────────


@cli.command()
@with_case
@click.option(
    "--find",
    "roots",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="PATH",
    help="look for stores that nobody declared, and change nothing",
)
def survey(folder: Path, as_json: bool, roots: tuple[Path, ...]) -> None:
    """List every collection, copy and partition, and what in them is personal."""
    from cenotaph.cli import report
    from cenotaph.desk import Desk
    from cenotaph.stages.survey import survey as run
    from cenotaph.stores import open_reader

    if roots:
        report.found(folder, roots, as_json)
        return
    desk = Desk(folder)
    progress = ui.Progress("survey")
    entry = run(desk, open_reader, progress)
    progress.end()
    _done(desk, entry, as_json, report.inventory_json(entry), report.inventory_lines(entry))


@cli.command()
@with_case
def seal(folder: Path, as_json: bool) -> None:
    """Fix what is to be destroyed, record by record, under one root."""
    from cenotaph.cli import report
    from cenotaph.desk import Desk
    from cenotaph.stages.seal import seal as run
    from cenotaph.stores import open_reader

    desk = Desk(folder)
    progress = ui.Progress("seal")
    entry = run(desk, open_reader, progress)
    progress.end()
    _done(desk, entry, as_json, report.seal_json(desk.case(), entry), report.seal_lines(entry))


@cli.command()
@with_case
@click.option("--show", is_flag=True, help="print the newest plan again, and change nothing")
@click.option("--leave-out", multiple=True, metavar="STORE/ORDINAL", help="take a collection out (amend)")
def plan(folder: Path, as_json: bool, show: bool, leave_out: tuple[str, ...]) -> None:
    """Say in words exactly what will happen. A dry run by nature; run again to amend."""
    from cenotaph.cli import report
    from cenotaph.desk import Desk
    from cenotaph.stages.plan import describe
    from cenotaph.stages.plan import plan as run
    from cenotaph_proof.statements import Plan

    desk = Desk(folder)
    entry = desk.case().require(Plan) if show else run(desk, report.collections(leave_out))
    lines = [
        *describe(desk.case()),
        "",
        f"To destroy it, when approved: cenotaph destroy --confirm {entry.digest[:8]}",
    ]
    _done(desk, entry, as_json, {"records": entry.body(Plan).records}, lines)


@cli.command()
@with_case
@click.option("--confirm", metavar="DIGEST", help="the first characters (8 or more) of the plan's digest")
def destroy(folder: Path, as_json: bool, confirm: str | None) -> None:
    """Erase what the approved plan names. Cannot be undone; run again, it goes on."""
    from cenotaph.cli import report
    from cenotaph.desk import Desk
    from cenotaph.stages.destroy import destroy as run
    from cenotaph.stores import open_eraser, open_reader
    from cenotaph_proof.statements import Plan

    desk = Desk(folder)
    if confirm is None:
        if not sys.stdin.isatty():
            raise UsageError(
                "destroying off a terminal needs --confirm DIGEST", hint="see: cenotaph plan --show"
            )
        digest = desk.case().require(Plan).digest
        confirm = click.prompt(
            f"Plan {digest[:8]}… will be carried out. Type its first 8 characters", err=True
        )
    progress = ui.Progress("destroy")
    try:
        entry = run(desk, open_reader, open_eraser, str(confirm), progress)
    finally:
        progress.end()
    if entry is None:
        ui.result(
            {"stage": "destroy", "statement": None, "digest": None}, ["Nothing is left to do."], as_json
        )
        return
    _done(desk, entry, as_json, report.destruction_json(entry), report.destruction_lines(entry))


@cli.command()
@with_case
@click.option("--without-testimony", is_flag=True, help="although steps or objections lack their testimony")
def certify(folder: Path, as_json: bool, without_testimony: bool) -> None:
    """Destroy keys and annex, sign the certificate, write the proof file and the certificate in PDF."""
    from cenotaph.cli import hearing, papers, report
    from cenotaph.desk import Desk
    from cenotaph.stages.certify import certify as run
    from cenotaph_proof.statements import Certificate

    desk = Desk(folder)
    if not without_testimony:
        hearing.check_heard(folder)
    entry = run(desk)
    learned = {"stores": report.grades_json(entry.body(Certificate).stores), "proof": str(desk.proof_path())}
    lines = [f"Certified. Proof file: {desk.proof_path()}", *report.grade_lines(entry)]
    pdf = papers.beside(desk)
    if pdf is not None:
        lines.insert(1, f"On paper: {pdf}")
    _done(desk, entry, as_json, {**learned, "paper": str(pdf) if pdf is not None else None}, lines)
    below = [s.name for s in entry.body(Certificate).stores if report.below(s)]
    if below:
        ui.fail(f"a lower grade than the plan said was reached in: {', '.join(below)}", None)
        sys.exit(DOES_NOT_VERIFY)


@cli.command()
@with_case
@click.option("--language", type=click.Choice(["both", "en", "zh"]), default="both", show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="certificate.pdf if not told",
)
@click.option("--seal-key", metavar="REF", help='a private key in PEM, such as "file:keys/seal.key"')
@click.option("--seal-cert", type=A_FILE, metavar="FILE", help="the certificate of that key")
@click.option("--seal-chain", type=A_FILE, metavar="FILE", help="certificates up to the roots")
@click.option("--tsa", metavar="URL", help="an authority that stamps the time")
def paper(
    folder: Path,
    as_json: bool,
    language: Any,
    out: Path | None,
    seal_key: str | None,
    seal_cert: Path | None,
    seal_chain: Path | None,
    tsa: str | None,
) -> None:
    """Write the certificate in PDF, with the proof file inside; seal it where there is a key for that."""
    from cenotaph.cli import papers
    from cenotaph.desk import Desk

    desk = Desk(folder)
    with _usage():
        who = papers.identity(desk, seal_key, seal_cert, seal_chain, tsa)
        to = papers.write(desk, out, language, who)
    sealed = "sealed" if who is not None else "not sealed"
    ui.result(
        {"stage": "paper", "paper": str(to), "sealed": who is not None}, [f"{to} written, {sealed}"], as_json
    )


@cli.command()
@with_case
@click.option("--to", type=A_FOLDER, metavar="DIR", help="where to; the case's folder site if not told")
def publish(folder: Path, as_json: bool, to: Path | None) -> None:
    """Write a static page of what was signed until now."""
    from cenotaph.desk import Desk
    from cenotaph.stages.publish import publish as run

    to = to or folder / "site"
    files = run(Desk(folder), to)
    page = to / "index.html"
    ui.result(
        {"stage": "publish", "page": str(page), "files": len(files)},
        [f"{page} and {len(files) - 1} files"],
        as_json,
    )


@cli.command()
@click.option(
    "--list", "listed", required=True, type=A_FILE, metavar="FILE", help="operators and trust files (TOML)"
)
@click.option("--to", required=True, type=A_FOLDER, metavar="DIR", help="where to; run again, it compares")
@click.option("--json", "as_json", is_flag=True, help="end with one JSON object on stdout")
def register(listed: Path, to: Path, as_json: bool) -> None:
    """Anyone: check many operators' logs, and write one page of who has destroyed what."""
    from cenotaph.clock import wall_clock
    from cenotaph.site import register as registers

    found = registers.run(listed, to, wall_clock())
    for known in found:
        if known.problem:
            ui.fail(f"{known.name}: {known.problem}", None)
    ui.result(registers.summary(found, to), registers.lines(found), as_json)


# ── the parties' stages ──────────────────────────────────────────────────────────────────────────


@cli.command()
@with_case
@click.option(
    "--key", type=click.Path(path_type=Path), metavar="FILE", help="an auditor's, notary's or owner's"
)
@click.option("--charter", is_flag=True, help="countersign the charter")
@click.option("--withdraw", is_flag=True, help="take an approval back, before destruction")
@click.option("--outside", type=A_FILE, metavar="FILE", help="an auditor's own records (JSON)")
@click.option("--lasts", metavar="TIME", help='how long it holds, such as "30d"')
@click.option(
    "--add",
    "added",
    multiple=True,
    type=A_FILE,
    metavar="FILE",
    help="operator: log an envelope that a party sent",
)
def approve(
    folder: Path,
    as_json: bool,
    key: Path | None,
    charter: bool,
    withdraw: bool,
    outside: Path | None,
    lasts: str | None,
    added: tuple[Path, ...],
) -> None:
    """Approve the newest plan, or the charter; or (operator) log what a party sent."""
    from cenotaph.clock import wall_clock
    from cenotaph.desk import Desk
    from cenotaph.stages import approve as stage
    from cenotaph_proof.trust import seconds

    if added:
        desk = Desk(folder)
        entries = [entry for file in added for entry in stage.add(desk, file)]
        for refused in desk.refused:
            ui.fail(f"not logged: {refused}", None)
        _tell_unheard(desk)
        logged = [desk.statement_path(e).name for e in entries]
        ui.result({"stage": "approve", "logged": logged, "refused": desk.refused}, logged, as_json)
        if desk.refused:
            sys.exit(BLOCKED)
        return
    if key is None:
        raise UsageError("approve needs --key FILE, or --add FILE")
    with _usage():
        duration = seconds(lasts, "--lasts") if lasts else None
    path = stage.approve_here(
        folder, key, wall_clock, charter=charter, withdraw=withdraw, outside=outside, lasts=duration
    )
    _signed("approve", path, as_json)


@cli.command()
@with_case
@_key_option("the auditor's")
@_store_option
@_raw_option
@click.option("--outside", type=A_FILE, metavar="FILE", help="the records you committed to")
def challenge(
    folder: Path,
    as_json: bool,
    key: Path,
    addresses: tuple[str, ...],
    raw_command: str,
    outside: Path | None,
) -> None:
    """Auditor: draw unpredictable samples, read them in the live stores, accept or reject."""
    from cenotaph.cli import report
    from cenotaph.session import Session
    from cenotaph.stages.challenge import challenge as run
    from cenotaph.stores import open_reader
    from cenotaph_proof.statements import Challenge

    session = Session(folder, key, _addresses(addresses))
    progress = ui.Progress("challenge")
    path = run(session, open_reader, outside, progress, command=tuple(shlex.split(raw_command)))
    progress.end()
    body = report.read_body(path, Challenge)
    _signed("challenge", path, as_json, decision=body.decision, lines=report.challenge_lines(session, body))
    if body.decision == "reject":
        sys.exit(DOES_NOT_VERIFY)


@cli.command()
@with_case
@_key_option("the auditor's")
@_store_option
@_raw_option
@click.option(
    "--referee",
    is_flag=True,
    help="also run outside tools on the volumes: grep, sleuthkit, photorec, scalpel",
)
@click.option(
    "--endpoint", "endpoints", multiple=True, metavar="APP=URL", help="an address that you know an app by"
)
@click.option(
    "--accept-lower",
    is_flag=True,
    help="accept a volume below the plan's L3 (its stores are certified as L2), and apps still there",
)
def probe(
    folder: Path,
    as_json: bool,
    key: Path,
    addresses: tuple[str, ...],
    raw_command: str,
    referee: bool,
    endpoints: tuple[str, ...],
    accept_lower: bool,
) -> None:
    """Auditor: search for what was destroyed, everywhere it was known to be; accept or reject.

    Volumes of the plan are read whole, by their device: as root, or with --raw-command. Apps that are to be
    switched off are looked at from this machine.
    """
    from cenotaph.cli import report
    from cenotaph.session import Session
    from cenotaph.stages.probe import Options
    from cenotaph.stages.probe import probe as run
    from cenotaph.stores import open_reader
    from cenotaph_proof.statements import Probe

    session = Session(folder, key, _addresses(addresses))
    progress = ui.Progress("probe")
    options = Options(
        referee=referee,
        command=tuple(shlex.split(raw_command)),
        endpoints=_endpoints(endpoints),
        accept_lower=accept_lower,
    )
    path = run(session, open_reader, progress, options)
    progress.end()
    body = report.read_body(path, Probe)
    _signed(
        "probe",
        path,
        as_json,
        decision=body.decision,
        stores=report.grades_json(body.stores),
        lines=report.probe_lines(body),
    )
    if body.decision == "reject":
        sys.exit(DOES_NOT_VERIFY)


@cli.command()
@with_case
@_key_option("any party's")
@click.option(
    "--says", metavar="WHAT", help="witnessed, switched off, copy gone, medium destroyed, objects …"
)
@click.option("--about", metavar="NAME", help="an app, recipient, key, medium or step; never a person")
@click.option("--why", metavar="TEXT", help="of an objection, an answer, or what was witnessed")
@click.option(
    "--evidence", "files", multiple=True, type=A_FILE, metavar="FILE", help="a photograph, a protocol"
)
@click.option("--answers", metavar="OBJECTION", help="8 digits of an objection's digest, or its file")
def testify(folder: Path, as_json: bool, key: Path, **said: Any) -> None:
    """Any party: say what you saw, did, object to or answer; until the certificate.

    Evidence stays with you: FILE.evidence, a copy behind 32 random bytes. Its digest alone is signed.
    """
    from cenotaph.clock import wall_clock
    from cenotaph_proof.commands import speaking

    with _usage():
        spoken = speaking.testify(folder, key, **said, now=wall_clock())
    lacking = [f"to be testified: {line}" for line in spoken.lacking]
    _signed("testify", spoken.path, as_json, spoken.told, after=lacking, **spoken.learned())


# ── around a case ────────────────────────────────────────────────────────────────────────────────


@cli.command()
@with_case
@click.option("--url", metavar="URL", help="ask this time-stamping authority (RFC 3161)")
@click.option("--request", "asked", type=click.Path(path_type=Path), metavar="FILE", help="write a request")
@click.option("--add", "answer", type=A_FILE, metavar="FILE", help="keep the answer to a request")
def stamp(folder: Path, as_json: bool, url: str | None, asked: Path | None, answer: Path | None) -> None:
    """Have an authority that courts know date the log as it stands (RFC 3161)."""
    from cenotaph.desk import Desk
    from cenotaph.stages import stamp as stage

    if (url is not None) + (asked is not None) + (answer is not None) != 1:
        raise UsageError("stamp takes one of --url, --request and --add")
    desk = Desk(folder)
    if asked is not None:
        stage.request(desk, asked)
        ui.result({"stage": "stamp", "request": str(asked)}, [f"{asked}: send it to an authority"], as_json)
        return
    kept = stage.ask(desk, url) if url is not None else stage.add(desk, answer or Path())
    ui.result({"stage": "stamp", "token": str(kept)}, [f"{kept} is in every proof file from now on"], as_json)


@cli.command()
@with_case
def status(folder: Path, as_json: bool) -> None:
    """Where the case stands, and who must do what next."""
    from cenotaph.cli import report
    from cenotaph.desk import Desk

    desk = Desk(folder)
    value, lines = report.status(desk)
    ui.result(value, lines, as_json)


@cli.command()
@with_case
def doctor(folder: Path, as_json: bool) -> None:
    """Check keys, stores, file systems, rights, room and clock before they are needed."""
    from cenotaph.cli import checks
    from cenotaph.stores import open_reader

    found = checks.run(folder, open_reader)
    ui.result(
        {"stage": "doctor", "checks": [checks.to_json(c) for c in found]},
        [checks.line(c) for c in found],
        as_json,
    )
    if any(not c.good for c in found):
        sys.exit(1)


@cli.command()
@with_case
@click.option("--off", is_flag=True, help="go on")
def pause(folder: Path, as_json: bool, off: bool) -> None:
    """Stop destroying between two partitions, until --off."""
    from cenotaph.stages.destroy import PAUSE

    if not (folder / "case.toml").exists():
        raise UsageError(f"{folder} holds no case.toml", hint="pass --case DIR")
    flag = folder / PAUSE
    if off:
        flag.unlink(missing_ok=True)
    else:
        flag.touch()
    ui.result({"stage": "pause", "paused": not off}, ["go on" if off else "paused"], as_json)


@cli.command()
@click.option("--residents", type=click.IntRange(min=100), default=10_000, show_default=True)
@click.option("--records", type=click.IntRange(min=1_000), default=1_000_000, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=20230302, show_default=True)
@click.option("--dir", "folder", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="end with one JSON object on stdout")
def demo(residents: int, records: int, seed: int, folder: Path, as_json: bool) -> None:
    """Build a small invented city, and take a whole case through it, from opening to verifying."""
    from cenotaph.cli.demo import run

    if records < 10 * residents:
        raise UsageError("a city has at least ten records for each resident")
    sys.exit(run(folder, residents=residents, records=records, seed=seed, as_json=as_json))


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def witness(arguments: tuple[str, ...]) -> None:
    """Cosign checkpoints of operators' logs, from files or (serve) over HTTP: as cenotaph-proof witness."""
    from cenotaph_proof.__main__ import main as proof_main

    sys.exit(proof_main(["witness", *arguments]))


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def inbox(arguments: tuple[str, ...]) -> None:
    """Let parties fetch the case and send what they sign (serve): as cenotaph-proof inbox."""
    from cenotaph_proof.__main__ import main as proof_main

    sys.exit(proof_main(["inbox", *arguments]))


def _done(desk: Any, entry: Any, as_json: bool, learned: dict[str, Any], lines: list[str]) -> None:
    for refused in desk.refused:
        ui.fail(f"waiting in statements/incoming, not logged: {refused}", None)
    _tell_unheard(desk)
    path = desk.statement_path(entry)
    value = {"stage": entry.statement.kind, "statement": str(path), "digest": entry.digest, **learned}
    stage = {"charter": "open", "inventory": "survey", "destruction": "destroy", "certificate": "certify"}
    value["stage"] = stage.get(entry.statement.kind, entry.statement.kind)
    ui.result(value, [*lines, f"{path.name} signed and logged ({entry.digest[:16]})"], as_json)


def _tell_unheard(desk: Any) -> None:
    for witness in desk.unheard:
        ui.warn(f"log witness {witness} did not cosign; the others were enough")


def _signed(
    stage: str,
    path: Path,
    as_json: bool,
    lines: Sequence[str] = (),
    after: Sequence[str] = (),
    **learned: Any,
) -> None:
    import hashlib

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    value = {"stage": stage, "statement": str(path), "digest": digest, **learned}
    signed = f"{path} signed ({digest[:16]}); the operator's next command logs it"
    ui.result(value, [*lines, signed, *after], as_json)


def main() -> None:
    """Entry point of the command `cenotaph`."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump of this process would be one more copy
    sys.excepthook = _unexpected
    cli(prog_name="cenotaph")


def _unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell of a defect of ours by its class and place alone: its text may quote a person."""
    frames = traceback.extract_tb(trace)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    ui.fail(f"cenotaph itself failed: {kind.__name__}{where}", "nothing was signed; please report this line")
