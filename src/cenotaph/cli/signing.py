"""The commands of auditors, notaries and owners: each signs one statement for the operator to log."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cenotaph.cli import ui
from cenotaph.cli.group import (
    A_FILE,
    BLOCKED,
    DOES_NOT_VERIFY,
    addresses_of,
    cli,
    endpoints_of,
    key_option,
    raw_option,
    store_option,
    tell_unheard,
    usage,
    with_case,
)
from cenotaph.errors import UsageError

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
        tell_unheard(desk)
        logged = [desk.statement_path(e).name for e in entries]
        ui.result({"stage": "approve", "logged": logged, "refused": desk.refused}, logged, as_json)
        if desk.refused:
            sys.exit(BLOCKED)
        return
    if key is None:
        raise UsageError("approve needs --key FILE, or --add FILE")
    with usage():
        duration = seconds(lasts, "--lasts") if lasts else None
    path = stage.approve_here(
        folder, key, wall_clock, charter=charter, withdraw=withdraw, outside=outside, lasts=duration
    )
    _signed("approve", path, as_json)


@cli.command()
@with_case
@key_option("the auditor's")
@store_option
@raw_option
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

    session = Session(folder, key, addresses_of(addresses))
    progress = ui.Progress("challenge")
    path = run(session, open_reader, outside, progress, command=tuple(shlex.split(raw_command)))
    progress.end()
    body = report.read_body(path, Challenge)
    _signed("challenge", path, as_json, decision=body.decision, lines=report.challenge_lines(session, body))
    if body.decision == "reject":
        sys.exit(DOES_NOT_VERIFY)


@cli.command()
@with_case
@key_option("the auditor's")
@store_option
@raw_option
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

    session = Session(folder, key, addresses_of(addresses))
    progress = ui.Progress("probe")
    options = Options(
        referee=referee,
        command=tuple(shlex.split(raw_command)),
        endpoints=endpoints_of(endpoints),
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
@key_option("any party's")
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

    with usage():
        spoken = speaking.testify(folder, key, **said, now=wall_clock())
    lacking = [f"to be testified: {line}" for line in spoken.lacking]
    _signed("testify", spoken.path, as_json, spoken.told, after=lacking, **spoken.learned())


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
