"""Reading a volume below its files: every byte, held still, thawed whatever happens, and without root."""

from __future__ import annotations

import codecs
import contextlib
import errno
import mmap
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from cenotaph.errors import PermanentStoreError
from cenotaph.volume.blocks import refine
from cenotaph.volume.command import main
from cenotaph.volume.identify import identify
from cenotaph.volume.model import Place
from cenotaph.volume.raw import WINDOW, Disk, Raw, opened, why_not_freeze
from volume_images import LOOPS, Image, image, tool

KINDS = pytest.mark.parametrize("kind", ["ext4", "xfs"])
NOBODY = 65534

T = TypeVar("T")


def writer(path: Path) -> subprocess.Popen[bytes]:
    """Another process that writes to a volume; it waits while the volume is frozen."""
    return subprocess.Popen(["sh", "-c", 'echo written > "$0"', str(path)])


def waits(process: subprocess.Popen[bytes], seconds: float = 0.5) -> bool:
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


# --- reading --------------------------------------------------------------------------------


@LOOPS
@KINDS
def test_the_whole_device_is_read_as_it_is(tmp_path: Path, kind: str) -> None:
    """At any offset and length the bytes are those of the device, and they end where it ends."""
    with image(tmp_path, kind) as scratch:
        (scratch.mount / "file").write_bytes(os.urandom(1 << 20))
        with opened(identify(scratch.mount), freeze=True) as raw:
            there = scratch.file.read_bytes()
            assert raw.size == len(there)
            assert all(
                raw.pread(at, WINDOW) == there[at : at + WINDOW] for at in range(0, len(there), WINDOW)
            )
            for at, length in ((1, 1), (4095, 2), (123, WINDOW + 7), (len(there) - 3, 10), (len(there), 1)):
                assert raw.pread(at, length) == there[at : at + length]
            into = memoryview(mmap.mmap(-1, 1 << 20))
            assert raw.readinto(len(there) - 4096, into) == 4096
            assert into[:4096] == there[-4096:]
            assert raw.unread == []


@LOOPS
def test_what_was_just_written_is_read(tmp_path: Path) -> None:
    """What is still in memory when the volume is opened is written out before it is read."""
    with image(tmp_path, "ext4") as scratch:
        (scratch.mount / "file").write_bytes(b"just written" * 1000)

        with opened(identify(scratch.mount), freeze=False) as raw:
            found = raw.pread(0, raw.size)

        assert b"just written" * 300 in found


class Bad:
    """A device whose sectors in `ranges` cannot be read; counts what was tried."""

    def __init__(self, content: bytes, ranges: list[tuple[int, int]], code: int = errno.EIO) -> None:
        self.content, self.ranges, self.code = content, ranges, code
        self.tried = 0

    def __call__(self, fd: int, into: memoryview, offset: int) -> int:
        self.tried += 1
        end = offset + len(into)
        for start, stop in self.ranges:
            if start <= offset < stop:
                raise OSError(self.code, os.strerror(self.code))
            if offset < start < end:
                end = start  # as the kernel does: what came before the bad sector
        into[: end - offset] = self.content[offset:end]
        return end - offset


@pytest.mark.parametrize("code", [errno.EIO, errno.ENODATA, errno.EREMOTEIO])
def test_reading_goes_on_around_bad_sectors(code: int) -> None:
    """Only the sectors that cannot be read are zeros, and they are told; all else is as it is."""
    content = os.urandom(3 * WINDOW + 512)
    bad = Bad(content, [(512, 1024), (WINDOW - 512, WINDOW + 1024), (3 * WINDOW, 3 * WINDOW + 512)], code)
    disk = Disk(-1, len(content), 512, bad)

    found = disk.pread(0, len(content))

    wanted = bytearray(content)
    for start, stop in bad.ranges:
        wanted[start:stop] = bytes(stop - start)
    assert found == wanted
    assert disk.unread == [(start, stop - start) for start, stop in bad.ranges]


def test_the_same_bad_sector_is_told_once() -> None:
    """Reading it again changes nothing in what is told."""
    disk = Disk(-1, 1 << 20, 512, Bad(bytes(1 << 20), [(4096, 8192)]))

    for _ in range(3):
        disk.pread(4000, 9000)

    assert disk.unread == [(4096, 4096)]


def test_a_dead_device_is_given_up_soon() -> None:
    """A device that answers nothing is not tried sector by sector to its end: all of it is unread."""
    size = 40 * WINDOW
    bad = Bad(b"", [(0, size)])
    disk = Disk(-1, size, 512, bad)

    for at in range(0, size, WINDOW):
        assert disk.pread(at, WINDOW) == bytes(WINDOW)

    assert disk.unread == [(0, size)]
    assert bad.tried < 2000


def test_a_device_that_is_gone_ends_the_reading() -> None:
    """Pulled out meanwhile: nothing is claimed of it."""
    disk = Disk(-1, 1 << 20, 512, Bad(b"", [(0, 1 << 20)], errno.ENXIO))

    with pytest.raises(PermanentStoreError, match="gone"):
        disk.pread(0, 4096)


# --- held still -----------------------------------------------------------------------------


@LOOPS
@KINDS
def test_a_frozen_volume_stands_still(tmp_path: Path, kind: str) -> None:
    """A writer waits while it is read, the device counts no write, and afterwards the writer goes on."""
    with image(tmp_path, kind) as scratch:
        (scratch.mount / "file").write_bytes(b"x" * 100_000)
        with opened(identify(scratch.mount), freeze=True) as raw:
            process = writer(scratch.mount / "late")
            assert waits(process, 2)
            found = refine(
                raw.map, raw.volume, stores=[], kept=[scratch.mount / "file"], folders=[scratch.mount]
            )
            assert found.size(Place.KEPT) == 100_000
            os.sync()  # anybody's flushes the device, and writes nothing to it
            assert (raw.state, raw.why_moving) == ("frozen", "")
            assert not raw.moved()

        assert not waits(process, 2)
        assert (scratch.mount / "late").read_text() == "written\n"


@LOOPS
@KINDS
def test_late_discards_are_waited_for(tmp_path: Path, kind: str) -> None:
    """Blocks that were freed just before are discarded a while later: that is over before reading begins."""
    with image(tmp_path, kind, options="discard") as scratch:
        for number in range(300):
            (scratch.mount / f"{number}").write_bytes(b"x" * 50_000)
        os.sync()
        for number in range(0, 300, 2):
            (scratch.mount / f"{number}").unlink()

        with opened(identify(scratch.mount), freeze=True) as raw:
            for _ in range(4):
                time.sleep(0.3)
                assert not raw.moved()


@LOOPS
def test_a_moving_volume_is_seen_to_move(tmp_path: Path) -> None:
    """Not frozen, it is called moving; one that somebody wrote to has moved."""
    with image(tmp_path, "ext4") as scratch, opened(identify(scratch.mount), freeze=False) as raw:
        assert (raw.state, raw.why_moving) == ("moving", "it was not to be frozen")
        assert not raw.moved()

        (scratch.mount / "late").write_bytes(b"late")
        os.sync()

        assert raw.moved()


@LOOPS
@KINDS
def test_a_volume_that_is_mounted_read_only_needs_no_freezing(tmp_path: Path, kind: str) -> None:
    """Nobody can write to it; mounted for writing again meanwhile, it is told to have moved."""
    with image(tmp_path, kind) as scratch:
        scratch.unmount()
        scratch.mount_again("ro")
        with opened(identify(scratch.mount), freeze=True) as raw:
            assert (raw.state, raw.moved()) == ("read-only", False)

            subprocess.run(["mount", "-o", "remount,rw", str(scratch.mount)], check=True)

            assert raw.state == "moving"
            assert raw.moved()


_HOLD = """
    import os, sys, time
    from pathlib import Path
    from cenotaph.volume.identify import identify
    from cenotaph.volume.raw import opened

    with opened(identify(Path(sys.argv[1])), freeze=True) as raw:
        child = os.fork() if sys.argv[2] == "fork" else 0
        if sys.argv[2] == "fork" and not child:
            time.sleep(60)
            os._exit(0)
        print(raw.state, child, flush=True)
        time.sleep(60)
"""


@LOOPS
@pytest.mark.parametrize("forked", ["alone", "fork"])
def test_our_own_death_thaws(tmp_path: Path, forked: str) -> None:
    """Killed with SIGKILL while the volume is frozen, also with a child that holds all that was open."""
    with image(tmp_path, "ext4") as scratch:
        held = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_HOLD), str(scratch.mount), forked],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert held.stdout is not None
        state, child = held.stdout.readline().split()
        process = writer(scratch.mount / "late")
        try:
            assert state == "frozen"
            assert waits(process)

            held.kill()

            assert not waits(process, 2)
            assert process.returncode == 0
        finally:
            held.kill()
            held.wait()
            if child != "0":
                os.kill(int(child), signal.SIGKILL)
            held.stdout.close()


@LOOPS
def test_signals_do_not_end_the_guard(tmp_path: Path) -> None:
    """What would end us politely leaves the guard at its post until we are gone."""
    with image(tmp_path, "ext4") as scratch, opened(identify(scratch.mount), freeze=True) as raw:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(_guard(), number)
        process = writer(scratch.mount / "late")

        assert waits(process)
        assert raw.state == "frozen"

    assert process.wait(timeout=2) == 0


@LOOPS
def test_the_death_of_the_guard_is_noticed(tmp_path: Path) -> None:
    """The volume is thawed at once, and was not held still: the state falls to moving."""
    with image(tmp_path, "ext4") as scratch, opened(identify(scratch.mount), freeze=True) as raw:
        process = writer(scratch.mount / "late")
        assert waits(process)

        os.kill(_guard(), signal.SIGKILL)

        assert process.wait(timeout=2) == 0
        assert raw.state == "moving"
        assert raw.why_moving == "it did not stay frozen while it was read"
        assert raw.moved()


@LOOPS
@tool("fsfreeze")
def test_a_volume_that_somebody_else_thaws_has_moved(tmp_path: Path) -> None:
    """Once written to, it cannot be taken for the one that was frozen; and leaving finds nothing to thaw."""
    with image(tmp_path, "ext4") as scratch, opened(identify(scratch.mount), freeze=True) as raw:
        subprocess.run(["fsfreeze", "-u", str(scratch.mount)], check=True)
        (scratch.mount / "late").write_bytes(b"late")
        os.sync()

        assert raw.moved()


@LOOPS
@tool("fsfreeze")
def test_a_volume_that_somebody_else_froze_is_moving(tmp_path: Path) -> None:
    """They may thaw it at any time; and we leave it as it was."""
    with image(tmp_path, "ext4") as scratch, opened(identify(scratch.mount), freeze=True) as first:
        with opened(identify(scratch.mount), freeze=True) as second:
            assert second.state == "moving"
            assert "frozen already" in second.why_moving

        assert first.state == "frozen"


@LOOPS
def test_what_we_write_to_is_not_frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Freezing a volume that this process writes to would stop it for ever."""
    with image(tmp_path, "ext4") as scratch:
        volume = identify(scratch.mount)
        assert why_not_freeze(volume) == ""
        assert "files of the case" in why_not_freeze(volume, [scratch.mount / "case" / "annex"])
        with (scratch.mount / "log").open("w"):
            assert "open for writing" in why_not_freeze(volume)
            with opened(volume, freeze=True) as raw:
                assert (raw.state, "open for writing" in raw.why_moving) == ("moving", True)
        with (scratch.mount / "log").open("r"):
            assert why_not_freeze(volume) == ""
        with monkeypatch.context() as patch:
            patch.setattr(tempfile, "tempdir", str(scratch.mount))
            assert "temporary files" in why_not_freeze(volume)
        with monkeypatch.context() as patch:
            patch.chdir(scratch.mount)
            assert "working directory" in why_not_freeze(volume)


@LOOPS
def test_another_volume_at_the_same_place_is_refused(tmp_path: Path) -> None:
    """Between identifying and reading something else was mounted there, or nothing."""
    with image(tmp_path, "ext4") as scratch:
        volume = identify(scratch.mount)
        scratch.unmount()

        with pytest.raises(PermanentStoreError, match="no longer mounted"), opened(volume, freeze=True):
            pass


def _guard() -> int:
    """The one child of ours that guards a freeze."""
    mine = f"PPid:\t{os.getpid()}\n"
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            if mine in status.read_text() and b"guard.py" in status.with_name("cmdline").read_bytes():
                return int(status.parent.name)
    raise AssertionError("no guard is running")


# --- owners ---------------------------------------------------------------------------------


@LOOPS
@tool("debugfs")
def test_owners_of_blocks_of_ext4(tmp_path: Path) -> None:
    """A block in use is a file's, a folder's, or the journal's; inodes are numbered, never named."""
    with image(tmp_path, "ext4") as scratch:
        _people(scratch.mount)
        number = (scratch.mount / "people" / "one").stat().st_ino
        folder = (scratch.mount / "people").stat().st_ino
        with opened(identify(scratch.mount), freeze=True) as raw:
            found = raw.owners(_firsts(raw, scratch))

        assert found == [
            f"inode {number} (regular file)",
            f"inode {folder} (folder)",
            "inode 8 (the journal)",
            "",
        ]


@LOOPS
@tool("xfs_db")
def test_owners_of_blocks_of_xfs(tmp_path: Path) -> None:
    """Where the file system has a reverse map, it says; where not, nothing is claimed."""
    for make in (("-m", "rmapbt=1"), ("-m", "rmapbt=0")):
        with image(tmp_path, "xfs", make=make) as scratch:
            _people(scratch.mount)
            number = (scratch.mount / "people" / "one").stat().st_ino
            folder = (scratch.mount / "people").stat().st_ino
            with opened(identify(scratch.mount), freeze=True) as raw:
                found = raw.owners(_firsts(raw, scratch))

            known = [f"inode {number} (regular file)", f"inode {folder} (folder)", "", ""]
            assert found == (known if make[1] == "rmapbt=1" else [""] * 4)


def _people(mount: Path) -> None:
    (mount / "people").mkdir()
    (mount / "people" / "one").write_bytes(b"1" * 100_000)
    for number in range(100):
        (mount / "people" / f"someone-with-a-long-name-{number:040}").touch()


def _firsts(raw: Raw, scratch: Image) -> list[int]:
    """An offset each of the file, its folder, the journal, and free blocks."""
    found = refine(
        raw.map,
        raw.volume,
        stores=[],
        kept=[scratch.mount / "people" / "one"],
        folders=[scratch.mount / "people"],
    )
    # the folder above it, the root, has blocks too
    folders = [at for start, end in found.of(Place.FOLDERS).tolist() for at in range(start, end, 4096)]
    people = [at for at in folders if b"someone-with-a-long-name" in raw.pread(at, 4096)]
    places = (Place.KEPT, Place.JOURNAL, Place.FREE)
    file, journal, free = (int(found.of(place)[0, 0]) for place in places)
    return [file, people[0], journal, free]


# --- without root ---------------------------------------------------------------------------

_CLIENT = """
    import socket, sys
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(sys.argv[1])
        socket.send_fds(server, ["\\0".join(sys.argv[2:]).encode()], [0])
        sys.exit(server.recv(1)[0])
"""


@contextlib.contextmanager
def stand_in_for_sudo(folder: Path) -> Iterator[tuple[str, ...]]:
    """A command that has root run the rest of its arguments, with its own standard input."""
    pythons = sys.executable, "/usr/bin/python3"
    python = next((path for path in pythons if as_nobody(partial(_runs, path))), None)
    if python is None:
        pytest.skip("no interpreter that an unprivileged user may run")
    client = folder / "client.py"
    client.write_text(textwrap.dedent(_CLIENT))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "s"))
        (folder / "s").chmod(0o777)
        server.listen()
        thread = threading.Thread(target=_serve, args=(server,), daemon=True)
        thread.start()
        yield python, "-S", str(client), str(folder / "s")
        server.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=10)


def _runs(python: str) -> bool:
    try:
        return subprocess.run([python, "-S", "-c", ""], check=False).returncode == 0
    except OSError:
        return False


def _serve(server: socket.socket) -> None:
    while True:
        try:
            caller, _ = server.accept()
        except OSError:
            return
        words, (stdin,), _, _ = socket.recv_fds(caller, 4096, 1)
        mount = words.decode().split("\0")[1]
        done = subprocess.run(
            [sys.executable, "-m", "cenotaph.volume.command", mount], stdin=stdin, check=False, cwd="/"
        )
        os.close(stdin)
        caller.send(bytes([done.returncode]))
        caller.close()


def as_nobody(act: Callable[[], T]) -> T:
    """What `act` returns in a child that has given up root; `AssertionError` where it raises."""
    codecs.lookup("ascii")  # the standard library may lie where nobody but root can read it
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            answer: object = act()
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent raises it
            answer = AssertionError(f"{type(error).__name__}: {error}")
        with open(theirs, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        found = pickle.load(pipe)
    os.waitpid(child, 0)
    if isinstance(found, AssertionError):
        raise found
    return found


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that other users may look into, which pytest's are not."""
    folder = Path(tempfile.mkdtemp(prefix="volume-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextlib.contextmanager
def public_image(folder: Path, kind: str) -> Iterator[Image]:
    with image(folder, kind) as scratch:
        scratch.file.parent.chmod(0o755)
        scratch.device.chmod(0o600)
        yield scratch


@LOOPS
@KINDS
def test_without_root_the_privileged_command_opens_the_device(public: Path, kind: str) -> None:
    """An auditor without rights gets descriptor, map, freeze and owners; it thaws when they leave."""
    with public_image(public, kind) as scratch, stand_in_for_sudo(public) as sudo:
        (scratch.mount / "file").write_bytes(b"found without root" * 1000)

        (scratch.mount / "open to all").mkdir(0o777)
        (scratch.mount / "open to all").chmod(0o777)

        def look() -> tuple[str, bool, bool, int, list[str]]:
            volume = identify(scratch.mount)
            with opened(volume, freeze=True, command=sudo) as raw:
                waiting = waits(writer(scratch.mount / "open to all" / "late"))
                at = raw.pread(0, raw.size).find(b"found without root" * 200)
                found = refine(
                    raw.map, volume, stores=[], kept=[scratch.mount / "file"], folders=[scratch.mount]
                )
                return raw.state, raw.moved(), waiting, found.size(Place.KEPT), raw.owners([max(at, 0)])

        state, moved, waiting, kept, owners = as_nobody(look)

        assert (state, moved, waiting) == ("frozen", False, True)
        assert kept == len(b"found without root" * 1000)
        assert owners[0].endswith("(regular file)") or kind == "xfs"
        assert not waits(writer(scratch.mount / "late"), 2)


@LOOPS
def test_without_the_right_and_without_a_command_it_is_said_what_is_missing(public: Path) -> None:
    """The message names the right, the hint how to get it."""
    with public_image(public, "ext4") as scratch:

        def look() -> tuple[str, str | None]:
            try:
                with opened(identify(scratch.mount), freeze=True):
                    return "", ""
            except PermanentStoreError as error:
                return error.message, error.hint

        message, hint = as_nobody(look)

        assert "needs the right to read its device" in message
        assert hint is not None
        assert "cenotaph-raw" in hint


@LOOPS
def test_a_command_that_refuses_is_an_error_that_says_so(public: Path) -> None:
    """sudo that says no, or is not there: nothing hangs, and nothing is claimed."""
    with public_image(public, "ext4") as scratch:
        volume = identify(scratch.mount)

        def look(command: tuple[str, ...]) -> str:
            try:
                with opened(volume, freeze=True, command=command):
                    return "opened"
            except PermanentStoreError as error:
                return error.message

        for command in (("/bin/false",), ("/nowhere/sudo",)):
            assert as_nobody(partial(look, command)) not in ("", "opened")


@contextlib.contextmanager
def command_for(mount: Path | str) -> Iterator[tuple[socket.socket, subprocess.Popen[bytes]]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    words = [sys.executable, "-m", "cenotaph.volume.command", str(mount)]
    with ours:
        with theirs:
            process = subprocess.Popen(words, stdin=theirs.fileno(), stderr=subprocess.PIPE)
        ours.settimeout(20)
        try:
            yield ours, process
        finally:
            ours.close()
            process.communicate(timeout=20)


@LOOPS
def test_the_command_passes_descriptors_that_cannot_write(tmp_path: Path) -> None:
    """Who gets the device can read it, and no more."""
    with image(tmp_path, "ext4") as scratch:
        with command_for(scratch.mount) as (peer, process):
            peer.send(b"open")
            answer, (device, memory), _, _ = socket.recv_fds(peer, 1000, 2)
            try:
                assert answer == b"ok"
                with pytest.raises(OSError, match="Bad file descriptor"):
                    os.pwrite(device, bytes(4096), 0)
                assert os.fstat(memory).st_size % 64 == 0
                assert os.fstat(memory).st_size > 0
            finally:
                os.close(device)
                os.close(memory)
        assert process.returncode == 0


@LOOPS
@pytest.mark.parametrize(
    "message", [b"delete", b"open now", b"owners x", b"owners -1", b"owners " + b"1 " * 65 + b"1", b"\xff"]
)
def test_the_command_knows_few_words(tmp_path: Path, message: bytes) -> None:
    """What it does not know ends it, thawed."""
    with image(tmp_path, "ext4") as scratch:
        with command_for(scratch.mount) as (peer, process):
            peer.send(b"freeze")
            assert peer.recv(100) == b"ok"
            peer.send(message)
            assert peer.recv(100) == b"no %d" % errno.EINVAL
            process.wait(timeout=10)

        assert not waits(writer(scratch.mount / "late"), 2)


@LOOPS
def test_the_command_opens_whole_mounted_volumes_only(tmp_path: Path) -> None:
    """Not the volume of /, no folder inside a volume, no link to one, no device."""
    with image(tmp_path, "ext4") as scratch:
        (scratch.mount / "inside").mkdir()
        (tmp_path / "link").symlink_to(scratch.mount)
        for path in ("/", scratch.mount / "inside", tmp_path / "link", scratch.device, tmp_path / "none"):
            with command_for(path) as (peer, process):
                peer.send(b"open")
                assert peer.recv(100).startswith(b"no ")
                assert process.wait(timeout=10) == 1


def test_the_command_wants_a_socket(capfd: pytest.CaptureFixture[str]) -> None:
    """Run by hand, it says how it is meant."""
    with open(os.devnull, "rb") as nothing:
        kept = os.dup(0)
        os.dup2(nothing.fileno(), 0)
        try:
            assert main(["/"]) == 2
        finally:
            os.dup2(kept, 0)
            os.close(kept)

    assert "usage: cenotaph-raw MOUNT_POINT" in capfd.readouterr().err


@LOOPS
def test_killing_the_command_thaws(tmp_path: Path) -> None:
    """The privileged command has a guard of its own."""
    with image(tmp_path, "ext4") as scratch, command_for(scratch.mount) as (peer, process):
        peer.send(b"freeze")
        assert peer.recv(100) == b"ok"
        waiting = writer(scratch.mount / "late")
        assert waits(waiting)

        process.kill()

        assert not waits(waiting, 2)
