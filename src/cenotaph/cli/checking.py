"""`cenotaph check`: after a certificate, whether people came back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from cenotaph.cli import ui
from cenotaph.cli.group import DOES_NOT_VERIFY, addresses_of, cli, store_option, with_case

if TYPE_CHECKING:
    from cenotaph.suppression import Looked


@cli.command()
@with_case
@store_option
@click.option(
    "--subjects",
    type=click.File("rb"),
    metavar="FILE",
    help="people to look for, one identifier a line (- for standard input); read, and not kept",
)
def check(folder: Path, as_json: bool, addresses: tuple[str, ...], subjects: BinaryIO | None) -> None:
    """After the certificate: look whether people came back, with a list of them or without.

    Without a list, records are counted where the certificate says that none is left. Exits with 3 where there
    are any again.
    """
    from cenotaph.config import subjects_of
    from cenotaph.stores import open_reader
    from cenotaph.suppression import check as run

    people = None if subjects is None else subjects_of(subjects.read())
    progress = ui.Progress("check")
    found = run(folder, open_reader, people, addresses_of(addresses), progress)
    progress.end()
    back = [looked for looked in found if looked.state == "came back"]
    value = {
        "stage": "check",
        "subjects": None if people is None else len(people),
        "came_back": bool(back),
        "stores": [asdict(looked) for looked in found],
    }
    ui.result(value, [line for looked in found for line in _lines(looked, people is not None)], as_json)
    if back:
        ui.fail(
            f"people came back in: {', '.join(looked.store for looked in back)}",
            "find out how (a restored backup, a replayed queue), then destroy them under a new case",
        )
        sys.exit(DOES_NOT_VERIFY)
    if any(looked.state == "not read" or looked.unreadable for looked in found):
        sys.exit(1)


def _lines(looked: Looked, listed: bool) -> Iterator[str]:
    yield f"{looked.store} (certified {looked.grade}): {looked.state}" + (
        f", {looked.why}" if looked.why else ""
    )
    if looked.state in ("not read", "retired"):
        return
    where = f" in {looked.collections} collections" if looked.records else ""
    yield f"  {looked.records:,} records in scope beyond what the certificate says is left{where}"
    if listed:
        yield f"  {looked.people:,} people of the list in such records"
        yield f"  {looked.people_kept:,} people of the list in records that stay"
        yield f"  {looked.people_in_bytes:,} people of the list in the bytes beneath"
    if looked.unreadable:
        yield f"  {looked.unreadable:,} places could not be read"
