"""A certificate that no quorum has seen does not verify, and the site says so."""

from __future__ import annotations

import dataclasses

import pytest

from cenotaph.site import pages
from cenotaph.testing.ceremony import Ceremony
from cenotaph_proof import bundle as bundles
from cenotaph_proof import verify
from cenotaph_proof.errors import ThresholdError


@pytest.mark.parametrize("seen", [True, False])
def test_a_certificate_is_shown_as_good_only_once_a_quorum_has_seen_it(seen: bool) -> None:
    """Until then nothing about it is proven, and it is told why."""
    bundle = Ceremony().run().bundle()
    if not seen:
        bundle = dataclasses.replace(bundle, checkpoints=tuple(bundle.checkpoints)[:-1])
    case = bundles.replay(bundle)
    built = pages.build(case, bundle, pages.Beside(), 1)
    front, verdict = (built[name].decode() for name in ("index.html", "verdict.html"))

    if not seen:
        with pytest.raises(ThresholdError, match="lacks its quorum"):
            verify.check_certified(case)
    for page in (front, verdict):
        assert ('class="banner good"' in page) is seen
        assert ("until then it does not verify" in page) is not seen
    assert ("nothing required is missing" in verdict) is seen
    assert "核验不通过" in built["zh/verdict.html"].decode() or seen
