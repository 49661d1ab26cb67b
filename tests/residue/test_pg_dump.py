"""What pg_dump packs is found: every format and compression, each blind to a plain search first."""

from __future__ import annotations

import contextlib
import gzip
import io
import random
import subprocess

import lz4.frame
import numpy as np
import pyarrow as pa
import pytest
import zstandard

import postgres_server
from cenotaph.residue.needles import NeedleBuilder, Needles
from cenotaph.residue.pg_dump import DumpError, Unpacker, head
from cenotaph.residue.scan import scan
from cenotaph.store import Ranges

BIN = postgres_server.need()
PEOPLE, LARGE = 2000, 900  # so many of them in a large object
NAMES = [f"Person-{number * 7919:08}-{number:04}" for number in range(PEOPLE)]
NOTHING: Ranges = np.zeros((0, 2), dtype=np.int64)


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One database in every form that PostgreSQL 15 gives it, files of a directory one behind the other."""
    server, folder = postgres_server.shared(), tmp_path_factory.mktemp("dumps")
    name = server.database(
        "CREATE TABLE a (n int8)",
        "INSERT INTO a SELECT generate_series(1, 10)",
        "CREATE TABLE person (id int8, name text, note text)",
        "INSERT INTO person SELECT n, format('Person-%s-%s', lpad((n * 7919)::text, 8, '0'),"
        f" lpad(n::text, 4, '0')), repeat('x', 50) FROM generate_series(0, {PEOPLE - 1}) n",
        f"SELECT lo_from_bytea(17, convert_to(string_agg(name, ','), 'UTF8')) FROM person WHERE id < {LARGE}",
        f"DELETE FROM person WHERE id < {LARGE}",
    )
    made = {}
    for form, options in {
        "plain": ("-Fp",),
        "custom": ("-Fc",),
        "custom, as it is": ("-Fc", "-Z0"),
        "custom, best": ("-Fc", "-Z9"),
        "directory": ("-Fd",),
        "tar": ("-Ft",),
    }.items():
        path = folder / form.replace(" ", "-").replace(",", "")
        line = [BIN / "pg_dump", *options, "-f", path, "-d", server.url(name)]
        subprocess.run(list(map(str, line)), check=True)
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        made[form] = b"".join(file.read_bytes() for file in files)
    server.drop(name)
    made["plain, gzip"] = gzip.compress(made["plain"])
    made["plain, zstd"] = zstandard.compress(made["plain"])
    made["plain, lz4"] = lz4.frame.compress(made["plain"])
    made["tar, gzip"] = gzip.compress(made["tar"])
    made["custom, gzip"] = gzip.compress(made["custom"])
    made["custom behind other bytes"] = b"before" * 1000 + made["custom"] + b"behind" * 1000
    return made


@pytest.fixture(scope="module")
def needles() -> Needles:
    builder = NeedleBuilder(bytes(32))
    builder.add(pa.array(NAMES), "name")
    return builder.finish()


FORMS = (
    "plain",
    "custom",
    "custom, as it is",
    "custom, best",
    "directory",
    "tar",
    "plain, gzip",
    "plain, zstd",
    "plain, lz4",
    "tar, gzip",
    "custom, gzip",
    "custom behind other bytes",
)


@pytest.mark.parametrize("form", FORMS)
def test_everybody_in_a_dump_is_found(dumps: dict[str, bytes], needles: Needles, form: str) -> None:
    """Rows and large objects, with no problem left; where it is compressed, no plain search finds them.
    A large object is digits in plain text."""
    data = dumps[form]
    plain = sum(name.encode() in data for name in NAMES)

    found = scan(io.BytesIO(data), len(data), needles, NOTHING)

    assert len(found.residue) == PEOPLE
    assert not found.problems
    if form == "plain":
        assert plain == PEOPLE - LARGE
    elif form not in ("tar", "custom, as it is"):
        assert plain == 0


def test_the_database_of_an_archive_is_told(dumps: dict[str, bytes]) -> None:
    """The head says which database it was, and is refused where it is another file's."""
    told = head(dumps["custom"])

    assert told is not None
    assert told.database.startswith("app")
    assert head(dumps["custom"][:100]) is None
    with pytest.raises(DumpError):
        head(b"PGDMQ" + dumps["custom"][5:])


def test_what_is_cut_off_is_decoded_as_far_as_it_goes(dumps: dict[str, bytes], needles: Needles) -> None:
    """Half an archive gives about half of the people."""
    data = dumps["custom"]

    found = scan(io.BytesIO(data[: len(data) // 2]), len(data) // 2, needles, NOTHING)

    assert 100 < len(found.residue) < PEOPLE


def test_damaged_archives_end_and_say_so(dumps: dict[str, bytes]) -> None:
    """Any byte may be wrong: an error of our own, or an end, and bounded memory."""
    data, draw = dumps["custom"], random.Random(7)
    for _ in range(300):
        mutated = bytearray(data)
        for _ in range(draw.randint(1, 8)):
            mutated[draw.randrange(len(data) if draw.random() < 0.5 else 4000)] = draw.randrange(256)
        unpacker, size = Unpacker(), 0
        try:
            for at in range(0, len(mutated), 1 << 16):
                size += sum(map(len, unpacker.feed(bytes(mutated[at : at + (1 << 16)]))))
        except DumpError:
            pass
        assert size < 64 << 20


def test_it_is_decoded_the_same_in_pieces_of_any_size(dumps: dict[str, bytes]) -> None:
    """Fed a byte at a time, or all at once."""
    data = dumps["custom"]
    whole, pieces = _unpacked([data]), _unpacked([bytes([byte]) for byte in data])

    assert pieces == whole
    assert NAMES[-1].encode() in whole


def _unpacked(pieces: list[bytes]) -> bytes:
    unpacker, found = Unpacker(), bytearray()
    with contextlib.suppress(DumpError):
        for piece in pieces:
            for part in unpacker.feed(piece):
                found += part
    return bytes(found)
