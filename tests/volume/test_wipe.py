"""Wiping a volume: what deleting leaves is found first, and is nowhere afterwards; nothing else changes."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cenotaph import durable
from cenotaph.errors import PartialError, PermanentStoreError, RefusedError
from cenotaph.store import Grade
from cenotaph.volume import blocks, directories, free, journal, kernel, raw, terms, wipe
from cenotaph.volume.identify import identify
from cenotaph.volume.model import Volume
from volume_images import LOOPS, Image, image

pytestmark = [LOOPS, pytest.mark.slow]

GONE, STAY, MiB = 600, 300, 1 << 20
NAMES, CONTENTS, TAILS = (re.compile(p) for p in (rb"Zhang\d{4}", rb"Content\d{4}", rb"Behind\d{4}"))


@dataclasses.dataclass
class Estate:
    """A volume with a store, of which most files were deleted, beside somebody else's files."""

    scratch: Image
    store: Path
    neighbour: Path

    @property
    def volume(self) -> Volume:
        return identify(self.scratch.mount)

    def count(self, pattern: re.Pattern[bytes]) -> int:
        """Different values in the image, whatever they lie in."""
        fd = os.open(self.scratch.mount, os.O_RDONLY)
        durable.syncfs(fd)
        os.close(fd)
        return len(set(pattern.findall(self.scratch.file.read_bytes())))

    def residues(self) -> tuple[int, int, int]:
        return self.count(NAMES), self.count(CONTENTS), self.count(TAILS)

    def visible(self) -> list[object]:
        """What a user sees of every file and folder: name, inode, mode, size, times, content."""
        found: list[object] = []
        for path in sorted([self.scratch.mount, *self.scratch.mount.rglob("*")]):
            info = path.lstat()
            what = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            found.append((path, info.st_ino, info.st_mode, info.st_mtime_ns, what))
        return found


@contextlib.contextmanager
def estate(folder: Path, kind: str, size: int = 64 * MiB) -> Iterator[Estate]:
    with image(folder, kind, size) as scratch:
        store, neighbour = scratch.mount / "people" / "store", scratch.mount / "neighbour"
        store.mkdir(parents=True)
        neighbour.mkdir()
        for number in range(40):
            (neighbour / f"theirs{number}").write_bytes(random.Random(number).randbytes(5000))
        names = [f"Zhang{n:04d}.jpg" for n in range(GONE)] + [f"stay{n:04d}.jpg" for n in range(STAY)]
        random.Random(7).shuffle(names)
        for name in names:
            number = name[-8:-4]
            text = f"Content{number}" if name.startswith("Z") else "kept"
            (store / name).write_bytes(text.encode() * 20)
        os.sync()
        kept = sorted(store.glob("stay*"))
        _plant_tails(scratch, kept)
        for path in store.glob("Zhang*"):
            path.unlink()
        os.sync()
        yield Estate(scratch, store, neighbour)


def _plant_tails(scratch: Image, files: list[Path]) -> None:
    """Bytes behind the ends of files, as older kernels and memory maps leave them."""
    places = []
    for path in files:
        with path.open("rb") as handle:
            places.append(blocks.extents(handle.fileno())[0].physical + 200)
    scratch.unmount()
    with scratch.device.open("r+b") as device:
        for number, place in enumerate(places):
            device.seek(place)
            device.write(b"Behind%04d" % number)
        os.fsync(device.fileno())
    scratch.mount_again()


def run(
    it: Estate, *, quiesced: bool = True, discards: bool | None = None, **more: object
) -> tuple[wipe.Wiped, list[dict[str, int | str]]]:
    """Wipe the estate's volume; what was to be remembered comes back too."""
    notes: list[dict[str, int | str]] = []
    volume = it.volume
    if discards is not None:  # a loop device that was told to take no discards never takes them again
        volume = dataclasses.replace(volume, discards=discards)
    how = wipe.Terms(quiesced=quiesced, remember=notes.append, **more)  # type: ignore[arg-type]  # of the test
    return wipe.wipe(volume, [it.store], how), notes


def kinds(wiped: wipe.Wiped) -> list[str]:
    return [action.kind for action in wiped.actions]


# --- residues ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_names_contents_and_tails_are_found_before_and_nowhere_after(tmp_path, kind):
    """Trimmed, rinsed, its journal emptied: no deleted name, content or tail is on the volume, and no user
    can tell that anything was done."""
    with estate(tmp_path, kind) as it:
        assert it.residues() == (GONE, GONE, STAY)  # positive control
        before = it.visible()

        wiped, _ = run(it)

        assert it.residues() == (0, 0, 0)
        assert it.visible() == before
        assert (wiped.reached, wiped.why_not_higher) == (Grade.L3, "")
        assert sorted(kinds(wiped)) == ["directories", "file tails", "journal", "trim"]
        assert wiped.free == wiped.blank > 0


def test_without_discards_free_blocks_are_filled(tmp_path):
    """ext4: every free block is written, the ones that root and the file system keep back too, and those
    settings are as they were."""
    with estate(tmp_path, "ext4") as it:
        reserved = kernel.ext4_reserve(it.volume.number)
        was = reserved.read_text()
        assert int(was) > 0
        assert it.residues() == (GONE, GONE, STAY)
        before = it.visible()

        wiped, notes = run(it, discards=False)

        assert it.residues() == (0, 0, 0)
        assert it.visible() == before
        assert wiped.reached is Grade.L3
        assert "fill" in kinds(wiped)
        assert "trim" not in kinds(wiped)
        assert reserved.read_text() == was
        assert notes[0] == {"reserved_clusters": int(was)}
        assert notes[-1] == {}


@pytest.mark.slow
def test_what_xfs_keeps_back_without_discards_is_told(tmp_path):
    """xfs keeps blocks back in every allocation group: where they could not be filled the grade says so, and
    how many bytes it is about."""
    with estate(tmp_path, "xfs") as it:
        wiped, _ = run(it, discards=False)

        if wiped.blank < wiped.free:
            assert wiped.reached is Grade.L2
            assert "keeps them back" in wiped.why_not_higher
        else:
            assert it.residues() == (0, 0, 0)
        assert kernel.xfs_reserve(os.open(it.scratch.mount, os.O_RDONLY)) > 0


def test_wiping_twice_is_safe(tmp_path):
    """The second run finds nothing to do, comes to the same end, and leaves the same files."""
    with estate(tmp_path, "ext4") as it:
        before = it.visible()
        first, _ = run(it)
        second, _ = run(it)

        assert (first.reached, second.reached) == (Grade.L3, Grade.L3)
        assert it.residues() == (0, 0, 0)
        assert it.visible() == before


def test_folders_that_are_gone_leave_no_name(tmp_path):
    """The store's folder was removed with all it held: its name and theirs were in the folders above."""
    with estate(tmp_path, "ext4") as it:
        for path in it.store.iterdir():
            path.unlink()
        it.store.rmdir()
        os.sync()
        assert it.count(NAMES) == GONE

        wiped, _ = run(it)

        assert wiped.reached is Grade.L3
        assert it.residues() == (0, 0, 0)
        assert not it.store.exists()


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_large_folders_are_rinsed_to_the_last_slot(tmp_path, kind):
    """8,000 names in a folder of many blocks, most of them deleted: none is left, and the folder is as large
    as it was."""
    with image(tmp_path, kind, 96 * MiB) as scratch:
        folder = scratch.mount / "folder"
        folder.mkdir()
        names = [f"Zhang{n:04d}-{n * 7919 % 10007}" for n in range(8000)]
        for name in names:
            (folder / name).touch()
        os.sync()
        for name in names:
            if int(name[5:9]) % 10:
                (folder / name).unlink()
        kept, size = sorted(folder.iterdir()), folder.stat().st_size
        it = Estate(scratch, folder, folder)
        gone = re.compile(rb"Zhang\d{3}[1-9]-\d")
        assert it.count(gone) > 0

        wiped, _ = run(it)

        assert it.count(gone) == 0
        assert sorted(folder.iterdir()) == kept
        assert folder.stat().st_size <= size
        assert wiped.reached is Grade.L3


def test_short_folders_of_xfs_are_rinsed_in_their_inodes(tmp_path):
    """Few names fit into the inode itself, and stay there when the folder grows out of it."""
    with image(tmp_path, "xfs") as scratch:
        small, grown = scratch.mount / "small", scratch.mount / "grown"
        for folder in (small, grown):
            folder.mkdir()
            for number in range(8):
                (folder / f"Zhang000{number}").touch()
        for number in range(30):
            (grown / f"later{number:010d}").touch()
        os.sync()
        for folder in (small, grown):
            for number in range(8):
                (folder / f"Zhang000{number}").unlink()
        it = Estate(scratch, small, grown)
        assert it.count(NAMES) == 8

        wipe.wipe(it.volume, [small, grown], wipe.Terms(quiesced=True))

        assert it.count(NAMES) == 0


# --- wrong steps are noticed ----------------------------------------------------------------------


def test_a_trim_that_lies_is_followed_by_a_fill(tmp_path, monkeypatch):
    """A device that says it dropped the blocks and did not: reading them back shows it."""
    monkeypatch.setattr(kernel, "trim", lambda fd, start, length: True)
    with estate(tmp_path, "ext4") as it:
        assert it.count(CONTENTS) == GONE

        wiped, _ = run(it)

        assert {"trim", "fill"} <= set(kinds(wiped))
        assert it.residues() == (0, 0, 0)
        assert wiped.reached is Grade.L3


def test_blocks_that_are_kept_back_are_not_claimed(tmp_path, monkeypatch):
    """With `reserved_clusters` left alone a fill is incomplete, and the grade says by how many bytes."""
    monkeypatch.setattr(wipe, "handed_out", lambda *_: contextlib.nullcontext(""))
    with estate(tmp_path, "ext4") as it:
        whole = identify(it.scratch.mount)
        _fill_up_with_contents(it)

        wiped, _ = run(it, discards=False)

        assert wiped.blank < wiped.free
        assert wiped.reached is Grade.L2
        assert "keeps them back" in wiped.why_not_higher
        assert it.count(CONTENTS) > 0
        assert whole.kind == "ext4"


def _fill_up_with_contents(it: Estate) -> None:
    """Every block that a user can write held content once."""
    path = it.scratch.mount / "large"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as handle:
        for number in range(1 << 20):
            handle.write(b"Content%04d".ljust(4096, b".") % (number % 10000))
    os.sync()
    path.unlink()
    os.sync()


def test_without_a_look_nothing_is_believed(tmp_path, monkeypatch):
    """Where the device may not be read, free blocks are filled even after a trim, and the grade stays L2."""

    @contextlib.contextmanager
    def refused(*_: object, **__: object) -> Iterator[None]:
        raise PermanentStoreError("may not be read")
        yield

    monkeypatch.setattr(raw, "opened", refused)
    with estate(tmp_path, "ext4") as it:
        wiped, _ = run(it)

        assert "fill" in kinds(wiped)
        assert (wiped.reached, wiped.free, wiped.blank) == (Grade.L2, 0, 0)
        assert "may not be read" in wiped.why_not_higher
        assert it.residues() == (0, 0, 0)


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_forgotten_journal_keeps_names(tmp_path, monkeypatch, kind):
    """The control of the journal's step: without it, names are still found."""
    monkeypatch.setattr(journal, "checkpoint", lambda _: False)
    monkeypatch.setattr(journal, "cycle", lambda *_: journal.Cycled(0))
    with estate(tmp_path, kind) as it:
        run(it)

        assert it.count(NAMES) > 0
        assert it.count(CONTENTS) == 0


def test_a_kernel_that_cannot_checkpoint_has_its_journal_written_round(tmp_path, monkeypatch):
    """Before 5.14: the ring is closed by changes that say nothing, and read to see that it was."""
    monkeypatch.setattr(kernel, "checkpoint", lambda _: None)
    with estate(tmp_path, "ext4") as it:
        assert it.count(NAMES) == GONE

        wiped, _ = run(it)

        assert it.residues() == (0, 0, 0)
        assert (wiped.reached, wiped.why_not_higher) == (Grade.L3, "")


def test_a_journal_that_does_not_move_is_told(tmp_path, monkeypatch):
    """Changes that never come round the ring: not reached, after four times its size."""
    monkeypatch.setattr(kernel, "checkpoint", lambda _: None)
    monkeypatch.setattr(journal, "_rounds", lambda *_: iter([32 * MiB] * 9))
    with estate(tmp_path, "ext4") as it:
        wiped, _ = run(it)

        assert wiped.reached is Grade.L2
        assert "journal were not reached" in wiped.why_not_higher


def test_files_that_others_have_open_keep_their_tails_and_that_is_told(tmp_path):
    """A file that a program writes is not cut under it."""
    with estate(tmp_path, "ext4") as it:
        mine = it.store / "stay0000.jpg"
        with subprocess.Popen(["tail", "-f", str(mine)], stdout=subprocess.PIPE) as program:
            program.stdout.read(1)  # type: ignore[union-attr]  # a pipe was asked for
            wiped, _ = run(it)
            program.kill()

        assert "1 files are open in other programs" in wiped.why_not_higher
        assert wiped.reached is Grade.L2
        assert it.count(TAILS) == 1


def test_a_log_that_a_program_goes_on_writing_has_nothing_behind_its_end(tmp_path):
    """What is only appended to has zeros there, which the device shows: a running server's log had kept its
    volume at L2."""
    with estate(tmp_path, "ext4") as it:
        with (it.store / "server.log").open("ab", buffering=0) as log:
            log.write(b"LOG:  checkpoint complete\n" * 300)
            wiped, _ = run(it)

        assert (wiped.reached, wiped.why_not_higher) == (Grade.L3, "")
        assert it.residues() == (0, 0, 0)


def test_links_out_of_the_store_are_not_followed(tmp_path):
    """What a symbolic link points at is somebody else's, on this volume or on another."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"not ours")
    stamp = outside.stat().st_ctime_ns, (outside / "file").stat().st_ctime_ns
    with estate(tmp_path, "ext4") as it:
        (it.store / "folder").symlink_to(outside)
        (it.store / "file").symlink_to(outside / "file")
        theirs = (it.neighbour / "theirs0").stat().st_ctime_ns
        (it.store / "near").symlink_to(it.neighbour / "theirs0")

        run(it)

        assert (outside.stat().st_ctime_ns, (outside / "file").stat().st_ctime_ns) == stamp
        assert (it.neighbour / "theirs0").stat().st_ctime_ns == theirs


# --- shared volumes -------------------------------------------------------------------------------


def test_a_shared_volume_keeps_its_headroom_while_others_write(tmp_path):
    """Sampled every 100 ms with a writer at work: what is free to users never falls below the headroom by our
    doing, the writer loses nothing, and the grade says what was left."""
    with estate(tmp_path, "ext4", 3 << 30) as it:
        headroom = terms.HEADROOM_BYTES
        lowest, written, over = [1 << 62], [0], threading.Event()

        def sample() -> None:
            while not over.wait(0.1):
                info = os.statvfs(it.scratch.mount)
                lowest[0] = min(lowest[0], info.f_bavail * info.f_frsize + written[0])

        def write() -> None:
            with (it.neighbour / "growing").open("wb", buffering=0) as handle:
                while not over.wait(0.02) and written[0] < 300 * MiB:
                    written[0] += handle.write(b"w" * MiB)

        workers = [threading.Thread(target=sample), threading.Thread(target=write)]
        for worker in workers:
            worker.start()
        wiped, _ = run(it, quiesced=False, discards=False)
        over.set()
        for worker in workers:
            worker.join()

        assert lowest[0] >= headroom
        assert (it.neighbour / "growing").read_bytes().count(b"w") == written[0] > 0
        filled = next(a.bytes for a in wiped.actions if a.kind == "fill")
        assert filled > 100 * MiB
        assert wiped.reached is Grade.L2
        assert "quiesced" in wiped.why_not_higher


def test_space_that_others_need_is_given_back_at_once(tmp_path, monkeypatch):
    """Somebody writes more than the margin while we fill: the fill ends, and its blocks are free again."""
    with estate(tmp_path, "ext4", 3 << 30) as it:
        mounted = terms.Mounted(it.volume, wipe.Terms(quiesced=False))
        free_now = mounted.free()
        answers = iter([free_now, free_now, terms.HEADROOM_BYTES])
        monkeypatch.setattr(mounted, "free", lambda: next(answers))
        with free.filling(mounted, mounted.fd) as fill:
            assert fill.write_to_headroom(lambda _: None) is False
        mounted.close()

        info = os.statvfs(it.scratch.mount)
        assert info.f_bavail * info.f_frsize == pytest.approx(free_now, abs=MiB)


def test_the_rate_is_kept(tmp_path):
    """Bytes per second are a promise to those who share the disk."""
    with image(tmp_path, "ext4", 32 * MiB) as scratch:
        rate, start = 10 * MiB, time.monotonic()
        volume = dataclasses.replace(identify(scratch.mount), discards=False)

        wiped = wipe.wipe(volume, [], wipe.Terms(quiesced=True, bytes_per_second=rate))

        filled = sum(a.bytes for a in wiped.actions if a.kind == "fill")
        assert time.monotonic() - start >= filled / rate * 0.9


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_pause_stops_at_once_and_leaves_nothing(tmp_path):
    """No file, folder or setting of ours stays; the next run comes to the end."""
    with estate(tmp_path, "ext4") as it:
        before, notes, start = it.visible(), list[dict[str, int | str]](), time.monotonic()
        asked = iter([True] * 3)
        pausing = wipe.Terms(quiesced=True, go_on=lambda: next(asked, False), remember=notes.append)

        with pytest.raises(PartialError, match="stopped"):
            wipe.wipe(dataclasses.replace(it.volume, discards=False), [it.store], pausing)

        assert time.monotonic() - start < 5
        assert it.visible() == before
        assert notes[-1:] in ([], [{}])
        assert run(it)[0].reached is Grade.L3


def test_an_unmounted_volume_is_noticed(tmp_path):
    """Lazily unmounted while it is wiped: an error, nothing claimed, nothing left."""
    with estate(tmp_path, "ext4") as it:
        volume = it.volume

        def unmount() -> bool:
            if os.path.ismount(it.scratch.mount):
                subprocess.run(["umount", "-l", it.scratch.mount], check=True)
            return True

        with pytest.raises(PermanentStoreError, match="no longer mounted"):
            wipe.wipe(volume, [it.store], wipe.Terms(quiesced=True, go_on=unmount))

        it.scratch.mount_again()
        assert not list(it.scratch.mount.rglob(".cenotaph-*"))


def test_a_read_only_volume_is_refused(tmp_path):
    """It cannot be wiped as it is mounted, and the error says what to do."""
    with image(tmp_path, "ext4") as scratch:
        scratch.unmount()
        scratch.mount_again("ro")

        with pytest.raises(PermanentStoreError, match="read-only"):
            wipe.wipe(identify(scratch.mount), [], wipe.Terms(quiesced=True))


def test_a_volume_of_a_kind_that_cannot_be_wiped_is_refused(tmp_path):
    """btrfs: nothing is touched."""
    with image(tmp_path, "btrfs") as scratch, pytest.raises(RefusedError, match="btrfs"):
        wipe.wipe(identify(scratch.mount), [], wipe.Terms(quiesced=True))


def test_a_full_volume_can_be_wiped(tmp_path):
    """Not a block is free: old names and tails are wiped all the same, and nothing fails."""
    with estate(tmp_path, "ext4") as it:
        path = it.store / "all"  # in a folder that is named: what was allocated behind its end goes too
        with contextlib.suppress(OSError), path.open("wb", buffering=0) as handle:
            while True:
                handle.write(b"x" * MiB)

        wiped, _ = run(it)

        assert (it.count(NAMES), it.count(TAILS)) == (0, 0)
        assert wiped.reached is Grade.L3


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS, errno.ENXIO])
def test_a_device_that_fails_while_it_is_filled_claims_nothing(tmp_path, monkeypatch, code):
    """An input/output error, a device that went away, a file system that made itself read-only."""
    with estate(tmp_path, "ext4") as it:
        before = it.visible()
        write = os.pwrite

        def fails(fd: int, data: bytes, at: int) -> int:
            if at > 4 * MiB:
                raise OSError(code, os.strerror(code))
            return write(fd, data, at)

        monkeypatch.setattr(os, "pwrite", fails)
        with pytest.raises(PermanentStoreError, match="nothing is claimed"):
            run(it, discards=False)
        monkeypatch.undo()
        assert it.visible() == before


KILLED = """
import dataclasses, os, signal, sys
from pathlib import Path
from cenotaph.volume import wipe
from cenotaph.volume.identify import identify
mount, store, note, what, when = sys.argv[1:]
def remember(setting):
    Path(note).write_text(repr(setting))
seen = 0
def tell(step, done, total):
    global seen
    if step == what:
        seen += 1
        if seen > int(when):
            os.kill(os.getpid(), signal.SIGKILL)
volume = dataclasses.replace(identify(Path(mount)), discards=False)
wipe.wipe(volume, [Path(store)], wipe.Terms(quiesced=True, remember=remember), tell)
"""


@pytest.mark.parametrize(
    ("kind", "what", "when"),
    [
        ("ext4", "folders wiped", 1),
        ("ext4", "file tails wiped", 50),
        ("ext4", "bytes of free blocks filled", 0),
        ("ext4", "bytes of free blocks filled", 4),
        pytest.param("xfs", "bytes of journal written", 1, marks=pytest.mark.slow),
        pytest.param("xfs", "bytes of free blocks filled", 2, marks=pytest.mark.slow),
    ],
)
def test_a_kill_leaves_nothing_that_the_next_run_does_not_end(tmp_path, kind, what, when):
    """SIGKILL in every step: settings can be restored, no fill stays, and the second run completes."""
    with estate(tmp_path, kind) as it:
        before, note = it.visible(), tmp_path / "note"
        unused = os.statvfs(it.scratch.mount).f_bfree
        command = [sys.executable, "-c", KILLED, *map(str, (it.scratch.mount, it.store, note, what, when))]
        done = subprocess.run(command, check=False, capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()

        remembered = eval(note.read_text()) if note.exists() else {}
        wipe.restore_settings(it.volume, remembered)
        if kind == "ext4":
            assert int(kernel.ext4_reserve(it.volume.number).read_text()) > 0
        _until(lambda: os.statvfs(it.scratch.mount).f_bfree > unused * 0.9)
        wiped, _ = run(it)

        assert wiped.reached is Grade.L3
        assert it.residues() == (0, 0, 0)
        assert it.visible() == before


def _until(condition: Callable[[], bool]) -> None:
    for _ in range(50):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it never came")


def test_a_kill_among_fillers_is_cleared_away(tmp_path):
    """Names of ours in a folder are known by the empty file they lead to, and nobody else's go with them."""
    with estate(tmp_path, "ext4") as it:
        before = it.visible()
        home = directories.Home([it.scratch.mount])
        fd = os.open(it.store, os.O_RDONLY)
        for number in range(50):
            assert home.link_into(fd, f"filler{number}")
        (it.store / ".cenotaph-abcdefghijklmnopabcdefgh").write_bytes(b"somebody's")  # a tombstone, not ours
        os.close(fd)
        os.close(home.fd)

        run(it)

        theirs = it.store / ".cenotaph-abcdefghijklmnopabcdefgh"
        assert theirs.read_bytes() == b"somebody's"
        theirs.unlink()
        names = [path for path, *_ in before]  # type: ignore[misc]  # tuples
        assert sorted([it.scratch.mount, *it.scratch.mount.rglob("*")]) == names


@pytest.mark.parametrize("note", [{"resblks": 7}, {"reserved_clusters": "7"}, {"other": 1}])
def test_a_note_that_is_not_ours_restores_nothing(tmp_path, note):
    """A setting is only written where its name and its kind fit."""
    with image(tmp_path, "ext4") as scratch:
        was = kernel.ext4_reserve(identify(scratch.mount).number).read_text()
        with pytest.raises(PermanentStoreError, match="does not fit"):
            wipe.restore_settings(identify(scratch.mount), note)
        assert kernel.ext4_reserve(identify(scratch.mount).number).read_text() == was
