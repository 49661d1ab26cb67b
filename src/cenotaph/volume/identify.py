"""Which file system is mounted at a path, on what it lies, and whether L3 can be reached there at all.

Everything is read from /proc/self/mountinfo (proc(5)) and /sys (kernel Documentation/ABI), without root, and
changes nothing. A refusal is a clause that finishes "this volume cannot reach L3: …".

What surprised its author: the number that `stat` gives for a file of btrfs is in no table of mounts; a thin
logical volume looks like any other until one looks at what lies beneath it; the origin of a snapshot too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from cenotaph.durable import reflinked
from cenotaph.errors import UsageError
from cenotaph.volume.model import Volume

Targets: TypeAlias = Callable[[str], Sequence[str]]
"""Of a device-mapper device, "MAJOR:MINOR", the kinds of its targets; none where nobody can say."""


def device_mapper_targets(number: str) -> tuple[str, ...]:
    """The kinds of target of a device-mapper device, as dmsetup(8) says; empty without root or the tool."""
    tool = shutil.which("dmsetup")
    if tool is None or os.geteuid() != 0:
        return ()
    major, minor = number.split(":")
    command = [tool, "table", "--major", major, "--minor", minor]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603
    if done.returncode != 0:
        return ()
    lines = [line.split() for line in done.stdout.splitlines()]
    return tuple(fields[2] for fields in lines if len(fields) > 2)  # start, length, kind, …


def identify(path: Path, *, system: Path = Path("/"), targets: Targets = device_mapper_targets) -> Volume:
    """The file system whose mount point is exactly `path`.

    `system` is where proc and sys are looked for. Raises `UsageError` where `path` is a symbolic link, leads
    through one, or is not the mount point of a whole file system.
    """
    mounts = _mounts(system)
    mount = _at(path, mounts)
    device = _device(system, mount)
    if device is None:
        return _without_device(path, mount)
    return Volume(
        mount=path,
        device=Path("/dev") / device.node,
        number=path.stat().st_dev,
        kind=mount.kind,
        options=mount.effective,
        size=device.number_in("size") * 512,  # in sectors of 512 bytes, whatever the device's are
        block=os.statvfs(path).f_frsize,
        discards=device.discards(),
        refusal=_refusal(mount, mounts) or _stack(system, device, mounts, targets),
    )


def holds(volume: Volume, path: Path) -> bool:
    """Whether what `path` leads to lies on the volume; of a path that is gone, what was nearest above it."""
    for here in (path, *path.parents):
        try:
            return here.stat().st_dev == volume.number
        except (FileNotFoundError, NotADirectoryError):
            continue
    return False


def mixed(volume: Volume, folder: Path, *, system: Path = Path("/")) -> bool:
    """Whether something beneath `folder` is mounted there and lies on another volume."""
    inside = str(folder.resolve()).rstrip("/") + "/"
    number = f"{os.major(volume.number)}:{os.minor(volume.number)}"
    return any(m.point.startswith(inside) and m.number != number for m in _mounts(system))


def keeps_old(number: int, *, system: Path = Path("/"), targets: Targets = device_mapper_targets) -> str:
    """Why what is overwritten in place on the file system of this `st_dev` may stay somewhere: a clause, as
    `Volume.refusal` is; empty where nothing speaks against it."""
    wanted = f"{os.major(number)}:{os.minor(number)}"
    mounts = _mounts(system)
    mount = next((m for m in mounts if m.number == wanted), None)
    if mount is None:
        return "nobody can tell on what it lies"
    if "data=journal" in mount.settings:
        return "ext4 with data=journal writes content into its journal too, which keeps older content"
    device = _device(system, mount)
    if device is None:
        return _of_kind(mount.kind) or "it has no block device"
    return _of_kind(mount.kind) or _stack(system, device, mounts, targets)


def written_to(volume: Volume, *, system: Path = Path("/")) -> bool:
    """Whether the file system may be written to by anybody: its super block is not mounted read-only.

    A single mount of it can be read-only while another is not; this is true then.
    """
    number = f"{os.major(volume.number)}:{os.minor(volume.number)}"
    found = [m for m in _mounts(system) if m.number == number]
    return not found or any("ro" not in m.settings for m in found)


# --- mounts ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Mount:
    """One line of mountinfo."""

    number: str  # MAJOR:MINOR
    root: str = field(repr=False)  # the folder of the file system that is mounted
    point: str = field(repr=False)
    options: frozenset[str] = field(repr=False)  # of this mount
    kind: str
    source: str = field(repr=False)
    settings: frozenset[str] = field(repr=False)  # of the super block

    @property
    def effective(self) -> frozenset[str]:
        """Of mount and super block; read-only is what one of them says."""
        both = self.options | self.settings
        return both - {"rw"} if "ro" in both else both


def _mounts(system: Path) -> list[_Mount]:
    text = os.fsdecode((system / "proc/self/mountinfo").read_bytes())
    return [_parsed(line.split(" ")) for line in text.split("\n") if line]


def _parsed(fields: list[str]) -> _Mount:
    """proc(5): id, parent, number, root, point, options, tags …, "-", kind, source, settings."""
    kind, source, settings = fields[fields.index("-", 6) + 1 :][:3]
    return _Mount(
        number=fields[2],
        root=_plain(fields[3]),
        point=_plain(fields[4]),
        options=frozenset(fields[5].split(",")),
        kind=kind,
        source=_plain(source),
        settings=frozenset(settings.split(",")),
    )


def _plain(text: str) -> str:
    """Undo the kernel's \\040, \\011, \\012 and \\134."""
    for code, sign in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, sign)
    return text


_HINT = "name the folder that the whole file system is mounted at; `findmnt` lists them"


def _at(path: Path, mounts: Sequence[_Mount]) -> _Mount:
    """The mount at a path; of several on top of each other, the one that is seen."""
    try:
        real = path.resolve(strict=True)
    except OSError:
        raise UsageError("the path of the volume cannot be opened", hint=_HINT) from None
    if real != path:
        raise UsageError("the path of the volume is a symbolic link, or leads through one", hint=_HINT)
    found = [m for m in mounts if m.point == str(path)]
    if not found:
        raise UsageError("the path of the volume is not a mount point", hint=_HINT)
    mount = found[-1]
    if mount.root != "/" and mount.kind in _MEASURED:
        raise UsageError("at the path of the volume only a part of a file system is mounted", hint=_HINT)
    return mount


def _without_device(path: Path, mount: _Mount) -> Volume:
    """What has no block device of its own: memory, a network, layers."""
    whole = os.statvfs(path)
    return Volume(
        mount=path,
        device=Path(mount.source),
        number=path.stat().st_dev,
        kind=mount.kind,
        options=mount.effective,
        size=whole.f_blocks * whole.f_frsize,
        block=whole.f_frsize,
        discards=False,
        refusal=_of_kind(mount.kind) or "it has no block device that could be read",
    )


# --- kinds of file system -------------------------------------------------------------------

_MEASURED = ("ext4", "xfs")
_COW = "copies on write, so that old blocks and snapshots keep the content"
_LOG = "writes to a log, so that old blocks keep the content"
_NETWORK = "is served over a network, and the server decides where bytes go"
_LAYERS = "keeps files of its lower layers unchanged"
_MEMORY = "lives in memory, whose pages may have been swapped out"
_KINDS = {
    **dict.fromkeys(("btrfs", "zfs", "bcachefs", "nilfs2"), _COW),
    **dict.fromkeys(("f2fs", "logfs", "ubifs", "jffs2"), _LOG),
    **dict.fromkeys(("nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "afs", "coda"), _NETWORK),
    **dict.fromkeys(("9p", "virtiofs", "lustre", "glusterfs", "ocfs2", "gfs2", "beegfs"), _NETWORK),
    **dict.fromkeys(("overlay", "aufs"), _LAYERS),
    **dict.fromkeys(("tmpfs", "ramfs", "hugetlbfs"), _MEMORY),
    **dict.fromkeys(("fuse", "fuseblk"), "is served by a program that decides where bytes go"),
}


def _of_kind(kind: str) -> str:
    """Why a kind of file system cannot reach L3; empty for those that were measured."""
    if kind in _MEASURED:
        return ""
    why = _KINDS.get(kind) or _KINDS.get(kind.partition(".")[0])  # fuse.sshfs
    return f"{kind} {why or 'was not measured; only ext4 and xfs were'}"


def _refusal(mount: _Mount, mounts: Sequence[_Mount]) -> str:
    if any(m.point == "/" and m.number == mount.number for m in mounts):
        return "it is the volume of /, which is never wiped and never frozen"
    if why := _of_kind(mount.kind):
        return why
    if "data=journal" in mount.settings:
        return "ext4 with data=journal writes content into its journal too, which keeps older content"
    outside = ("logdev=", "rtdev=", "journal_dev=", "journal_path=")
    if any(setting.startswith(outside) for setting in mount.settings):
        return f"{mount.kind} keeps a part of it (journal or data) on another device"
    return ""


# --- what the device lies on ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Device:
    """A block device, by its folder in sysfs."""

    folder: Path = field(repr=False)

    @property
    def number(self) -> str:
        return self.text("dev")

    @property
    def node(self) -> str:
        """Its name beneath /dev; devices in folders have "!" for "/" in sysfs."""
        names = [n for n in self.text("uevent").splitlines() if n.startswith("DEVNAME=")]
        return names[0].removeprefix("DEVNAME=") if names else self.folder.name.replace("!", "/")

    @property
    def uuid(self) -> str:
        return self.text("dm/uuid")

    def text(self, name: str) -> str:
        try:
            return os.fsdecode((self.folder / name).read_bytes()).rstrip("\n")
        except OSError:
            return ""

    def number_in(self, name: str) -> int:
        text = self.text(name)
        return int(text) if text.isdecimal() else 0

    def whole(self) -> _Device:
        """The disk of a partition; else itself."""
        return _Device(self.folder.parent) if (self.folder / "partition").exists() else self

    def discards(self) -> bool:
        return self.whole().number_in("queue/discard_max_bytes") > 0

    def neighbours(self, which: str) -> list[_Device]:
        """Its "slaves", the devices that it lies on, or its "holders", those that lie on it."""
        try:
            return [_Device(link.resolve()) for link in sorted((self.folder / which).iterdir())]
        except OSError:
            return []


def _device(system: Path, mount: _Mount) -> _Device | None:
    """The block device of a mount. That of btrfs is known by its name only."""
    folder = system / "sys/dev/block" / mount.number
    if not folder.exists() and mount.source.startswith("/dev/"):
        folder = system / "sys/class/block" / Path(mount.source).name
    return _Device(folder.resolve()) if folder.exists() else None


_DEEPEST = 16  # devices over each other; the kernel itself allows fewer loops
_NAMES = {
    "nbd": _NETWORK,
    "rbd": _NETWORK,
    "drbd": "is copied to another machine, which keeps what it was sent",
    "zd": _COW,
    "zram": _MEMORY,
    "ublkb": "is served by a program that decides where bytes go",
    "bcache": "has a cache on another device, which keeps content",
}


def _stack(system: Path, device: _Device, mounts: Sequence[_Mount], targets: Targets) -> str:
    """Why what the file system lies on cannot reach L3; empty where nothing speaks against it."""
    if device.neighbours("holders"):
        return "another device lies over its own (a snapshot, or a mapping), and could keep old content"
    return _beneath(system, device, mounts, targets, _DEEPEST)


def _beneath(system: Path, device: _Device, mounts: Sequence[_Mount], targets: Targets, left: int) -> str:
    if left == 0:
        return "its devices lie on each other in a circle"
    whole = device.whole()
    why = _by_name(whole) or _mapped(whole, targets) or _array(whole)
    if not why and (whole.folder / "loop").exists():
        return _image(system, whole, mounts, targets, left)
    below: Iterator[str] = (
        _beneath(system, slave, mounts, targets, left - 1)
        for slave in (*device.neighbours("slaves"), *(whole.neighbours("slaves") if whole != device else ()))
    )
    return why or next(filter(None, below), "")


def _by_name(device: _Device) -> str:
    kind = device.folder.name.rstrip("0123456789")
    return f"its block device ({kind}) {_NAMES[kind]}" if kind in _NAMES else ""


_THIN = "it lies on a thin volume, whose pool decides where bytes go and keeps what was unmapped"
_SNAPSHOT = "it is a snapshot or has one, and that keeps old content"
_CACHE = "it has a cache or a log on another device, which keeps content"
_IN_PLACE = frozenset({"linear", "striped", "crypt", "mirror", "raid", "multipath"})
_TARGETS = {
    **dict.fromkeys(("thin", "thin-pool"), _THIN),
    **dict.fromkeys(("snapshot", "snapshot-origin", "snapshot-merge"), _SNAPSHOT),
    **dict.fromkeys(("cache", "writecache", "era", "clone", "log-writes", "integrity", "bcache"), _CACHE),
}
_ENDS = {  # of the names that LVM gives to the hidden parts of a volume (lib/activate/dev_manager.c)
    **dict.fromkeys(("tpool", "tdata", "tmeta"), _THIN),
    **dict.fromkeys(("cow", "real"), _SNAPSHOT),
    **dict.fromkeys(("cdata", "cmeta", "cpool", "cvol", "wcorig", "imeta"), _CACHE),
    **dict.fromkeys(("vpool", "vdata"), "it lies on VDO, which stores equal blocks once, and elsewhere"),
}


def _mapped(device: _Device, targets: Targets) -> str:
    """Why a device-mapper device is refused; empty for others, and for those that write in place."""
    if not (device.folder / "dm").exists():
        return ""
    for part in (device, *device.neighbours("slaves")):
        family, _, rest = part.uuid.partition("-")
        if family == "LVM" and (why := _ENDS.get(rest.rpartition("-")[2] if "-" in rest else "")):
            return why
    kinds = targets(device.number)
    for kind in kinds:
        if kind not in _IN_PLACE:
            return _TARGETS.get(kind) or f"it lies on a device-mapper target ({kind}) that was not measured"
    known = device.uuid.startswith(("LVM-", "CRYPT-", "mpath-")) or "-mpath-" in device.uuid
    return "" if kinds or known else "it lies on a device-mapper device whose kind could not be learned"


def _array(device: _Device) -> str:
    """An md array writes in place; its journal or partial parity log would keep content (md(4))."""
    if device.text("md/consistency_policy") in ("journal", "ppl"):
        return "its array has a log of its own, which keeps content"
    return ""


def _image(system: Path, device: _Device, mounts: Sequence[_Mount], targets: Targets, left: int) -> str:
    """An image file is as good as the file system that it lies on, which may be that of /."""
    backing = device.text("loop/backing_file")
    if not backing.startswith("/") or backing.endswith(" (deleted)"):
        return "it lies in an image file that has no name any more, so that nobody can tell on what it lies"
    over = [m for m in mounts if f"{backing}/".startswith(f"{m.point.rstrip('/')}/")]
    if not over:
        return "it lies in an image file that cannot be seen from here"
    mount = max(reversed(over), key=lambda m: len(m.point))  # of equals, the last: it is on top
    if why := _of_kind(mount.kind):
        return f"it lies in an image file on a file system that cannot: {why}"
    if _shared(Path(backing)):
        return "it lies in an image file that shares blocks with a copy, which keeps the content"
    below = _device(system, mount)
    return _beneath(system, below, mounts, targets, left - 1) if below else "its image file has no device"


def _shared(file: Path) -> bool:
    """Whether an image file is a reflinked copy or has one; False where we may not look."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return reflinked(fd)
    finally:
        os.close(fd)
