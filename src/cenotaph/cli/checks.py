"""`cenotaph doctor`: what would stop a case half-way, found before it begins."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cenotaph import kernel, retired, serving, terrain
from cenotaph.config import StoreTable
from cenotaph.cosigning import remote_witnesses
from cenotaph.desk import Desk
from cenotaph.errors import CenotaphError
from cenotaph.residue import outside
from cenotaph.store import Checked, Grade, OpenReader
from cenotaph_proof.errors import CallError, ProofError
from cenotaph_proof.network.calling import call
from cenotaph_proof.statements import Inventory

RESTORERS = ("sqlite3", "debugfs", "fls", "tsk_recover", "ext4magic", "extundelete")
EARLIEST = 1_700_000_000  # no clock that is right shows an earlier time
ROOM = 256 << 20
PAGE = 1 << 20  # bytes of what a witness says of itself


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
        _kernel(),
        *_witnesses(desk),
        *_stores(desk, opener),
        *_volumes(desk),
        *_apps(desk),
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


def _kernel() -> Check:
    try:
        kernel.found()
    except CenotaphError as error:
        return Check("kernel", False, error.message, error.hint or "")
    return Check("kernel", True, kernel.described().removeprefix("kernel: "))


def _witnesses(desk: Desk) -> Iterator[Check]:
    """Whether those on the network can be called. That they know this log is seen when they cosign it."""
    try:
        found = remote_witnesses(desk.config)
    except (CenotaphError, ProofError) as error:
        yield Check("log witnesses", False, error.message, error.hint or "")
        return
    for organisation, witness in found:
        what = f"log witness {organisation}"
        try:
            call(witness.address, "GET", "", limit=PAGE, seconds=witness.seconds, ca=witness.ca)
        except CallError as error:
            yield Check(what, False, error.message, error.hint or "ask them; see cosign in case.toml")
        else:
            yield Check(what, True, f"answers at {witness.address.host}")


def _stores(desk: Desk, opener: OpenReader) -> Iterator[Check]:
    for store in desk.config.store:
        what = f"store {store.name}"
        try:
            place = desk.config.place(store)
            if place is not None and not place.exists():
                yield Check(what, False, "there is nothing at its address", "correct its url in case.toml")
                continue
            url, erase = desk.config.url(store), desk.config.url(store, erase=True)
            yield from _of_store(desk, store, opener, url, (False, True) if erase == url else (False,))
            if erase != url:
                yield from _of_store(desk, store, opener, erase, (True,))
            yield from _server(desk, store, opener)
        except CenotaphError as error:
            yield Check(what, False, error.message, error.hint or "")
            continue
        folder = place if place is None or place.is_dir() else place.parent
        if folder is not None and not os.access(folder, os.W_OK | os.X_OK):
            yield Check(
                what, False, "its folder cannot be written, so it cannot be erased", "chmod or chown it"
            )


def _server(desk: Desk, store: StoreTable, opener: OpenReader) -> Iterator[Check]:
    """Whether the addresses of a store lead to the server that was surveyed, once there was a survey."""
    try:
        case = desk.case()
    except ProofError:  # it was not opened; what else is wrong with it is told by status
        return
    if case.latest(Inventory) is None or store.name not in (s.name for s in desk.estate(case).stores):
        return
    surveyed = desk.estate(case).find(store.name)
    for address, erasing in serving.addresses(desk.config, surveyed):
        why = serving.another(desk.config, opener, surveyed, address)
        yield Check(
            f"store {store.name}, {'erasing' if erasing else 'reading'}: server",
            not why,
            why or "the one that was surveyed",
            "correct its address; after a failover, or from a restored backup, survey and seal again",
        )


def _of_store(
    desk: Desk, store: StoreTable, opener: OpenReader, url: str, roles: tuple[bool, ...]
) -> Iterator[Check]:
    """What is found at one of a store's addresses. `roles`: whether it is looked at for erasing.

    Raises: CenotaphError where it cannot be read.
    """
    what = f"store {store.name}"
    selection, around = desk.config.selection(store), desk.config.surroundings(store)
    with closing(opener(url, selection, around)) as reader:
        if isinstance(reader, Checked):
            yield from [
                Check(
                    f"{what}, {'erasing' if erasing else 'reading'}: {one.what}", one.good, one.says, one.hint
                )
                for erasing in roles
                for one in reader.checks(Grade[store.grade], frozenset(store.shared), erasing=erasing)
            ]
        if False in roles:
            count = len(reader.collections())
            able = reader.capabilities
            why = f"; not higher: {able.why_not_higher}" if able.why_not_higher else ""
            yield Check(what, True, f"{count} collections, can reach {able.grade.name}{why}")


def _apps(desk: Desk) -> Iterator[Check]:
    """What an auditor will look at. That it is gone already is told: its address may be misspelt."""
    for seen in retired.look_at_all(desk.config.targets()):
        yield Check(
            f"{seen.check} of app {seen.app}",
            seen.state != "not looked at",
            f"{seen.state}: {seen.note}",
            "look from a machine that can: what no auditor can look at is left to testimony",
        )


def _volumes(desk: Desk) -> Iterator[Check]:
    """What L3 takes: a volume that can be wiped, the right to read its device, tools that try to restore."""
    try:
        found = terrain.grounds(desk.config)
    except CenotaphError as error:
        yield Check("volumes", False, error.message, error.hint or "")
        return
    for ground in found:
        what = f"{ground.named.name}"
        yield Check(
            what,
            ground.grade == "L3",
            f"{ground.volume.kind}, {ground.volume.size:,} bytes, can reach {ground.grade}",
            ground.why_not_higher,
        )
        yield Check(
            f"the device of {what}",
            os.access(ground.volume.device, os.R_OK),
            "can be read",
            "run destroy and probe as root, or give probe the right: --raw-command 'sudo -n'",
        )
    if found:
        missing = [tool for tool in RESTORERS if outside.installed(tool) is None]
        yield Check(
            "tools that try to restore",
            not missing,
            f"{len(RESTORERS) - len(missing)} of {len(RESTORERS)} are installed",
            f"install {', '.join(missing)}: what is not tried is listed as not tried",
        )
