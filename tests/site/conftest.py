"""What the tests of the site share: one case on its whole way."""

from __future__ import annotations

import pytest
from site_steps import Published, publish_every_step


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """A case, and its site as it was published after each step."""
    return publish_every_step(tmp_path_factory.mktemp("published"))
