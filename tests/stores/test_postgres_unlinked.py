"""Segments of the log that the server has removed, while one of its processes still has them open."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cenotaph.stores.postgres.beneath import unlinked

SEGMENT, OTHER = "000000010000000000000007", "archive_status.log"
HOLDS = """
import sys
held = [open(path, "rb") for path in sys.argv[1:]]
print(*(file.fileno() for file in held), flush=True)
sys.stdin.read()
"""


def _held(cwd: Path, *paths: Path) -> tuple[subprocess.Popen[str], list[Path]]:
    """A process that stands in a folder and has files open; where what it has can be read."""
    line = [sys.executable, "-c", HOLDS, *map(str, paths)]
    process = subprocess.Popen(line, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    numbers = process.stdout.readline().split()
    return process, [Path(f"/proc/{process.pid}/fd/{number}") for number in numbers]


def test_a_removed_segment_that_is_still_open_is_zeros(tmp_path: Path) -> None:
    """As after a checkpoint, where a session wrote its last row long ago. What is not removed, what is no
    segment, and what a process elsewhere has open stays as it is."""
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    wal = data / "pg_wal"
    wal.mkdir(parents=True)
    elsewhere.mkdir()
    gone, there, other = wal / SEGMENT, wal / "000000010000000000000008", wal / OTHER
    strange = wal / "000000010000000000000009"
    for path in (gone, there, other, strange):
        path.write_bytes(b"Person-1" * 1000)
    server, (gone_fd, there_fd, other_fd) = _held(data, gone, there, other)
    stranger, (strange_fd,) = _held(elsewhere, strange)
    try:
        for path in (gone, other, strange):
            path.unlink()
        assert gone_fd.read_bytes().count(b"Person-1") == 1000

        assert unlinked.overwrite_segments(str(data)) == (8000, 0)

        assert not any(gone_fd.read_bytes())
        for left in (there_fd, other_fd, strange_fd):
            assert left.read_bytes().count(b"Person-1") == 1000
    finally:
        for process in (server, stranger):
            process.communicate()
