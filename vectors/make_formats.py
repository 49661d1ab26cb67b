"""Makes vectors/formats.json: `python vectors/make_formats.py`. The suite checks it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from cenotaph_proof import canonical, envelope, merkle, note
from cenotaph_proof.inclusion import InclusionProof
from cenotaph_proof.keys import PublicKey, SecretKey
from cenotaph_proof.note import Checkpoint, Note, NoteSignature
from cenotaph_proof.policy import Policy

AUDITOR = SecretKey("Audit Co", "auditor", bytes([1]) * 32, bytes([2]) * 32)
OPERATOR = SecretKey("大数据管理局", "operator", bytes([3]) * 32, bytes([4]) * 32)
WITNESS = SecretKey("Daily Paper", "log-witness", bytes([5]) * 32, bytes([6]) * 32)
LIBRARY = SecretKey("City Library", "log-witness", bytes([7]) * 32, bytes([8]) * 32)
UNIVERSITY = SecretKey("University", "log-witness", bytes([9]) * 32, bytes([10]) * 32, bytes([11]) * 32)
NOW = 1_700_000_000
LEAVES = [merkle.leaf_hash(b"entry %d" % number) for number in range(7)]

# Sealed once, since sealing draws a key: to AUDITOR, with info "cenotaph/v1 vector", the text "a share".
SEALED = (
    "b6de6d7c7d8b8eafbeffe50a4363486045d77a21195bf95ba68443dbc980f22478a83188e2b2bdfb5472869094c26299"
    "1f16b7109dac1c"
)
# Signed once, since ML-DSA-44 signs with randomness: UNIVERSITY's two lines over the checkpoint, at NOW.
BOTH_LINES = Path(__file__).with_name("cosigned-mldsa44.txt")


def vectors() -> dict[str, Any]:
    """All vectors as the JSON file holds them."""
    return {
        "spec": "spec/envelope.md, spec/keys.md, spec/log.md",
        "expect": 'each case says "accepted", "refused", or "refused by ML-DSA-44" where only that finds it',
        "canonical": _canonical(),
        "keys": _keys(),
        "envelopes": {"signer": AUDITOR.public.to_text(), "cases": _envelopes()},
        "sealed": {
            "secret_key": AUDITOR.x25519_seed.hex(),
            "info": b"cenotaph/v1 vector".hex(),
            "sealed": SEALED,
            "plaintext": b"a share".hex(),
        },
        "tree": _tree(),
        "checkpoints": {
            "operator": OPERATOR.public.to_text(),
            "witnesses": [WITNESS.public.to_text(), LIBRARY.public.to_text()],
            "cases": _checkpoints(),
        },
        "checkpoints_mldsa44": {
            "operator": OPERATOR.public.to_text(),
            "witnesses": [UNIVERSITY.public.to_text(), LIBRARY.public.to_text()],
            "cases": _checkpoints_mldsa44(),
        },
        "verifier_keys": _verifier_keys(),
        "policies": _policies(),
        "inclusion_proofs": _inclusion_proofs(),
    }


def _case(name: str, expect: str, data: bytes, **more: Any) -> dict[str, Any]:
    return {"name": name, "expect": expect, "hex": data.hex(), **more}


def _canonical() -> list[dict[str, Any]]:
    deepest = b"[" * 32 + b"]" * 32
    accepted = {
        "the example of the page": '{"a":"\\n","b":-1,"€":[]}'.encode(),
        "the largest integer": b"9007199254740991",
        "keys in UTF-16 order": '{"\U0001f600":1,"\ufb33":2}'.encode(),
        "every short escape": b'"\\"\\\\\\b\\t\\n\\f\\r\\u0000\\u001f"',
        "characters that are not escaped": '"\x7f\u0085\u2028/"'.encode(),
        "32 nested lists": deepest,
    }
    refused = {
        "a fraction": b"1.0",
        "an exponent": b"1e2",
        "minus zero": b"-0",
        "an integer beyond 2^53 - 1": b"9007199254740992",
        "a key twice": b'{"a":1,"a":1}',
        "keys out of order": b'{"b":1,"a":1}',
        "keys in code point order": '{"\ufb33":2,"\U0001f600":1}'.encode(),
        "a space": b'{"a": 1}',
        "a line feed at the end": b"{}\n",
        "a byte order mark": b"\xef\xbb\xbf{}",
        "an escape that is not needed": b'"\\u0041"',
        "an escaped solidus": b'"\\/"',
        "upper-case hexadecimal digits": b'"\\u001F"',
        "a lone surrogate, escaped": b'"\\ud800"',
        "a lone surrogate, encoded": b'"\xed\xa0\x80"',
        "overlong UTF-8": b'"\xc0\xaf"',
        "a control character": b'"\x01"',
        "33 nested lists": b"[" + deepest + b"]",
        "nothing": b"",
        "not a number": b"NaN",
        "two values": b"{}{}",
    }
    return [_case(name, "accepted", data) for name, data in accepted.items()] + [
        _case(name, "refused", data) for name, data in refused.items()
    ]


def _keys() -> list[dict[str, Any]]:
    text = AUDITOR.public.to_text()
    ed25519, x25519 = AUDITOR.public.ed25519.hex(), AUDITOR.public.x25519.hex()
    low = (1).to_bytes(32, "little").hex()
    refused = {
        "no line feed": text[:-1],
        "two line feeds": text + "\n",
        "upper-case digits": text.replace(ed25519, ed25519.upper()),
        "another role": text.replace('"auditor"', '"witness"'),
        "a name that ends in a space": text.replace("Audit Co", "Audit Co "),
        "a name with a bidirectional control": text.replace("Audit Co", "Audit \u202eCo"),
        "a name in form D": text.replace("Audit Co", "Zoe\u0308"),
        "a name of 121 characters": text.replace("Audit Co", "A" * 121),
        "an Ed25519 key of low order": text.replace(ed25519, low),
        "an Ed25519 key that is not canonical": text.replace(ed25519, "ee" + "ff" * 30 + "7f"),
        "an X25519 key of low order": text.replace(x25519, low),
        "an X25519 key that is not canonical": text.replace(x25519, "ee" + "ff" * 30 + "7f"),
        "a secret key": text.replace("public-key", "secret-key"),
    }
    both, third = UNIVERSITY.public.to_text(), (UNIVERSITY.public.mldsa44 or b"").hex()
    refused |= {
        "an ML-DSA-44 key of an auditor": both.replace('"log-witness"', '"auditor"'),
        "an ML-DSA-44 key that is too short": both.replace('"mldsa44":"' + third[:2], '"mldsa44":"'),
        "an ML-DSA-44 key in upper-case digits": both.replace(third, third.upper()),
        "no ML-DSA-44 key": AUDITOR.public.to_text().replace(
            '"organisation"', '"mldsa44":null,"organisation"'
        ),
    }
    good = [AUDITOR.public, OPERATOR.public, UNIVERSITY.public]
    return [_key_case(key) for key in good] + [
        _case(name, "refused", value.encode()) for name, value in refused.items()
    ]


def _key_case(key: PublicKey) -> dict[str, Any]:
    return _case(f"a public key of role {key.role}", "accepted", key.to_text().encode(), key_id=key.key_id)


def _envelopes() -> list[dict[str, Any]]:
    payload = '{"_type":"https://in-toto.io/Statement/v1","note":"阴性"}'.encode()
    sealed = envelope.seal(payload, AUDITOR)
    value: Any = canonical.loads(sealed)
    (signature,) = value["signatures"]
    by_bare = envelope.encode_base64(AUDITOR.sign(payload))
    refused = {
        "two signatures": {**value, "signatures": [signature, signature]},
        "no signature": {**value, "signatures": []},
        "no key id": {**value, "signatures": [{"sig": signature["sig"]}]},
        "another key id": {**value, "signatures": [{**signature, "keyid": OPERATOR.public.key_id}]},
        "another payload type": {**value, "payloadType": "application/json"},
        "another payload": {**value, "payload": envelope.encode_base64(payload + b" ")},
        "payload without padding": {**value, "payload": value["payload"].rstrip("=")},
        "signed without the pre-authentication encoding": {
            **value,
            "signatures": [{**signature, "sig": by_bare}],
        },
        "a further member": {**value, "x": None},
    }
    return [
        _case("an envelope", "accepted", sealed, payload=payload.hex(), digest=envelope.digest(sealed).hex()),
        _case("a line feed at the end", "refused", sealed + b"\n"),
        *(_case(name, "refused", canonical.dumps(changed)) for name, changed in refused.items()),
    ]


def _tree() -> dict[str, Any]:
    return {
        "entries": [(b"entry %d" % number).hex() for number in range(len(LEAVES))],
        "roots": [merkle.root(LEAVES[:size]).hex() for size in range(len(LEAVES) + 1)],
        "inclusion": [_hexes(merkle.inclusion_proof(LEAVES, index)) for index in range(len(LEAVES))],
        "consistency": [_hexes(merkle.consistency_proof(LEAVES, old)) for old in range(len(LEAVES) + 1)],
    }


def _hexes(hashes: list[bytes]) -> list[str]:
    return [value.hex() for value in hashes]


def _checkpoints() -> list[dict[str, Any]]:
    origin = note.log_origin(OPERATOR.public)
    signed = note.sign_checkpoint(Checkpoint(origin, 7, merkle.root(LEAVES)), OPERATOR)
    first, second = note.cosign(signed, WITNESS, NOW), note.cosign(signed, LIBRARY, NOW + 5)
    body, own = note.parse_note(signed).body, signed.rpartition(b"\n\n")[2]
    stranger = note.cosign(signed, SecretKey("A", "log-witness", bytes(32), bytes(32)), NOW)
    times = {WITNESS.public.key_id: NOW, LIBRARY.public.key_id: NOW + 5}
    accepted = {
        "a checkpoint": (signed, {}),
        "a checkpoint with two cosignatures": (signed + first + second, times),
        "the checkpoint of an empty log": (_signed(f"{origin}\n0\n{_base64(merkle.EMPTY_ROOT)}\n"), {}),
    }
    refused = {
        "a witness twice": signed + first + first,
        "an unknown witness": signed + stranger,
        "cosignatures before the operator": body + b"\n" + first + own,
        "cosignatures alone": body + b"\n" + first,
        "the operator twice": signed + own,
        "another size": signed.replace(b"\n7\n", b"\n8\n"),
        "another time": signed + _moved(first),
        "no line feed at the end": signed[:-1],
        "an extension line, signed": _signed(body.decode() + "extension\n"),
        "a leading zero, signed": _signed(body.decode().replace("\n7\n", "\n07\n")),
        "a plus sign, signed": _signed(body.decode().replace("\n7\n", "\n+7\n")),
        "other digits, signed": _signed(body.decode().replace("\n7\n", "\n٧\n")),
        "a size beyond 2^53 - 1, signed": _signed(body.decode().replace("\n7\n", f"\n{2**53}\n")),
        "another origin, signed": _signed(body.decode().replace(origin, "cenotaph.log/0123456789abcdef")),
        "an empty log with a root, signed": _signed(body.decode().replace("\n7\n", "\n0\n")),
        "loose base64, signed": _signed(f"{origin}\n7\n{_base64(bytes(32))[:-2]}B=\n"),
    }
    return [_case(name, "accepted", data, cosignatures=seen) for name, (data, seen) in accepted.items()] + [
        _case(name, "refused", data) for name, data in refused.items()
    ]


def _checkpoints_mldsa44() -> list[dict[str, Any]]:
    signed = note.sign_checkpoint(
        Checkpoint(note.log_origin(OPERATOR.public), 7, merkle.root(LEAVES)), OPERATOR
    )
    first, second = BOTH_LINES.read_bytes().splitlines(keepends=True)
    later, other = (
        note.cosign(signed, UNIVERSITY, NOW + 1).splitlines(keepends=True)[0],
        note.cosign(signed, LIBRARY, NOW),
    )
    mine, theirs = {UNIVERSITY.public.key_id: NOW}, {LIBRARY.public.key_id: NOW}
    accepted = {
        "both lines": (signed + first + second, mine),
        "both lines, the second first": (signed + second + first, mine),
        "both lines, and another witness": (signed + first + other + second, mine | theirs),
        "the Ed25519 line alone": (signed + first, {}),
        "the ML-DSA-44 line alone, and another witness": (signed + second + other, theirs),
        "two times": (signed + later + second, {}),
    }
    line = NoteSignature.parse(second)
    changed = dataclasses.replace(line, signature=line.signature[:-1] + bytes([line.signature[-1] ^ 1]))
    refused = {
        "the ML-DSA-44 line twice": signed + first + second + second,
        "the ML-DSA-44 line at another time": signed + _moved(first) + _moved(second),
        "the ML-DSA-44 line without its last byte": signed
        + first
        + dataclasses.replace(line, signature=line.signature[:-1]).to_bytes(),
    }
    # A verifier that knows no ML-DSA cannot tell the last one from "both lines".
    wrong = signed + first + changed.to_bytes()
    return [
        *(_case(name, "accepted", data, cosignatures=seen) for name, (data, seen) in accepted.items()),
        *(_case(name, "refused", data) for name, data in refused.items()),
        _case("a changed bit of the ML-DSA-44 signature", "refused by ML-DSA-44", wrong),
    ]


def _verifier_keys() -> list[dict[str, Any]]:
    keys = [
        *note.note_keys(OPERATOR.public),
        *note.note_keys(WITNESS.public),
        *note.note_keys(UNIVERSITY.public),
    ]
    text = keys[0].to_text()
    name, mark, encoded = text.split("+", 2)
    refused = {
        "another hash": f"{name}+{'0' * 8}+{encoded}",
        "upper-case digits": f"{name}+{mark.upper()}+{encoded}",
        "another name": f"{name}x+{mark}+{encoded}",
        "a space in the name": f"a {text}",
        "padding that is not needed": text + "====",
        "no name": f"+{mark}+{encoded}",
    }
    return [_case(f"type {k.kind:02x}", "accepted", k.to_text().encode(), kind=k.kind) for k in keys] + [
        _case(name, "refused", value.encode()) for name, value in refused.items()
    ]


def _policies() -> list[dict[str, Any]]:
    """Policies, and by when each is met, given when witnesses cosigned (spec/trust.md, rules 13 to 15)."""
    names = "ABCDEF"
    keys = {
        n: note.witness_note_key(SecretKey(n, "log-witness", bytes([20 + i]) * 32, bytes(32)).public)
        for i, n in enumerate(names)
    }
    lines = "".join(f"witness {n} {key.to_text()}\n" for n, key in keys.items())
    rules: dict[str, list[dict[str, int]]] = {
        "quorum none\n": [{}, {"A": 5}],
        "quorum A\n": [{}, {"A": 5}, {"B": 5}],
        "group g any A B C\nquorum g\n": [{"C": 9, "B": 7}, {"D": 1}],
        "group g all A B C\nquorum g\n": [{"A": 3, "B": 7, "C": 5}, {"A": 3, "B": 7}],
        "group g 2 A B C\nquorum g\n": [{"A": 3, "B": 7, "C": 5}, {"A": 3}],
        "group X 2 A B C\ngroup Y any D E\ngroup both all X Y\nquorum both\n": [
            {"A": 10, "B": 30, "D": 20},
            {"A": 10, "B": 11, "C": 12, "D": 20},
            {"A": 10, "D": 11, "E": 12},
        ],
        "# a comment\n\n \tgroup\tg  1\tA \nquorum g\n": [{"A": 4}],
        "group g all A B\nquorum C\n": [{"C": 8}, {"A": 1, "B": 1}],
    }
    refused = {
        "no quorum": "",
        "two quorums": "quorum A\nquorum A\n",
        "no line feed at the end": "quorum A",
        "a carriage return": "quorum A\r\n",
        "a name that is not defined": "quorum Z\n",
        "a name that is defined below": "group g any h\ngroup h any A\nquorum g\n",
        "a group in itself": "group g any g\nquorum g\n",
        "a group without members": "group g any\nquorum g\n",
        "a threshold of 0": "group g 0 A\nquorum g\n",
        "a threshold above the members": "group g 3 A B\nquorum g\n",
        "a threshold with a leading zero": "group g 01 A\nquorum g\n",
        "a threshold in other digits": "group g ١ A\nquorum g\n",
        "a member of two groups": "group g any A\ngroup h any A\nquorum h\n",
        "a member twice": "group g 2 A A\nquorum g\n",
        "none as a member": "group g any none\nquorum g\n",
        "a name that is taken": "group A any B\nquorum A\n",
        "none as a name": "group none any B\nquorum none\n",
        "another word": "monitor A\nquorum A\n",
        "a key of a log": f"witness G {note.operator_note_key(OPERATOR.public).to_text()}\nquorum A\n",
        "a witness's key twice": f"witness G {keys['A'].to_text()}\nquorum A\n",
    }
    found = []
    for rule, times in rules.items():
        read = Policy.parse((lines + rule).encode())
        met = [{"times": t, "time": read.time({keys[n]: when for n, when in t.items()})} for t in times]
        found.append(_case(rule.strip().replace("\n", "; "), "accepted", (lines + rule).encode(), met=met))
    return found + [_case(name, "refused", (lines + rule).encode()) for name, rule in refused.items()]


def _inclusion_proofs() -> list[dict[str, Any]]:
    """Entry 3 of seven, shown under the checkpoint (spec/log.md, part 7)."""
    signed = note.sign_checkpoint(
        Checkpoint(note.log_origin(OPERATOR.public), 7, merkle.root(LEAVES)), OPERATOR
    )
    good = InclusionProof(
        3, tuple(merkle.inclusion_proof(LEAVES, 3)), signed + note.cosign(signed, LIBRARY, NOW)
    )
    text = good.to_bytes()
    accepted = {"an inclusion proof": good, "with extra data": dataclasses.replace(good, extra=b"x")}
    refused = {
        "another index": dataclasses.replace(good, index=4).to_bytes(),
        "a shorter path": dataclasses.replace(good, path=good.path[:-1]).to_bytes(),
        "a longer path": dataclasses.replace(good, path=(*good.path, bytes(32))).to_bytes(),
        "another version": text.replace(b"@v1", b"@v2", 1),
        "a leading zero": text.replace(b"index 3", b"index 03", 1),
        "a plus sign": text.replace(b"index 3", b"index +3", 1),
        "no empty line": text.replace(b"\n\n", b"\n", 1),
        "extra data after the index": text.replace(b"index 3\n", b"index 3\nextra eA==\n", 1),
        "empty extra data": text.replace(b"index 3", b"extra \nindex 3", 1),
        "a changed root": text.replace(b"\n7\n", b"\n6\n", 1),
        "no checkpoint": text.partition(b"\n\n")[0] + b"\n\n",
    }
    entry = (b"entry %d" % 3).hex()
    return [_case(n, "accepted", p.to_bytes(), entry=entry, index=3) for n, p in accepted.items()] + [
        _case(n, "refused", data, entry=entry) for n, data in refused.items()
    ]


def _signed(body: str) -> bytes:
    # What an operator could sign who does not keep to the page.
    signer = note.operator_note_key(OPERATOR.public)
    line = NoteSignature(signer.name, signer.key_hash, OPERATOR.sign(body.encode()))
    return Note(body.encode(), (line,)).to_bytes()


def _moved(line: bytes) -> bytes:
    read = NoteSignature.parse(line)
    return NoteSignature(
        read.name, read.key_hash, (NOW + 1).to_bytes(8, "big") + read.signature[8:]
    ).to_bytes()


def _base64(data: bytes) -> str:
    return envelope.encode_base64(data)


if __name__ == "__main__":
    made = json.dumps(vectors(), ensure_ascii=False, indent=1)
    Path(__file__).with_name("formats.json").write_text(made + "\n", "utf-8")
