"""Keys that are the same in every run."""

from __future__ import annotations

import hashlib

from cenotaph_proof.keys import SecretKey


def a_key(organisation: str, role: str) -> SecretKey:
    """The key of an organisation, derived from its name: for tests alone."""
    seed = hashlib.sha512(f"{organisation}/{role}".encode()).digest()
    return SecretKey(organisation, role, seed[:32], seed[32:])
