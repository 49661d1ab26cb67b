"""Killed while it wipes or reads a volume, a case goes on: the volume is thawed, nothing claimed too early.

Each run is killed a little later than the one before, until one ends by itself; so every kill falls on what
the earlier ones left.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import killing
import pytest

from cenotaph.errors import CenotaphError
from cenotaph.residue import restore
from cenotaph.residue import volume as residue
from cenotaph.volume import kernel, raw
from cenotaph_proof.statements import Destruction, Probe
from small_volume import OLD, SmallVolumeCase, deleted, forked, found
from volume_images import LOOPS, Image, image

EVERY = os.environ.get("CENOTAPH_CRASH") == "every"
pytestmark = [LOOPS, pytest.mark.slow, pytest.mark.timeout(3600)]
__all__ = ["forked"]

MiB = 1 << 20


@pytest.fixture(autouse=True)
def _more_places_to_die(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of wiping that `killing` does not count, and of searching while the volume is held still."""
    wrap = killing._wrap

    def all_of_them(event: Any) -> None:
        wrap(event)
        steps = {
            os: ("setxattr", "posix_fallocate"),
            kernel: ("set_xfs_reserve",),
            raw: ("opened",),
            residue: ("search",),
            restore: ("attempt",),
        }
        for module, names in steps.items():
            for name in names:
                killing._before(module, name, event)

    monkeypatch.setattr(killing, "_wrap", all_of_them)


KINDS = ["ext4", "xfs"] if EVERY else ["ext4"]  # the log of xfs takes a minute to write round


@pytest.fixture(params=KINDS)
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Image, SmallVolumeCase]]:
    """A volume with old residue, and a case that is approved."""
    with image(tmp_path, request.param, 64 * MiB) as scratch:
        case = SmallVolumeCase.lay(tmp_path / "ground", scratch)
        deleted(scratch.mount / "exports/old.csv", OLD)
        assert found(scratch, OLD) == 2 * len(OLD)
        case.go("open", "approve-owner")
        yield scratch, case


def _later() -> Iterator[int]:
    """Changes after which to kill, the next one later."""
    at = 0
    while True:
        yield at
        at += max(1, at // 8) if EVERY else max(3, at)


def _until_it_ends(step: Callable[[], object], check: Callable[[], None], scratch: Image) -> int:
    """Run a step again and again, each killed later; how often it was killed."""
    for kills, at in enumerate(_later()):
        ended = killing.run(step, at)
        _check_thawed(scratch)
        assert not ended.orphans
        if not ended.killed:
            assert (ended.code, ended.said) == (0, "")
            return kills
        check()
    raise AssertionError("no run ended")


def _check_thawed(scratch: Image) -> None:
    """Somebody can write to the volume at once."""
    mark = scratch.mount / "mark"
    subprocess.run(["touch", str(mark)], check=True, timeout=20)
    mark.unlink()


def _reserve(scratch: Image) -> int:
    if scratch.kind == "ext4":
        return int(kernel.ext4_reserve(os.stat(scratch.mount).st_dev).read_text())
    fd = os.open(scratch.mount, os.O_RDONLY)
    try:
        return kernel.xfs_reserve(fd)
    finally:
        os.close(fd)


def test_a_case_that_is_killed_while_it_wipes_and_reads_goes_on(
    ground: tuple[Image, SmallVolumeCase], record_property: pytest.RecordProperty
) -> None:
    """SIGKILL at many changes of wiping, then of probing: nothing is claimed before the end, what the file
    system keeps back is as it was, and the last run reaches L3 with nothing of the old residue left."""
    scratch, case = ground
    reserve = _reserve(scratch)

    def unclaimed() -> None:
        for entry in case.now().all(Destruction):
            assert all(v.reached != "L3" for v in entry.body(Destruction).volumes or ())

    def unprobed() -> None:
        assert not case.now().all(Probe)

    wiping = _until_it_ends(case.destroy, unclaimed, scratch)
    assert _reserve(scratch) == reserve
    assert found(scratch, OLD) == 0
    reading = _until_it_ends(case.probe, unprobed, scratch)
    seen = case.probed()
    case.certify()
    record_property("kill points", wiping + reading)
    record_property("survived", wiping + reading)

    assert wiping > 3
    assert reading > 2
    assert (seen.reached, seen.residue, seen.strangers) == ("L3", 0, 0)
    assert {s.reached for s in case.certificate().stores} == {"L3"}
    assert case.verdict().exit_code == 0
    assert {p.name for p in scratch.mount.iterdir()} <= {"apps", "exports", "lost+found"}


def test_a_volume_that_is_not_there_is_not_claimed(ground: tuple[Image, SmallVolumeCase]) -> None:
    """Unmounted before it is wiped, or before it is read: an error or a rejection; mounted again, L3."""
    scratch, case = ground
    scratch.unmount()
    with pytest.raises(CenotaphError) as refused:
        case.destroy()
    assert refused.value.exit_code in (2, 3, 4)
    scratch.mount_again()
    assert found(scratch, OLD) == 2 * len(OLD)
    case.destroy()
    scratch.unmount()
    with contextlib.suppress(CenotaphError):
        case.probe()
    case.admit()
    assert all(e.body(Probe).decision == "reject" for e in case.now().all(Probe))
    scratch.mount_again()
    case.destroy()
    case.probe()

    assert case.probed().reached == "L3"


def test_bytes_that_cannot_be_read_are_not_claimed(
    ground: tuple[Image, SmallVolumeCase], forked: Any
) -> None:
    """A device that gives no answer for a block: the probe counts it, says so, and does not give L3."""
    _, case = ground
    case.destroy()
    forked.setattr(raw.Raw, "unread", property(lambda _: [(MiB, 4096)]))
    case.probe()
    seen = case.probed()

    assert seen.reached == "L2"
    assert seen.read == seen.bytes - 4096
    assert "4096 bytes" in seen.why_not_higher


@pytest.mark.parametrize("ground", ["ext4"], indirect=True)
def test_a_case_whose_disk_is_full_claims_nothing(
    ground: tuple[Image, SmallVolumeCase], record_property: pytest.RecordProperty
) -> None:
    """Every write of the case from some moment on fails, while it wipes or reads: an error, no L3, nothing
    frozen; with room again the same commands reach it."""
    scratch, case = ground
    full = 0
    for step in (case.destroy, case.probe):
        for at in _later():
            ended = killing.run(step, at, killing.How.DISK_FULL)
            _check_thawed(scratch)
            if ended.code == 0:
                break
            assert "full" in ended.said or "space" in ended.said
            full += 1
    case.admit()
    record_property("full disks", full)
    record_property("survived full disks", full)

    assert full > 3
    assert found(scratch, OLD) == 0
    assert case.probed().reached == "L3"
