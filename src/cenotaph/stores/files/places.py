"""Names: of files (bytes), of collections (text), and of a partition's files in its bounds.

A path is bytes and need not be UTF-8; a collection's name must be text that two paths never share. So
bytes that are not UTF-8, backslashes and control characters are written as \\xNN.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field

from cenotaph.errors import UsageError
from cenotaph.stores.files.kinds import Kind

_UNSAFE = re.compile(r"[\\\x00-\x1f\x7f]")
_LABEL = 80


def shown(path: bytes) -> str:
    """A path as text that is UTF-8, and different for different paths."""
    text = path.replace(b"\\", b"\\x5c").decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f]", lambda match: f"\\x{ord(match[0]):02x}", text)


def collection_name(folder: bytes, kind: Kind) -> str:
    """`folder/format`, and the columns where the format has a schema of its own.

    It depends on the file alone, never on its neighbours: it must stay while those are being erased.
    """
    label = kind.label
    if kind.format in ("csv", "parquet", "arrow") or kind.delimiter:
        label += ":" + _schema(kind)
    return f"{shown(folder)}/{label}" if folder else label


def _schema(kind: Kind) -> str:
    names = ",".join(_UNSAFE.sub("?", name).replace("/", "?") for name in kind.names)
    exact = json.dumps([kind.columns, kind.delimiter, kind.header]).encode()
    short = names if len(names) <= _LABEL else names[:_LABEL] + "…"
    return f"{short}~{hashlib.blake2b(exact, digest_size=4).hexdigest()}"


@dataclass(frozen=True, slots=True)
class FileBound:
    """One whole file of a partition, as it was when the inventory was made."""

    name: bytes = field(repr=False)  # within the folder
    size: int
    records: int  # selected


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a partition is: files of one folder and kind, in byte order of their names."""

    collection: str = field(repr=False)
    folder: bytes = field(repr=False)
    kind: Kind = field(repr=False)
    files: tuple[FileBound, ...] = field(repr=False)

    def path(self, file: FileBound) -> bytes:
        return self.folder + b"/" + file.name if self.folder else file.name

    def write(self) -> str:
        kind = self.kind
        return json.dumps(
            {
                "v": 1,
                "collection": self.collection,
                "folder": _b64(self.folder),
                "format": kind.format,
                "columns": [list(column) for column in kind.columns],
                "packing": kind.packing,
                "delimiter": kind.delimiter,
                "header": kind.header,
                "files": [[_b64(file.name), file.size, file.records] for file in self.files],
            },
            separators=(",", ":"),
        )


def parse(bounds: str) -> Bounds:
    """Read what `Bounds.write` wrote.

    Raises:
        UsageError: it did not.
    """
    try:
        raw = json.loads(bounds)
        columns = tuple((str(name), str(type_)) for name, type_ in raw["columns"])
        kind = Kind(raw["format"], columns, raw["packing"], int(raw["delimiter"]), bool(raw["header"]))
        files = tuple(FileBound(_un64(name), int(size), int(count)) for name, size, count in raw["files"])
        found = Bounds(raw["collection"], _un64(raw["folder"]), kind, files)
    except (ValueError, KeyError, TypeError):
        raise UsageError("the bounds of a partition are not those of a files store") from None
    if found.write() != bounds:
        raise UsageError("the bounds of a partition are not as a files store writes them")
    return found


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _un64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def folder_of(collection: str) -> str:
    """The folder of a collection, as `shown` writes it; empty for the root."""
    return collection.rpartition("/")[0]


def folder_path(collection: str) -> bytes:
    """The path of a collection's folder: `shown` undone, as every backslash in it is an escape."""
    shown_folder = folder_of(collection).encode()
    return re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), shown_folder)
