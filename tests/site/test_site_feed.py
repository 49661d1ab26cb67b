"""The feeds: valid Atom (RFC 4287), one entry a statement, and the same entry for ever."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from site_steps import Published

from cenotaph.site import feed

ATOM = "{http://www.w3.org/2005/Atom}"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
FEEDS = ("feed.xml", "zh/feed.xml")


def faults(path: Path) -> list[str]:
    """What RFC 4287 asks of a feed and its entries (sections 4.1.1 and 4.1.2), and what a reader needs."""
    root = ElementTree.fromstring(path.read_bytes())
    found = [] if root.tag == f"{ATOM}feed" else ["the root is no feed"]
    for part in [root, *root.findall(f"{ATOM}entry")]:
        for name in ("id", "title", "updated"):
            texts = [e.text for e in part.findall(f"{ATOM}{name}")]
            if len(texts) != 1 or not texts[0]:
                found.append(f"{part.tag} has {len(texts)} {name}")
        if not TIME.fullmatch(part.findtext(f"{ATOM}updated") or ""):
            found.append("a time is not one of RFC 3339")
        if part.find(f"{ATOM}author/{ATOM}name") is None:
            found.append(f"{part.tag} has no author")
        if not [e for e in part.findall(f"{ATOM}link") if e.get("rel") == "alternate" and e.get("href")]:
            found.append(f"{part.tag} leads nowhere")
    return found


def ids(path: Path) -> dict[str, str]:
    """The entries' ids, in the order of the feed, with the time of each."""
    entries = ElementTree.fromstring(path.read_bytes()).findall(f"{ATOM}entry")
    return {e.findtext(f"{ATOM}id") or "": e.findtext(f"{ATOM}updated") or "" for e in entries}


@pytest.mark.parametrize("name", FEEDS)
def test_every_feed_is_valid_atom(published: Published, name: str) -> None:
    """After each step, in both languages; its links lead to pages of the site."""
    for site in published.at.values():
        assert faults(site / name) == []
        root = ElementTree.fromstring((site / name).read_bytes())
        for link in root.iter(f"{ATOM}link"):
            assert (site / name).parent.joinpath(str(link.get("href"))).is_file()


def test_a_feed_that_is_not_valid_is_noticed(tmp_path: Path) -> None:
    """The check above can fail."""
    path = tmp_path / "feed.xml"
    path.write_text(
        '<feed xmlns="http://www.w3.org/2005/Atom"><title>x</title><updated>today</updated></feed>'
    )

    assert len(faults(path)) == 4


@pytest.mark.parametrize("name", FEEDS)
def test_every_statement_is_one_entry_that_never_changes(published: Published, name: str) -> None:
    """Ids and times of earlier statements stay when later ones come; the newest stands first."""
    case = published.case.now()
    last = ids(published.site / name)
    before: dict[str, str] = {}
    for site in published.at.values():
        now = ids(site / name)
        assert before.items() <= now.items()
        before = now

    assert len(last) == len(case.entries)
    assert list(last.values()) == sorted(last.values(), reverse=True)
    assert [e.digest in identity for e, identity in zip(reversed(case.entries), last, strict=True)] == [
        True
    ] * len(last)


def test_both_feeds_have_ids_of_their_own(published: Published) -> None:
    """A reader who follows both is not told that one is the other's change."""
    one, other = (set(ids(published.site / name)) for name in FEEDS)

    assert one & other == set()


def test_a_time_beyond_the_calendar_is_still_a_time() -> None:
    """A witness may say any number of seconds."""
    assert feed.stamp(0) == "1970-01-01T00:00:00Z"
    assert TIME.fullmatch(feed.stamp(2**53 - 1))
    assert feed.stamp(1_790_000_000) == datetime.datetime.fromtimestamp(1_790_000_000, datetime.UTC).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
