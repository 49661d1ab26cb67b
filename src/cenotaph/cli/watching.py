"""`cenotaph status --watch`: how far the stage at work is, store by store, until it ends."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cenotaph import cost, pace
from cenotaph.pace import Pace

EVERY, PLAIN_EVERY = 1.0, 10.0  # seconds: on a terminal, and off it
PATIENCE = 5.0  # seconds that a stage is waited for which is about to begin
_HEAD = ("store", "records", "of", "records/s", "MB/s", "of the disk", "left")


def watch(folder: Path, *, as_json: bool) -> bool:
    """Show how it goes until the stage ends. False where nothing is at work."""
    found = _awaited(folder)
    if found is None:
        return False
    disk = cost.look(folder) if found.stores and _large(found) else None
    drawn = 0
    while True:
        if as_json:
            print(json.dumps(to_json(found, disk)), flush=True)
        else:
            drawn = _draw(table(found, disk), drawn)
        if not found.alive:
            return True
        time.sleep(EVERY if sys.stdout.isatty() else PLAIN_EVERY)
        found = pace.now(folder) or found


def table(found: Pace, disk: cost.Disk | None) -> list[str]:
    """A line a store, and what they come to."""
    rows: list[tuple[str, ...]] = [_HEAD]
    for name, share in found.stores.items():
        rows.append((name, *_cells(found, [share], disk)))
    rows.append(("in all", *_cells(found, list(found.stores.values()), disk)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return [f"{found.stage}: {found.what}, {cost.spoken(found.seconds)} so far{_standing(found)}", *lines]


def to_json(found: Pace, disk: cost.Disk | None) -> dict[str, Any]:
    """The same for a script; rates a second."""
    return {
        "stage": found.stage,
        "seconds": round(found.seconds, 3),
        "at_work": found.alive,
        "left_seconds": found.left,
        "of_the_disk": _of_disk(found, list(found.stores.values()), disk),
        "stores": [
            {
                "name": name,
                "records": share.records,
                "done": share.before + share.done,
                "records_per_second": _rate(found, share.done),
                "bytes_per_second": _rate(found, share.done_bytes),
            }
            for name, share in found.stores.items()
        ],
    }


def _cells(found: Pace, shares: Sequence[pace.Share], disk: cost.Disk | None) -> tuple[str, ...]:
    records = sum(share.records for share in shares)
    done = sum(share.done for share in shares)
    to_do = records - done - sum(share.before for share in shares)
    of_disk = _of_disk(found, shares, disk)
    return (
        f"{records - to_do:,}",
        f"{records:,}",
        f"{_rate(found, done):,.0f}",
        f"{_rate(found, sum(share.done_bytes for share in shares)) / 1e6:,.1f}",
        f"{of_disk:.0%}" if of_disk is not None else "",
        cost.spoken(found.seconds / done * to_do) if done and found.alive else "",
    )


def _of_disk(found: Pace, shares: Sequence[pace.Share], disk: cost.Disk | None) -> float | None:
    """Of what the disk under the case reads or overwrites by itself."""
    if disk is None:
        return None
    best = disk.write if found.stage == "destroy" else disk.read
    return _rate(found, sum(share.done_bytes for share in shares)) / best


def _rate(found: Pace, amount: int) -> float:
    return amount / max(found.seconds, 0.001)


def _standing(found: Pace) -> str:
    if found.alive:
        return ""
    return ", ended" if found.ended else ", KILLED: run the same command again, it goes on"


def _large(found: Pace) -> bool:
    return sum(share.bytes for share in found.stores.values()) > cost.WORTH_IT


def _awaited(folder: Path) -> Pace | None:
    deadline = time.monotonic() + PATIENCE
    while True:
        found = pace.now(folder)
        if found is not None and found.alive:
            return found
        if time.monotonic() > deadline:
            return found if found is not None and not found.ended else None
        time.sleep(0.2)


def _draw(lines: Sequence[str], drawn: int) -> int:
    if sys.stdout.isatty():
        if drawn:
            print(f"\x1b[{drawn}A\x1b[J", end="")
        print("\n".join(lines), flush=True)
        return len(lines)
    print("\n".join(lines), flush=True)
    return 0
