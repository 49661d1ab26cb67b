"""PostgreSQL's pages: the bytes of rows that are there, as the server and its own inspector say."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from postgres_bytes import Server, needs_server, server

from cenotaph.residue import postgres_live, postgres_pages
from cenotaph.residue.needles import NeedleBuilder
from cenotaph.residue.postgres_live import Inverted, Rows, Settled, Tree
from cenotaph.residue.postgres_pages import State
from cenotaph.residue.scan import scan

fuzz = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def people() -> Iterator[Server]:
    """A table of 3,000 people, every third deleted, some changed, one rolled back; two indexes."""
    with server() as running:
        running.sql(
            """
            CREATE EXTENSION pageinspect;
            CREATE TABLE people(n int PRIMARY KEY, name text, town text);
            CREATE INDEX people_town ON people(town);
            INSERT INTO people SELECT i, 'name-'||md5(i::text), 'town-'||i%7 FROM generate_series(1, 3000) i;
            DELETE FROM people WHERE n % 3 = 0;
            UPDATE people SET name='changed-'||md5(n::text) WHERE n % 10 = 1;
            BEGIN;
            INSERT INTO people SELECT 10000+i, 'never-'||i, 'town-1' FROM generate_series(1, 50) i;
            ROLLBACK;
            """
        )
        running.sql("SELECT count(*) FROM people")  # sets hint bits
        yield running


LATER = Settled(1 << 62, 0)


def there(running: Server, where: str = "true", table: str = "people") -> Rows:
    lines = running.sql(f"SELECT ctid, xmin FROM {table} WHERE {where}").split("\n")
    found = np.array([line.replace("(", "").replace(")|", ",").split(",") for line in lines], dtype=np.int64)
    return Rows.of(postgres_pages.tids(found[:, 0], found[:, 1]), found[:, 2].astype(np.uint32))


def leads(path: Path, rows: Rows, settled: Settled = LATER) -> np.ndarray:
    data = path.read_bytes()
    return postgres_live.heap(io.BytesIO(data), len(data), rows, settled)[1]


def ranges(path: Path, rows: Rows) -> np.ndarray:
    data = path.read_bytes()
    return postgres_live.heap(io.BytesIO(data), len(data), rows, LATER)[0]


def keys(path: Path, index: postgres_live.Index) -> np.ndarray:
    data = path.read_bytes()
    index.add(io.BytesIO(data), len(data))
    return index.ranges()[0]


def within(data: bytes, found: np.ndarray) -> bytes:
    return b"\n".join(data[start:end] for start, end in found.tolist())


@needs_server
def test_items_are_those_that_pageinspect_lists(people):
    """Block, number, offset and length of every line pointer with bytes of its own."""
    path = people.file("people")
    data = path.read_bytes()
    listed = people.sql(
        f"SELECT b, lp, lp_off, lp_len FROM generate_series(0, {len(data) // 8192 - 1}) b, "
        "heap_page_items(get_raw_page('people', b)) WHERE lp_len > 0 ORDER BY b, lp"
    )
    items = postgres_pages.parse(data).items

    ours = zip(items.block, items.item, items.start % 8192, items.end - items.start, strict=True)

    assert [tuple(map(int, line.split("|"))) for line in listed.split("\n")] == [
        tuple(map(int, row)) for row in ours
    ]


@needs_server
def test_rows_that_are_there_are_told_from_those_that_were(people):
    """What is deleted, replaced or rolled back lies outside the kept ranges, and all that is there inside."""
    path = people.file("people")
    data = path.read_bytes()

    kept = within(data, ranges(path, there(people)))

    assert data.count(b"never-") == 50
    assert kept.count(b"never-") == 0
    assert kept.count(b"changed-") == 200
    assert kept.count(b"name-") == 1800
    assert data.count(b"name-") > 2400, "the server pruned some pages"


@needs_server
def test_keys_of_an_index_are_kept_while_one_of_their_rows_is_there(people):
    """Keys that stand once, keys with a list of rows, and those that only lead to other pages."""
    heap, index = people.file("people"), people.file("people_town")
    towns = keys(index, Tree(leads(heap, there(people))))
    assert within(index.read_bytes(), towns).count(b"town-") > 0

    kept = within(index.read_bytes(), keys(index, Tree(leads(heap, there(people, "town <> 'town-1'")))))

    assert b"town-1" in index.read_bytes()
    assert b"town-1" not in kept
    assert all(b"town-%d" % nth in kept for nth in (0, 2, 3, 4, 5, 6))


@needs_server
def test_a_place_is_not_a_row(people):
    """Where the file has another transaction's row at a place that the server named, nothing is kept."""
    rows = there(people)
    others = Rows(rows.place, rows.writer + np.uint32(1))

    assert len(ranges(people.file("people"), rows))
    assert not len(ranges(people.file("people"), others))
    assert not len(leads(people.file("people"), others))


@needs_server
def test_keys_count_only_where_their_rows_are_older_than_the_checkpoint(people):
    """By the page's place in the log, or by the row's transaction; frozen rows are old, whatever it was."""
    people.sql("CREATE TABLE aged(n int PRIMARY KEY); INSERT INTO aged SELECT generate_series(1, 10)")
    path, rows = people.file("aged"), there(people, table="aged")
    writer = int(rows.writer[0])

    def known(settled: Settled) -> int:
        return len(leads(path, rows, settled))

    assert known(Settled(0, 0)) == known(Settled(0, writer)) == known(Settled(-1, 0)) == 0
    assert known(Settled(1 << 62, 0)) == known(Settled(0, writer + 1)) == 10
    assert known(Settled(0, (writer + (1 << 31) + 1) % (1 << 32))) == 0
    people.sql("VACUUM FREEZE aged")
    path = people.file("aged")
    assert known(Settled(0, writer)) == 10


@needs_server
def test_blocks_of_a_later_file_of_a_table_are_counted_on(people):
    """A relation is cut every gigabyte: places go on behind it."""
    data, rows = people.file("people").read_bytes(), there(people)
    later = Rows(rows.place + (131072 << 16), rows.writer)

    found, known = postgres_live.heap(io.BytesIO(data), len(data), later, LATER, 131072)

    assert len(found) == len(ranges(people.file("people"), rows))
    assert len(known)
    assert (known >> 16 >= 131072).all()


@needs_server
def test_all_versions_in_one_page_have_one_key(people):
    """Rows updated in their page, before and after a vacuum: an index leads to where the first one was."""
    people.sql(
        """
        CREATE TABLE moved(n int, town text, seen int) WITH (fillfactor=20);
        CREATE INDEX moved_town ON moved(town);
        INSERT INTO moved SELECT i, 'moved-'||md5(i::text), 0 FROM generate_series(1, 200) i;
        UPDATE moved SET seen = 1;
        UPDATE moved SET seen = 2 WHERE n % 2 = 0;
        """
    )
    for statement in ("SELECT 1", "VACUUM moved", "UPDATE moved SET seen = 3", "VACUUM FULL moved"):
        people.sql(statement)
        heap, index = people.file("moved"), people.file("moved_town")

        kept = within(index.read_bytes(), keys(index, Tree(leads(heap, there(people, table="moved")))))

        assert len(set(re.findall(b"moved-[0-9a-f]{32}", kept))) == 200


@needs_server
def test_the_keys_that_lead_through_a_tree_are_kept_with_the_rows_they_copy(people):
    """None is left out after all is built anew; of rows that went meanwhile, none is kept."""
    people.sql(
        """
        CREATE TABLE tree(n int, name text);
        INSERT INTO tree SELECT i, 'tree-'||md5(i::text) FROM generate_series(1, 30000) i;
        CREATE INDEX tree_name ON tree(name, n);
        """
    )
    heap, index = people.file("tree"), people.file("tree_name")
    data = index.read_bytes()

    every = within(data, keys(index, Tree(leads(heap, there(people, table="tree")))))
    some = within(data, keys(index, Tree(leads(heap, there(people, "name > 'tree-8'", "tree")))))

    assert data.count(b"tree-") > 30_000 + 100, "copies lead through the tree"
    assert every.count(b"tree-") == data.count(b"tree-")
    assert set(re.findall(b"tree-[0-7]", some)) == set()
    assert some.count(b"tree-") > data.count(b"tree-") / 3


@needs_server
@pytest.mark.parametrize("waiting", ["off", "on"])
def test_keys_of_an_inverted_index_are_kept_while_their_first_row_is_there(people, waiting):
    """Few rows in the key itself, many in a tree of places, and keys that wait in a list."""
    people.sql(
        f"""
        DROP TABLE IF EXISTS tagged;
        CREATE TABLE tagged(n int, tags text[]);
        CREATE INDEX tagged_tags ON tagged USING gin(tags) WITH (fastupdate={waiting});
        INSERT INTO tagged SELECT i, ARRAY['all-of-them', 'tag-'||md5(i::text), 'some-'||i%2]
            FROM generate_series(1, 6000) i;
        """
    )
    if waiting == "off":
        people.sql("REINDEX INDEX tagged_tags")  # what splits leave in free space is no key
    heap, index = people.file("tagged"), people.file("tagged_tags")
    data = index.read_bytes()

    every = within(data, keys(index, Inverted(leads(heap, there(people, table="tagged")))))
    some = within(data, keys(index, Inverted(leads(heap, there(people, "n % 2 = 0", "tagged")))))

    for word in (b"tag-", b"all-of-them", b"some-0", b"some-1"):
        assert every.count(word) == data.count(word) > 0
    assert some.count(b"some-1") == 0
    assert some.count(b"some-0") == data.count(b"some-0")
    assert 2900 < len(set(re.findall(b"tag-[0-9a-f]{32}", some))) <= 3000


@needs_server
def test_hint_bits_say_no_more_than_they_know(people):
    """None that the server calls there is said to be gone, and the other way round."""
    data = people.file("people").read_bytes()
    pages = postgres_pages.parse(data)
    states = postgres_pages.states(pages)

    known = np.isin(pages.items.tid, there(people).place)

    assert not (known & (states == State.GONE)).any()
    assert not (~known & (states == State.THERE)).any()
    assert (states == State.THERE).sum() > 1500
    assert (states == State.GONE).sum() > 100


@needs_server
def test_checksums_are_those_that_pageinspect_computes(people):
    """Of each page of a table and of an index."""
    for relation in ("people", "people_pkey"):
        data = people.file(relation).read_bytes()
        count = len(data) // 8192
        wanted = people.sql(
            f"SELECT page_checksum(get_raw_page('{relation}', b), b) FROM generate_series(0, {count - 1}) b"
        )
        found = postgres_pages.checksums(postgres_pages.parse(data)).view(np.int16)

        assert [int(line) for line in wanted.split("\n")] == found.tolist()


@needs_server
def test_what_a_row_that_is_there_shares_with_one_that_is_gone_is_kept_only_there(people):
    """The scan of a table's file, with the ranges of this module: residue in dead rows, kept in others."""
    path = people.file("people")
    data = path.read_bytes()
    builder = NeedleBuilder(bytes(32))
    names = people.sql("SELECT 'name-'||md5(i::text) FROM generate_series(1, 3000) i").split("\n")
    builder.add(pa.array(names), "name")

    findings = scan(io.BytesIO(data), len(data), builder.finish(), ranges(path, there(people)))

    assert len(findings.kept) == 1800
    assert len(findings.residue) > 600


def a_page(seed: int, kind: type | None = None) -> bytearray:
    """A page with forty rows, or keys of such an index."""
    draw = random.Random(seed)
    page = bytearray(8192)
    page[12:20] = b"\xb8\x00\x00\x10\x00\x20\x04\x20"
    for nth in range(40):
        pointer = 8192 - 100 * (nth + 1) | 1 << 15 | 90 << 17
        page[24 + 4 * nth : 28 + 4 * nth] = pointer.to_bytes(4, "little")
    page[4192:] = draw.randbytes(4000)
    if kind is not None:
        tail = bytes(12) + b"\x01\x00\x00\x00" if kind is Tree else b"\xff" * 4 + b"\x00\x00\x02\x00"
        page[16:18] = (8192 - len(tail)).to_bytes(2, "little")
        page[-len(tail) :] = tail
    return page


@fuzz
@given(
    st.lists(st.tuples(st.integers(0, 220), st.integers(0, 255)), max_size=30),
    st.integers(0, 2 * 8192),
    st.sampled_from([None, Tree, Inverted]),
)
def test_mutated_pages_never_name_bytes_outside_themselves(changes, cut, kind):
    """Whatever headers and pointers say: ranges are sorted, disjoint, and inside the file."""
    data = bytearray(a_page(1, kind) + a_page(2, kind))
    for nth, (at, value) in enumerate(changes):
        data[at + 8192 * (nth % 2)] = value
    data = data[: len(data) - cut]
    every = np.arange(1 << 17, dtype=np.int64)
    rows = Rows(every, np.zeros(len(every), np.uint32))

    if kind is None:
        found, _ = postgres_live.heap(io.BytesIO(data), len(data), rows, LATER)
    else:
        made = kind(every)
        made.add(io.BytesIO(data), len(data))
        (found,) = made.ranges()
    pages = postgres_pages.parse(bytes(data))

    assert len(postgres_pages.states(pages)) == len(pages.items.start)
    assert (found[:, 0] < found[:, 1]).all()
    assert (found[1:, 0] > found[:-1, 1]).all()
    assert not len(found) or (found[0, 0] >= 0 and found[-1, 1] <= len(data))


def test_a_page_that_contradicts_itself_is_counted():
    """A line pointer past the end, a header of another format: refused, and told."""
    page = a_page(3)
    page[24:28] = (8190 | 1 << 15 | 90 << 17).to_bytes(4, "little")
    other = a_page(4)
    other[18] = 9

    assert postgres_pages.parse(bytes(page)).refused == 1
    assert postgres_pages.parse(bytes(other)).refused == 1
    assert postgres_pages.parse(bytes(8192)).refused == 0
