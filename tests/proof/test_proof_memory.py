"""Reading takes no more memory for a longer file: entries and attachments are read one at a time.

`CENOTAPH_LARGE=1` reads files of 200 MB in a process that is given 256 MiB of address space.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from cenotaph.testing.ceremony import Ceremony, Estate
from cenotaph_proof import bundle as bundles
from cenotaph_proof import canonical, envelope, merkle, statements
from cenotaph_proof.envelope import Envelope
from cenotaph_proof.errors import FormatError
from cenotaph_proof.statements import STATEMENT_TYPE

LARGE = bool(os.environ.get("CENOTAPH_LARGE"))
FILE = 200 << 20 if LARGE else 24 << 20
ROOM = 256 << 20
READ = """
import resource, sys
limit = int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
from cenotaph_proof import bundle, errors
try:
    with open(sys.argv[1], "rb") as stream:
        told = f"replayed {bundle.replay(bundle.read(stream)).size}"
except errors.ProofError as error:
    told = f"refused {error.message}"
with open("/proc/self/status") as status:  # ru_maxrss would count what the parent took before exec
    most = next(line.split()[1] for line in status if line.startswith("VmHWM:"))
print(most, told)
"""


def read_alone(path: Path) -> tuple[int, str]:
    """The most memory that a process of its own took to replay a file, in bytes, and what it made of it."""
    limit = str(ROOM if LARGE else 0)
    done = subprocess.run(
        [sys.executable, "-c", READ, path, limit], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
    most, told = done.stdout.split(" ", 1)
    return int(most) << 10, told.strip()


def foreign(number: int) -> bytes:
    """An entry of another case, nearly as long as entries may be: readers hash it and look no further."""
    payload = {
        "_type": STATEMENT_TYPE,
        "predicate": {"number": number, "padding": "x" * 48_000},
        "predicateType": "urn:cenotaph:v1:testimony",
        "subject": [{"digest": {"sha256": "00" * 32}, "name": "charter"}],
    }
    return Envelope(canonical.dumps(payload), "00" * 32, bytes(64)).to_bytes()


@pytest.fixture(scope="module")
def small() -> Ceremony:
    return Ceremony(estate=(Estate("health", (20,)),)).run(last="survey")


@pytest.fixture(scope="module")
def base(small: Ceremony, tmp_path_factory: pytest.TempPathFactory) -> int:
    path = tmp_path_factory.mktemp("base") / "case.cenotaph"
    path.write_bytes(small.proof())
    most, told = read_alone(path)
    assert told == f"replayed {len(small.entries)}"
    return most


def write(path: Path, case: str, entries: Iterable[bytes], attachments: Sequence[bytes] = ()) -> None:
    """A proof file of lines as they are; the first line, which counts them, has room for any count."""
    body = path.with_suffix(".body")
    with body.open("wb") as out:
        count = sum(1 for line in (b'{"entry":"%b"}\n' % b64(e) for e in entries) if out.write(line))
        for data in attachments:
            out.write(b'{"attachment":"%b"}\n' % b64(data))
    head = {"attachments": len(attachments), "case": case, "checkpoints": 0, "entries": count}
    with path.open("wb") as whole, body.open("rb") as again:
        whole.write(canonical.dumps({**head, "format": bundles.FORMAT}) + b"\n")
        shutil.copyfileobj(again, whole)
    body.unlink()


def b64(data: bytes) -> bytes:
    return envelope.encode_base64(data).encode()


def test_a_log_of_many_cases_is_not_held_in_memory(small: Ceremony, base: int, tmp_path: Path) -> None:
    """Other cases' entries are hashed and let go."""
    path = tmp_path / "large.cenotaph"
    many = FILE // 90_000
    write(path, small.case_id, itertools.chain(map(foreign, range(many)), small.entries))
    assert path.stat().st_size > 0.8 * FILE

    most, told = read_alone(path)
    assert told == f"replayed {many + len(small.entries)}"
    assert most < base + FILE // 4
    assert most < ROOM


def hostile(kind: str) -> bytes:
    """A detached part that costs a careless reader far more memory than it has bytes."""
    size = statements.ATTACHMENT_LIMIT
    return {
        "nesting": b"[" * size,
        "values": b"[" + b"{}," * 190_000 + b"{}]",
        "wide text": b'["' + "\U0001f5d1".encode() + b"a" * (size - 8) + b'"]',
        "no JSON": b"\xff" * size,
        "quotes": b'""' * (size // 2),
    }[kind]


@pytest.mark.parametrize("kind", ["nesting", "values", "wide text", "no JSON", "quotes"])
def test_a_hostile_attachment_stays_within_256_mib(kind: str, small: Ceremony, tmp_path: Path) -> None:
    """A statement names it, so that it is parsed: refused, or read, in bounded memory."""
    body = hostile(kind)
    payload = {
        "_type": STATEMENT_TYPE,
        "predicate": {"bytes": len(body), "detached": hashlib.sha256(body).hexdigest()},
        "predicateType": "urn:cenotaph:v1:inventory",
        "subject": [{"digest": {"sha256": small.newest["charter"]}, "name": "charter"}],
    }
    named = envelope.seal(canonical.dumps(payload), small.key("Big Data Bureau"))
    path = tmp_path / "hostile.cenotaph"
    write(path, small.case_id, [*small.entries[:3], named], [body])

    most, told = read_alone(path)
    assert told.startswith("refused")
    assert "missing" not in told
    assert most < ROOM


def test_more_than_a_reader_must_hold_is_refused(small: Ceremony, monkeypatch: pytest.MonkeyPatch) -> None:
    """A case has a bound, which its own operator meets first: at the survey, not at the end."""
    monkeypatch.setattr("cenotaph_proof.case.MOST_MARKS", 100)

    with pytest.raises(FormatError, match="more than a reader must be able to hold"):
        bundles.replay(small.bundle())


def test_a_stream_that_cannot_seek_is_read_as_well(small: Ceremony) -> None:
    """From a pipe: what is read twice is kept in a file meanwhile."""
    read, write_end = os.pipe()
    proof = small.proof()
    assert len(proof) < 60_000  # what a pipe holds
    os.write(write_end, proof)
    os.close(write_end)

    with os.fdopen(read, "rb") as stream:
        bundle = bundles.read(stream)
        assert bundles.replay(bundle).size == len(small.entries)
        assert merkle.root(merkle.leaf_hash(e) for e in bundle.entries) == small.root()
