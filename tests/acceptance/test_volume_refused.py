"""Acceptance: where a volume cannot reach L3, or a step was left out, L3 is refused with the right reason.

The case goes on at the grade that was reached. Each test finds the residue first, where there is any.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cenotaph.errors import PartialError
from cenotaph.volume import free, kernel, wipe
from small_case import put, values
from small_volume import (
    EXPORTED,
    LIVE,
    OLD,
    SmallVolumeCase,
    deleted,
    forked,
    found,
)
from volume_images import LOOPS, Image, image, tool

pytestmark = [LOOPS, pytest.mark.slow, pytest.mark.timeout(600)]
__all__ = ["forked"]

MiB = 1 << 20


def finish_lower(case: SmallVolumeCase) -> None:
    """The auditor accepts the lower grade; the case is certified, and each store has L2."""
    case.accept_lower = True
    case.probe()
    case.admit()
    case.certify()
    body = case.certificate()

    assert {s.reached for s in body.stores} == {"L2"}
    assert case.verdict().exit_code in (0, 3)


def until(case: SmallVolumeCase, first: str, last: str) -> None:
    """Steps of which some may say that a lower grade was reached than the plan said."""
    names = list(case.steps())
    for name in names[names.index(first) : names.index(last) + 1]:
        with contextlib.suppress(PartialError):
            case.steps()[name]()


# ── volumes that keep what is overwritten ────────────────────────────────────────────────────────


@tool("mkfs.btrfs")
@pytest.mark.parametrize("snapshot", [False, True], ids=["", "with a snapshot"])
def test_btrfs_is_refused(tmp_path: Path, snapshot: bool) -> None:
    """The plan says L2 and names btrfs, nothing of the volume is wiped, and the case completes at L2."""
    with image(tmp_path, "btrfs", 256 * MiB) as scratch:
        case = SmallVolumeCase.lay(tmp_path / "ground", scratch)
        if snapshot:
            os.sync()
            line = ["btrfs", "subvolume", "snapshot", "-r", str(scratch.mount), str(scratch.mount / "before")]
            subprocess.run(line, check=True, capture_output=True)
        case.go("open", "certify")
        left = found(scratch, [*LIVE, *EXPORTED])
        body = case.certificate()

        assert case.planned().grade == "L2"
        assert "btrfs" in case.planned().why_not_higher
        assert case.planned().actions == ()
        assert {s.reached for s in body.stores} <= {"L1", "L2"}
        assert all("btrfs" in s.why_not_higher or "snapshot" in s.why_not_higher for s in body.stores)
        assert left or not snapshot  # what a snapshot keeps is really there: the refusal is right


def test_a_journal_of_contents_is_refused(tmp_path: Path) -> None:
    """ext4 with data=journal is refused in the plan, for the content that its journal keeps."""
    with image(tmp_path, "ext4", 64 * MiB, options="data=journal") as scratch:
        case = SmallVolumeCase.lay(tmp_path / "ground", scratch)
        case.go("open", "certify")

        assert case.planned().grade == "L2"
        assert "data=journal" in case.planned().why_not_higher
        assert {s.reached for s in case.certificate().stores} <= {"L1", "L2"}


# ── steps that were left out, by a tool that says it did them ────────────────────────────────────


def _no_trim(weak: pytest.MonkeyPatch) -> None:
    weak.setattr(wipe.kernel, "trim", lambda *_: False)


def _blind(weak: pytest.MonkeyPatch) -> None:
    """The operator's own look at the free blocks says that all are blank."""
    real = free.read_blank

    def blank(*args: object) -> free.Blank:
        seen = real(*args)  # type: ignore[arg-type]  # passed on as they came
        return free.Blank(seen.free, seen.free, 0)

    weak.setattr(wipe.free, "read_blank", blank)


def _reserve_left_alone(weak: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def handed_out(*_: object) -> Iterator[str]:
        yield ""

    _no_trim(weak)
    _blind(weak)
    weak.setattr(wipe, "handed_out", handed_out)


def _trim_ignored(weak: pytest.MonkeyPatch) -> None:
    _blind(weak)
    weak.setattr(wipe.kernel, "trim", lambda *_: True)


def _journal_forgotten(weak: pytest.MonkeyPatch) -> None:
    weak.setattr(wipe._Run, "_checkpoint", lambda _: True)


def _journal_of_xfs_forgotten(weak: pytest.MonkeyPatch) -> None:
    weak.setattr(wipe._Run, "_cycle", lambda *_: None)


WEAK: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None], str]] = {
    "reserved_clusters left alone": ("ext4", _reserve_left_alone, "free blocks"),
    "trim ignored": ("ext4", _trim_ignored, "free blocks"),
    "trim ignored on xfs": ("xfs", _trim_ignored, "free blocks"),
    "journal forgotten": ("ext4", _journal_forgotten, "file system journal"),
    "journal forgotten on xfs": ("xfs", _journal_of_xfs_forgotten, "file system journal"),
}


@pytest.mark.parametrize("weakness", WEAK)
def test_a_step_left_out_is_refused(tmp_path: Path, forked: pytest.MonkeyPatch, weakness: str) -> None:
    """The operator's account says L3; the auditor's probe finds the residue, says where, and rejects."""
    kind, weaken, place = WEAK[weakness]
    with image(tmp_path, kind, 64 * MiB) as scratch:
        case = SmallVolumeCase.lay(tmp_path / "ground", scratch)
        _old_files(scratch)
        assert found(scratch, OLD) == 2 * len(OLD)
        if kind == "ext4":  # as much as a large volume keeps back
            kernel.ext4_reserve(os.stat(scratch.mount).st_dev).write_text("3000")
        with forked.context() as weak:
            weaken(weak)
            until(case, "open", "destroy")
        assert case.wiped().reached == "L3"
        assert found(scratch, OLD)
        until(case, "probe", "probe")
        seen = case.probed()

        assert seen.reached == "L2"
        assert seen.residue > 0
        # What ext4 set aside for files that grow looks like a block in use, and may hold it as well.
        assert {place, "other blocks in use"} & {r.place for r in seen.found}
        assert any(r.place in seen.why_not_higher for r in seen.found)
        finish_lower(case)


def _old_files(scratch: Image) -> None:
    """Names of people, and then a file in nearly all blocks there are; both deleted."""
    for person in OLD:
        put(scratch.mount / "exports" / f"{person.identity}-{person.phone}.jpg", b"")
    os.sync()
    info = os.statvfs(scratch.mount)
    times = (info.f_bavail * info.f_frsize - 2 * MiB) // (4096 * len(OLD))
    deleted(scratch.mount / "exports/old.bin", OLD * times, block=True)
    for person in OLD:
        (scratch.mount / "exports" / f"{person.identity}-{person.phone}.jpg").unlink()
    os.sync()


# ── what nobody may overwrite ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("named", [True, False], ids=["named as kept", "named by nobody"])
def test_preallocated_blocks_of_a_bystander_are_refused(tmp_path: Path, named: bool) -> None:
    """Blocks that a bystander reserved over deleted data are not ours to overwrite: not L3, and why."""
    with image(tmp_path, "ext4", 64 * MiB) as scratch:
        reserved = scratch.mount / "shared/reserved.bin"
        case = SmallVolumeCase.lay(tmp_path / "ground", scratch, kept=[reserved] if named else [])
        _old_files(scratch)
        reserved.parent.mkdir()
        with reserved.open("wb") as stream:
            info = os.statvfs(scratch.mount)
            os.posix_fallocate(stream.fileno(), 0, info.f_bavail * info.f_frsize - 3 * MiB)
        assert found(scratch, OLD) == 2 * len(OLD)
        size = reserved.stat()
        until(case, "open", "probe")
        seen = case.probed()

        assert seen.reached == "L2"
        assert ("preallocated blocks" if named else "other blocks in use") in seen.why_not_higher
        assert found(scratch, OLD) == 2 * len(OLD)
        assert (reserved.stat().st_size, reserved.stat().st_blocks) == (size.st_size, size.st_blocks)
        finish_lower(case)


def test_the_tail_of_a_file_nobody_named_is_refused(tmp_path: Path) -> None:
    """Behind the end of a stranger's file in the last block: found, not touched, not L3."""
    with image(tmp_path, "ext4", 64 * MiB) as scratch:
        case = SmallVolumeCase.lay(tmp_path / "ground", scratch)
        letter = scratch.mount / "shared/letter.txt"
        put(letter, b"Dear all, ".ljust(600, b"."))
        os.sync()
        _plant_behind(scratch, b"Dear all, ", 700, b"\n".join(values(OLD[:5])))
        assert found(scratch, OLD[:5]) == 10
        until(case, "open", "probe")
        seen = case.probed()

        assert seen.reached == "L2"
        assert "other blocks in use" in seen.why_not_higher
        assert letter.read_bytes() == b"Dear all, ".ljust(600, b".")
        finish_lower(case)


def _plant_behind(scratch: Image, begin: bytes, offset: int, data: bytes) -> None:
    """Write bytes into the unmounted device, so far behind where a file begins."""
    scratch.unmount()
    at = scratch.device.read_bytes().index(begin)
    with scratch.device.open("r+b", buffering=0) as raw:
        os.pwrite(raw.fileno(), data, at + offset)
        os.fsync(raw.fileno())
    scratch.drop_caches()
    scratch.mount_again()


# ── a volume that moves ──────────────────────────────────────────────────────────────────────────


def test_a_volume_that_moves_is_refused(tmp_path: Path) -> None:
    """A volume whose owner declared nothing is planned as L2; with a writer on it, it is *moving*."""
    with image(tmp_path, "ext4", 64 * MiB) as scratch:
        case = SmallVolumeCase.lay(tmp_path / "ground", scratch, quiesced=False)
        case.go("open", "approve-owner")
        assert case.planned().grade == "L2"
        assert "quiesced" in case.planned().why_not_higher
        with _writer(scratch.mount / "shared"):
            case.go("destroy", "probe")
        seen = case.probed()

        assert (seen.state, seen.reached) == ("moving", "L2")
        finish_lower(case)


@contextlib.contextmanager
def _writer(folder: Path) -> Iterator[None]:
    """Somebody who writes a file every few milliseconds, to the disk, meanwhile."""
    folder.mkdir()
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            with (folder / f"{number % 50}").open("wb") as stream:
                stream.write(os.urandom(8192))
                stream.flush()
                os.fsync(stream.fileno())
            number += 1
            time.sleep(0.005)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
