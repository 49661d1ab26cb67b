"""Every parser that strangers can feed, with examples of what each reads: for tests and for `make fuzz`.

Whatever the bytes, a parser returns or raises one of our errors: nothing else, within a second, in 256 MiB.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cenotaph.testing.ceremony import NOTARY, OPERATOR, Ceremony, Estate
from cenotaph_proof import bundle as bundles
from cenotaph_proof import canonical, envelope, merkle, note, stamp, statements, tokens, trust
from cenotaph_proof.errors import ProofError
from cenotaph_proof.inclusion import InclusionProof, prove
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.network import serving
from cenotaph_proof.policy import Policy
from cenotaph_proof.trust import Authority
from cenotaph_proof.witness import Request


@dataclass(frozen=True, slots=True)
class Parser:
    """What reads bytes of strangers, and examples that it accepts. `seconds`: how long one input may take."""

    read: Callable[[bytes], object]
    examples: tuple[bytes, ...]
    seconds: float = 1.0

    def feed(self, data: bytes) -> bool:
        """Whether the parser accepts. Lets through whatever is not an error of ours: that is a finding."""
        with suppress(ProofError, serving._BadRequest):
            self.read(data)
            return True
        return False


def parsers() -> dict[str, Parser]:
    """The parsers by name. Their examples come from one small case."""
    case = Ceremony(estate=(Estate("health", (20,)),)).run()
    bundle = case.bundle()
    newest = bundle.checkpoints[-1]
    payloads = tuple(envelope.open_(e).payload for e in bundle.entries)
    leaves = [merkle.leaf_hash(e) for e in bundle.entries]
    proof = bundles.write(bundle)
    public = case.key(NOTARY).public.to_text().encode()
    included = prove(bundle.entries, bundle.checkpoints, hashlib.sha256(bundle.entries[3]).hexdigest())
    grown = Request(5, merkle.consistency_proof(leaves, 5), newest).to_bytes()
    witness = note.witness_note_key(case.key("Daily Paper").public).to_text()
    return {
        "canonical": Parser(_canonical, (*payloads[:3], b"[]", '{"a":"\\n","€":[-1]}'.encode())),
        "envelope": Parser(envelope.open_, tuple(bundle.entries)),
        "statement": Parser(lambda data: statements.parse(data, {}), payloads),
        "note": Parser(note.parse_note, (newest,)),
        "checkpoint": Parser(note.Checkpoint.parse, (note.parse_note(newest).body,)),
        "signed": Parser(_signed(case), (newest,)),
        "policy": Parser(Policy.parse, (f"witness W {witness}\ngroup G any W\nquorum G\n".encode(),)),
        "request": Parser(Request.parse, (grown,)),
        "inclusion": Parser(InclusionProof.parse, (included.to_bytes(),)),
        "key": Parser(lambda data: PublicKey.from_text(data.decode("utf-8", "replace")), (public,)),
        "trust": Parser(_trust, tuple(_trust_files(case))),
        "http": Parser(serving._parse_head, (_HTTP,)),
        "token": Parser(_token(newest), tuple(_tokens(newest))),
        "proof": Parser(_proof, (proof,), seconds=5.0),
    }


def _signed(case: Ceremony) -> Callable[[bytes], object]:
    witnesses = [case.key(name).public for name in case.witnesses]
    return lambda data: note.verify_checkpoint(data, case.key(OPERATOR).public, witnesses)


def _canonical(data: bytes) -> object:
    """What is read is written again; else two readers could see two things."""
    value = canonical.loads(data)
    assert canonical.dumps(value) == data
    return value


def _proof(data: bytes) -> object:
    return bundles.replay(bundles.read(io.BytesIO(data)))


def _trust(data: bytes) -> object:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trust.toml"
        path.write_bytes(data)
        try:
            return trust.load(path)
        except OSError:
            return None  # it names a file that is not there


def _trust_files(case: Ceremony) -> Iterator[bytes]:
    table = "[[party]]\norganisation = {}\nrole = {}\nkey = {}\n"
    listed = "".join(
        table.format(*map(json.dumps, (p.organisation, p.role, p.to_text()))) for p in case.trust().parties
    )
    policy = "[policy]\napprove = { auditor = 1, notary = 1 }\nwitness = 1\nclock_skew = '5m'\n"
    yield (listed + policy).encode()


def _token(newest: bytes) -> Callable[[bytes], object]:
    folder = Path(__file__).resolve().parents[2] / "shared/vectors/rfc3161-client/test_tsa"
    chain = (folder / "ts_chain.pem").read_bytes() if folder.is_dir() else b""
    held = [Authority("Time Co", chain)] if chain else []
    return lambda data: tokens.check(data, newest, held, 0)


def _tokens(newest: bytes) -> Iterator[bytes]:
    """Tokens of others where they are at hand; a request, which is DER as well, where they are not."""
    folder = Path(__file__).resolve().parents[2] / "shared/vectors/rfc3161-client"
    yield from (path.read_bytes() for path in sorted(folder.rglob("*.tsr")))
    yield stamp.request(newest)


_HTTP = b"POST /add-checkpoint HTTP/1.1\r\nHost: witness.example\r\nContent-Length: 12\r\n\r\n"
