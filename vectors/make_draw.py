"""Makes vectors/draw.json: commitments, how many chunks are needed, seeds, and the samples they pick."""

from __future__ import annotations

import hashlib
from typing import Any

from cenotaph_proof import draw

CASE, STATEMENT, KEY_ID = (hashlib.sha256(word).hexdigest() for word in (b"case", b"statement", b"key"))
NONCE = bytes(range(32))
SALT = bytes(range(32, 64))
OUTSIDE = '[{"collection":"tests*","store":"health","values":{"证件号":"x"}}]'
POLICIES = [
    (10_000, 990_000),
    (1_000, 990_000),
    (100, 990_000),
    (50_000, 950_000),
    (500_000, 750_000),
    (999_999, 1),
    (1, 999_999),
]
SAMPLES = [
    ("health", 1, 0),
    ("health", 3, 3),
    ("health", 3, 10),
    ("health", 10, 1),
    ("health", 1000, 20),
    ("核酸", 1000, 20),
    ("health", 2**40, 5),
    ("health", 500, 459),
]


def vectors() -> dict[str, Any]:
    """All vectors as the JSON file holds them."""
    return {
        "spec": "spec/challenge.md, spec/approval.md",
        "expect": "every result follows from the values beside it",
        "commitments": [
            *(
                {"what": what, "secret": NONCE.hex(), "commitment": draw.commitment(what, NONCE)}
                for what in ("share", "challenge nonce", "probe nonce")
            ),
            {
                "what": "outside records",
                "secret": (SALT + OUTSIDE.encode()).hex(),
                "commitment": draw.commitment("outside records", SALT + OUTSIDE.encode()),
            },
        ],
        "needed": [
            {"bound_ppm": bound, "confidence_ppm": sure, "chunks": draw.needed(bound, sure)}
            for bound, sure in POLICIES
        ],
        "seeds": [_seed(domain) for domain in ("challenge", "probe")],
        "samples": [_sample(*case) for case in SAMPLES],
    }


def _seed(domain: str) -> dict[str, str]:
    seed = draw.seed(domain, CASE, STATEMENT, KEY_ID, NONCE)
    return {
        "domain": domain,
        "case": CASE,
        "statement": STATEMENT,
        "key_id": KEY_ID,
        "nonce": NONCE.hex(),
        "seed": seed.hex(),
    }


def _sample(label: str, population: int, count: int) -> dict[str, Any]:
    seed = draw.seed("challenge", CASE, STATEMENT, KEY_ID, NONCE)
    drawn = draw.sample(seed, label, population, count)
    return {
        "seed": seed.hex(),
        "label": label,
        "population": population,
        "count": count,
        "drawn": drawn,
        "digest": draw.digest(drawn),
    }
