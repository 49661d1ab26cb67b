"""Running what others wrote: bounded, mute, and nothing of it left, however it ends."""

from __future__ import annotations

import fcntl
import gzip
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from volume_bytes import identities, needles_of, volume_file, volume_of

from cenotaph import durable
from cenotaph.errors import PermanentStoreError, UsageError
from cenotaph.residue import outside

MIB = 1 << 20
PEOPLE = identities(1, 50)

Make = Callable[[str], outside.Tool]


@pytest.fixture
def program(tmp_path: Path) -> Make:
    """Makes a tool of a few lines of Python."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(text: str) -> outside.Tool:
        path = folder / "tool"
        path.write_text(f"#!{sys.executable}\nimport os, sys, time\n{text}\n")
        path.chmod(stat.S_IRWXU)
        return outside.Tool("tool", str(path), "1.0")

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    return made


def test_what_a_tool_prints_is_searched_and_seen_by_nobody(program, folder, capfd):
    """Its standard output goes into the search, its standard error nowhere."""
    tool = program(f"print({PEOPLE!r}); print({PEOPLE!r}, file=sys.stderr)")

    haul = outside.streamed(outside.Command(tool, (), folder), needles_of(PEOPLE))

    assert (len(haul.values), haul.ended) == (50, "")
    assert capfd.readouterr() == ("", "")
    assert PEOPLE[0] not in repr(haul)


def test_a_tool_that_hangs_is_stopped(program, folder):
    """It had a second; what it had printed by then was searched, and the end is told."""
    tool = program(f"print({PEOPLE!r}, flush=True); time.sleep(600)")
    begun = time.monotonic()

    haul = outside.streamed(outside.Command(tool, (), folder, seconds=1), needles_of(PEOPLE))

    assert time.monotonic() - begun < 20
    assert (len(haul.values), haul.ended) == (50, "was stopped after 1 s")


def test_a_tool_that_starts_others_and_ends_does_not_leave_them(program, folder):
    """All of its session goes with it."""
    mark = folder / "mark"
    tool = program(f"if os.fork() == 0:\n  time.sleep(3); open({str(mark)!r}, 'w')\ntime.sleep(600)")

    assert outside.run(outside.Command(tool, (), folder, seconds=0.5)).ended
    time.sleep(4)

    assert not mark.exists()


def test_a_tool_that_prints_without_end_is_stopped(program, folder):
    """By the bytes that it may print."""
    tool = program("while True: sys.stdout.write('x' * 65536)")

    outcome = outside.run(outside.Command(tool, (), folder, most=4 * MIB))

    assert outcome.ended == f"was stopped after {4 * MIB} bytes"


def test_a_tool_that_fills_the_scratch_folder_is_stopped(program, folder, monkeypatch):
    """By what it has written."""
    monkeypatch.setattr(outside, "MOST_WRITTEN", 4 * MIB)
    tool = program("for n in range(100000): open(f'f{n}', 'wb').write(b'x' * 65536); time.sleep(0.001)")

    outcome = outside.run(outside.Command(tool, (), folder))

    assert "after writing" in outcome.ended
    assert outside._used(folder) < 400 * MIB


def test_a_failure_is_told_by_its_number_alone(program, folder):
    """Nothing that the tool says about it is repeated."""
    tool = program("sys.exit('somebody')")

    assert outside.run(outside.Command(tool, (), folder)).ended == "ended with status 1"
    assert outside.run(outside.Command(tool, (), folder, fine=(0, 1))).ended == ""
    crashing = program("os.abort()")
    assert outside.run(outside.Command(crashing, (), folder)).ended == "crashed (signal 6)"


def test_a_tool_gets_neither_our_environment_nor_our_files(program, folder, monkeypatch):
    """No variables but a few; no descriptors but those that it is to have; a home of its own."""
    monkeypatch.setenv("CENOTAPH_SECRET", "known")
    tool = program("print(sorted(os.environ), len(os.listdir('/proc/self/fd')), os.getcwd(), os.umask(0))")
    with open(folder / "open", "wb") as file:
        os.set_inheritable(file.fileno(), True)
        said = b"".join(outside.output(outside.Command(tool, (), folder), outside.Outcome())).decode()

    assert "CENOTAPH_SECRET" not in said
    assert f"4 {folder} 63" in said  # three, and the one that lists them


def test_bytes_are_fed_without_a_file(program, folder):
    """To the end; and a tool that does not want them all is no error."""
    fed = (b"\n".join([person.encode(), b""]) for person in PEOPLE)
    reader = program("sys.stdout.write(sys.stdin.read())")

    haul = outside.streamed(outside.Command(reader, (), folder, stdin=fed), needles_of(PEOPLE))
    assert (len(haul.values), haul.ended) == (50, "")

    uninterested = program("print('done')")
    many = (bytes(MIB) for _ in range(64))
    assert outside.run(outside.Command(uninterested, (), folder, stdin=many)).ended == ""


def test_a_version_is_a_number_and_nothing_else(tmp_path, monkeypatch):
    """Of what a program says of itself, only digits and dots go on."""
    (tmp_path / "grep").write_text("#!/bin/sh\necho grep by A. Person, 3.8.1b of 2024\n")
    (tmp_path / "grep").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    tool = outside.installed("grep")

    assert tool is not None
    assert tool.version == "3.8.1b"
    assert outside.installed("no-such-program-anywhere") is None


def test_the_scratch_folder_is_ours_alone_and_leaves_nothing(tmp_path):
    """0700, and emptied whatever happens in it, write-protected files, folders and links included."""

    def work() -> None:
        with outside.scratch_folder(tmp_path, -1) as folder:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            (folder / "deep" / "er").mkdir(parents=True)
            (folder / "deep" / "er" / "file").write_bytes(b"x" * 5000)
            (folder / "deep" / "er" / "file").chmod(0)
            (folder / "link").symlink_to("/")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert list(tmp_path.iterdir()) == []
    assert Path("/").exists()


def test_files_are_overwritten_before_they_go(tmp_path):
    """Another name of the same bytes, held outside, reads as zeros afterwards."""
    with outside.scratch_folder(tmp_path, -1) as folder:
        (folder / "found").write_bytes(b"x" * 5000)
        os.link(folder / "found", tmp_path / "witness")

    assert (tmp_path / "witness").read_bytes() == bytes(5000)


KILLED = """
import os, signal, sys
from pathlib import Path
from cenotaph.residue import outside
with outside.scratch_folder(Path(sys.argv[1]), -1) as folder:
    (folder / "found").write_bytes(b"x" * 5000)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_left_goes_with_the_next(tmp_path):
    """The next run overwrites and removes it; other folders, and that of a run which lives, it leaves."""
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    os.link(left / "found", tmp_path / "witness")
    (tmp_path / "somebody's").mkdir()
    alive = tmp_path / durable.tombstone_name()
    alive.mkdir()
    lock = os.open(alive, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with outside.scratch_folder(tmp_path, -1):
            pass
    finally:
        os.close(lock)

    assert {path.name for path in tmp_path.iterdir()} == {"witness", "somebody's", alive.name}
    assert (tmp_path / "witness").read_bytes() == bytes(5000)


def test_a_scratch_folder_on_the_volume_is_refused(tmp_path):
    """Nothing is made there."""
    with (
        pytest.raises(UsageError, match="lies on the volume"),
        outside.scratch_folder(tmp_path, tmp_path.stat().st_dev),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_another_device_than_the_one_that_is_searched_is_refused(tmp_path):
    """The path of the device may lead elsewhere by now; no tool is run on that."""
    file = volume_file(tmp_path / "volume")
    other = volume_file(tmp_path / "other")
    with (
        volume_of(file, device=other) as volume,
        pytest.raises(PermanentStoreError, match="not the one"),
        outside.device(volume),
    ):
        pass


def test_what_a_tool_writes_is_searched_by_content_name_and_unpacked(folder):
    """Names of recovered files count; gzip is unpacked by gzip too; afterwards the folder is empty."""
    (folder / f"{PEOPLE[0]}.txt").write_bytes(b"")
    (folder / "deep").mkdir()
    (folder / "deep" / "text").write_text(" ".join(PEOPLE[1:25]))
    (folder / "deep" / "packed").write_bytes(gzip.compress(" ".join(PEOPLE[25:]).encode()) + b"trailing")

    haul = outside.harvest(folder, needles_of(PEOPLE))

    assert len(haul.values) == 50
    assert haul.files == 2
    assert haul.bytes > len(" ".join(PEOPLE))  # what gzip unpacked is counted too
    assert list(folder.iterdir()) == []


def test_pieces_are_the_ranges_and_nothing_between_them(tmp_path):
    """At multiples of 4096, zeros in between, blank pieces left out."""
    content = os.urandom(64 * 1024)
    file = volume_file(tmp_path / "volume", (3 * MIB - 32 * 1024, content))
    ranges = np.array([[10, 20], [3 * MIB - 30000, 3 * MIB - 20000], [3 * MIB + 100, 3 * MIB + 101]])

    with volume_of(file) as volume:
        given = dict(outside.pieces(volume, ranges))

    whole = bytearray(8 * MIB)
    for offset, piece in given.items():
        assert offset % 4096 == len(piece) % 4096 == 0
        whole[offset : offset + len(piece)] = piece
    wanted = bytearray(8 * MIB)
    source = file.read_bytes()
    for low, high in ranges.tolist():
        wanted[low:high] = source[low:high]
    assert whole == wanted
    assert 0 not in given


def test_segments_share_what_a_border_would_cut():
    """A value across the border of two segments is whole in the second."""
    value = PEOPLE[0].encode()
    stream = [b"x" * (MIB - 9), value, b"y" * MIB]

    whole = [
        value in os.pread(file.fileno(), 8 * MIB, 0)
        for file in outside.segments(stream, size=MIB - 5, overlap=4096)
    ]

    assert len(whole) >= 2
    assert any(whole)
