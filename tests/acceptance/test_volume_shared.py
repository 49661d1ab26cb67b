"""Acceptance: a volume that others write to while it is wiped loses nothing of theirs, nor its headroom."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from cenotaph.volume import wipe
from cenotaph.volume.terms import HEADROOM_BYTES, HEADROOM_SHARE
from small_volume import OLD, SmallVolumeCase, deleted, forked, found
from volume_images import LOOPS, image

pytestmark = [LOOPS, pytest.mark.slow, pytest.mark.timeout(900)]
__all__ = ["forked"]

GiB = 1 << 30


class Others(threading.Thread):
    """A program of somebody else's: it writes files, remembers their digests, and deletes some again."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir()
        self._folder, self._stop_asked = folder, threading.Event()
        self.wrote: dict[str, str] = {}
        self.failed: list[OSError] = []

    def run(self) -> None:
        number = 0
        while not self._stop_asked.is_set():
            data = os.urandom(256 << 10)
            try:
                self._write(f"{number}", data)
            except OSError as error:
                self.failed.append(error)
            number += 1
            if number % 3 == 0:
                (self._folder / f"{number - 2}").unlink()
                del self.wrote[f"{number - 2}"]
            time.sleep(0.02)

    def _write(self, name: str, data: bytes) -> None:
        with (self._folder / name).open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        self.wrote[name] = hashlib.sha256(data).hexdigest()

    def end(self) -> dict[str, str]:
        """Stop; what the files hold now."""
        self._stop_asked.set()
        self.join()
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in self._folder.iterdir()}


class Gauge(threading.Thread):
    """Samples what users can still write, each 100 ms."""

    def __init__(self, mount: Path) -> None:
        super().__init__()
        self._mount, self._stop_asked = mount, threading.Event()
        self.seen: list[int] = []

    def run(self) -> None:
        while not self._stop_asked.wait(0.1):
            info = os.statvfs(self._mount)
            self.seen.append(info.f_bavail * info.f_frsize)

    def end(self) -> list[int]:
        self._stop_asked.set()
        self.join()
        return self.seen


def test_a_running_writer_loses_nothing_and_keeps_its_headroom(
    tmp_path: Path, forked: pytest.MonkeyPatch
) -> None:
    """While free blocks are filled, others write, and nothing fails; never less than the headroom is free.

    The device takes no discards, so that they must be filled. The owner declared nothing: not L3, and why.
    """
    forked.setattr(wipe.kernel, "trim", lambda *_: False)
    with image(tmp_path, "ext4", 7 * GiB // 2) as scratch:
        case = SmallVolumeCase.lay(tmp_path / "ground", scratch, quiesced=False)
        deleted(scratch.mount / "exports/old.csv", OLD)
        assert found(scratch, OLD) == 2 * len(OLD)
        case.go("open", "approve-owner")
        info = os.statvfs(scratch.mount)
        headroom = max(int(HEADROOM_SHARE * info.f_blocks * info.f_frsize), HEADROOM_BYTES)
        others, gauge = Others(scratch.mount / "others"), Gauge(scratch.mount)
        others.start()
        gauge.start()
        try:
            case.destroy()
        finally:
            free, now = gauge.end(), others.end()
        actions = {a.kind: a.bytes for a in case.wiped().actions}

        assert actions["fill"] > GiB // 2
        assert min(free) >= headroom
        assert max(free) - min(free) > GiB // 4  # the gauge saw the fill
        assert others.failed == []
        assert now == others.wrote
        assert len(now) > 20
        assert case.wiped().reached == case.planned().grade == "L2"
        assert "quiesced" in case.planned().why_not_higher
