"""What a volume is said to be, and why L3 is refused on it: real images, and made-up machines."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from cenotaph.errors import UsageError
from cenotaph.volume.identify import holds, identify, mixed, written_to
from volume_images import LOOPS, image, tool

# --- real volumes ---------------------------------------------------------------------------


@LOOPS
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_plain_volume_is_not_refused(tmp_path: Path, kind: str) -> None:
    """ext4 and xfs on a device that takes discards: what is said of them is the kernel's, and no refusal."""
    with image(tmp_path, kind) as scratch:
        volume = identify(scratch.mount)

        assert volume.refusal == ""
        assert (volume.kind, volume.device, volume.mount) == (kind, scratch.device, scratch.mount)
        assert volume.size == scratch.file.stat().st_size
        assert volume.number == scratch.device.stat().st_rdev
        assert volume.block == 4096
        assert volume.discards
        assert "rw" in volume.options


@LOOPS
@tool("mkfs.btrfs")
def test_btrfs_is_refused_with_and_without_a_snapshot(tmp_path: Path) -> None:
    """A file system that copies on write keeps old blocks; a snapshot of it, mounted by itself, too."""
    with image(tmp_path, "btrfs") as scratch:
        assert "btrfs copies on write" in identify(scratch.mount).refusal

        _run("btrfs", "subvolume", "snapshot", str(scratch.mount), str(scratch.mount / "snapshot"))
        second = tmp_path / "second"
        second.mkdir()
        _run("mount", "-o", "subvol=snapshot", str(scratch.device), str(second))

        assert "btrfs copies on write" in identify(second).refusal


@LOOPS
@pytest.mark.parametrize("kind", ["ext2", "ext3"])
def test_a_kind_that_was_not_measured_is_refused(tmp_path: Path, kind: str) -> None:
    """What nobody tried is not promised: only ext4 and xfs were."""
    try:
        with image(tmp_path, kind) as scratch:
            assert identify(scratch.mount).refusal == f"{kind} was not measured; only ext4 and xfs were"
    except AssertionError as error:
        if "mount failed" in str(error):
            pytest.skip(f"this kernel has no {kind}")
        raise


@LOOPS
def test_ext4_that_journals_content_is_refused(tmp_path: Path) -> None:
    """With data=journal the journal keeps content that was overwritten in place."""
    with image(tmp_path, "ext4", options="data=journal") as scratch:
        assert "data=journal" in identify(scratch.mount).refusal


def test_the_volume_of_the_root_is_refused() -> None:
    """The file system that runs the machine is never wiped and never frozen, whatever its kind."""
    assert identify(Path("/")).refusal


@LOOPS
@tool("mkfs.btrfs")
def test_an_image_on_a_volume_that_copies_on_write_is_refused(tmp_path: Path) -> None:
    """ext4 in an image file is as good as what the file lies on: not on btrfs."""
    with image(tmp_path, "btrfs", 512 << 20) as outer, image(outer.mount, "ext4", 32 << 20) as inner:
        assert "image file" in identify(inner.mount).refusal
        assert "btrfs copies on write" in identify(inner.mount).refusal


@LOOPS
def test_an_image_that_has_a_reflinked_copy_is_refused(tmp_path: Path) -> None:
    """A copy that shares the blocks of an image file keeps what is overwritten in the image: a snapshot."""
    with image(tmp_path, "xfs", 512 << 20) as outer, image(outer.mount, "ext4", 32 << 20) as inner:
        assert identify(inner.mount).refusal == ""

        _run("cp", "--reflink=always", str(inner.file), str(outer.mount / "copy"))

        assert "shares blocks with a copy" in identify(inner.mount).refusal


@LOOPS
def test_a_read_only_mount_is_told(tmp_path: Path) -> None:
    """A volume can be probed while it is mounted read-only; nobody writes to it then."""
    with image(tmp_path, "ext4") as scratch:
        assert written_to(identify(scratch.mount))

        scratch.unmount()
        scratch.mount_again("ro")
        volume = identify(scratch.mount)

        assert volume.refusal == ""
        assert "ro" in volume.options
        assert "rw" not in volume.options
        assert not written_to(volume)


@LOOPS
def test_a_read_only_bind_of_a_writable_volume_may_be_written_to(tmp_path: Path) -> None:
    """One mount of a file system is read-only, another is not: somebody may write."""
    with (
        image(tmp_path, "ext4") as scratch,
        _Bound(scratch.mount, tmp_path / "second", "ro") as second,
    ):
        assert "ro" in identify(second).options
        assert written_to(identify(second))


@LOOPS
def test_a_part_of_a_file_system_is_wrong_usage(tmp_path: Path) -> None:
    """A folder that is bound elsewhere is no volume: its free blocks are not those of the folder."""
    with image(tmp_path, "ext4") as scratch:
        (scratch.mount / "inside").mkdir()
        with (
            _Bound(scratch.mount / "inside", tmp_path / "second") as second,
            pytest.raises(UsageError, match="only a part of a file system"),
        ):
            identify(second)


@LOOPS
def test_a_link_to_a_mount_point_is_wrong_usage(tmp_path: Path) -> None:
    """A link can be turned elsewhere between plan and destruction."""
    with image(tmp_path, "ext4") as scratch:
        link = tmp_path / "link"
        link.symlink_to(scratch.mount)
        beyond = tmp_path / "beyond"
        beyond.symlink_to(scratch.mount.parent)

        for path in (link, beyond / scratch.mount.name):
            with pytest.raises(UsageError, match="symbolic link") as caught:
                identify(path)
            assert caught.value.hint
            assert str(tmp_path) not in str(caught.value)


def test_a_folder_that_is_no_mount_point_is_wrong_usage(tmp_path: Path) -> None:
    """A volume is named by its mount point; another folder, or none, is refused before anything else."""
    with pytest.raises(UsageError, match="not a mount point"):
        identify(tmp_path)
    with pytest.raises(UsageError, match="cannot be opened"):
        identify(tmp_path / "missing")


@LOOPS
def test_what_lies_on_a_volume(tmp_path: Path) -> None:
    """A file lies on it, also when it is gone; one of a volume that is mounted inside does not."""
    with image(tmp_path, "ext4") as scratch:
        volume = identify(scratch.mount)
        (scratch.mount / "folder").mkdir()
        inside = scratch.mount / "folder" / "mounted"
        inside.mkdir()

        assert holds(volume, inside)
        assert holds(volume, scratch.mount / "folder" / "gone" / "for ever")
        assert not holds(volume, tmp_path)
        assert not mixed(volume, scratch.mount)

        _run("mount", "-t", "tmpfs", "none", str(inside))
        try:
            assert not holds(volume, inside)
            assert mixed(volume, scratch.mount / "folder")
            assert not mixed(volume, inside)
        finally:
            _run("umount", str(inside))


class _Bound:
    """A bind mount while the block runs."""

    def __init__(self, source: Path, target: Path, options: str = "rw") -> None:
        self.source, self.target, self.options = source, target, options

    def __enter__(self) -> Path:
        self.target.mkdir()
        _run("mount", "--bind", str(self.source), str(self.target))
        _run("mount", "-o", f"remount,bind,{self.options}", str(self.target))
        return self.target

    def __exit__(self, *_: object) -> None:
        _run("umount", str(self.target))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


# --- made-up machines -----------------------------------------------------------------------


class Machine:
    """A tree of /proc and /sys with a disk, "sda", 8:0, that holds /, and whatever a test adds."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mounts = ["20 1 8:1 / / rw - ext4 /dev/sda1 rw"]
        (root / "proc/self").mkdir(parents=True)
        (root / "sys/dev/block").mkdir(parents=True)
        (root / "sys/class/block").mkdir(parents=True)
        self.device("sda", "8:0", {"queue/discard_max_bytes": "4096"})
        self.device("sda/sda1", "8:1", {"partition": "1", "size": "2048"})
        self.point = root / "srv retired"
        self.point.mkdir()

    def device(
        self, path: str, number: str, files: Mapping[str, str] | None = None, slaves: Sequence[str] = ()
    ) -> None:
        folder = self.root / "sys/devices" / path
        (folder / "slaves").mkdir(parents=True)
        (folder / "holders").mkdir()
        for name, text in {"dev": number, "uevent": f"DEVNAME={folder.name}", **(files or {})}.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text + "\n")
        for link in (self.root / "sys/dev/block" / number, self.root / "sys/class/block" / folder.name):
            link.symlink_to(folder)
        for slave in slaves:
            below = self.root / "sys/devices" / slave
            (folder / "slaves" / below.name).symlink_to(below)
            (below / "holders" / folder.name).symlink_to(folder)

    def mount(self, number: str, kind: str, source: str = "none", settings: str = "rw") -> None:
        point = str(self.point).replace(" ", "\\040")
        self.mounts.append(f"21 20 {number} / {point} rw,relatime shared:1 - {kind} {source} {settings}")

    def refusal(self, targets: Mapping[str, Sequence[str]] | None = None) -> str:
        """What identify says, with a dmsetup that knows `targets`, by number; else none."""
        (self.root / "proc/self/mountinfo").write_text("\n".join(self.mounts) + "\n")
        known = targets or {}
        return identify(self.point, system=self.root, targets=lambda number: known.get(number, ())).refusal

    def volume(
        self, uuid: str, name: str = "dm-0", number: str = "253:0", slaves: Sequence[str] = ()
    ) -> None:
        """A device-mapper device over the disk's first partition, or over `slaves`."""
        self.device(name, number, {"dm/uuid": uuid, "dm/name": "x"}, slaves or ("sda/sda1",))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


_LV = "LVM-" + "a" * 64


def test_a_linear_volume_of_lvm_is_not_refused(machine: Machine) -> None:
    """A linear mapping writes in place, whether or not dmsetup may be asked."""
    machine.volume(_LV)
    machine.mount("253:0", "xfs", "/dev/mapper/vg-lv")

    assert machine.refusal() == ""
    assert machine.refusal({"253:0": ["linear"]}) == ""


def test_an_encrypted_volume_is_not_refused(machine: Machine) -> None:
    """dm-crypt writes in place; what lies beneath is asked too."""
    machine.volume("CRYPT-LUKS2-x-y")
    machine.mount("253:0", "ext4")

    assert machine.refusal({"253:0": ["crypt"]}) == ""


@pytest.mark.parametrize(("part", "word"), [("tpool", "thin"), ("real", "snapshot"), ("cow", "snapshot")])
def test_thin_volumes_and_snapshots_of_lvm_are_refused(machine: Machine, part: str, word: str) -> None:
    """A thin volume, a snapshot and its origin are known by the hidden devices that they lie on."""
    machine.volume(f"{_LV}-{part}")
    machine.volume(_LV, "dm-1", "253:1", slaves=["dm-0"])
    machine.mount("253:1", "ext4")

    assert word in machine.refusal()


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ("thin", "thin volume"),
        ("snapshot", "snapshot"),
        ("snapshot-origin", "snapshot"),
        ("writecache", "cache"),
        ("integrity", "log"),
        ("zoned", "(zoned) that was not measured"),
    ],
)
def test_a_mapping_that_keeps_content_is_refused(machine: Machine, target: str, word: str) -> None:
    """What dmsetup says of a mapping counts, whatever its name."""
    machine.volume(_LV)
    machine.mount("253:0", "ext4")

    assert machine.refusal({"253:0": ["linear"]}) == ""
    assert word in machine.refusal({"253:0": ["linear", target]})


def test_encryption_over_a_thin_volume_is_refused(machine: Machine) -> None:
    """The stack is followed down to the disk."""
    machine.volume(f"{_LV}-tpool")
    machine.volume(_LV, "dm-1", "253:1", slaves=["dm-0"])
    machine.volume("CRYPT-LUKS2-x-y", "dm-2", "253:2", slaves=["dm-1"])
    machine.mount("253:2", "ext4")

    assert "thin volume" in machine.refusal({"253:2": ["crypt"]})


def test_a_mapping_that_nobody_can_name_is_refused(machine: Machine) -> None:
    """A device of `dmsetup create` has no identity; without root nobody says what it is."""
    machine.volume("")
    machine.mount("253:0", "ext4")

    assert "could not be learned" in machine.refusal()
    assert machine.refusal({"253:0": ["linear"]}) == ""


def test_a_device_beneath_another_is_refused(machine: Machine) -> None:
    """Whatever lies over a mounted device, most likely a snapshot, could keep old content."""
    machine.device("sdb", "8:16")
    machine.mount("8:16", "ext4")
    assert machine.refusal() == ""

    machine.volume("", slaves=["sdb"])
    assert "lies over its own" in machine.refusal()


@pytest.mark.parametrize(("policy", "refused"), [("bitmap", False), ("resync", False), ("journal", True)])
def test_an_array_is_refused_only_for_its_log(machine: Machine, policy: str, refused: bool) -> None:
    """Arrays write in place, with a write-intent bitmap too; a journal keeps content."""
    machine.device("md0", "9:0", {"md/level": "raid5", "md/consistency_policy": policy}, ["sda/sda1"])
    machine.mount("9:0", "xfs")

    assert bool(machine.refusal()) is refused


@pytest.mark.parametrize("name", ["nbd0", "rbd1", "drbd0", "zd16", "bcache0", "zram0", "ublkb0"])
def test_a_device_that_puts_bytes_elsewhere_is_refused(machine: Machine, name: str) -> None:
    """Served over a network, copied to another machine, cached, or in memory: no L3 there."""
    machine.device(name, "43:0")
    machine.mount("43:0", "ext4")

    assert name.rstrip("0123456789") in machine.refusal()


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("nfs4", "network"),
        ("cifs", "network"),
        ("fuse.sshfs", "program"),
        ("overlay", "lower layers"),
        ("aufs", "lower layers"),
        ("tmpfs", "memory"),
        ("zfs", "copies on write"),
        ("bcachefs", "copies on write"),
        ("f2fs", "log"),
        ("nilfs2", "copies on write"),
        ("ntfs3", "was not measured"),
    ],
)
def test_other_kinds_are_refused_with_their_reason(machine: Machine, kind: str, word: str) -> None:
    """The refusal names the kind and says why, as a clause."""
    machine.mount("0:44", kind, "server:/export")

    assert machine.refusal().startswith(kind.partition(" ")[0])
    assert word in machine.refusal()


@pytest.mark.parametrize(("kind", "setting"), [("xfs", "logdev=/dev/sdc"), ("xfs", "rtdev=/dev/sdc")])
def test_a_journal_elsewhere_is_refused(machine: Machine, kind: str, setting: str) -> None:
    """Names in a journal on another device would not be looked for."""
    machine.device("sdb", "8:16")
    machine.mount("8:16", kind, "/dev/sdb", f"rw,{setting}")

    assert "on another device" in machine.refusal()


@pytest.mark.parametrize(
    ("backing", "kind", "word"),
    [
        ("/images/disk", "ext4", ""),
        ("/images/disk", "nfs", "network"),
        ("/images/disk", "overlay", "lower layers"),
        ("/images/disk (deleted)", "ext4", "no name any more"),
    ],
)
def test_an_image_is_as_good_as_what_it_lies_on(machine: Machine, backing: str, kind: str, word: str) -> None:
    """The file system beneath a loop device is asked like any other."""
    machine.device("loop0", "7:0", {"loop/backing_file": backing})
    machine.device("sdb", "8:16")
    machine.mounts.append(f"22 20 8:16 / /images rw - {kind} /dev/sdb rw")
    machine.mount("7:0", "ext4", "/dev/loop0")

    found = machine.refusal()

    assert word in found
    assert bool(found) is bool(word)
    assert "/images" not in found


def test_an_image_on_a_thin_volume_is_refused(machine: Machine) -> None:
    """Beneath the image file the search goes on."""
    machine.volume(f"{_LV}-tpool")
    machine.volume(_LV, "dm-1", "253:1", slaves=["dm-0"])
    machine.device("loop0", "7:0", {"loop/backing_file": "/images/disk"})
    machine.mounts.append("22 20 253:1 / /images rw - ext4 /dev/dm-1 rw")
    machine.mount("7:0", "ext4", "/dev/loop0")

    assert "thin volume" in machine.refusal()


def test_a_partition_takes_discards_if_its_disk_does(machine: Machine) -> None:
    """The queue belongs to the whole disk."""
    machine.device("sda/sda2", "8:2", {"partition": "2", "size": "4096"})
    machine.mount("8:2", "ext4", "/dev/sda2")
    (machine.root / "proc/self/mountinfo").write_text("\n".join(machine.mounts) + "\n")

    volume = identify(machine.point, system=machine.root)

    assert volume.discards
    assert volume.size == 4096 * 512
    assert volume.device == Path("/dev/sda2")


def test_what_is_mounted_on_top_is_what_is_there(machine: Machine) -> None:
    """Of two mounts at one point the later is seen."""
    machine.device("sdb", "8:16")
    machine.mount("8:16", "ext4")
    machine.mount("0:50", "tmpfs")

    assert "tmpfs" in machine.refusal()


def test_nothing_of_a_path_is_in_what_is_shown(machine: Machine) -> None:
    """Mount points and devices can name people."""
    machine.device("sdb", "8:16")
    machine.mount("8:16", "ext4")
    (machine.root / "proc/self/mountinfo").write_text("\n".join(machine.mounts) + "\n")

    shown = repr(identify(machine.point, system=machine.root))

    assert os.fspath(machine.point) not in shown
    assert "sdb" not in shown
