"""`cenotaph doctor`: what would stop a case half-way, found before it begins."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cenotaph.desk import Desk
from cenotaph.errors import CenotaphError
from cenotaph.store import OpenReader
from cenotaph_proof.errors import ProofError

EARLIEST = 1_700_000_000  # no clock that is right shows an earlier time
ROOM = 256 << 20


@dataclass(frozen=True, slots=True)
class Check:
    what: str
    good: bool
    says: str
    hint: str = ""


def run(folder: Path, opener: OpenReader) -> list[Check]:
    """Every check, the good ones too."""
    try:
        desk = Desk(folder)
    except CenotaphError as error:
        return [Check("case file", False, error.message, error.hint or "")]
    return [
        Check("case file", True, "reads well"),
        *_keys(desk),
        _room(desk),
        _clock(),
        *_stores(desk, opener),
    ]


def line(check: Check) -> str:
    text = f"{'ok  ' if check.good else 'FAIL'}  {check.what}: {check.says}"
    return text + (f"\n      {check.hint}" if check.hint and not check.good else "")


def to_json(check: Check) -> dict[str, Any]:
    return asdict(check)


def _keys(desk: Desk) -> Iterator[Check]:
    for what, look in (("operator's key", lambda: desk.key), ("parties' keys", desk.config.parties)):
        try:
            look()
            yield Check(what, True, "reads well")
        except (CenotaphError, ProofError) as error:
            yield Check(what, False, error.message, error.hint or "")


def _room(desk: Desk) -> Check:
    free = shutil.disk_usage(desk.path).free
    return Check(
        "room for the case", free > ROOM, f"{free:,} bytes free", "make room on the case's file system"
    )


def _clock() -> Check:
    now = time.time()
    return Check(
        "clock", now > EARLIEST, time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)), "set the clock"
    )


def _stores(desk: Desk, opener: OpenReader) -> Iterator[Check]:
    for store in desk.config.store:
        what = f"store {store.name}"
        if not desk.config.path(store).exists():
            yield Check(what, False, "there is nothing at its address", "correct its url in case.toml")
            continue
        try:
            reader = opener(desk.config.url(store), desk.config.selection(store))
            try:
                count = len(reader.collections())
                capability = reader.capabilities
            finally:
                reader.close()
        except CenotaphError as error:
            yield Check(what, False, error.message, error.hint or "")
            continue
        why = f"; not higher: {capability.why_not_higher}" if capability.why_not_higher else ""
        yield Check(what, True, f"{count} collections, can reach {capability.grade.name}{why}")
        path = desk.config.path(store)
        folder = path if path.is_dir() else path.parent
        if not os.access(folder, os.W_OK | os.X_OK):
            yield Check(
                what, False, "its folder cannot be written, so it cannot be erased", "chmod or chown it"
            )
