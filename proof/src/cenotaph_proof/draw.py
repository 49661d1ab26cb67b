"""Unpredictable samples that anybody can draw again (spec/challenge.md).

The seed comes from a nonce that an auditor committed to before the seal and reveals after it, so
neither side chooses the sample: the operator could not know it, the auditor could not pick it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence

PPM = 1_000_000


def commitment(what: str, secret: bytes) -> str:
    """Hash commitment to 32 random bytes; `what` is "share", "challenge nonce" or "probe nonce"."""
    return hashlib.sha256(_prefixed(b"cenotaph/v1 commitment", what.encode(), secret)).hexdigest()


def seed(domain: str, case: str, statement: str, key_id: str, nonce: bytes) -> bytes:
    """32 bytes that fix a draw; `statement` is the digest of the seal (draw 1) or of the latest
    destruction (draw 2)."""
    parts = (domain.encode(), bytes.fromhex(case), bytes.fromhex(statement), bytes.fromhex(key_id), nonce)
    return hashlib.sha256(_prefixed(*parts)).digest()


def needed(bound_ppm: int, confidence_ppm: int) -> int:
    """Clean chunks that bound the bad fraction: the smallest n with (1 − bound)^n ≤ 1 − confidence.

    459 for 1 % at 99 %; 4,603 for 0.1 % at 99 %.
    """
    if not (0 < bound_ppm < PPM and 0 < confidence_ppm < PPM):
        raise ValueError("bound and confidence must lie between 0 and 1")
    n = math.log1p(-confidence_ppm / PPM) / math.log1p(-bound_ppm / PPM)
    return math.ceil(n - 1e-9)


def at_least(found: int, sampled: int) -> float:
    """A lower bound, with 95 % confidence, of the share that a search finds, rounded down to percents.

    Where all of a sample were found it is exact (Clopper and Pearson 1934), else Hoeffding's (1963), which is
    lower. 0 without a sample.
    """
    if sampled == 0:
        return 0.0
    doubt = 0.05
    if found == sampled:
        bound = math.exp(math.log(doubt) / sampled)
    else:
        bound = found / sampled - math.sqrt(-math.log(doubt) / (2 * sampled))
    return math.floor(100 * max(0.0, bound)) / 100


def percent(found: int, sampled: int) -> int:
    """`at_least` in whole percents."""
    return round(100 * at_least(found, sampled))


def sample(seed_: bytes, label: str, population: int, count: int) -> list[int]:
    """`count` distinct numbers below `population`, ascending; all of them when count ≥ population.

    Selection by Floyd's algorithm over a SHA-256 counter stream with rejection, so that every
    subset is equally likely and every language draws the same one.
    """
    if count >= population:
        return list(range(population))
    stream = _numbers(seed_, label)
    chosen: set[int] = set()
    for top in range(population - count, population):
        pick = _below(stream, top + 1)
        chosen.add(top if pick in chosen else pick)
    return sorted(chosen)


def digest(numbers: Sequence[int]) -> str:
    """What a challenge says of the chunks it drew."""
    packed = b"".join(n.to_bytes(8, "big") for n in numbers)
    return hashlib.sha256(b"cenotaph/v1 draw\0" + packed).hexdigest()


def _numbers(seed_: bytes, label: str) -> Iterator[int]:
    counter = 0
    while True:
        block = hashlib.sha256(_prefixed(seed_, label.encode(), counter.to_bytes(8, "big"))).digest()
        for at in range(0, 32, 8):
            yield int.from_bytes(block[at : at + 8], "big")
        counter += 1


def _below(stream: Iterator[int], limit: int) -> int:
    ceiling = (1 << 64) - (1 << 64) % limit
    return next(n for n in stream if n < ceiling) % limit


def _prefixed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
