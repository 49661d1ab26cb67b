"""Every parser that strangers can feed, with examples of what each reads: for tests and for `make fuzz`.

Whatever the bytes, a parser returns or raises one of our errors: nothing else, within a second, in 256 MiB.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from cenotaph.testing.ceremony import NOTARY, OPERATOR, Ceremony, Estate
from cenotaph_proof import bundle as bundles
from cenotaph_proof import canonical, envelope, merkle, note, stamp, statements, tokens, trust
from cenotaph_proof.errors import ProofError
from cenotaph_proof.inclusion import InclusionProof, prove
from cenotaph_proof.keys import PublicKey, SecretKey
from cenotaph_proof.network import exchange, serving
from cenotaph_proof.paper import pdf as paper_pdf
from cenotaph_proof.paper import text as paper_text
from cenotaph_proof.policy import Policy
from cenotaph_proof.trust import Authority
from cenotaph_proof.witness import Request
from plain_paper import CMAP, DRAWING, plain_objects, plain_paper, with_table


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
    notary, paper = case.key(NOTARY), case.key("Daily Paper")
    post_quantum = replace(paper, mldsa44_seed=paper.x25519_seed)
    keys = (notary, post_quantum)
    included = prove(bundle.entries, bundle.checkpoints, hashlib.sha256(bundle.entries[3]).hexdigest())
    grown = Request(5, merkle.consistency_proof(leaves, 5), newest).to_bytes()
    cosigned = note.add_signatures(newest, [note.cosign(newest, post_quantum, case.now)])
    note_keys = [k for key in (case.key(OPERATOR), post_quantum) for k in note.note_keys(key.public)]
    return {
        "canonical": Parser(_canonical, (*payloads[:3], b"[]", '{"a":"\\n","€":[-1]}'.encode())),
        "envelope": Parser(envelope.open_, tuple(bundle.entries)),
        "statement": Parser(lambda data: statements.parse(data, {}), payloads),
        "note": Parser(_note, (newest, cosigned)),
        "notekey": Parser(_note_key, tuple(k.to_text().encode() for k in note_keys)),
        "checkpoint": Parser(note.Checkpoint.parse, (note.parse_note(newest).body,)),
        "signed": Parser(_signed(case, post_quantum.public), (newest, cosigned)),
        "policy": Parser(_policy(case, post_quantum.public), tuple(_policies(post_quantum.public))),
        "request": Parser(_request, (grown, grown.removesuffix(newest) + cosigned)),
        "inclusion": Parser(InclusionProof.parse, (included.to_bytes(),)),
        "key": Parser(_key, tuple(key.public.to_text().encode() for key in keys)),
        "secret": Parser(_secret, tuple(map(_saved, keys))),
        "trust": Parser(_trust, tuple(_trust_files(case))),
        "http": Parser(serving._parse_head, (_HTTP,)),
        "token": Parser(_token(newest), tuple(_tokens(newest))),
        "asked": Parser(_asked(notary.public), (_asks(notary, case.now),)),
        "parts": Parser(_parts, tuple(_posts(bundle.entries[3]))),
        "copy": Parser(_copy, (_copied(bundle.entries[0]),)),
        "cmap": Parser(paper_text.glyphs, (CMAP,)),
        "drawing": Parser(lambda data: paper_text.words(data, _FONTS), (DRAWING,)),
        **({"paper": Parser(_paper, (plain_paper(), plain_objects()))} if _CAN_READ else {}),
        "proof": Parser(_proof, (proof,), seconds=5.0),
    }


# ── what travels beside a proof file ─────────────────────────────────────────────────────────────


def _note(data: bytes) -> None:
    parsed = note.parse_note(data)
    lines = b"".join(line.to_bytes() for line in parsed.signatures)
    assert parsed.body + b"\n" + lines == data


def _note_key(data: bytes) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    assert note.NoteKey.from_text(text).to_text() == text


def _signed(case: Ceremony, post_quantum: PublicKey) -> Callable[[bytes], object]:
    witnesses = [*(case.key(name).public for name in case.witnesses), post_quantum]
    return lambda data: note.verify_checkpoint(data, case.key(OPERATOR).public, witnesses)


def _policy(case: Ceremony, witness: PublicKey) -> Callable[[bytes], object]:
    """Read, and asked: groups may be nested as deeply as lines allow."""
    times = dict.fromkeys(note.note_keys(witness), case.now)
    return lambda data: Policy.parse(data).time(times)


def _policies(witness: PublicKey) -> Iterator[bytes]:
    one, other = (key.to_text() for key in note.witness_note_keys(witness))
    yield f"witness W {one} https://paper.example/\ngroup G any W\nquorum G\n".encode()
    yield f"# two\nlog {other}\nwitness A {one}\nwitness B {other}\ngroup G 2 A B\nquorum none\n".encode()
    yield f"witness A {one}\n\nwitness B {other}\ngroup G all A\ngroup H 1 B G\n\tquorum H\n".encode()


def _request(data: bytes) -> None:
    assert Request.parse(data).to_bytes() == data


def _key(data: bytes) -> None:
    """What is read is written again."""
    with suppress(UnicodeDecodeError):
        text = data.decode()
        assert PublicKey.from_text(text).to_text() == text


def _secret(data: bytes) -> object:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key"
        path.write_bytes(data)
        path.chmod(0o600)
        return SecretKey.load(path).public


def _saved(key: SecretKey) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        key.save(Path(folder) / "key")
        return (Path(folder) / "key").read_bytes()


def _asked(party: PublicKey) -> Callable[[bytes], object]:
    """The headers that sign a request to an inbox, one a line."""

    def read(data: bytes) -> None:
        lines = (line.partition(": ") for line in data.decode("latin-1").split("\n"))
        headers = {name.lower(): value for name, _, value in lines}
        said = exchange.read_request(headers)
        exchange.verify_request(party, "POST", "inbox.example", "/incoming", said, headers)

    return read


def _asks(key: SecretKey, now: int) -> bytes:
    headers = exchange.sign_request(
        key, "POST", "inbox.example", "/incoming", b"x", now=now, nonce="0123456789abcdef" * 2
    )
    return "\n".join(f"{name}: {value}" for name, value in headers.items()).encode()


def _parts(data: bytes) -> None:
    assert exchange.Parts.parse(data).to_bytes() == data


def _posts(entry: bytes) -> Iterator[bytes]:
    for share, attachment in ((None, None), (b"s" * 80, None), (None, b"{}"), (b"", b"[]")):
        yield exchange.Parts(entry, share, attachment).to_bytes()


def _copy(data: bytes) -> None:
    for received in exchange.read_copy(io.BytesIO(data), 1 << 20):
        assert exchange.is_copied(received.path)
        assert sum(map(len, received.parts)) == received.size


def _copied(entry: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        case = Path(folder)
        (case / "statements").mkdir()
        (case / "statements/0000-charter.json").write_bytes(entry)
        (case / "case.toml").write_bytes(b"id = 'x'\n")
        return b"".join(exchange.write_copy(exchange.copied(case, private=True, key_id="0" * 64)))


_FONTS = {"f0": paper_text.glyphs(CMAP)}
_CAN_READ = importlib.util.find_spec("pyhanko") is not None


def _paper(data: bytes) -> None:
    """A file as it is; objects without a table get one, else a change of length would be the end of it."""
    paper_pdf.read(data if b"startxref" in data else with_table(data))


# ── proof files and trust ────────────────────────────────────────────────────────────────────────


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
