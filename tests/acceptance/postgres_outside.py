"""Outside referees of a PostgreSQL server: what tools that others wrote find in each place, given the values.

Nothing of ours takes part. Searching is GNU grep's: in files, in the frozen volume's image, in what `blkls`
gives of its free blocks, in what gzip, zstd and pg_restore unpack, in the server's memory. The server itself
decodes its statistics; pg_filedump shows rows.

What surprised its author: grep is blind to what pglz compressed, and nobody ships a carver for it. So the two
compressed forms are looked for here word by word and decoded from their description (pg_lzcompress.c, LZ4's
block format), without a line of the product: only the first bytes, in which what is sought stands.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import outside
import psycopg
from postgres_estate import DATABASE, DATABASES, PLACES, REGISTER, SCHEMA, PostgresEstate

import postgres_server
from by_command import grep
from postgres_server import Server
from volume_images import Image

PREFIX = 48  # bytes decoded of a compressed value: what is sought stands first
PAGE, SHORT, LONG = 8192, 24, 40  # a page of the log, and its header; of a segment's first page
_PIECE = 64 << 20
_NUMBER = re.compile(rb"1[3-9][0-9]{9}(?![0-9])")  # begins with what re looks for quickly

Found = set[bytes]


@dataclass(frozen=True)
class Place:
    """Where something is looked for, what, and how it is found there."""

    name: str
    values: frozenset[bytes]
    look: Callable[[Set[bytes]], Found]
    least: float = 1.0  # of what is sought, which is found before

    def found(self) -> Found:
        return self.look(self.values)


class Outside:
    """The places of an estate."""

    def __init__(self, estate: PostgresEstate, image: Image | None = None) -> None:
        self.estate, self.image = estate, image
        self._relations = self.relations()

    def places(self) -> list[Place]:
        """All of them, as the estate stands now; of a server that does not run, those that files show."""
        every = [*self._tables(), *self._log(), *self._copies()]
        if self.image is not None:
            every += self._volume()
        return every

    def relations(self) -> dict[str, list[Path]]:
        """The files of tables, indexes and TOAST tables of all databases, by schema and name; a TOAST
        table's by "toast of" and its table's."""
        found: dict[str, list[Path]] = {}
        for database in DATABASES:
            with contextlib.suppress(psycopg.OperationalError):  # the server does not run any more
                for name, path in self.estate.run(_FILES, database=database):
                    whole = self.estate.server.data / str(path)
                    found[f"{database}:{name}"] = [whole, *whole.parent.glob(f"{whole.name}.*")]
        return found

    # the places

    def _tables(self) -> Iterator[Place]:
        for name, relation, place in _IN_FILES:
            yield self._place(name, place, lambda v, r=relation: in_files(v, *self._files(r)))
        some = (f"{REGISTER}:public.register", f"{REGISTER}:public.register_phone_idx")
        for name, relation in zip(("heap, some rows stay", "B-tree, some rows stay"), some, strict=True):
            yield self._place(
                name, "register", lambda v, r=relation: in_files(v, *self._relations.get(r, []))
            )
        yield self._place("heap, int8", "payment", lambda v: self._integers("payment"), binary=True)
        for name, relation, place in _COMPRESSED:
            yield self._place(name, place, lambda v, r=relation: carved(self._files(r), v))
        yield self._place("pg_statistic, by the server", "person", self._statistics)
        yield self._place("pg_statistic, partitioned parent", "visit", self._statistics)
        yield self._place("pg_statistic_ext_data", "swab", self._extended)
        yield self._place("pg_filedump of a heap", "queue", self._filedump)

    def _log(self) -> Iterator[Place]:
        data = self.estate.server.data
        yield self._place("pg_wal", "queue", lambda v: in_log(data / "pg_wal", v))
        yield self._place("pg_stat_statements", "statement", self._statements)
        yield self._place("server log", "statement", lambda v: in_files(v, self.estate.log))
        yield self._place("server memory", "queue", lambda v: memory(self.estate.server, v))

    def _copies(self) -> Iterator[Place]:
        estate = self.estate
        for place in ("queue", "trip", "person before"):
            yield self._place(f"archive: {place}", place, lambda v: in_log(estate.archive, v))
        for place in ("contact", "queue"):
            yield self._place(f"standby: {place}", place, lambda v: in_files(v, estate.root / "standby"))
        yield self._place("standby: pglz", "letter", lambda v: carved([estate.root / "standby"], v))
        if estate.standby:
            yield self._place("standby: memory", "queue", lambda v: memory(estate.standby, v))
        plain, tar = estate.backups / "plain", estate.backups / "tar"
        yield self._place("base backup", "trip", lambda v: in_files(v, plain))
        yield self._place("base backup: pglz", "letter", lambda v: carved([plain], v))
        yield self._place(
            "base backup, tar.gz", "trip", lambda v: unpacked(["gzip", "-dc"], tar, "*.tar.gz", v)
        )
        dumps = estate.dumps
        yield self._place("dump, plain", "letter", lambda v: in_files(v, *dumps.glob("health.sql")))
        restore = [str(postgres_server.need() / "pg_restore"), "-f", "-"]
        yield self._place("dump, custom", "letter", lambda v: unpacked(restore, dumps, "health.dump", v))
        yield self._place(
            "dump, some rows stay", "register", lambda v: in_files(v, *dumps.glob("registry.sql"))
        )
        yield self._place("dump, folder", "letter", lambda v: unpacked(restore, dumps, "health.dir", v))
        yield self._place("dump, gzip", "letter", lambda v: unpacked(["gzip", "-dc"], dumps, "*.sql.gz", v))
        yield self._place("dump, zstd", "letter", lambda v: unpacked(["zstd", "-dcq"], dumps, "*.zst", v))

    def _volume(self) -> Iterator[Place]:
        """The image as it lies beneath the file system, frozen meanwhile."""
        assert self.image is not None
        with self._still() as file:
            sought = frozenset(v for name in PLACES for v in self.estate.needles(name))
            everywhere = outside.grep(file, file, sought)
            free = outside.free_blocks(file, file, sought)
            compressed = carved([file], sought)
            journal = outside.journal(file, file, sought)
        gone = [name for name in PLACES if name not in (*STAYS, "payment", "nobody")]
        for name in ("dropped", "temporary"):
            yield self._place(f"free blocks: {name}", name, lambda v: free & v)
        yield Place("free blocks: anybody", frozenset(self._all(gone)), lambda v: free & v, least=0)
        yield Place("journal: anybody", frozenset(self._all(gone)), lambda v: journal & v, least=0)
        for name in gone:
            seen = everywhere | compressed
            yield self._place(f"image: {name}", name, lambda v, s=seen: s & v)

    def _all(self, names: Iterable[str]) -> set[bytes]:
        return {value for name in names for value in self.estate.needles(name)}

    @contextlib.contextmanager
    def _still(self) -> Iterator[Path]:
        assert self.image is not None
        subprocess.run(["fsfreeze", "-f", str(self.image.mount)], check=True)
        try:
            yield self.image.file
        finally:
            subprocess.run(["fsfreeze", "-u", str(self.image.mount)], check=True)

    def _place(
        self, name: str, people: str, look: Callable[[Set[bytes]], Found], *, binary: bool = False
    ) -> Place:
        values = self.estate.needles(people)
        if binary:
            values = [int(v).to_bytes(8, "little") for v in values]
        if name == "index on an expression":
            values = [b"P" + v + b"@MAIL.EXAMPLE" for v in values]
        return Place(name, frozenset(values), look, _LEAST.get(name, 1.0))

    def _files(self, relation: str) -> list[Path]:
        """The files of a relation now; none where it is gone or nobody can say."""
        return [p for p in self._relations.get(f"{DATABASE}:{relation}", []) if p.exists()]

    def _integers(self, relation: str) -> Found:
        values = [int(v).to_bytes(8, "little") for v in self.estate.needles(relation)]
        data = b"".join(path.read_bytes() for path in self._files(f"{SCHEMA}.{relation}"))
        return {v for v in values if v in data}

    # what the server decodes

    def _statistics(self, values: Set[bytes]) -> Found:
        query = (
            "SELECT unnest(array[most_common_vals::text, histogram_bounds::text]) FROM pg_stats"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        return self._said(query, values)

    def _extended(self, values: Set[bytes]) -> Found:
        return self._said(
            "SELECT m.values::text FROM pg_statistic_ext_data, pg_mcv_list_items(stxdmcv) m", values
        )

    def _statements(self, values: Set[bytes]) -> Found:
        files = [self.estate.server.data / "pg_stat_tmp", self.estate.server.data / "pg_stat"]
        return self._said("SELECT query FROM pg_stat_statements", values) | in_files(values, *files)

    def _said(self, query: str, values: Set[bytes]) -> Found:
        try:
            rows = self.estate.run(query)
        except psycopg.OperationalError:  # the server does not run any more
            return set()
        texts = b"\n".join(str(row[0]).encode() for row in rows if row[0])
        return set(_NUMBER.findall(texts)) & values

    # what its own tools show

    def _filedump(self, values: Set[bytes]) -> Found:
        said = b""
        for path in self._files(f"{SCHEMA}.queue"):
            said += subprocess.run(
                ["pg_filedump", "-D", "bigint,text,bool", str(path)], capture_output=True, check=False
            ).stdout
        return set(_NUMBER.findall(said)) & values


_FILES = """
SELECT n.nspname || '.' || c.relname, pg_relation_filepath(c.oid) FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'i', 't', 'm', 'S')
    AND pg_relation_filepath(c.oid) IS NOT NULL
UNION ALL SELECT 'toast of ' || n.nspname || '.' || c.relname, pg_relation_filepath(c.reltoastrelid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.reltoastrelid <> 0
"""

# Place, relation, whose people are looked for there.
_IN_FILES = (
    ("heap", f"{SCHEMA}.contact", "contact"),
    ("heap, dead rows", f"{SCHEMA}.person", "person before"),
    ("history, by a trigger", f"{SCHEMA}.person_history", "person before"),
    ("index on an expression", f"{SCHEMA}.person_email", "email"),
    ("B-tree", f"{SCHEMA}.visit_2024_caller_idx", "visit"),
    ("GIN, arrays", f"{SCHEMA}.contact_phones", "contact"),
    ("GIN, tsvector", f"{SCHEMA}.person_search", "person"),
    ("GIN, jsonb", f"{SCHEMA}.message_body", "message"),
    ("GiST", f"{SCHEMA}.trip_passenger", "trip"),
    ("BRIN", f"{SCHEMA}.lab_brin", "lab_result"),
    ("heap, partitions", f"{SCHEMA}.visit_2024", "visit"),
    ("heap, jsonb", f"{SCHEMA}.message", "message"),
    ("heap, unlogged", f"{SCHEMA}.session", "session"),
    ("heap, quoted names", f'{SCHEMA}.Ärzte "Liste"', "quoted"),
    ("heap, no key", f"{SCHEMA}.swab", "swab"),
    ("heap, inherited", f"{SCHEMA}.lab_result", "lab_result"),
    ("TOAST, as it is", f"toast of {SCHEMA}.photo", "photo"),
    ("large objects", "pg_catalog.pg_largeobject", "document"),
    ("materialized view", f"{SCHEMA}.person_card", "person"),
)
_COMPRESSED = (
    ("TOAST, pglz", f"toast of {SCHEMA}.letter", "letter"),
    ("TOAST, lz4", f"toast of {SCHEMA}.scan", "scan"),
    ("in line, pglz", f"{SCHEMA}.memo", "memo"),
)
# Places that never hold everybody who is sought there: what part of them must be found before.
_LEAST = {
    "heap, dead rows": 0.5,  # a read may prune a page
    "BRIN": 0.01,
    "TOAST, lz4": 0.99,  # what is decoded here is the first literals
    "B-tree": 0.1,
    "heap, partitions": 0.1,
    "pg_statistic, by the server": 0.05,
    "pg_statistic, partitioned parent": 0.05,
    "free blocks: temporary": 0.5,  # the next file may lie there
    "image: temporary": 0.5,
    "standby: queue": 0.9,  # a standby writes its pages when it pleases
}
STAYS = ("register kept", "staff", "another", "finance")


# ── decoders that are nobody's ───────────────────────────────────────────────────────────────────


def in_files(values: Set[bytes], *places: Path) -> Found:
    """What grep finds in files and names of what is there; again where a file went meanwhile."""
    for _ in range(9):
        with contextlib.suppress(AssertionError, subprocess.CalledProcessError):
            return _in_those_there(values, places)
        time.sleep(0.5)
    return _in_those_there(values, places)


def _in_those_there(values: Set[bytes], places: Iterable[Path]) -> Found:
    there = [place for place in places if place.exists()]
    return grep(values, *there) if there else set()


def in_log(folder: Path, values: Set[bytes]) -> Found:
    """In the segments of a log, each page without its header: a value may lie on two."""
    with tempfile.TemporaryDirectory() as scratch:
        for path in folder.glob("0*"):
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):  # it was used again meanwhile
                data = path.read_bytes()
                pages = [
                    data[at + (LONG if at == 0 else SHORT) : at + PAGE] for at in range(0, len(data), PAGE)
                ]
                (Path(scratch) / path.name).write_bytes(b"".join(pages))
        return (
            in_files(values, Path(scratch))
            | in_files(values, folder)
            | carved([Path(scratch)], values, step=1)
        )


def unpacked(command: Sequence[str], folder: Path, pattern: str, values: Set[bytes]) -> Found:
    """In what a tool makes of the files that match."""
    found: Found = set()
    for path in sorted(folder.glob(pattern)):
        done = subprocess.run([*command, str(path)], capture_output=True, check=True)
        found |= set(_NUMBER.findall(done.stdout)) & values
    return found


def memory(server: Server, values: Set[bytes]) -> Found:
    """In all memory of the server's processes; none where it does not run."""
    found: Found = set()
    for nth, pid in enumerate(_family(server.data)):
        for data in _mapped(pid, shared=nth == 0):
            found |= set(_NUMBER.findall(data)) & values
    return found


def _family(data: Path) -> list[int]:
    """The postmaster, by what it wrote down, and its children."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        pid = (data / "postmaster.pid").read_text("ascii").split()[0]
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
        return [int(pid), *map(int, children)]
    return []


def _mapped(pid: int, *, shared: bool) -> Iterator[bytes]:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in Path(f"/proc/{pid}/maps").read_text("utf-8").splitlines():
            span, rights, *_ = line.split(maxsplit=5)
            if rights.startswith("rw") and (shared or rights.endswith("p")):
                start, end = (int(part, 16) for part in span.split("-"))
                for at in range(start, end, _PIECE):
                    with contextlib.suppress(OSError):
                        yield os.pread(mem.fileno(), min(_PIECE, end - at), at)


def carved(places: Iterable[Path], values: Set[bytes], step: int = 4) -> Found:
    """Values at the beginning of what was compressed, wherever it lies in files: of varlena in rows, and of
    first chunks of TOAST (postgres.h, "varattrib_4b"; toast_internals.h). `step`: how rows are aligned.
    """
    found: Found = set()
    for place in places:
        for path in [place, *place.rglob("*")] if place.is_dir() else [place]:
            with contextlib.suppress(FileNotFoundError):  # a log's files come and go
                if path.is_file():
                    with path.open("rb") as stream:
                        found |= _carved(stream, values, step)
    return found


def _carved(stream: BinaryIO, values: Set[bytes], step: int) -> Found:
    found: Found = set()
    tail = b""
    for piece in _written(stream):
        data = tail + piece
        for shift in range(0, 4, step):
            words = np.frombuffer(data, "<u4", (len(data) - shift) // 4, shift)
            for at in _compressed(words):
                head = _decoded(data, shift + 4 * at)
                found |= set(_NUMBER.findall(b" " + head + b" ")) & values
        tail = data[-8192 - (len(data) % 4) :] if len(piece) == _PIECE else b""
    return found


def _written(stream: BinaryIO) -> Iterator[bytes]:
    """The pieces of a file that are no holes."""
    end, at = os.fstat(stream.fileno()).st_size, 0
    while at < end:
        try:
            at = os.lseek(stream.fileno(), at, os.SEEK_DATA)
        except OSError:  # nothing but a hole is left
            return
        stop = os.lseek(stream.fileno(), at, os.SEEK_HOLE)
        for start in range(at, stop, _PIECE):
            yield os.pread(stream.fileno(), min(_PIECE, stop - start), start)
        at = stop


def _compressed(words: np.ndarray) -> list[int]:
    """Where words of a varlena header and of what it was before compressing stand: the second of them."""
    if len(words) < 4:
        return []
    raw, method = words[1:] & 0x3FFFFFFF, words[1:] >> 30
    size = words[:-1] >> 2
    likely = (raw < 1 << 24) & (raw > 64) & (method <= 1)
    row = likely & (words[:-1] & 3 == 2) & (size >= 16) & (size < 8192) & (raw + 4 > size - 8)
    chunk = likely & (words[:-1] & 3 == 0) & (size >= 64) & (size <= 2048)
    chunk[1:] &= words[:-2] == 0  # chunk_seq
    chunk[0] = False
    return (np.flatnonzero(row | chunk) + 1).tolist()


def _decoded(data: bytes, at: int) -> bytes:
    """The first bytes of a compressed value whose second word is here."""
    word = int.from_bytes(data[at : at + 4], "little")
    body = data[at + 4 : at + 4 + 4 * PREFIX]
    return _pglz(body) if word >> 30 == 0 else _lz4(body)


def _pglz(body: bytes) -> bytes:
    """A control byte, then eight items by its bits: a byte, or a tag of twelve bits of offset and four of
    length (and a byte more where that is 18)."""
    out, at = bytearray(), 0
    while at < len(body) and len(out) < PREFIX:
        control, at = body[at], at + 1
        for bit in range(8):
            if at + 1 >= len(body):
                return bytes(out)
            if control >> bit & 1:
                length, offset = (body[at] & 15) + 3, (body[at] & 0xF0) << 4 | body[at + 1]
                at += 2
                if length == 18:
                    if at >= len(body):
                        return bytes(out)
                    length, at = length + body[at], at + 1
                if not 0 < offset <= len(out):
                    return bytes(out)
                for _ in range(length):
                    out.append(out[-offset])
            else:
                out.append(body[at])
                at += 1
    return bytes(out)


def _lz4(body: bytes) -> bytes:
    """Literals of the first sequence, which begin the value: a token, more of its length, the bytes."""
    if not body:
        return b""
    length, at = body[0] >> 4, 1
    while length >= 15 and at < len(body):
        length, at = length + body[at], at + 1
        if body[at - 1] != 255:
            break
    return body[at : at + min(length, PREFIX)]
