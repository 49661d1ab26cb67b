"""A certificate on paper says what its proof file says, and nothing that says otherwise passes for it."""

from __future__ import annotations

import pytest

from cenotaph.testing.ceremony import Ceremony
from cenotaph_proof import paper, paper_check, paper_typeset

pytest.importorskip("pyhanko", reason="reading papers takes the extra cenotaph-proof[paper]")
if not paper_typeset.can_typeset():
    pytest.skip("typst and segno are not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def proof() -> bytes:
    return Ceremony(auditors=2, witness=2).run().proof()


@pytest.fixture(scope="module")
def english(proof: bytes) -> bytes:
    return paper_typeset.typeset(paper.of(proof, "en"))


def test_a_paper_verifies_and_is_the_same_when_it_is_set_again(english: bytes) -> None:
    """The verdict is the proof file's, with a line that the pages came out the same."""
    found = paper_check.check(english, None)

    assert [line.code for line in found.proven][-2:] == ["proven.paper-typeset", "proven.paper-text"]
    assert found.not_shown[-1].code == "not-shown.paper-unsealed"
