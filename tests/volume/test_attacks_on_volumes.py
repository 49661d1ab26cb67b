"""What a dishonest operator, a careless neighbour or bad luck could make of a volume: each was tried."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import signal
import stat
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from cenotaph.residue import volume as residue
from cenotaph.residue.needles import NeedleBuilder, Needles
from cenotaph.store import Grade
from cenotaph.volume import blocks, directories, guard, identify, raw, wipe
from volume_images import LOOPS, Image, image, tool

pytestmark = LOOPS

VALUES = [b"Needle%05dXyzzy" % number for number in range(100)]


def needles() -> Needles:
    builder = NeedleBuilder(bytes(range(32)))
    builder.add(pa.array([value.decode() for value in VALUES]), "text")
    return builder.finish()


def found(
    scratch: Image, *, stores: Sequence[str] = (), kept: Sequence[str] = (), since: int | None = None
) -> residue.Searched:
    """A search of the frozen volume, as a probe does it."""
    volume = identify.identify(scratch.mount)
    with raw.opened(volume, freeze=True) as device:
        assert device.state == "frozen"
        places = [scratch.mount / name for name in stores]
        stays = [scratch.mount / name for name in kept]
        told = {} if since is None else {"since": since}
        map_ = blocks.refine(device.map, volume, stores=places, kept=stays, folders=places, **told)
        return residue.search(device, map_, needles(), b"seed" * 8)


def wiped(scratch: Image, *folders: str) -> wipe.Wiped:
    return wipe.wipe(
        identify.identify(scratch.mount),
        [scratch.mount / name for name in folders],
        wipe.Terms(quiesced=True),
    )


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def flag(path: Path, change: str) -> None:
    subprocess.run(["chattr", change, str(path)], check=True)


# --- what others keep ------------------------------------------------------------------------


@tool("chattr")
def test_a_folder_that_only_grows_gets_no_names_of_ours(tmp_path: Path) -> None:
    """Names in an append-only folder can never be removed: none is put there, and the grade says so."""
    with image(tmp_path, "ext4") as scratch:
        log = scratch.mount / "kept" / "log"
        log.mkdir(parents=True)
        (log / "theirs").write_bytes(b"1")
        flag(log, "+a")
        try:
            result = wiped(scratch, "kept")
            assert names(log) == ["theirs"]
            assert result.reached is Grade.L2
            assert "1 folders may not be changed" in result.why_not_higher
        finally:
            flag(log, "-a")


@tool("chattr")
def test_a_mount_point_that_only_grows_gets_no_folder_of_ours(tmp_path: Path) -> None:
    """What wiping needs for itself lies where it can be removed again."""
    with image(tmp_path, "ext4") as scratch:
        (scratch.mount / "app").mkdir()
        before = names(scratch.mount)
        flag(scratch.mount, "+a")
        try:
            wiped(scratch, "app")
            assert names(scratch.mount) == before
        finally:
            flag(scratch.mount, "-a")


def test_what_a_killed_run_left_goes_from_a_setgid_folder_too(tmp_path: Path) -> None:
    """A folder of ours inherits setgid from a shared one, and is known all the same."""
    with image(tmp_path, "ext4") as scratch:
        scratch.mount.chmod(0o2775)
        before = names(scratch.mount)
        home = directories.Home([scratch.mount])  # never closed, as after SIGKILL
        assert stat.S_IMODE(home.path.stat().st_mode) == 0o2700
        os.close(home.fd)
        directories.remove_leftovers([scratch.mount])
        assert names(scratch.mount) == before


def test_a_folder_too_deep_to_be_named_is_counted_not_fatal(tmp_path: Path) -> None:
    """Anybody can make folders deeper than PATH_MAX; they do not stop the wiping of a volume."""
    with image(tmp_path, "ext4") as scratch:
        here = os.open(scratch.mount, os.O_RDONLY)
        for _ in range(20):
            os.mkdir("d" * 255, dir_fd=here)
            below = os.open("d" * 255, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)
        result = wiped(scratch, "d" * 255)
        assert result.reached is Grade.L2
        assert "folders may not be changed" in result.why_not_higher


# --- what a search could miss ----------------------------------------------------------------


@tool("fallocate")
def test_a_value_cut_by_a_border_between_two_places_is_found(tmp_path: Path) -> None:
    """Adjacent on the device, one half in a file, one in a free block: grep finds it, and so must we."""
    with image(tmp_path, "ext4") as scratch:
        file = scratch.mount / "theirs"
        data = bytearray(b"." * (16 * 4096))
        for number, value in enumerate(VALUES[:8]):
            at = 4096 * (2 * number + 1) - 9
            data[at : at + len(value)] = value
        file.write_bytes(data)
        os.sync()
        for number in range(8):
            hole = ["fallocate", "-p", "-o", str(4096 * (2 * number + 1)), "-l", "4096", str(file)]
            subprocess.run(hole, check=True)
        scratch.drop_caches()
        assert sum(value in scratch.file.read_bytes() for value in VALUES[:8]) >= 7
        assert len(found(scratch).residue) >= 7


def test_a_file_put_into_a_store_after_its_search_is_searched_as_what_it_is(tmp_path: Path) -> None:
    """A store's files are left to its own search only where that search can have seen them."""
    with image(tmp_path, "ext4") as scratch:
        (scratch.mount / "app").mkdir()
        since = time.time_ns()
        time.sleep(0.05)
        (scratch.mount / "app/late").write_bytes(b"\n".join(VALUES))
        os.utime(scratch.mount / "app/late", ns=(0, 0))  # an old date hides nothing
        assert not found(scratch, stores=["app"]).residue
        assert len(found(scratch, stores=["app"], since=since).residue) == len(VALUES)


def test_a_hard_link_into_the_store_from_elsewhere_is_found(tmp_path: Path) -> None:
    """Bytes that a name outside the store still reaches are residue, whatever became of the store's name."""
    with image(tmp_path, "ext4") as scratch:
        (scratch.mount / "app").mkdir()
        (scratch.mount / "old").mkdir()
        (scratch.mount / "app/file").write_bytes(b"\n".join(VALUES))
        os.link(scratch.mount / "app/file", scratch.mount / "old/file")
        (scratch.mount / "app/file").unlink()
        wiped(scratch, "app")
        assert len(found(scratch, stores=["app"]).residue) == len(VALUES)


def test_files_that_the_file_system_encrypts_are_known_to_be_out_of_sight(tmp_path: Path) -> None:
    """fscrypt: live files with every value, of which no search of the device sees one."""
    with image(tmp_path, "ext4", make=("-O", "encrypt")) as scratch:
        folder = scratch.mount / "secret"
        folder.mkdir()
        if not encrypt(scratch.mount, folder):
            pytest.skip("this kernel has no fscrypt")
        for value in VALUES:
            (folder / value.decode()).write_bytes(value)
        assert len(names(folder)) == len(VALUES)
        assert not found(scratch).residue
        with raw.opened(identify.identify(scratch.mount), freeze=False) as device:
            assert blocks.encrypts(device.pread)
    with image(tmp_path, "ext4") as plain, raw.opened(identify.identify(plain.mount), freeze=False) as device:
        assert not blocks.encrypts(device.pread)


def encrypt(mount: Path, folder: Path) -> bool:
    """FS_IOC_ADD_ENCRYPTION_KEY and FS_IOC_SET_ENCRYPTION_POLICY (linux/fscrypt.h), version 2."""
    with opened(mount) as volume, opened(folder) as empty:
        key = bytearray(struct.pack("=II32sII32x", 2, 0, b"", 64, 0) + secrets.token_bytes(64))
        try:
            fcntl.ioctl(volume, 0xC0506617, key)
        except OSError as error:
            if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP):
                raise
            return False
        policy = bytearray(struct.pack("=BBBBB3x16s", 2, 1, 4, 0, 0, bytes(key[8:24])))
        fcntl.ioctl(empty, 0x800C6613, policy)
    return True


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[int]:
    fd = os.open(folder, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


# --- a machine that stands still -------------------------------------------------------------


def test_the_guard_notices_one_of_ours_that_waits_for_the_volume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer on a frozen volume is not ended even by SIGKILL, so that waiting for its death is for ever."""
    monkeypatch.setattr(guard, "LONGEST_WAIT", 0.5)
    with image(tmp_path, "ext4") as scratch, opened(scratch.mount) as fd:
        fcntl.ioctl(fd, guard.FIFREEZE, 0)
        writer = subprocess.Popen(["touch", str(scratch.mount / "file")])
        try:
            waiting, deadline = guard._Waiting([os.getpid()]), time.monotonic() + 20
            while not waiting.too_long():
                assert time.monotonic() < deadline, "nobody noticed"
                time.sleep(0.2)
            writer.send_signal(signal.SIGKILL)
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(timeout=0.5)
        finally:
            assert guard.thaw(fd)
        writer.wait(timeout=10)


def test_a_guard_that_dies_before_it_spoke_leaves_nothing_frozen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the freeze and its answer, it is replaced by its parent: seen with a scratch volume."""
    dying = tmp_path / "guard.py"
    dying.write_text(
        "import fcntl, os, signal, sys\n"
        f"fcntl.ioctl(int(sys.argv[1]), {guard.FIFREEZE}, 0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    monkeypatch.setattr(guard, "__file__", str(dying))
    with image(tmp_path, "ext4") as scratch, opened(scratch.mount) as fd:
        with pytest.raises(OSError, match="nput/output"):
            guard.Freeze(fd)
        assert not guard.thaw(fd), "it was still frozen"


def test_a_process_that_only_sleeps_waits_for_no_volume() -> None:
    """The guard does not thaw because something is slow."""
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        waiting = guard._Waiting([sleeper.pid])
        assert [waiting.too_long() for _ in range(3)] == [False, False, False]
        sleeper.kill()


@tool("mkfs.ext4")
def test_a_volume_in_whose_image_files_we_would_write_is_not_frozen(tmp_path: Path) -> None:
    """The case's folder on a loop image that lies on the volume: freezing it would stop ourselves."""
    with image(tmp_path, "ext4") as outer:
        volume = identify.identify(outer.mount)
        assert raw.why_not_freeze(volume, [tmp_path]) == ""
        with image(outer.mount, "ext4", 16 << 20) as inner:
            assert raw.why_not_freeze(volume, [inner.mount / "case"]) == "files of the case are written to it"


@tool("mkswap")
def test_a_volume_with_a_swap_file_is_not_frozen(tmp_path: Path) -> None:
    """Memory that is swapped to a frozen volume stops the machine."""
    with image(tmp_path, "ext4") as scratch:
        file = scratch.mount / "swap"
        file.write_bytes(bytes(8 << 20))
        file.chmod(0o600)
        subprocess.run(["mkswap", str(file)], check=True, capture_output=True)
        if subprocess.run(["swapon", str(file)], capture_output=True, check=False).returncode:
            pytest.skip("no swapping here")
        try:
            volume = identify.identify(scratch.mount)
            assert raw.why_not_freeze(volume) == "memory is swapped to a file on it"
        finally:
            subprocess.run(["swapoff", str(file)], check=True)
