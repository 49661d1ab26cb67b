"""What a partition that was begun leaves in the annex, to go on from."""

from __future__ import annotations

import os
from pathlib import Path

from cenotaph.scope import EVERYTHING
from cenotaph.stages.destroy import _Resume
from cenotaph.store import Proving
from cenotaph.stores import files, sqlite


def test_what_was_begun_is_read_as_it_was_written() -> None:
    """The state is one line, whatever is in it; digests are bytes like any, line feeds among them."""
    for digests in (b"", b"\n" * 32, os.urandom(64)):
        resume = _Resume({"v": 1, "prints": ["a\nb"], "inodes": [1, 2]}, digests)
        assert _Resume.from_bytes(resume.to_bytes()) == resume


def test_files_need_no_list_of_digests_and_tables_do(tmp_path: Path) -> None:
    """Of files each page is proved; of a table only digests tell which rows remain."""
    (tmp_path / "a.db").touch()
    erasers = (
        files.open_eraser(f"files:{tmp_path}", EVERYTHING),
        sqlite.open_eraser(f"sqlite:{tmp_path}/a.db", EVERYTHING),
    )
    assert [isinstance(eraser, Proving) for eraser in erasers] == [True, False]
    for eraser in erasers:
        eraser.close()
