"""The Atom feed of a case: one entry a statement, dated when the log witnesses saw it (RFC 4287)."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

NAMESPACE = "http://www.w3.org/2005/Atom"
TYPE = "application/atom+xml"


@dataclass(frozen=True, slots=True)
class Item:
    """One statement. `id` never changes; `link` is relative to the feed."""

    id: str
    title: str
    text: str
    by: str
    time: int
    link: str


@dataclass(frozen=True, slots=True)
class Feed:
    """`links` are (relation, address, type), relative to the feed; `items` are in log order."""

    id: str
    title: str
    by: str
    language: str
    time: int
    links: Sequence[tuple[str, str, str]]
    items: Sequence[Item]


def write(feed: Feed) -> bytes:
    """The bytes of a feed, the newest item first."""
    root = ElementTree.Element("feed", {"xmlns": NAMESPACE, "xml:lang": feed.language})
    _head(root, feed.id, feed.title, feed.time)
    _person(root, feed.by)
    for relation, address, kind in feed.links:
        ElementTree.SubElement(root, "link", {"rel": relation, "href": address, "type": kind})
    for item in sorted(feed.items, key=lambda i: i.time)[::-1]:  # of one time, the later in the log first
        _item(root, item)
    data: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def _item(root: ElementTree.Element, item: Item) -> None:
    entry = ElementTree.SubElement(root, "entry")
    _head(entry, item.id, item.title, item.time)
    _person(entry, item.by)
    ElementTree.SubElement(entry, "link", {"rel": "alternate", "href": item.link, "type": "text/html"})
    ElementTree.SubElement(entry, "summary").text = item.text


def _head(parent: ElementTree.Element, name: str, title: str, time: int) -> None:
    ElementTree.SubElement(parent, "id").text = name
    ElementTree.SubElement(parent, "title").text = title
    ElementTree.SubElement(parent, "updated").text = stamp(time)


def _person(parent: ElementTree.Element, name: str) -> None:
    ElementTree.SubElement(ElementTree.SubElement(parent, "author"), "name").text = name


def stamp(time: int) -> str:
    """A time as RFC 3339 writes it; what lies beyond the calendar becomes its last second."""
    try:
        at = datetime.datetime.fromtimestamp(time, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        at = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
