"""Conformance data written by others, as named cases: what goes in, and what must come out.

The data lies in a folder beside the repository and is read, never copied. This module only gives it one
shape, so that the verifier in Python and the one in the browser are asked the same. `cases(SET)` lists the
cases of a set; an input is a text, a number, bytes, None, or a list or dict of these, and `as_json` turns
bytes into hexadecimal digits for a browser. `expected` is True where the input must be accepted, False where
it must be refused, or the value that must come out. Nothing here imports the product.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "vectors"
SERVERLESS_KEY = "astra+cad5a3d2+AZJqeuyE/GnknsCNh1eCtDtwdAwKBddOlS8M2eI1Jt4b"
TESSERA_KEY = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a set."""

    name: str
    inputs: dict[str, Any]
    expected: Any = True


def folder() -> Path:
    """The folder with the data. Skips the test where the folder that holds it is absent, and only then."""
    if not FOLDER.parent.is_dir():
        pytest.skip("the shared folder with conformance data is not beside the repository")
    return FOLDER


def cases(name: str) -> list[Case]:
    """All cases of a set of `SETS`."""
    return list(SETS[name](folder()))


def as_json(value: Any) -> Any:
    """A case, or a part of one, with bytes as hexadecimal digits."""
    if isinstance(value, Case):
        return {"name": value.name, "inputs": as_json(value.inputs), "expected": as_json(value.expected)}
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return value.hex() if isinstance(value, bytes) else value


# ── Merkle trees ─────────────────────────────────────────────────────────────────────────────────


def _inclusion(root: Path) -> Iterator[Case]:
    for name, case in _files(root / "rfc6962-proofs" / "inclusion"):
        inputs = {"index": case["leafIdx"], "size": case["treeSize"], **_leaf(case)}
        yield Case(f"{name}: {case['desc']}", inputs, not case["wantErr"])


def _subtree_inclusion(root: Path) -> Iterator[Case]:
    # Inclusion in the leaves from start to end, which are a tree of their own.
    for name, case in _files(root / "rfc6962-proofs" / "subtreeinclusion"):
        index, size = case["leafIdx"] - case["start"], case["end"] - case["start"]
        yield Case(
            f"{name}: {case['desc']}", {"index": index, "size": size, **_leaf(case)}, not case["wantErr"]
        )


def _consistency(root: Path) -> Iterator[Case]:
    for name, case in _files(root / "rfc6962-proofs" / "consistency"):
        inputs = {"old_size": case["size1"], "new_size": case["size2"], **_roots(case)}
        yield Case(f"{name}: {case['desc']}", inputs, not case["wantErr"])


def _subtree_consistency(root: Path) -> Iterator[Case]:
    # Of a subtree that begins at leaf 0: the others have no counterpart in a log of whole checkpoints.
    for name, case in _files(root / "rfc6962-proofs" / "subtreeconsistency"):
        if case["start"] == 0:
            inputs = {"old_size": case["end"], "new_size": case["size"], **_roots(case)}
            yield Case(f"{name}: {case['desc']}", inputs, not case["wantErr"])


def _sigstore_inclusion(root: Path) -> Iterator[Case]:
    for name, entry in _sigstore(root):
        if claim := entry.get("inclusionProof"):
            inputs = {
                "index": int(claim.get("logIndex", 0)),
                "size": int(claim["treeSize"]),
                "leaf": hashlib.sha256(b"\0" + _b64(entry["canonicalizedBody"])).digest(),
                "proof": [_b64(value) for value in claim["hashes"]],
                "root": _b64(claim["rootHash"]),
            }
            yield Case(name, inputs, name not in _BAD_INCLUSION)


# What the other refused bundles are refused for is something else than their inclusion proof.
_BAD_INCLUSION = ("inclusion-proof-corrupted-hash_fail", "invalid-inclusion-proof_fail")


# ── logs ─────────────────────────────────────────────────────────────────────────────────────────


def _tessera(root: Path) -> Iterator[Case]:
    place = root / "tlog-tiles-tessera"
    for size in range(16):
        inputs: dict[str, Any] = {
            "size": size,
            "key": TESSERA_KEY,
            "checkpoint": (place / f"checkpoint.{size}").read_bytes(),
            "files": {},
        }
        for path in (f"tile/0/000.p/{size}", f"tile/entries/000.p/{size}") if size else ():
            inputs["files"][path] = (place / path).read_bytes()
        yield Case(f"tessera at size {size}", inputs)


def _sunlight(root: Path) -> Iterator[Case]:
    place = root / "tlog-tiles-sunlight"
    mirrors = [
        f"witness/mirror/{p.name}" for p in (place / "witness/mirror").iterdir() if (p / "tile").is_dir()
    ]
    for name in ("tree", *mirrors):
        tiles = [
            p for p in sorted((place / name / "tile").rglob("*")) if p.is_file() and p.parts[-2] != "names"
        ]
        files = {str(p.relative_to(place / name)): p.read_bytes() for p in tiles}
        inputs = {"size": 300, "checkpoint": (place / name / "checkpoint").read_bytes(), "files": files}
        # The tiles of the mirror are real; those beside the log itself, and all entries, are a line of text.
        yield Case(f"sunlight {name.partition('/')[0]}", inputs, name in mirrors)


def _navigli(root: Path) -> Iterator[Case]:
    place = root / "tlog-tiles-navigli2025h2"
    for path in sorted(p for p in (place / "tile" / "0").rglob("*") if p.is_file()):
        name = str(path.relative_to(place))
        whole = place / name.partition(".p/")[0]
        width = int(name.partition(".p/")[2] or 256)
        yield Case(
            name, {"tile": path.read_bytes(), "full": whole.read_bytes(), "path": name, "width": width}
        )


def _tile_paths(root: Path) -> Iterator[Case]:
    # The Go reference names the height of a tile before its level; tlog-tiles has tiles of height 8 alone.
    for path, tile in _json(root / "tlog-golang.json")["tile_paths"]:
        yield Case(path, {"path": path}, tile)


# ── notes and checkpoints ────────────────────────────────────────────────────────────────────────


def _notes(root: Path) -> Iterator[Case]:
    go = _json(root / "signed-note-golang.json")
    keys = [name + rest for name, rest in go["vkeys"].items()]
    text, peter, enoch = go["text"], go["signatures"]["peter"], go["signatures"]["enoch"]
    for name, lines in (
        ("peter", peter),
        ("enoch", enoch),
        ("both", peter + enoch),
        ("turned", enoch + peter),
    ):
        yield Case(name, {"note": f"{text}\n{lines}".encode(), "keys": keys})
    sample = _json(root / "cosigned-checkpoints.json")["c2sp_signed_note"]
    yield Case("C2SP", {"note": f"{sample['text']}\n{sample['sig']}\n".encode(), "keys": [sample["vkey"]]})
    bad = [data.encode() for data in go["malformed_notes"]]
    bad += [b"\xff" + f"{text}\n{peter}".encode(), f"{text}\n{peter * 101}".encode()]
    for number, data in enumerate(bad):
        yield Case(f"malformed {number}", {"note": data, "keys": keys}, False)


def _note_keys(root: Path) -> Iterator[Case]:
    go = _json(root / "signed-note-golang.json")
    for name, rest in go["vkeys"].items():
        yield Case(name, {"key": name + rest})
    for text in go["bad_vkeys"]:
        yield Case(f"bad: {text[:24]}", {"key": text}, False)
    # "every proper substring", "every vkey with one byte incremented", as the reference's tests have it.
    for name, rest in go["vkeys"].items():
        text, places = name + rest, range(len(name + rest) + 1)
        changed = {text[start:end] for start in places for end in places[start:]} - {text}
        changed |= {text[:at] + chr(ord(text[at]) + 1) + text[at + 1 :] for at in range(len(text))}
        for number, change in enumerate(sorted(changed)):
            yield Case(f"{name} changed {number}", {"key": change}, False)


def _tree_heads(root: Path) -> Iterator[Case]:
    go = _json(root / "tlog-golang.json")
    head = go["tree_head"]
    value = {
        "size": head["size"],
        "root": hashlib.sha256(b"\0" + head["root_is_leaf_hash_of"].encode()).digest(),
    }
    origin = head["text"].partition("\n")[0]
    yield Case("head", {"text": head["text"].encode(), "origin": origin}, value)
    for number, text in enumerate(go["bad_tree_heads"]):
        yield Case(f"bad {number}", {"text": text.encode(), "origin": origin}, None)


def _formats_keys(root: Path) -> Iterator[Case]:
    formats = _json(root / "tlog-formats.json")
    for entry in formats["vkeys"]:
        yield Case(entry["vkey"][:24], {"key": entry["vkey"]})
    for text in formats["witness_test_keys"]:
        if not text.startswith("("):
            yield Case(text[:13], {"key": text})


def _formats_time(root: Path) -> Iterator[Case]:
    stamp = _json(root / "tlog-formats.json")["cosig_timestamp"]
    yield Case("time of a cosignature", {"signature": stamp["sig_base64"]}, stamp["unix"])


def _tlog_proofs(root: Path) -> Iterator[Case]:
    for number, text in enumerate(_json(root / "tlog-formats.json")["tlog_proof_bad"]):
        yield Case(f"malformed {number}", {"proof": text.encode()}, False)


def _public_keys(root: Path) -> Iterator[Case]:
    # Of the public witness network. ECDSA keys (type 0x02) are none that signed-note lets a checkpoint have
    # beside Ed25519 in our profile: they are expected to be refused.
    for place in sorted((root / "public-keys").rglob("*.yaml")):
        for number, text in enumerate(re.findall(r"\S+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+", place.read_text())):
            kind = _b64(text.split("+", 2)[2])[0]
            yield Case(f"{place.parent.name}/{place.name} {number}", {"key": text}, kind in (1, 4, 6))


def _serverless(root: Path) -> Iterator[Case]:
    place = root / "checkpoints-serverless-log"
    for size in [*range(16), None]:
        note = (place / ("checkpoint" if size is None else f"checkpoint.{size}")).read_bytes()
        inputs = {"note": note, "log": SERVERLESS_KEY, "origin": "example.com/testdata", "witnesses": []}
        yield Case("newest" if size is None else f"size {size}", inputs, {})


def _cosigned(root: Path) -> Iterator[Case]:
    published = _json(root / "cosigned-checkpoints.json")
    arche, coach = (text.encode() for text in published["checkpoints"])
    log, remora, _, navigli_mldsa = published["vkeys"]
    known = {name: _vkey(name, 4, key) for name, key in _sigsum_witnesses(root).items()}
    for name in _signers(arche)[2:]:
        inputs = {"note": arche, "log": log, "origin": None, "witnesses": [known[name]]}
        yield Case(f"arche by {name}", inputs, {known[name]: _TIME_OF_ARCHE})
    every = [known[name] for name in _signers(arche)[2:]]
    assert remora in every
    yield Case(
        "arche by all",
        {"note": arche, "log": log, "origin": None, "witnesses": every},
        dict.fromkeys(every, _TIME_OF_ARCHE),
    )
    for name, key in (("Ed25519", known[_NAVIGLI]), ("ML-DSA-44", navigli_mldsa)):
        # Its log signs with ECDSA (type 0x05), which is not ours to check: the witness stands in its place.
        inputs = {"note": coach, "log": key, "origin": _signers(coach)[0], "witnesses": []}
        yield Case(f"coachandhorses by navigli, {name}", inputs, {})


_NAVIGLI = "witness.navigli.sunlight.geomys.org"
_TIME_OF_ARCHE = 0x6A122120


def _sunlight_checkpoints(root: Path) -> Iterator[Case]:
    place = root / "tlog-tiles-sunlight"
    keys = [key for p in sorted(place.rglob("*.v0.json")) for key in _json(p)["verifier_keys"]]
    for path in sorted(p for p in place.glob("witness*/**/checkpoint") if p.read_bytes().count(b"\n") > 3):
        note = path.read_bytes()
        key = next(k for k in keys if k.partition("+")[0] == _signers(note)[-1])
        inputs = {"note": note, "log": key, "origin": note.decode().partition("\n")[0], "witnesses": []}
        yield Case(f"by {_signers(note)[-1]}", inputs, {})


def _rekor(root: Path) -> Iterator[Case]:
    for place in sorted((root / "sigstore-conformance").glob("rekor2-*")):
        (entry,) = _json(place / "bundle.sigstore.json")["verificationMaterial"]["tlogEntries"]
        if "inclusionProof" not in entry:
            continue
        note = entry["inclusionProof"]["checkpoint"]["envelope"].encode()
        inputs = {
            "note": note,
            "log": _rekor_key(root, place, note.decode().partition("\n")[0]),
            "origin": None,
            "witnesses": [],
        }
        bad = "checkpoint" in place.name and place.name.endswith("_fail")
        yield Case(place.name, inputs, None if bad else {})


def _rekor_key(root: Path, place: Path, origin: str) -> str:
    # Bundles without a trusted root of their own are to be checked with the public staging one.
    found = place / "trusted_root.json"
    if not found.exists():
        found = root / "sigstore-conformance" / "rekor2-happy-path" / "trusted_root.json"
    logs = {
        log["baseUrl"].removeprefix("https://"): _b64(log["publicKey"]["rawBytes"])[-32:]
        for log in _json(found)["tlogs"]
        if log["publicKey"]["keyDetails"] == "PKIX_ED25519"
    }
    name = origin if origin in logs else next(iter(logs))
    return _vkey(name, 1, logs[name])


# ── policies ─────────────────────────────────────────────────────────────────────────────────────


def _policies(root: Path) -> Iterator[Case]:
    """Real policies, their bare keys written as the verifier keys that tlog-policy has in their places."""
    for place in sorted((root / "tlog-policy-sigsum").rglob("*.builtin-policy")):
        lines = [_generalised(line) for line in place.read_text().splitlines()]
        counted = {
            word: sum(line.startswith(f"{word} ") for line in lines) for word in ("log", "witness", "group")
        }
        yield Case(place.name.partition(".")[0], {"policy": ("\n".join(lines) + "\n").encode()}, counted)


def _generalised(line: str) -> str:
    words = line.split()
    if words[:1] == ["log"]:
        raw = bytes.fromhex(words[1])
        return " ".join(
            ["log", _vkey(f"sigsum.org/v1/tree/{hashlib.sha256(raw).hexdigest()}", 1, raw), *words[2:]]
        )
    if words[:1] == ["witness"]:
        return " ".join(["witness", words[1], _vkey(words[1], 4, bytes.fromhex(words[2])), *words[3:]])
    return line


def _sigsum_witnesses(root: Path) -> dict[str, bytes]:
    (place,) = root.rglob("sigsum-test-2025-3.builtin-policy")
    found = re.findall(r"^witness (\S+) +([0-9a-f]{64})$", place.read_text(), re.M)
    return {name: bytes.fromhex(key) for name, key in found}


# ── signatures, keys, envelopes, canonical JSON ──────────────────────────────────────────────────


def _cctv(root: Path) -> Iterator[Case]:
    """`expected` is the list of flags: which of them are to be refused is the verifier's rule."""
    for case in _json(root / "cctv" / "ed25519" / "ed25519vectors.json"):
        inputs = {
            "key": bytes.fromhex(case["key"]),
            "signature": bytes.fromhex(case["sig"]),
            "message": case["msg"].encode(),
        }
        yield Case(str(case["number"]), inputs, case["flags"] or [])


def _wycheproof_ed25519(root: Path) -> Iterator[Case]:
    for group, case in _wycheproof(root, "ed25519_test"):
        inputs = {
            "key": bytes.fromhex(group["publicKey"]["pk"]),
            "signature": bytes.fromhex(case["sig"]),
            "message": bytes.fromhex(case["msg"]),
        }
        yield Case(f"{case['tcId']} {case['comment']}", inputs, case["result"] == "valid")


def _wycheproof_mldsa44(root: Path) -> Iterator[Case]:
    """Cases with a context (`ctx`) that is not empty are for signers of another kind; they are left out."""
    for group, case in _wycheproof(root, "mldsa_44_verify_test"):
        if not case.get("ctx"):
            inputs = {
                "key": bytes.fromhex(group["publicKey"]),
                "signature": bytes.fromhex(case["sig"]),
                "message": bytes.fromhex(case["msg"]),
            }
            yield Case(f"{case['tcId']} {case['comment']}", inputs, case["result"] == "valid")


def _wycheproof_hkdf(root: Path) -> Iterator[Case]:
    for _, case in _wycheproof(root, "hkdf_sha256_test"):
        inputs = {name: bytes.fromhex(case[name]) for name in ("ikm", "salt", "info")} | {
            "size": case["size"]
        }
        valid = case["result"] == "valid"
        yield Case(f"{case['tcId']} {case['comment']}", inputs, bytes.fromhex(case["okm"]) if valid else None)


def _wycheproof_aead(root: Path) -> Iterator[Case]:
    """ChaCha20-Poly1305 with the nonces and tags of RFC 8439; other lengths must be refused."""
    for _, case in _wycheproof(root, "chacha20_poly1305_test"):
        inputs = {name: bytes.fromhex(case[name]) for name in ("key", "iv", "aad", "ct", "tag")}
        valid = case["result"] == "valid"
        yield Case(f"{case['tcId']} {case['comment']}", inputs, bytes.fromhex(case["msg"]) if valid else None)


def _wycheproof_p256(root: Path) -> Iterator[Case]:
    for group, case in _wycheproof(root, "ecdsa_secp256r1_sha256_test"):
        inputs = {
            "key": bytes.fromhex(group["publicKeyDer"]),
            "signature": bytes.fromhex(case["sig"]),
            "message": bytes.fromhex(case["msg"]),
        }
        yield Case(f"{case['tcId']} {case['comment']}", inputs, case["result"] == "valid")


def _jcs(root: Path) -> Iterator[Case]:
    for place in sorted((root / "rfc8785-jcs" / "input").glob("*.json")):
        expected = (root / "rfc8785-jcs" / "output" / place.name).read_bytes()
        digits = (root / "rfc8785-jcs" / "outhex" / f"{place.stem}.txt").read_text()
        assert bytes.fromhex("".join(digits.split())) == expected
        yield Case(place.stem, {"json": place.read_bytes()}, expected)


def _w3c_jcs(root: Path) -> Iterator[Case]:
    place = root / "w3c-eddsa-jcs-2022" / "eddsa-jcs-2022"
    signed = _json(place / "signedJCS.json")
    del signed["proof"]
    yield Case("document", {"json": json.dumps(signed).encode()}, (place / "canonDocJCS.txt").read_bytes())
    config = (place / "proofConfigJCS.json").read_bytes()
    yield Case("proof", {"json": config}, (place / "proofCanonJCS.txt").read_bytes())


def _w3c_eddsa(root: Path) -> Iterator[Case]:
    place = root / "w3c-eddsa-jcs-2022" / "eddsa-jcs-2022"
    hashes = [
        hashlib.sha256((place / name).read_bytes()).digest()
        for name in ("proofCanonJCS.txt", "canonDocJCS.txt")
    ]
    assert b"".join(hashes).hex() == (place / "combinedHashJCS.txt").read_text()
    named = _json(place / "proofConfigJCS.json")["verificationMethod"].rpartition("#z")[2]
    key = _base58(named)
    assert key[:2] == b"\xed\x01"
    signature = bytes.fromhex((place / "sigHexJCS.txt").read_text())
    inputs = {"key": key[2:], "signature": signature, "message": b"".join(hashes)}
    yield Case("alumni credential", inputs)


def _base58(text: str) -> bytes:
    number = 0
    for letter in text:
        number = number * 58 + "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz".index(letter)
    return number.to_bytes(-(-number.bit_length() // 8), "big")


def _dsse(root: Path) -> Iterator[Case]:
    vector = _json(root / "dsse" / "hello-world-p256.json")
    inputs = {
        "type": vector["payloadType"],
        "payload": vector["payload"].encode(),
        "x": int(vector["key"]["x"]),
        "y": int(vector["key"]["y"]),
        "signature": _b64(vector["envelope"]["signatures"][0]["sig"]),
    }
    yield Case("hello world", inputs, vector["pae"].encode())


def _sigstore_dsse(root: Path) -> Iterator[Case]:
    """Envelopes of sigstore, each with the certificate (DER) whose P-256 key must have signed it."""
    for place in sorted((root / "sigstore-conformance").glob("*/bundle.sigstore.json")):
        bundle = _json(place)
        if "dsseEnvelope" in bundle:
            envelope, material = bundle["dsseEnvelope"], bundle["verificationMaterial"]
            inputs = {
                "type": envelope["payloadType"],
                "payload": _b64(envelope["payload"]),
                "signature": _b64(envelope["signatures"][0]["sig"]),
                "certificate": _b64(_certificate(material)),
            }
            yield Case(place.parent.name, inputs, "dsse-invalid-sig" not in place.parent.name)


def _certificate(material: dict[str, Any]) -> str:
    if "certificate" in material:
        return str(material["certificate"]["rawBytes"])
    return str(material["x509CertificateChain"]["certificates"][0]["rawBytes"])


SETS: dict[str, Callable[[Path], Iterator[Case]]] = {
    "rfc6962-inclusion": _inclusion,
    "rfc6962-consistency": _consistency,
    "rfc6962-subtree-inclusion": _subtree_inclusion,
    "rfc6962-subtree-consistency": _subtree_consistency,
    "sigstore-inclusion": _sigstore_inclusion,
    "tlog-tiles-tessera": _tessera,
    "tlog-tiles-sunlight": _sunlight,
    "tlog-tiles-navigli": _navigli,
    "tlog-golang-paths": _tile_paths,
    "tlog-golang-heads": _tree_heads,
    "signed-note-golang": _notes,
    "signed-note-golang-keys": _note_keys,
    "tlog-formats-keys": _formats_keys,
    "tlog-formats-time": _formats_time,
    "tlog-formats-proofs": _tlog_proofs,
    "public-keys": _public_keys,
    "checkpoints-serverless-log": _serverless,
    "cosigned-checkpoints": _cosigned,
    "sunlight-checkpoints": _sunlight_checkpoints,
    "sigstore-checkpoints": _rekor,
    "tlog-policy-sigsum": _policies,
    "cctv-ed25519": _cctv,
    "wycheproof-ed25519": _wycheproof_ed25519,
    "wycheproof-mldsa44": _wycheproof_mldsa44,
    "wycheproof-hkdf": _wycheproof_hkdf,
    "wycheproof-chacha20-poly1305": _wycheproof_aead,
    "wycheproof-p256": _wycheproof_p256,
    "rfc8785-jcs": _jcs,
    "w3c-jcs": _w3c_jcs,
    "w3c-eddsa": _w3c_eddsa,
    "dsse": _dsse,
    "sigstore-dsse": _sigstore_dsse,
}


def _files(place: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(place.rglob("*.json")):
        yield str(path.relative_to(place).with_suffix("")), _json(path)


def _leaf(case: dict[str, Any]) -> dict[str, Any]:
    return {
        "leaf": _b64(case["leafHash"]),
        "proof": [_b64(value) for value in case["proof"] or ()],
        "root": _b64(case["root"]),
    }


def _roots(case: dict[str, Any]) -> dict[str, Any]:
    return {
        "old_root": _b64(case["root1"]),
        "new_root": _b64(case["root2"]),
        "proof": [_b64(value) for value in case["proof"] or ()],
    }


def _sigstore(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for place in sorted((root / "sigstore-conformance").glob("*/bundle.sigstore.json")):
        for entry in _json(place)["verificationMaterial"]["tlogEntries"]:
            yield place.parent.name, entry


def _wycheproof(root: Path, name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for group in _json(root / "wycheproof" / f"{name}.json")["testGroups"]:
        for case in group["tests"]:
            yield group, case


def _vkey(name: str, kind: int, raw: bytes) -> str:
    encoded = bytes([kind]) + raw
    mark = hashlib.sha256(name.encode() + b"\n" + encoded).hexdigest()[:8]
    return f"{name}+{mark}+{base64.b64encode(encoded).decode()}"


def _signers(note: bytes) -> list[str]:
    return re.findall(r"^— (\S+) ", note.decode(), re.M)


def _b64(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def _json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))
