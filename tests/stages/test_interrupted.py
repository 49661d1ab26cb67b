"""Stopped, paused, locked out, out of room: nothing is lost, and the same command goes on."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cenotaph import lock
from cenotaph.errors import CenotaphError, PartialError, RefusedError
from cenotaph.journal import Journal
from cenotaph_proof.statements import Destruction, Plan
from small_case import STORES, SmallCase, build_estate, person, put

FILES = 258  # of one folder: two partitions, of 256 and 2
EXPORT = STORES[STORES.index('[[store]]\nname = "export"') :]


@pytest.fixture(scope="module")
def slow_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two partitions that takes some seconds to overwrite; approved."""
    root = tmp_path_factory.mktemp("slow")
    for number in range(FILES):
        put(
            root / "estate" / "export" / f"{number:03d}.csv",
            b"id_number\n" + person(number).identity.encode(),
        )
    case = SmallCase.make(root, EXPORT, limits="bytes_per_second = 500_000\n")
    case.go("open", "approve-notary")
    case.admit()
    return root


@pytest.fixture
def slow(slow_root: Path, tmp_path: Path) -> SmallCase:
    shutil.copytree(slow_root, tmp_path / "here", symlinks=True)
    return SmallCase(tmp_path / "here")


def destroying(case: SmallCase) -> list[str]:
    """The command line that destroys."""
    digest = case.now().require(Plan).digest
    program = Path(sys.executable).with_name("cenotaph")
    return [str(program), "destroy", "--case", str(case.path), "--confirm", digest[:8]]


@contextmanager
def started(case: SmallCase) -> Iterator[subprocess.Popen[bytes]]:
    """The command, in a process group of its own, once it has begun its first partition."""
    process = subprocess.Popen(destroying(case), start_new_session=True, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while "begun" not in kinds(case):
            assert process.poll() is None, "it ended before it began"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def kinds(case: SmallCase) -> list[str]:
    if not case.desk().journal_path().exists():
        return []
    with Journal(case.desk().journal_path()) as journal:
        return [entry.kind for entry in journal.entries()]


def destroyed(case: SmallCase) -> int:
    bodies = [entry.body(Destruction) for entry in case.now().all(Destruction)]
    return sum(c.records for body in bodies for s in body.stores for c in s.collections)


def test_ctrl_c_finishes_the_partition_signs_and_can_go_on(slow: SmallCase) -> None:
    """SIGINT to the whole group, as a terminal sends it: the partition at hand is finished and signed, the
    next is not begun, exit 130; the same command does the rest."""
    with started(slow) as process:
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)

        assert process.returncode == 130
    assert destroyed(slow) == 256
    assert kinds(slow).count("begun") == 1
    assert len(list((slow.root / "estate" / "export").iterdir())) == 2

    assert subprocess.run(destroying(slow), check=False).returncode == 0
    assert destroyed(slow) == FILES


@pytest.mark.slow
def test_a_second_destroy_at_the_same_time_is_refused(slow: SmallCase) -> None:
    """One command at a time: the second is told so with exit 4 and changes nothing; the first goes on."""
    with started(slow) as process:
        process.send_signal(signal.SIGSTOP)  # however slow the second one starts, the first is at work
        second = subprocess.run(destroying(slow), capture_output=True, check=False)
        process.send_signal(signal.SIGCONT)

        assert second.returncode == 4
        assert b"another cenotaph command is at work on this case" in second.stderr
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert destroyed(slow) == FILES
    assert kinds(slow).count("begun") == 2


@pytest.mark.slow
def test_workers_end_with_the_command_that_is_killed(slow: SmallCase) -> None:
    """SIGKILL to the command alone: its worker lets go of the store at once, and the case goes on."""
    with started(slow) as process:
        process.kill()
        process.wait()
        with lock.held(slow.path / ".erasing-0", wait=5) as free:
            assert free

    assert subprocess.run(destroying(slow), check=False).returncode == 0
    assert destroyed(slow) == FILES


def test_a_paused_case_waits(approved: SmallCase) -> None:
    """`pause` refuses a new run, `pause --off` lets it go on."""
    (approved.path / "pause").touch()
    with pytest.raises(RefusedError, match="paused"):
        approved.destroy()
    assert kinds(approved).count("begun") == 0

    (approved.path / "pause").unlink()
    approved.destroy()
    assert destroyed(approved) == 50


@pytest.mark.slow
def test_pausing_stops_a_run_between_two_partitions(slow: SmallCase) -> None:
    """A run that is paused ends with exit 5 after the partition at hand; what is done is signed."""
    with started(slow) as process:
        (slow.path / "pause").touch()
        process.communicate(timeout=60)

        assert process.returncode == 5
    assert destroyed(slow) == 256
    (slow.path / "pause").unlink()
    assert subprocess.run(destroying(slow), check=False).returncode == 0


HOLDER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print(flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process holds the database."""
    command = [sys.executable, "-c", HOLDER, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield
        holder.communicate()


def test_a_locked_database_is_waited_for_and_told(approved: SmallCase) -> None:
    """Another program holds the database: the other store is destroyed and signed, the wait lasts as long as
    `lock_timeout` says, the reason is told, exit 5; when it is free, the same command goes on."""
    began = time.monotonic()
    with (
        locked(approved.root / "estate" / "health.db"),
        pytest.raises(PartialError, match=r"health: .*lock") as told,
    ):
        approved.destroy()

    assert told.value.exit_code == 5
    assert time.monotonic() - began > 1.5
    assert destroyed(approved) == 20
    approved.destroy()
    assert destroyed(approved) == 50
    approved.go("probe", "certify")
    assert approved.verdict().exit_code == 0


_GET, _SET, _IMMUTABLE = 0x80086601, 0x40086602, 0x10  # ioctl_iflags(2)


def immutable(path: Path, on: bool) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        (flags,) = struct.unpack("l", fcntl.ioctl(fd, _GET, struct.pack("l", 0)))
        flags = flags | _IMMUTABLE if on else flags & ~_IMMUTABLE
        fcntl.ioctl(fd, _SET, struct.pack("l", flags))
    except OSError:
        pytest.skip("files cannot be made immutable here")
    finally:
        os.close(fd)


def test_a_right_that_is_lost_half_way_can_be_given_back(slow: SmallCase) -> None:
    """The second partition may not be changed: the first is destroyed and signed, exit 5 with the reason;
    when the right is back, the same command does the rest."""
    last = slow.root / "estate" / "export" / "257.csv"
    immutable(last, True)
    try:
        with pytest.raises(PartialError, match="export: ") as told:
            slow.destroy()
        assert told.value.exit_code == 5
        assert destroyed(slow) == 256
        assert last.read_bytes().endswith(person(257).identity.encode())
    finally:
        immutable(last, False)

    slow.destroy()
    assert destroyed(slow) == FILES


@contextmanager
def small_disk(at: Path, size: str) -> Iterator[None]:
    """A file system of this size, mounted at a folder."""
    at.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("this account may not mount a small file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


def fill(folder: Path) -> Path:
    """Leave no room at all."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as stream:
        step = 1 << 16
        while step:
            try:
                stream.write(bytes(step))
            except OSError:
                step >>= 1
    return filler


@pytest.mark.parametrize(("before", "step"), [("survey", "seal"), ("approve-notary", "destroy")])
def test_a_full_disk_loses_nothing(tmp_path: Path, before: str, step: str) -> None:
    """No room for annex and journal, while sealing and while destroying: the step fails and says so; with
    room again, the same command goes on, and the counts are right."""
    build_estate(tmp_path / "estate")
    with small_disk(tmp_path / "case", "4m"):
        (tmp_path / "made").mkdir()
        case = SmallCase.make(tmp_path / "made", STORES.replace("../estate", "../../estate"))
        os.rename(tmp_path / "made" / "keys", tmp_path / "keys")
        os.rename(tmp_path / "made" / "trust.toml", tmp_path / "trust.toml")
        text = (tmp_path / "made" / "case" / "case.toml").read_text().replace("../../estate", "../estate")
        (tmp_path / "case" / "case.toml").write_text(text)
        case = SmallCase(tmp_path)
        case.go("open", before)
        case.admit()
        filler = fill(case.path)

        with pytest.raises((OSError, CenotaphError), match=r"No space left|full"):
            case.steps()[step]()

        filler.unlink()
        case.go(step, "certify")
        assert case.certificate().destroyed == 50
        assert case.verdict().exit_code == 0


@pytest.mark.slow
def test_a_database_with_an_open_reader_is_left_whole(approved: SmallCase) -> None:
    """A program that is in the middle of reading: nothing of the database is changed under its feet."""
    database = approved.root / "estate" / "health.db"
    db = sqlite3.connect(database, isolation_level=None)
    db.execute("BEGIN")
    assert db.execute("SELECT count(*) FROM visits").fetchone() == (20,)

    with pytest.raises(PartialError):
        approved.destroy()

    assert db.execute("SELECT count(*) FROM visits").fetchone() == (20,)
    db.close()
    approved.destroy()
    assert destroyed(approved) == 50
