"""Makes vectors/statements.json: payloads of envelopes, accepted and refused, and detached bodies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cenotaph_proof import canonical, statements
from cenotaph_proof.statements import Cite, Inventory, InventoryStore, Statement, Testimony

CITES = (Cite("charter", "0c" * 32), Cite("destruction", "0d" * 32))
TESTIMONY = Testimony("Vector & Partners", "notary", 1_700_000_000, "witnessed", "第一步", ("a3" * 32,))


def vectors() -> dict[str, Any]:
    """All vectors as the JSON file holds them."""
    payload, _ = statements.write(Statement(TESTIMONY, CITES))
    detached, attachment = statements.write(Statement(_large(), CITES[:1]))
    assert attachment is not None
    inline = _outer(detached) | {"predicate": canonical.loads(attachment)}
    other = attachment.replace(b'"undeclared":0', b'"undeclared":1')
    return {
        "spec": "spec/statements.md, spec/testimony.md, spec/inventory.md",
        "expect": 'each case says "accepted" or "refused"; payload and attachments are UTF-8 texts',
        "cases": [
            _case("a testimony", "accepted", payload, kind="testimony", cites=[c.kind for c in CITES]),
            *(_case(name, "refused", _outer(payload) | change) for name, change in _OUTER.items()),
            *(_case(name, "refused", _with_body(payload, change)) for name, change in _BODIES.items()),
            _case("a detached body", "accepted", detached, attachment, kind="inventory", cites=["charter"]),
            _case("a detached body that is missing", "refused", detached),
            _case("a detached body that is another one", "refused", detached, other),
            _case("a body that must be detached, inline", "refused", inline),
            _case("a body that must be inline, detached", "refused", *_detached(payload)),
        ],
    }


def _case(
    name: str, expect: str, payload: bytes | dict[str, Any], *attached: bytes, **more: Any
) -> dict[str, Any]:
    data = payload if isinstance(payload, bytes) else canonical.dumps(payload)
    return {
        "name": name,
        "expect": expect,
        "payload": data.decode(),
        "attachments": [a.decode() for a in attached],
        **more,
    }


def _outer(payload: bytes) -> dict[str, Any]:
    value: Any = canonical.loads(payload)
    return dict(value)


def _with_body(payload: bytes, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    outer = _outer(payload)
    return outer | {"predicate": change(outer["predicate"])}


def _detached(payload: bytes) -> tuple[dict[str, Any], bytes]:
    outer = _outer(payload)
    body = canonical.dumps(outer["predicate"])
    reference = {"bytes": len(body), "detached": hashlib.sha256(body).hexdigest()}
    return outer | {"predicate": reference}, body


def _large() -> Inventory:
    """An inventory whose body has just more than 40,000 bytes."""
    store = InventoryStore("health", "L2", "", (), ("x" * 1000,) * 39)
    body = Inventory((store,), (), 0, "a1" * 32)
    short = statements.DETACH_ABOVE + 1 - len(canonical.dumps(statements.to_json(body)))
    return replace(body, stores=(replace(store, why_not_higher="y" * short),))


def _without(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda body: {k: v for k, v in body.items() if k != key}


def _cited(*cites: dict[str, Any]) -> dict[str, Any]:
    return {"subject": list(cites)}


_OUTER: dict[str, dict[str, Any]] = {
    "another type of statement": {"_type": "https://in-toto.io/Statement/v0.1"},
    "a kind that is not known": {"predicateType": "urn:cenotaph:v1:rumour"},
    "another version": {"predicateType": "urn:cenotaph:v2:testimony"},
    "a further member": {"x": 1},
    "no citations": _cited(),
    "a citation with a second digest": _cited(
        {"name": "charter", "digest": {"sha256": "0c" * 32, "sha512": "0c" * 64}}
    ),
    "a citation in upper case": _cited({"name": "charter", "digest": {"sha256": "0C" * 32}}),
}
_BODIES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "a further member of the body": lambda b: {**b, "note": "x"},
    "a member of the body that is missing": _without("about"),
    "a member that is null": lambda b: {**b, "about": None},
    "a role that is not known": lambda b: {**b, "role": "friend"},
    "a time that is a text": lambda b: {**b, "signed": "1700000000"},
    "a time before 1970": lambda b: {**b, "signed": -1},
    "a time that is true": lambda b: {**b, "signed": True},
    "a digest in upper case": lambda b: {**b, "evidence": ["A3" * 32]},
    "a digest that is too short": lambda b: {**b, "evidence": ["a3" * 31]},
    "an empty name": lambda b: {**b, "about": ""},
    "a name of 201 characters": lambda b: {**b, "about": "步" * 201},
    "a name with a line feed": lambda b: {**b, "about": "a\nb"},
    "a list that is a text": lambda b: {**b, "evidence": "a3" * 32},
}
