"""The operator's commands, in the order of a case."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from cenotaph.cli import ui
from cenotaph.cli.group import A_FILE, A_FOLDER, DOES_NOT_VERIFY, cli, tell_unheard, usage, with_case
from cenotaph.errors import CenotaphError, UsageError

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
    with usage():
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
@click.option(
    "--engine",
    "address",
    default="local",
    show_default=True,
    metavar="ADDRESS",
    help="where stores are read: spark://HOST:PORT, sc://HOST:PORT, yarn, or env:NAME that has it",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="partitions that an engine reads at once; [limits] workers if not told",
)
def seal(folder: Path, as_json: bool, address: str, workers: int | None) -> None:
    """Fix what is to be destroyed, record by record, under one root."""
    from cenotaph import config
    from cenotaph.cli import report
    from cenotaph.desk import Desk
    from cenotaph.engines import apart
    from cenotaph.stages.seal import Elsewhere
    from cenotaph.stages.seal import seal as run
    from cenotaph.stores import open_reader

    engine = apart(config.resolve(address, Path()) if address.startswith("env:") else address)
    if engine is None and workers is not None:
        raise UsageError("--workers is of an engine; here, [limits] workers in case.toml says how many")
    desk = Desk(folder)
    elsewhere = Elsewhere(engine, workers or desk.config.limits.workers) if engine is not None else None
    progress = ui.Progress("seal")
    entry = run(desk, open_reader, progress, elsewhere)
    progress.end()
    _done(desk, entry, as_json, report.seal_json(desk.case(), entry), report.seal_lines(entry))


@cli.command()
@with_case
@click.option("--show", is_flag=True, help="print the newest plan again, and change nothing")
@click.option("--leave-out", multiple=True, metavar="STORE/ORDINAL", help="take a collection out (amend)")
@click.option(
    "--emit-sql",
    "scripts",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="write what will run on each server to a new folder; it will hold names of tables in clear",
)
def plan(folder: Path, as_json: bool, show: bool, leave_out: tuple[str, ...], scripts: Path | None) -> None:
    """Say in words exactly what will happen. A dry run by nature; run again to amend."""
    from cenotaph.cli import costs, report
    from cenotaph.cli import scripts as sql
    from cenotaph.desk import Desk
    from cenotaph.stages.plan import describe
    from cenotaph.stages.plan import plan as run
    from cenotaph.stores import open_reader
    from cenotaph_proof.statements import Plan

    if scripts is not None:
        sql.check(scripts)
    desk = Desk(folder)
    entry = desk.case().require(Plan) if show else run(desk, report.collections(leave_out))
    expected, in_numbers = costs.predict(desk, entry)
    lines = [
        *describe(desk.case()),
        *expected,
        "",
        f"To destroy it, when approved: cenotaph destroy --confirm {entry.digest[:8]}",
    ]
    learned: dict[str, Any] = {"records": entry.body(Plan).records, **in_numbers}
    failed: CenotaphError | None = None
    if scripts is not None:
        try:
            written = sql.write(desk, open_reader, scripts)
            lines += ["", *written.lines()]
            learned |= {"sql": [str(path) for path in written.files], "without_sql": list(written.without)}
        except CenotaphError as error:  # the plan is signed all the same, and said to be
            failed = error
    _done(desk, entry, as_json, learned, lines)
    if failed is not None:
        raise failed


@cli.command()
@with_case
@click.option("--confirm", metavar="DIGEST", help="the first characters (8 or more) of the plan's digest")
@click.option("--engine", "address", default="local", hidden=True)
def destroy(folder: Path, as_json: bool, confirm: str | None, address: str) -> None:
    """Erase what the approved plan names. Cannot be undone; run again, it goes on."""
    if address != "local":
        raise UsageError(
            "only seal takes an engine: nothing is erased from a cluster",
            hint="run destroy where the journal of the case is (docs/adr/0018)",
        )
    from cenotaph.cli import costs, report
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
    compared, in_numbers = costs.compare(desk, entry)
    lines = [*report.destruction_lines(entry), *compared]
    _done(desk, entry, as_json, report.destruction_json(entry) | in_numbers, lines)


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
    with usage():
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


def _done(desk: Any, entry: Any, as_json: bool, learned: dict[str, Any], lines: list[str]) -> None:
    for refused in desk.refused:
        ui.fail(f"waiting in statements/incoming, not logged: {refused}", None)
    tell_unheard(desk)
    path = desk.statement_path(entry)
    value = {"stage": entry.statement.kind, "statement": str(path), "digest": entry.digest, **learned}
    stage = {"charter": "open", "inventory": "survey", "destruction": "destroy", "certificate": "certify"}
    value["stage"] = stage.get(entry.statement.kind, entry.statement.kind)
    ui.result(value, [*lines, f"{path.name} signed and logged ({entry.digest[:16]})"], as_json)
