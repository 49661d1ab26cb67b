"""A draw is the same for everybody, and every subset is equally likely."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenotaph_proof import draw

SEED = bytes(range(32))


@pytest.mark.parametrize(("bound", "count"), [(10_000, 459), (1_000, 4_603), (200_000, 21), (999_999, 1)])
def test_how_many_clean_chunks_bound_the_rest(bound: int, count: int) -> None:
    """The figures of the design: 459 for 1 % and 4,603 for 0.1 %, at 99 %."""
    assert draw.needed(bound, 990_000) == count
    assert (1 - bound / 1e6) ** count <= 0.01 + 1e-12


@pytest.mark.parametrize(("bound", "confidence"), [(0, 990_000), (10_000, 1_000_000), (1_000_000, 1)])
def test_a_bound_that_means_nothing_is_refused(bound: int, confidence: int) -> None:
    """No number of chunks excludes everything, and none is needed to say nothing."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        draw.needed(bound, confidence)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 300), st.integers(0, 320))
def test_a_sample_is_distinct_ascending_and_below_the_population(
    seed: bytes, population: int, count: int
) -> None:
    """Exactly as many as asked for, or everything there is."""
    picked = draw.sample(seed, "health", population, count)

    assert picked == sorted(set(picked))
    assert len(picked) == min(population, count)
    assert all(0 <= n < population for n in picked)


def test_every_subset_is_about_equally_likely() -> None:
    """Two of five, over 4,000 seeds: each of the ten pairs within four standard deviations."""
    pairs = Counter(tuple(draw.sample(n.to_bytes(32, "big"), "health", 5, 2)) for n in range(4_000))

    assert len(pairs) == 10
    assert all(abs(count - 400) < 4 * (4_000 * 0.1 * 0.9) ** 0.5 for count in pairs.values())


def test_another_label_or_seed_is_another_draw() -> None:
    """Stores are drawn from independently, with one nonce."""
    draws = {
        tuple(draw.sample(seed, label, 10_000, 20))
        for seed in (SEED, bytes(32))
        for label in ("health", "visits")
    }

    assert len(draws) == 4


def test_a_seed_depends_on_everything_that_it_is_made_of() -> None:
    """Case, statement, auditor, nonce and purpose each change the seed."""
    parts = ["challenge", "aa" * 32, "bb" * 32, "cc" * 32]
    seeds = {draw.seed(*parts, SEED), draw.seed("probe", *parts[1:], SEED), draw.seed(*parts, bytes(32))}
    for at in (1, 2, 3):
        seeds.add(draw.seed(*[*parts[:at], "dd" * 32, *parts[at + 1 :]], SEED))

    assert len(seeds) == 6


def test_a_commitment_says_what_it_commits_to() -> None:
    """A challenge nonce cannot be opened as a probe nonce."""
    assert draw.commitment("challenge nonce", SEED) != draw.commitment("probe nonce", SEED)
