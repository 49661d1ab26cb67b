"""What the files store refuses to erase, what it leaves when it cannot go on, and how it goes on."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cenotaph import durable
from cenotaph.errors import DriftError, PermanentStoreError, RefusedError, TransientStoreError, UsageError
from cenotaph.scope import EVERYTHING, Selection, parse_predicate
from cenotaph.store import Class, Erasure, Partition
from cenotaph.stores.files import open_eraser, open_reader, pages, places, raw, tree
from cenotaph.testing.contract import Log, Rows, Stopped

ROWS = b"id,name,city\n" + b"".join(
    b"%d,Person-%04d,%s\n" % (n, n, b"Wuxi" if n % 2 else b"Suzhou") for n in range(500)
)
IN_WUXI = Selection(rows=parse_predicate("city = 'Wuxi'"))


class Store:
    """A root with its selection; reads, seals and erases it."""

    def __init__(self, root: Path, selection: Selection = EVERYTHING):
        self.root, self.selection, self.url = root, selection, f"files:{root}"
        root.mkdir(exist_ok=True)

    def seals(self) -> list[tuple[Partition, Rows]]:
        reader = open_reader(self.url, self.selection)
        found = [
            (partition, Rows(reader.batches(partition)))
            for collection in reader.collections()
            for partition in reader.partitions(collection)
        ]
        reader.close()
        return found

    def seal(self) -> tuple[Partition, Rows]:
        (only,) = self.seals()
        return only

    def erase(self, partition: Partition, sealed: Rows, log: Log | None = None) -> Erasure:
        eraser = open_eraser(self.url, self.selection)
        try:
            return eraser.erase(partition, sealed, log or Log())
        finally:
            eraser.close()

    def files(self) -> dict[str, bytes]:
        paths = sorted(p for p in self.root.rglob("*") if p.is_file() and not p.is_symlink())
        return {str(p.relative_to(self.root)): p.read_bytes() for p in paths}


@pytest.fixture(params=["whole", "rows"])
def store(request, tmp_path):
    """One csv file, in scope as a whole or in part."""
    store = Store(tmp_path / "root", EVERYTHING if request.param == "whole" else IN_WUXI)
    (store.root / "a.csv").write_bytes(ROWS)
    return store


def refused(store: Store, error: type[Exception], partition: Partition, sealed: Rows) -> str:
    """Erasing is refused with this error, before begin, and every file is as it was."""
    before, log = store.files(), Log()
    with pytest.raises(error) as caught:
        store.erase(partition, sealed, log)
    assert log.events == []
    assert store.files() == before
    assert "Person" not in str(caught.value)
    assert "a.csv" not in str(caught.value)
    return str(caught.value)


# --- refused before anything is changed -----------------------------------------------------


def test_a_file_that_grew_is_drift(store):
    """One more row, even one that is not selected: drift, nothing destroyed."""
    partition, sealed = store.seal()
    with (store.root / "a.csv").open("ab") as stream:
        stream.write(b"500,Person-0500,Suzhou\n")
    refused(store, DriftError, partition, sealed)


def test_a_file_whose_content_changed_is_drift(store):
    """The same size and another value."""
    partition, sealed = store.seal()
    (store.root / "a.csv").write_bytes(ROWS.replace(b"Person-0001", b"Person-9991"))
    refused(store, DriftError, partition, sealed)


def test_a_file_that_is_missing_is_drift(store):
    """Somebody else removed a file: the partition is not what was sealed."""
    (store.root / "b.csv").write_bytes(ROWS)
    partition, sealed = store.seal()
    (store.root / "a.csv").unlink()
    refused(store, DriftError, partition, sealed)


def test_a_file_with_a_second_name_is_refused(store, tmp_path):
    """A hard link from elsewhere: overwriting would destroy what is outside the scope."""
    partition, sealed = store.seal()
    os.link(store.root / "a.csv", tmp_path / "outside.csv")
    assert "hard links" in refused(store, RefusedError, partition, sealed)
    assert (tmp_path / "outside.csv").read_bytes() == ROWS


def test_a_file_that_became_a_symlink_is_not_followed(store, tmp_path):
    """The name now leads out of the root: refused, and what it leads to stays."""
    partition, sealed = store.seal()
    (tmp_path / "outside.csv").write_bytes(ROWS)
    (store.root / "a.csv").unlink()
    (store.root / "a.csv").symlink_to(tmp_path / "outside.csv")
    refused(store, PermanentStoreError, partition, sealed)
    assert (tmp_path / "outside.csv").read_bytes() == ROWS


def test_a_file_that_another_process_has_open_is_left_for_later(store):
    """Open elsewhere: `TransientStoreError`; closed there: erased as sealed."""
    partition, sealed = store.seal()
    code = f"f=open({str(store.root / 'a.csv')!r}); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        refused(store, TransientStoreError, partition, sealed)
        other.communicate(b"\n")
    assert store.erase(partition, sealed).destroyed_as is Class.AS_SEALED


def test_bounds_that_lead_outside_open_nothing(store, tmp_path):
    """Bounds come from an annex: a path in them that climbs out of the root is refused."""
    partition, sealed = store.seal()
    (tmp_path / "outside.csv").write_bytes(ROWS)
    raw_bounds = json.loads(partition.bounds)
    raw_bounds["folder"] = "Li4="  # ..
    raw_bounds["files"][0][0] = "b3V0c2lkZS5jc3Y="  # outside.csv
    climbing = Partition(0, 0, 1, json.dumps(raw_bounds, separators=(",", ":")))
    refused(store, PermanentStoreError, climbing, sealed)
    assert (tmp_path / "outside.csv").read_bytes() == ROWS


@pytest.mark.parametrize("bounds", ["", "{}", "[]", '{"v":1}', "null"])
def test_bounds_of_another_store_are_refused(store, bounds):
    """Bounds are read strictly."""
    with pytest.raises(UsageError):
        store.erase(Partition(0, 0, 0, bounds), Rows([]))


def test_bounds_are_written_one_way(store):
    """`write(parse(x)) == x`, and a space more is refused."""
    partition, _ = store.seal()
    assert places.parse(partition.bounds).write() == partition.bounds
    with pytest.raises(UsageError):
        places.parse(partition.bounds + " ")


# --- failures half-way ----------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to take a permission away from another user")
def test_a_permission_lost_half_way_fails_one_partition_and_no_other(tmp_path):
    """Two folders, one of them somebody else's by now: reported, and the other is erased."""
    store = Store(tmp_path / "root")
    for folder in ("a", "b"):
        (store.root / folder).mkdir()
        (store.root / folder / "x.csv").write_bytes(ROWS)
    (first, first_seal), (second, second_seal) = store.seals()
    os.chmod(store.root / "a" / "x.csv", 0o600)
    os.chown(store.root / "b", 65534, 65534)
    os.chown(store.root / "b" / "x.csv", 65534, 65534)
    eraser = open_eraser(store.url, EVERYTHING)
    os.seteuid(65534)
    try:
        with pytest.raises(PermanentStoreError, match="permission denied"):
            eraser.erase(first, first_seal, Log())
        eraser.erase(second, second_seal, Log())
    finally:
        os.seteuid(0)
        eraser.close()
    assert list(store.files()) == ["a/x.csv"]


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    """No space for what stays (here: a file size limit): the temporary file is gone, the file untouched,
    and the next run goes on."""
    store = Store(tmp_path / "root", IN_WUXI)
    (store.root / "a.csv").write_bytes(ROWS)
    partition, sealed = store.seal()
    log = Log()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(PermanentStoreError, match="no space left"):
            store.erase(partition, sealed, log)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert store.files() == {"a.csv": ROWS}

    assert store.erase(partition, sealed, Log(begun=log.begun)).records == 250
    assert b"Wuxi" not in store.files()["a.csv"]


def test_a_disk_that_is_too_small_is_noticed_before_begin(tmp_path):
    """A file system of 64 KiB: refused before the journal says begun."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(mount)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small file system")
    try:
        store = Store(mount / "root", Selection(("csv*",), rows=IN_WUXI.rows))
        (store.root / "a.csv").write_bytes(ROWS * 3)
        (store.root / "ballast").write_bytes(b"\0" * (20 << 10))
        refused(store, PermanentStoreError, *store.seal())
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_rewritten_file_keeps_owner_mode_and_attributes(tmp_path):
    """Who may read what stays does not change."""
    store = Store(tmp_path / "root", IN_WUXI)
    path = store.root / "a.csv"
    path.write_bytes(ROWS)
    path.chmod(0o640)
    os.setxattr(path, "user.origin", b"form 7")
    if os.geteuid() == 0:
        os.chown(path, 1234, 1235)
    before = path.stat()
    store.erase(*store.seal())
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert os.getxattr(path, "user.origin") == b"form 7"
    assert after.st_ino != before.st_ino


def test_the_old_bytes_of_a_rewritten_file_are_overwritten(tmp_path, monkeypatch):
    """Through a descriptor opened before, the old file reads as zeros: unlinking alone would not do."""
    store = Store(tmp_path / "root", IN_WUXI)
    (store.root / "a.csv").write_bytes(ROWS)
    partition, sealed = store.seal()
    kept_open: list[int] = []

    def bury(dirfd, name, fd, tombstone):
        kept_open.append(os.dup(fd))
        return original(dirfd, name, fd, tombstone)

    original = durable.bury
    monkeypatch.setattr(durable, "bury", bury)
    erasure = store.erase(partition, sealed)
    (fd,) = kept_open
    old = os.pread(fd, len(ROWS), 0)
    os.close(fd)
    if durable.filesystem(os.open(tmp_path, os.O_RDONLY)).overwrites_in_place:
        assert old == bytes(len(ROWS))
        assert erasure.overwritten_bytes == len(ROWS)


def test_shared_blocks_are_not_claimed_as_overwritten(tmp_path, monkeypatch):
    """Reflinked: zeros would land elsewhere, so that the file is unlinked only, and this is said."""
    store = Store(tmp_path / "root")
    (store.root / "a.csv").write_bytes(ROWS)
    partition, sealed = store.seal()
    monkeypatch.setattr(durable, "reflinked", lambda fd: True)
    erasure = store.erase(partition, sealed)
    assert erasure.overwritten_bytes == 0
    assert any("share blocks" in note for note in erasure.notes)
    assert store.files() == {}


def test_a_reflink_is_seen(tmp_path):
    """A file made with FICLONE shares its blocks, and FIEMAP says so."""
    (tmp_path / "a").write_bytes(ROWS)
    made = subprocess.run(
        ["cp", "--reflink=always", str(tmp_path / "a"), str(tmp_path / "b")], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("this file system has no reflinks")
    with (tmp_path / "a").open("rb") as stream:
        assert durable.reflinked(stream.fileno())


# --- going on after a kill ------------------------------------------------------------------


def begun_and_stopped(store: Store, at: int) -> tuple[Partition, Rows, Log]:
    partition, sealed = store.seal()
    log = Log(stop_at=at)
    with pytest.raises(Stopped):
        store.erase(partition, sealed, log)
    return partition, sealed, log


def test_a_page_that_changed_after_the_kill_is_drift(tmp_path):
    """Half overwritten, then written to by somebody else: neither zero nor as sealed."""
    store = Store(tmp_path / "root")
    (store.root / "a.bin").write_bytes(b"\x00" + os.urandom(3 << 20))
    partition, sealed, log = begun_and_stopped(store, 3)
    (name,) = store.files()
    data = store.files()[name]
    assert durable.is_tombstone(name.encode())
    assert not any(data[: 1 << 20])
    assert any(data[-4096:])
    with (store.root / name).open("r+b") as stream:
        stream.seek(5000)
        stream.write(b"new")
    with pytest.raises(DriftError, match="changed since"):
        store.erase(partition, sealed, Log(begun=log.begun))
    assert (store.root / name).exists()


def test_a_new_file_under_a_destroyed_name_is_not_destroyed(tmp_path):
    """After the kill an application wrote a file of the same name (and often the same, freed inode
    number): it was never sealed."""
    store = Store(tmp_path / "root")
    (store.root / "a.csv").write_bytes(ROWS)
    partition, sealed, log = begun_and_stopped(store, 5)  # begun, content, the last block's rest, unlinked
    assert store.files() == {}
    (store.root / "a.csv").write_bytes(b"new")
    with pytest.raises(DriftError, match=r"another file|changed since"):
        store.erase(partition, sealed, Log(begun=log.begun))
    assert store.files() == {"a.csv": b"new"}


@pytest.mark.parametrize("at", [4, 5])  # the old file is still there under its tombstone, or gone
def test_survivors_that_went_missing_are_not_a_success(tmp_path, at):
    """A rewritten file that somebody removed after the kill: what was to stay is gone, which is told."""
    store = Store(tmp_path / "root", IN_WUXI)
    (store.root / "a.csv").write_bytes(ROWS)
    partition, sealed, log = begun_and_stopped(store, at)
    (store.root / "a.csv").unlink()
    with pytest.raises(DriftError, match="missing"):
        store.erase(partition, sealed, Log(begun=log.begun))


def test_many_files_are_closed_and_their_file_system_is_looked_at_once(tmp_path, monkeypatch):
    """A table of mounts takes longer to read than a small file to destroy; no descriptor is left open."""
    store = Store(tmp_path / "root")
    for number in range(20):
        (store.root / f"{number}.csv").write_bytes(ROWS)
    looked, filesystem = [], durable.filesystem
    monkeypatch.setattr(durable, "filesystem", lambda fd: looked.append(fd) or filesystem(fd))
    partition, sealed = store.seal()
    before = len(list(Path("/proc/self/fd").iterdir()))

    assert store.erase(partition, sealed).records == 20 * 500

    assert len(looked) <= 2  # before it is begun, and to flush
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert store.files() == {}


def test_the_result_is_the_same_after_any_number_of_runs(tmp_path):
    """Counts and bytes are those of the partition, not of the last run."""
    results = []
    for stop in (0, 2, 3, 4):
        store = Store(tmp_path / f"root{stop}", IN_WUXI)
        (store.root / "a.csv").write_bytes(ROWS)
        (store.root / "b.csv").write_bytes(ROWS)
        partition, sealed = store.seal()
        log = Log(stop_at=stop)
        try:
            erasure = store.erase(partition, sealed, log)
        except Stopped:
            erasure = store.erase(partition, sealed, Log(begun=log.begun))
        results.append(erasure)
    assert len(set(results)) == 1


# --- names, links, copies, raw --------------------------------------------------------------


def test_names_with_newlines_and_invalid_utf8_are_erased(tmp_path):
    """Names are bytes: read, erased, shown in raw, with no name lost or confused with another."""
    store = Store(tmp_path / "root")
    names = [b"zh\xffang\nwei.csv", b"zh\\xffang\nwei.csv", "张伟.csv".encode()]
    for name in names:
        folder = os.fsencode(store.root) + b"/dir-" + name
        os.mkdir(folder)
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(ROWS)
    reader = open_reader(store.url, EVERYTHING)
    collections = reader.collections()
    assert len(collections) == 3
    assert {places.folder_path(c.name) for c in collections} == {b"dir-" + name for name in names}
    shown = b"".join(extent.open().read() for extent in reader.raw() if extent.kind == "names")
    assert all(b"/" + name + b"\0" in shown for name in names)
    reader.close()
    for partition, sealed in store.seals():
        store.erase(partition, sealed)
    eraser = open_eraser(store.url, EVERYTHING)
    eraser.reclaim(collections)
    eraser.close()
    assert list(store.root.iterdir()) == []


def test_a_symlink_out_of_the_root_is_never_followed(tmp_path):
    """Neither read, nor probed, nor erased; its own name and target are probed as names."""
    store = Store(tmp_path / "root")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.csv").write_bytes(ROWS)
    (store.root / "link").symlink_to(tmp_path / "outside")
    (store.root / "file").symlink_to(tmp_path / "outside" / "x.csv")
    reader = open_reader(store.url, EVERYTHING)
    assert list(reader.collections()) == []
    extents = list(reader.raw())
    assert [extent.kind for extent in extents] == ["names"]
    assert b"outside/x.csv" in extents[0].open().read()
    reader.close()


def test_a_pipe_in_the_tree_does_not_stop_the_run(tmp_path):
    """Special files are no records; opening one for reading would wait for ever."""
    store = Store(tmp_path / "root")
    os.mkfifo(store.root / "pipe")
    assert store.seals() == []


def test_a_file_that_appeared_moves_the_watermark(tmp_path):
    """A new file of the collection is in no partition; the watermark covers the listing."""
    store = Store(tmp_path / "root")
    (store.root / "a.csv").write_bytes(ROWS)
    reader = open_reader(store.url, EVERYTHING)
    (collection,) = reader.collections()
    before = reader.watermark(collection)
    assert reader.watermark(collection) == before
    (store.root / "other.txt").write_bytes(b"another collection\n")
    assert reader.watermark(collection) == before
    (store.root / "b.csv").write_bytes(ROWS)
    assert reader.watermark(collection) != before
    reader.close()


def test_copies_are_found(tmp_path):
    """Hard links, backup siblings, identical files and trash, each with what happens to it."""
    store = Store(tmp_path / "root", Selection(collections=("app/*",)))
    for folder in ("app", "old", ".Trash-0"):
        (store.root / folder).mkdir()
    for place in ("app/a.csv", "old/same.dat", ".Trash-0/a.csv"):
        (store.root / place).write_bytes(ROWS)
    (store.root / "app" / "a.csv~").write_bytes(ROWS[:-100])
    os.link(store.root / "app" / "a.csv", store.root / "old" / "link.csv")
    reader = open_reader(store.url, store.selection)
    (collection,) = [c for c in reader.collections() if c.name.startswith("app/csv")]
    found = {(copy.kind, copy.place): str(copy.disposition) for copy in reader.copies(collection)}
    reader.close()
    assert found == {
        ("hard link", "app/a.csv"): "not reached",
        ("backup sibling", "app/a.csv~"): "destroy",
        ("identical file", "old/link.csv"): "keep",
        ("identical file", "old/same.dat"): "keep",
        ("identical file", ".Trash-0/a.csv"): "keep",
        ("trash", ".Trash-0/a.csv"): "keep",
    }


def test_kept_rows_have_places_and_selected_ones_do_not(tmp_path):
    """Before erasing, exactly the bytes of selected rows are outside the kept ranges."""
    store = Store(tmp_path / "root", IN_WUXI)
    (store.root / "a.csv").write_bytes(ROWS)
    reader = open_reader(store.url, store.selection)
    (extent,) = [extent for extent in reader.raw() if extent.kind == "file"]
    reader.close()
    kept = b"".join(ROWS[low:high] for low, high in extent.kept.tolist())
    assert kept == b"".join(line for line in ROWS.splitlines(keepends=True) if b"Wuxi" not in line)


def test_ranges_without_others_are_joined():
    """Gaps between neighbours vanish, and a file of nothing but selected rows keeps nothing."""
    gone = raw.np.array([[0, 2], [2, 4], [6, 8]])
    assert raw.without(8, gone).tolist() == [[4, 6]]
    assert raw.without(4, raw.np.array([[0, 4]])).tolist() == []


def test_each_failure_of_the_file_system_has_a_class():
    """Worth another try, or not; and no message contains a name."""
    for code in (errno.EACCES, errno.EROFS, errno.ENOSPC, errno.ELOOP, errno.EIO, errno.ENOENT):
        error = tree.failure(OSError(code, "text", "Person-0001"), "a file")
        assert isinstance(error, PermanentStoreError)
        assert "Person" not in str(error)
    assert isinstance(tree.failure(OSError(errno.EBUSY, ""), "a file"), TransientStoreError)


def test_layered_file_systems_reach_no_more_than_unreachable(tmp_path, monkeypatch):
    """On an overlay the lower layer may keep the file: L1, and why."""
    overlay = durable.FileSystem("overlay", False, "keeps files of its lower layers unchanged", layered=True)
    monkeypatch.setattr("cenotaph.stores.files.reader.filesystem", lambda fd: overlay)
    reader = open_reader(f"files:{tmp_path}", EVERYTHING)
    assert reader.capabilities.grade == 1
    assert "overlay" in reader.capabilities.why_not_higher
    reader.close()


def test_a_reclaim_that_was_killed_is_finished_by_the_next(tmp_path, monkeypatch):
    """Killed between renaming an emptied folder and removing it, or between one folder and the one above."""
    store = Store(tmp_path / "root", Selection(collections=("a/b/*",)))
    (store.root / "a" / "b").mkdir(parents=True)
    (store.root / "a" / "b" / "x.csv").write_bytes(ROWS)
    (store.root / "kept").mkdir()
    reader = open_reader(store.url, store.selection)
    collections = reader.collections()
    reader.close()
    store.erase(*store.seal())
    original = os.rmdir
    for killed in ("before the folder", "before the one above", ""):

        def rmdir(name, *, dir_fd, killed=killed):
            if killed == "before the folder":
                raise KeyboardInterrupt
            original(name, dir_fd=dir_fd)
            if killed:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(os, "rmdir", rmdir)
            eraser = open_eraser(store.url, store.selection)
            if killed:
                with pytest.raises(KeyboardInterrupt):
                    eraser.reclaim(collections)
            else:
                eraser.reclaim(collections)
            eraser.close()
    assert [path.name for path in store.root.iterdir()] == ["kept"]


def test_pages_of_large_files_grow_and_may_be_half_zero(tmp_path, monkeypatch):
    """Beyond the bound of pages a page is larger; one that was interrupted half-way still passes, a page
    with neither zeros nor its content does not."""
    monkeypatch.setattr(pages, "_PAGES", 4)
    size = 10 * pages.PAGE
    assert pages.page_size(size) == 3 * pages.PAGE
    path = tmp_path / "f"
    path.write_bytes(os.urandom(size))
    fd = os.open(path, os.O_RDWR)
    prints = pages.prints(fd, size)
    assert pages.untouched(fd, size, prints)
    os.pwrite(fd, bytes(4 * pages.PAGE), 0)
    assert pages.zero_or_as_sealed(fd, size, prints)
    assert not pages.untouched(fd, size, prints)
    os.pwrite(fd, b"new", 7 * pages.PAGE)
    assert not pages.zero_or_as_sealed(fd, size, prints)
    os.close(fd)
