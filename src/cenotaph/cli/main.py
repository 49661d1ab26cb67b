"""The command `cenotaph`: the only place that knows all concrete parts.

Exit codes: 0 done, verified or nothing to do · 1 failed · 2 wrong usage · 3 does not verify, or residue ·
4 blocked · 5 partial, run again · 6 signers unidentified · 130 interrupted.
"""

from __future__ import annotations

import resource
import sys
import traceback
from pathlib import Path
from types import TracebackType

import click

from cenotaph.cli import (
    checking,  # noqa: F401 - brings its command
    operating,  # noqa: F401 - brings its commands
    signing,  # noqa: F401 - brings its commands
    ui,
)
from cenotaph.cli.group import A_FILE, cli, with_case
from cenotaph.errors import UsageError

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
@click.option("--watch", is_flag=True, help="show how fast the stage at work goes, until it ends")
def status(folder: Path, as_json: bool, watch: bool) -> None:
    """Where the case stands, and who must do what next."""
    from cenotaph.cli import report, watching
    from cenotaph.desk import Desk

    if watch and not watching.watch(folder, as_json=as_json):
        ui.warn("no stage is at work that can be watched (seal and destroy can)")
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
