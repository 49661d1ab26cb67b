"""Asking a log witness over HTTP as an operator does, and as a liar does: a log, and a fork of it."""

from __future__ import annotations

import hashlib
import http.client
import time
from dataclasses import dataclass

from cenotaph_proof import merkle, note
from cenotaph_proof.keys import SecretKey
from cenotaph_proof.note import Checkpoint
from cenotaph_proof.witness import Request
from servers import Server


def a_key(organisation: str, role: str) -> SecretKey:
    """The key of an organisation, derived from its name: for tests alone."""
    seed = hashlib.sha512(f"{organisation}/{role}".encode()).digest()
    return SecretKey(organisation, role, seed[:32], seed[32:])


OPERATOR, OTHER = a_key("Big Data Bureau", "operator"), a_key("Other Bureau", "operator")
PAPER = a_key("Daily Paper", "log-witness")
LEAVES = [merkle.leaf_hash(b"%d" % number) for number in range(400)]
FORKED = [*LEAVES[:3], merkle.leaf_hash(b"another"), *LEAVES[4:]]


@dataclass(frozen=True)
class Said:
    status: int
    kind: str
    body: bytes


def head(size: int, leaves: list[bytes] = LEAVES, key: SecretKey = OPERATOR) -> bytes:
    """A checkpoint, signed by its operator."""
    return note.sign_checkpoint(
        Checkpoint(note.log_origin(key.public), size, merkle.root(leaves[:size])), key
    )


def asked(old: int, size: int, leaves: list[bytes] = LEAVES, key: SecretKey = OPERATOR) -> bytes:
    """An honest request to grow from one size to another."""
    proof = merkle.consistency_proof(leaves[:size], old) if old else []
    return Request(old, tuple(proof), head(size, leaves, key)).to_bytes()


def call(server: Server, method: str, path: str, body: bytes = b"") -> Said:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        client.request(method, path, body or None)
        answer = client.getresponse()
        return Said(answer.status, answer.headers["Content-Type"], answer.read())
    finally:
        client.close()


def add(server: Server, body: bytes) -> Said:
    return call(server, "POST", "/add-checkpoint", body)


def verify(checkpoint: bytes, lines: bytes) -> None:
    """The lines are this witness's, over this checkpoint, at about this time."""
    ((key_id, seen),) = note.verify_checkpoint(
        checkpoint + lines, OPERATOR.public, [PAPER.public]
    ).cosignatures
    assert key_id == PAPER.public.key_id
    assert abs(seen - time.time()) < 60
