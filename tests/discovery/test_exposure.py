"""Who can read a file: every sign with a file that has it and one that has not."""

from __future__ import annotations

import datetime
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cenotaph.discovery import exposures

NOW = datetime.datetime(2023, 3, 1, tzinfo=datetime.UTC)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private folder outside of the folder that pytest keeps, which others may read."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        yield Path(name)


def _file(path: Path, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"a,b\n1,2\n")
    path.chmod(mode)
    os.utime(path, (NOW.timestamp(), NOW.timestamp()))
    return path


def _signs(path: Path, kind: str = "") -> set[str]:
    return {exposure.sign for exposure in exposures(path, kind=kind, now=NOW)}


def test_a_private_file_has_no_signs(folder):
    """Mode 600, written this month, in a folder of its own: only the folder /var/tmp itself is shared."""
    assert _signs(_file(folder / "own" / "data")) == {"shared folder"}


def test_rights_for_everyone_are_said(folder):
    """Read and write bits for others; in a folder that keeps others out the sentence says so."""
    path = _file(folder / "data", 0o666)
    behind = next(found for found in exposures(path, now=NOW) if found.sign == "world-readable")
    folder.chmod(0o755)
    open_to_all = next(found for found in exposures(path, now=NOW) if found.sign == "world-readable")

    assert _signs(path) >= {"world-readable", "world-writable"}
    assert "only a folder above keeps them out" in behind.sentence
    assert open_to_all.sentence == "every user of the system can read it"


@pytest.mark.parametrize("place", ["www/data", "srv/htdocs/a/data", "nginx/html/data", "Public_HTML/data"])
def test_published_folders_are_web_roots(folder, place):
    """Folders that web servers publish, whatever their case."""
    assert "web root" in _signs(_file(folder / place))


def test_an_index_page_makes_a_web_root(folder):
    """A file below a folder with an index page is published with it."""
    path = _file(folder / "site" / "backup" / "data")
    before = _signs(path)
    _file(folder / "site" / "index.html")

    assert "web root" not in before
    assert "web root" in _signs(path)


def test_dumps_are_told_by_content_or_name(folder):
    """A dump's name, or its content as the search found it."""
    assert "dump" in _signs(_file(folder / "people-2021-BACKUP"))
    assert "dump" in _signs(_file(folder / "x"), "sql dump")
    assert "dump" not in _signs(_file(folder / "x"), "csv")


def test_formats_without_a_password_are_said(folder):
    """SQLite and CSV ask for none; of a file of unknown format nothing is said."""
    path = _file(folder / "x")

    assert "no password" in _signs(path, "sqlite")
    assert "no password" not in _signs(path)


def test_dormant_counts_months_since_the_last_write(folder):
    """Written in January 2021 and looked at in March 2023: dormant for 26 months; the day is not said."""
    path = _file(folder / "x")
    written = datetime.datetime(2021, 1, 17, tzinfo=datetime.UTC).timestamp()
    os.utime(path, (written, written))
    dormant = next(found for found in exposures(path, now=NOW) if found.sign == "dormant")

    assert dormant.sentence == "last written in 2021-01: dormant for 26 months"


def test_what_cannot_be_looked_at_is_said(folder):
    """A file that is gone gives no empty answer."""
    assert _signs(folder / "gone") == {"cannot tell"}


def test_no_sentence_holds_a_name(folder):
    """Paths can be people: no part of the path is in a sentence."""
    path = _file(folder / "www" / "刘敏_backup.csv", 0o666)
    said = " ".join(found.sentence for found in exposures(path, kind="csv", now=NOW))

    assert "web servers" in said
    assert "刘敏" not in said
    assert folder.name not in said
