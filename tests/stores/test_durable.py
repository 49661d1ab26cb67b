"""The promises of `cenotaph.durable`."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cenotaph import durable
from cenotaph.errors import DriftError, TransientStoreError


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_written_file_replaces_the_old_one_whole_and_leaves_no_temporary_file(tmp_path):
    """`write_file` leaves exactly one file with the new content and the mode asked for."""
    path = tmp_path / "journal"
    path.write_bytes(b"old")

    durable.write_file(path, b"new" * 1000)

    assert path.read_bytes() == b"new" * 1000
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["journal"]


def test_a_failed_write_leaves_the_old_file_and_no_temporary_file(tmp_path, monkeypatch):
    """A write that fails (here: at fsync) changes nothing."""
    path = tmp_path / "journal"
    path.write_bytes(b"old")

    def full(fd):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(durable.os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        durable.write_file(path, b"new")

    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["journal"]


def test_tombstone_names_are_recognised_and_others_are_not():
    """A tombstone is known by its whole shape, so that a person's hidden file is not taken for one."""
    assert durable.is_tombstone(durable.tombstone_name().encode())
    assert durable.tombstone_name() != durable.tombstone_name()
    assert not durable.is_tombstone(b".cenotaph-zhang-wei")
    assert not durable.is_tombstone(b".cenotaph-" + b"a" * 25)


@pytest.fixture(params=["openat2", "walk"])
def beneath(request, tmp_path, monkeypatch):
    """A `Beneath`, on this kernel's openat2 and on the fallback for kernels without it."""
    if request.param == "walk":

        def missing(*_):
            raise OSError(errno.ENOSYS, "no openat2")

        monkeypatch.setattr(durable, "_openat2", missing)
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a" / "file").write_bytes(b"inside")
    (tmp_path / "outside").write_bytes(b"outside")
    with durable.Beneath(root) as opened:
        yield opened


def test_a_path_beneath_the_root_is_opened(beneath):
    """What lies beneath opens; its parent and last name are found."""
    fd = beneath.open(b"a/file", os.O_RDONLY)
    assert os.read(fd, 10) == b"inside"
    os.close(fd)
    directory, name = beneath.parent(b"a/file")
    assert name == b"file"
    assert os.stat(name, dir_fd=directory).st_size == 6
    os.close(directory)
    assert beneath.stat(b"a/file").st_size == 6


@pytest.mark.parametrize("path", [b"../outside", b"a/../../outside", b"link", b"dirlink/file", b"a/../link"])
def test_no_path_leads_out_of_the_root(beneath, tmp_path, path):
    """Neither dots nor symlinks, last or in the middle, leave the root."""
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "root" / "dirlink").symlink_to(tmp_path / "root" / "a")

    with pytest.raises(OSError, match=r".") as caught:
        os.close(beneath.open(path, os.O_RDONLY))

    assert caught.value.errno in (errno.ELOOP, errno.EXDEV, errno.ENOTDIR)


def test_an_absolute_path_is_refused(beneath, tmp_path):
    """An absolute path is not beneath anything."""
    with pytest.raises(OSError, match=r".") as caught:
        beneath.open(os.fsencode(tmp_path / "outside"), os.O_RDONLY)
    assert caught.value.errno == errno.EXDEV


def test_names_that_are_not_utf8_are_opened(beneath, tmp_path):
    """File names are bytes: newlines and invalid UTF-8 included."""
    name = b"zh\xff\nang"
    Path(os.fsdecode(os.fsencode(tmp_path / "root") + b"/" + name)).write_bytes(b"x")
    os.close(beneath.open(name, os.O_RDONLY))


def test_overwriting_zeroes_a_range_in_place_and_counts(tmp_path):
    """Only the range changes; the inode stays; every byte is counted once."""
    path = tmp_path / "f"
    path.write_bytes(b"x" * (3 << 20))
    told = []
    fd = os.open(path, os.O_RDWR)
    written = durable.overwrite(fd, 2 << 20, start=5, on_bytes=told.append)
    os.close(fd)

    data = path.read_bytes()
    assert written == sum(told) == 2 << 20
    assert data[:5] == b"xxxxx"
    assert not any(data[5 : (2 << 20) + 5])
    assert set(data[(2 << 20) + 5 :]) == {ord("x")}


@pytest.mark.parametrize("refuses", [False, True])
def test_what_is_large_goes_past_the_page_cache(tmp_path, monkeypatch, refuses):
    """Whole blocks of it; all of it in the other way where the file system will not."""
    if durable.filesystem(os.open(tmp_path, os.O_RDONLY)).kind != "ext4":
        pytest.skip("no file system that writes directly")
    path, direct, write = tmp_path / "f", [], os.pwrite
    path.write_bytes(b"x" * ((3 << 20) + 7))

    def pwrite(fd, data, at):
        how = bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)
        if how and refuses:
            raise OSError(errno.EINVAL, "Invalid argument")
        direct.append((how, len(data)))
        return write(fd, data, at)

    monkeypatch.setattr(durable.os, "pwrite", pwrite)
    fd = os.open(path, os.O_RDWR)
    before = fcntl.fcntl(fd, fcntl.F_GETFL)
    written = durable.overwrite(fd, (3 << 20) + 2, start=5)

    assert path.read_bytes() == b"xxxxx" + bytes(written)
    assert written == (3 << 20) + 2 == sum(size for _, size in direct)
    assert sum(size for how, size in direct if how) == (0 if refuses else (3 << 20) - 4096)
    assert fcntl.fcntl(fd, fcntl.F_GETFL) == before
    os.close(fd)


def test_many_files_take_one_flush_of_their_device(tmp_path, monkeypatch):
    """After the content of each was put there; elsewhere each file is flushed by itself."""
    fds, events = [os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in "abc"], []
    for fd in fds:
        os.write(fd, b"x" * 8192)
        os.fsync(fd)
        durable.overwrite(fd, 8192, sync=False)
    sync = durable._sync_content
    monkeypatch.setattr(durable.os, "fdatasync", lambda fd: events.append(("flushed", fd)))
    monkeypatch.setattr(durable, "_sync_content", lambda fd, how: events.append((how, fd)) or sync(fd, how))
    for kind, expected in {
        "ext4": [*((2, fd) for fd in fds), *((7, fd) for fd in fds), ("flushed", fds[-1])],
        "xfs": [("flushed", fd) for fd in fds],
    }.items():
        events.clear()
        monkeypatch.setattr(durable, "filesystem", lambda fd, kind=kind: durable.FileSystem(kind, True))
        durable.flush_overwritten(fds)
        assert events == expected
    for fd in fds:
        os.close(fd)


def test_holes_of_a_sparse_file_are_not_filled(tmp_path):
    """A terabyte of nothing is not written out; the data around it is overwritten."""
    path = tmp_path / "sparse"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"head", 0)
    os.pwrite(fd, b"tail", 1 << 40)
    written = durable.overwrite(fd, (1 << 40) + 4)
    assert 8 <= written <= 1 << 20
    assert os.pread(fd, 4, 0) == os.pread(fd, 4, 1 << 40) == bytes(4)
    os.close(fd)


def test_a_destroyed_file_is_zero_on_its_old_inode_and_its_name_is_gone(tmp_path):
    """The content is found through the open descriptor before, and is zero after; the name is gone."""
    path = tmp_path / "zhang-wei.csv"
    path.write_bytes(b"needle" * 1000)
    fd, directory = os.open(path, os.O_RDWR), os.open(tmp_path, os.O_RDONLY)
    assert b"needle" in os.pread(fd, 6000, 0)

    freed = durable.destroy_file(directory, b"zhang-wei.csv", fd, tombstone=durable.tombstone_name())

    assert not any(os.pread(fd, 6000, 0))
    assert names(tmp_path) == []
    assert freed >= 6000
    os.close(fd)
    os.close(directory)


def test_a_file_replaced_under_our_hands_is_drift_and_stays(tmp_path):
    """`destroy_file` destroys the file that was opened, never one that took its name."""
    path = tmp_path / "f"
    path.write_bytes(b"opened")
    fd, directory = os.open(path, os.O_RDWR), os.open(tmp_path, os.O_RDONLY)
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "other").rename(path)

    with pytest.raises(DriftError):
        durable.destroy_file(directory, b"f", fd, tombstone=durable.tombstone_name())

    assert path.read_bytes() == b"other"
    assert os.pread(fd, 6, 0) == b"opened"
    os.close(fd)
    os.close(directory)


def test_names_are_exchanged_and_a_taken_name_is_not_replaced(tmp_path):
    """`exchange` swaps two files; `rename_new` refuses to replace."""
    (tmp_path / "a").write_bytes(b"A")
    (tmp_path / "b").write_bytes(b"B")
    directory = os.open(tmp_path, os.O_RDONLY)
    durable.exchange(directory, b"a", b"b")
    assert (tmp_path / "a").read_bytes() == b"B"
    with pytest.raises(FileExistsError):
        durable.rename_new(directory, b"a", b"b")
    durable.rename_new(directory, b"a", b"c")
    assert names(tmp_path) == ["b", "c"]
    os.close(directory)


def test_a_lease_is_refused_while_another_process_has_the_file_open(tmp_path):
    """Open elsewhere: `TransientStoreError`. Closed there: the lease is had, and is true."""
    path = tmp_path / "f"
    path.write_bytes(b"x")
    fd = os.open(path, os.O_RDWR)
    with subprocess.Popen(
        [sys.executable, "-c", f"f=open({str(path)!r}); print('open', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(TransientStoreError, match="open by another"), durable.write_lease(fd):
            pass
        other.communicate(b"\n")
    with durable.write_lease(fd) as lease:
        if durable.filesystem(fd).kind in ("ext4", "xfs", "tmpfs"):
            assert lease
    assert not lease
    os.close(fd)


def test_a_lease_turns_false_when_somebody_knocks(tmp_path):
    """An attempt to open the file during the lease neither kills us nor goes unnoticed."""
    path = tmp_path / "f"
    path.write_bytes(b"x")
    fd = os.open(path, os.O_RDWR)
    with durable.write_lease(fd) as lease:
        if not lease:
            pytest.skip("this file system has no leases")
        code = f"import os; os.open({str(path)!r}, os.O_RDONLY | os.O_NONBLOCK)"
        knocked = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        assert b"BlockingIOError" in knocked.stderr
        assert not lease
    os.close(fd)


def test_the_file_system_is_named_and_a_false_answer_is_explained(tmp_path):
    """Whoever is refused an in-place claim is told why."""
    fd = os.open(tmp_path, os.O_RDONLY)
    found = durable.filesystem(fd)
    os.close(fd)
    assert found.kind
    assert found.overwrites_in_place or found.why_not
    proc = os.open("/proc", os.O_RDONLY)
    assert durable.filesystem(proc).layered
    os.close(proc)


def test_a_plain_file_shares_no_blocks(tmp_path):
    """A file that was just written is not reflinked, on any file system."""
    path = tmp_path / "f"
    path.write_bytes(b"x" * 10000)
    fd = os.open(path, os.O_RDWR)
    assert durable.reflinked(fd) is False
    os.close(fd)
