"""The operator's log: a folder of files that anyone can copy and serve (C2SP tlog-tiles, spec/log.md).

What surprises here is the order of writes. An entry and its tiles are on the disk first; then the head that
is going to be signed (`.next`); only then is it signed and put in place. A crash before `.next` leaves an
entry that never was; a crash after it is finished by the next writer with the same root, so that no size is
ever signed with two roots.

What other implementations of tlog-tiles write is read by the same code: any origin, extension lines in the
checkpoint, full and partial tiles, entry bundles that lie gzipped on their disk.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from cenotaph_proof import merkle
from cenotaph_proof._durable import locked, sync_folder, write_file
from cenotaph_proof.envelope import MAX_BYTES as MAX_ENTRY
from cenotaph_proof.errors import FormatError, LogError
from cenotaph_proof.keys import PublicKey, SecretKey
from cenotaph_proof.note import (
    MAX_NOTE,
    Checkpoint,
    Note,
    add_signatures,
    log_origin,
    operator_note_key,
    parse_note,
    parse_number,
    sign_checkpoint,
)

TILE_WIDTH = 256
MAX_BUNDLE = TILE_WIDTH * (2 + MAX_ENTRY)
MAX_INDEX = len("x000/" * 6 + "000")  # a path longer than this is of no log that could be written


class Log:
    """A log in a folder. With a secret key it can be appended to; without, it is read at its checkpoint.

    Every call looks at the disk anew, so that several readers and one writer at a time, in any number of
    processes, see one log. Every entry that is returned has been hashed to the checkpoint's root.
    """

    def __init__(self, path: Path, operator: PublicKey | None, key: SecretKey | None) -> None:
        self._path = path
        self._operator = operator
        self._key = key

    @classmethod
    def create(cls, path: Path, key: SecretKey) -> Log:
        """Start an empty log with its signed checkpoint of size 0.

        Raises:
            LogError: there is a log already.
        """
        if not cls._begin(path, key):
            raise LogError("there is a log in this folder already", hint="open it instead of creating it")
        return cls(path, key.public, key)

    @classmethod
    def open_or_create(cls, path: Path, key: SecretKey) -> Log:
        """Open the log of this folder, or start it where there is none: one of several processes starts it.

        Raises:
            LogError: as `open` does.
        """
        if not (path / "checkpoint").exists():
            cls._begin(path, key)
        return cls.open(path, key)

    @classmethod
    def open(cls, path: Path, key: SecretKey | None = None, *, operator: PublicKey | None = None) -> Log:
        """Open a log and check it: its checkpoint's signature (by `key` or `operator`) and its root.

        With a key, an append that a crash cut off after its head was fixed is finished.

        Raises:
            LogError: there is no log, it is another operator's, or its files do not lead to its root.
        """
        log = cls(path, key.public if key else operator, key)
        if key:
            log.checkpoint()
            with locked(path / ".lock"):
                log._recover(key)
        log.leaf_hashes()
        return log

    @property
    def size(self) -> int:
        """The number of entries under the current checkpoint."""
        return self.checkpoint().size

    def root(self) -> bytes:
        """The root under the current checkpoint."""
        return self.checkpoint().root

    def checkpoint(self) -> Checkpoint:
        """The current checkpoint; its signature is checked where the operator's key is known.

        Raises:
            LogError: there is no log, or it is another operator's.
        """
        body = self._current().body
        return Checkpoint.read(body) if self._operator is None else Checkpoint.parse(body)

    def checkpoint_note(self) -> bytes:
        """The current checkpoint with the operator's signature alone, as a witness takes it."""
        note = self._current()
        return Note(note.body, note.signatures[:1]).to_bytes()

    def append(self, entry: bytes) -> int:
        """Add an entry, sign the new head, and return the entry's index, durably.

        After a crash in here the entry is in the log once or not at all: look for it in `entries` before
        adding it again.

        Raises:
            LogError: opened without a key, longer than 65,535 bytes, or the log's files are damaged.
        """
        if self._key is None:
            raise LogError("this log was opened for reading", hint="open it with the operator's key")
        if len(entry) > MAX_ENTRY:
            raise LogError(f"an entry has {len(entry)} bytes; a log entry holds at most {MAX_ENTRY}")
        with locked(self._path / ".lock"):
            self._recover(self._key)
            return self._append(entry, self._key)

    def leaf_hashes(self) -> list[bytes]:
        """The hashes of all entries, checked against the checkpoint's root.

        Raises:
            LogError: a tile is missing, cut off, or does not lead to the root.
        """
        checkpoint = self.checkpoint()
        return self._checked_hashes(checkpoint)

    def check_tiles(self) -> None:
        """Check the tiles of all levels: others compute proofs from them, this class needs level 0 alone.

        Raises:
            LogError: a tile is missing, cut off, or is not the one that the entries lead to.
        """
        for level, row in enumerate(_rows(self.leaf_hashes())):
            for tile in range(_tiles(len(row))):
                expected = row[tile * TILE_WIDTH : (tile + 1) * TILE_WIDTH]
                if self._hashes(str(level), tile, len(expected)) != expected:
                    raise LogError(f"tile {tile} of level {level} is not the one that the entries lead to")

    def entry(self, index: int) -> bytes:
        """One entry, checked against its leaf hash.

        Raises:
            LogError: no such entry, or its bundle is missing or damaged.
        """
        hashes = self.leaf_hashes()
        if not 0 <= index < len(hashes):
            raise LogError(f"the log has {len(hashes)} entries and no entry {index}")
        entry = self._bundle(index // TILE_WIDTH, len(hashes))[index % TILE_WIDTH]
        _check_entry(index, entry, hashes[index])
        return entry

    def entries(self) -> Iterator[bytes]:
        """All entries in order, under the checkpoint that is current when the first is asked for.

        Each is checked against its leaf hash.

        Raises:
            LogError: a bundle is missing or damaged.
        """
        hashes = self.leaf_hashes()
        for tile in range(_tiles(len(hashes))):
            for index, entry in enumerate(self._bundle(tile, len(hashes)), tile * TILE_WIDTH):
                _check_entry(index, entry, hashes[index])
                yield entry

    def store_cosigned(self, note: bytes) -> None:
        """Keep a checkpoint with its cosignatures; lines already kept for this size stay.

        The current one is also published as `checkpoint`. Cosignatures are not judged here: see
        `note.verify_checkpoint`.

        Raises:
            LogError: the checkpoint is not one of this log, or the log was opened without its operator's key.
            SignatureError: the checkpoint's first line is not the operator's signature.
            FormatError: not a note, or not a checkpoint.
        """
        if self._operator is None:
            raise LogError("this log was opened without the operator's public key", hint="open it with one")
        with locked(self._path / ".lock"):
            parsed = self._own(parse_note(note))
            checkpoint = Checkpoint.parse(parsed.body)
            hashes = self.leaf_hashes()
            if checkpoint.size > len(hashes) or merkle.root(hashes[: checkpoint.size]) != checkpoint.root:
                raise LogError(f"the cosigned checkpoint of size {checkpoint.size} is not one of this log")
            place = self._path / "cosigned" / str(checkpoint.size)
            if place.exists():
                note = add_signatures(
                    _read_bounded(place, MAX_NOTE), (line.to_bytes() for line in parsed.signatures)
                )
            write_file(place, note)
            if checkpoint.size == len(hashes):
                write_file(self._path / "checkpoint", note)

    def cosigned(self) -> dict[int, bytes]:
        """The cosigned checkpoints that were kept: size to note, in order of size."""
        folder = self._path / "cosigned"
        if not folder.is_dir():
            return {}
        names = [place.name for place in folder.iterdir() if not place.name.startswith(".")]
        return {
            size: _read_bounded(folder / str(size), MAX_NOTE) for size in sorted(map(parse_number, names))
        }

    @staticmethod
    def _begin(path: Path, key: SecretKey) -> bool:
        """Sign the checkpoint of size 0; False where there is a log already."""
        path.mkdir(parents=True, exist_ok=True)
        with locked(path / ".lock"):
            if (path / "checkpoint").exists():
                return False
            empty = Checkpoint(log_origin(key.public), 0, merkle.EMPTY_ROOT)
            write_file(path / "checkpoint", sign_checkpoint(empty, key))
            sync_folder(path.absolute().parent)
            return True

    def _current(self) -> Note:
        try:
            data = _read_bounded(self._path / "checkpoint", MAX_NOTE)
        except FileNotFoundError:
            raise LogError("there is no log in this folder: it holds no checkpoint") from None
        return self._own(parse_note(data))

    def _own(self, note: Note) -> Note:
        if self._operator is not None:
            signer = operator_note_key(self._operator)
            if Checkpoint.parse(note.body).origin != signer.name:
                raise LogError("the log is another operator's: its origin does not belong to this key")
            signer.verify(note.body, note.signatures[0])
        return note

    def _append(self, entry: bytes, key: SecretKey) -> int:
        hashes = self.leaf_hashes()
        index, tile = len(hashes), len(hashes) // TILE_WIDTH
        bundle = self._bundle(tile, index) if index % TILE_WIDTH else []
        hashes.append(merkle.leaf_hash(entry))
        # (1) Entry and tiles. What a cut-off append left in their places is overwritten.
        self._write("entries", tile, len(bundle) + 1, _pack([*bundle, entry]))
        self._write_tiles(hashes)
        # (2) The head that this size will have, whatever happens next. (3) Sign it, put it in place.
        head = Checkpoint(log_origin(key.public), len(hashes), merkle.root(hashes))
        write_file(self._path / ".next", head.body())
        write_file(self._path / "checkpoint", sign_checkpoint(head, key))
        self._drop_partial(len(hashes))
        return index

    def _recover(self, key: SecretKey) -> None:
        place = self._path / ".next"
        if not place.exists():
            return
        head, current = Checkpoint.parse(_read_bounded(place, MAX_NOTE)), self.checkpoint()
        if head.origin != current.origin or head.size not in (current.size, current.size + 1):
            raise LogError("the log's head and its next head do not belong together", hint=_RESTORED)
        if head.size == current.size:
            if head.root != current.root:
                raise LogError(f"the log has fixed another root for size {head.size}", hint=_RESTORED)
            return
        self._checked_hashes(head)
        write_file(self._path / "checkpoint", sign_checkpoint(head, key))

    def _checked_hashes(self, checkpoint: Checkpoint) -> list[bytes]:
        hashes: list[bytes] = []
        for tile in range(_tiles(checkpoint.size)):
            hashes += self._hashes("0", tile, min(TILE_WIDTH, checkpoint.size - tile * TILE_WIDTH))
        if merkle.root(hashes) != checkpoint.root:
            raise LogError(f"the tiles of the log do not lead to the root of its {checkpoint.size} entries")
        return hashes

    def _hashes(self, level: str, tile: int, width: int) -> list[bytes]:
        try:
            found = tile_hashes(self._read(level, tile, width, TILE_WIDTH * merkle.HASH_BYTES))
        except FormatError:
            found = []
        if len(found) not in (width, TILE_WIDTH):
            raise LogError(
                f"tile {tile} of the log (level {level}) is cut off, or holds more than its hashes"
            )
        return found[:width]

    def _bundle(self, tile: int, size: int) -> list[bytes]:
        width = min(TILE_WIDTH, size - tile * TILE_WIDTH)
        data = self._read("entries", tile, width, MAX_BUNDLE)
        # Nothing may hide behind the entries: what is in no leaf was never logged.
        for plain in (data, _inflated(data)):
            entries = None if plain is None else _unpack(plain)
            if entries is not None and len(entries) in (width, TILE_WIDTH):
                return entries[:width]
        raise LogError(f"entry bundle {tile} of the log is cut off, or holds more than its entries")

    def _write_tiles(self, hashes: list[bytes]) -> None:
        for level, row in enumerate(_rows(hashes)):
            tile = (len(row) - 1) // TILE_WIDTH
            last = row[tile * TILE_WIDTH :]
            self._write(str(level), tile, len(last), b"".join(last))
            if len(last) < TILE_WIDTH:
                return  # the levels above are as they were

    def _write(self, level: str, tile: int, width: int, data: bytes) -> None:
        write_file(self._path / "tile" / tile_path(level, tile, width), data)

    def _read(self, level: str, tile: int, width: int, limit: int) -> bytes:
        # The full tile stands in for a partial one, which may be dropped once the full one exists.
        for wanted in (width, TILE_WIDTH):
            place = self._path / "tile" / tile_path(level, tile, wanted)
            if place.is_file():
                return _read_bounded(place, limit)
        raise LogError(f"tile {tile} of the log (level {level}) is missing")

    def _drop_partial(self, size: int) -> None:
        # C2SP tlog-tiles: partial tiles may go once the full one is there; they hold each entry many times.
        if size % TILE_WIDTH:
            return
        for level in ("0", "entries"):
            folder = self._path / "tile" / tile_path(level, size // TILE_WIDTH - 1, 1).parent
            if folder.is_dir():
                for place in folder.iterdir():
                    place.unlink()
                folder.rmdir()


def tile_path(level: str, index: int, width: int) -> Path:
    """Where a tile or entry bundle lies under `tile/`: `0/x001/x234/067` or `entries/000.p/5`."""
    digits = f"{index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    name = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return Path(level, name if width == TILE_WIDTH else f"{name}.p/{width}")


def parse_tile_path(path: str) -> tuple[str, int, int]:
    """The level (or `entries`), index and width of a path: the inverse of `tile_path`, below `tile/`.

    Raises:
        FormatError: no tile has this path (C2SP tlog-tiles).
    """
    match = _TILE_PATH.fullmatch(path)
    if not match:
        raise FormatError("this is not the path of a tile or an entry bundle")
    level, index = match[1], int(match[2].replace("x", "").replace("/", ""))
    width = int(match[3]) if match[3] else TILE_WIDTH
    # One path a tile: no group of zeros before the number, no partial tile as wide as a full one.
    if f"tile/{tile_path(level, index, width)}" != path or width > TILE_WIDTH or len(match[2]) > MAX_INDEX:
        raise FormatError("this is not the path of a tile or an entry bundle")
    return level, index, width


def tile_hashes(data: bytes) -> list[bytes]:
    """The hashes in a tile.

    Raises:
        FormatError: it holds none, more than 256, or a part of one.
    """
    cuts = range(0, len(data), merkle.HASH_BYTES)
    if not 1 <= len(cuts) <= TILE_WIDTH or len(data) % merkle.HASH_BYTES:
        raise FormatError("a tile holds from 1 to 256 hashes of 32 bytes")
    return [data[at : at + merkle.HASH_BYTES] for at in cuts]


_TILE_PATH = re.compile(
    r"tile/(0|[1-9]|[1-5][0-9]|6[0-3]|entries)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII
)
_RESTORED = "was the log restored from an older copy? Restore the newest copy; never append to an older one"


def _tiles(size: int) -> int:
    return -(-size // TILE_WIDTH)


def _rows(hashes: list[bytes]) -> Iterator[list[bytes]]:
    """The hashes of level 0, then of each level above: a full tile is one hash there, a partial one none."""
    row = hashes
    while row:
        yield row
        full = len(row) // TILE_WIDTH * TILE_WIDTH
        row = [merkle.root(row[at : at + TILE_WIDTH]) for at in range(0, full, TILE_WIDTH)]


def _check_entry(index: int, entry: bytes, expected: bytes) -> None:
    if merkle.leaf_hash(entry) != expected:
        raise LogError(f"entry {index} of the log is not the one that was logged")


def _pack(entries: list[bytes]) -> bytes:
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def _unpack(data: bytes) -> list[bytes] | None:
    """The entries of a bundle, or None where it ends within one."""
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + 2
        at = start + int.from_bytes(data[at:start], "big")
        entries.append(data[start:at])
    return entries if at == len(data) else None


def _inflated(data: bytes) -> bytes | None:
    """A bundle that a server keeps as it sends it (tlog-tiles: `Content-Encoding: gzip`); None if not."""
    if not data.startswith(b"\x1f\x8b"):
        return None
    stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        plain = stream.decompress(data, MAX_BUNDLE)
    except zlib.error:
        return None
    return plain if stream.eof and not stream.unused_data else None


def _read_bounded(path: Path, limit: int) -> bytes:
    # The folder may be a copy of somebody else's log: a file longer than the format allows is not read.
    # A pipe in place of a file would make a blocking open wait for ever.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise LogError(f"the log's file {path.name} is longer than the {limit} bytes that it can have")
    return data
