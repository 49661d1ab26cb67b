"""What PostgreSQL compresses or cuts is found, where a plain search of the same bytes finds nothing."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass, field

import lz4.block
import numpy as np
import pytest
from phone_numbers import NOTHING_KEPT, needles, phones
from postgres_bytes import Server, chunk, needs_server, server, slow_pglz, value

from cenotaph.residue import pglz, postgres_values
from cenotaph.residue.scan import BLOCK, Findings, scan

N = 400


VALUES = phones(1, N)
NEEDLES, OTHERS = needles(VALUES), needles(phones(2, N))


def searched(data: bytes, kept: np.ndarray = NOTHING_KEPT) -> Findings:
    return scan(io.BytesIO(data), len(data), NEEDLES, kept)


def plainly(data: bytes) -> int:
    return sum(value.encode() in data for value in VALUES)


SCHEMA = f"""
CREATE EXTENSION pageinspect;
CREATE TABLE people AS
    SELECT n, v FROM unnest('{{{",".join(VALUES)}}}'::text[]) WITH ORDINALITY AS u(v, n);
CREATE TABLE inline_pglz(n int, x text COMPRESSION pglz);
CREATE TABLE inline_lz4(n int, x text COMPRESSION lz4);
CREATE TABLE toast_pglz(n int, x text COMPRESSION pglz);
CREATE TABLE toast_lz4(n int, x text COMPRESSION lz4);
CREATE TABLE toast_plain(n int, x text);
ALTER TABLE toast_plain ALTER x SET STORAGE EXTERNAL;
CREATE TABLE indexed(x text COMPRESSION pglz);
CREATE INDEX indexed_x ON indexed(x);
CREATE TABLE documents(x jsonb COMPRESSION pglz);
CREATE TABLE counted(x text);
ALTER TABLE counted ALTER x SET STATISTICS 1000;
"""
FILL = """
INSERT INTO inline_pglz SELECT n, repeat('abcdefg ', 300)||v||repeat(' xyz '||v, 4) FROM people;
INSERT INTO inline_lz4 SELECT n, repeat('abcdefg ', 300)||left(v,5)||' '||repeat(v||' '||v, 4) FROM people;
INSERT INTO toast_pglz SELECT g, string_agg(md5(v)||v||', lorem ipsum dolor sit amet, '||v, ' ')
    FROM (SELECT n/100 AS g, v FROM people) AS p GROUP BY g HAVING count(*) > 50;
INSERT INTO toast_lz4 SELECT g, string_agg(md5(v)||left(v,6)||'lorem ipsum dolor sit amet '||v||' '||v, ' ')
    FROM (SELECT n/100 AS g, v FROM people) AS p GROUP BY g HAVING count(*) > 50;
INSERT INTO toast_plain SELECT 1, string_agg(v||'.', '') FROM people;
INSERT INTO indexed SELECT repeat('abcdefg ', 300)||v FROM people;
INSERT INTO documents SELECT jsonb_build_object('who', repeat('abcdefg ', 300)||v, 'n', n) FROM people;
INSERT INTO counted SELECT v||'@example.org' FROM people, generate_series(1, 3);
ANALYZE counted;
"""
TABLES = ("inline_pglz", "inline_lz4", "documents", "indexed")
PLACES = (*TABLES, "indexed_x", "toast_pglz", "toast_lz4", "toast_plain", "pg_statistic")


@dataclass(frozen=True, slots=True)
class Written:
    """A server whose tables are filled, and the bytes of their files, deleted rows included."""

    server: Server
    files: dict[str, bytes] = field(repr=False)


@pytest.fixture(scope="module")
def written() -> Iterator[Written]:
    with server() as running:
        running.sql(SCHEMA + FILL)
        files = {name: running.file(name).read_bytes() for name in (*TABLES, "indexed_x")}
        toasted = ("toast_pglz", "toast_lz4", "toast_plain", "pg_statistic")
        files |= {name: running.toast_file(name).read_bytes() for name in toasted}
        yield Written(running, files)


@needs_server
@pytest.mark.parametrize("place", PLACES)
def test_each_value_is_found_in_each_place_where_a_server_hid_it(written, place):
    """Compressed in rows, index, jsonb and statistics, cut by TOAST: all found; and only what is there."""
    data = written.files[place]
    assert plainly(data) < N, "a plain search finds all of it: this place would show nothing"

    findings = searched(data)

    assert len(findings.residue) == (N - 1 if place in ("toast_pglz", "toast_lz4") else N)
    assert findings.problems == ()
    assert scan(io.BytesIO(data), len(data), OTHERS, NOTHING_KEPT).residue == set()


@needs_server
@pytest.mark.parametrize("place", ["inline_pglz", "toast_pglz", "toast_plain"])
def test_rows_that_are_deleted_and_vacuumed_are_read_without_their_pointers(written, place):
    """After DELETE and VACUUM no line pointer names a row; its bytes still say what they are."""
    running = written.server
    running.sql(f"CREATE TABLE gone_{place} (LIKE {place} INCLUDING ALL)")
    running.sql(f"INSERT INTO gone_{place} SELECT * FROM {place}; CHECKPOINT; DELETE FROM gone_{place}")
    path = running.toast_file(f"gone_{place}") if "toast" in place else running.file(f"gone_{place}")
    before = searched(path.read_bytes()).residue
    running.sql(f"VACUUM (TRUNCATE off) gone_{place}; CHECKPOINT")

    after = searched(path.read_bytes()).residue

    assert before
    assert after == before


@needs_server
def test_the_decompressor_agrees_with_the_server_on_every_value(written):
    """Compressed bytes as pageinspect shows them, and the text as the server gives it."""
    attribute = (
        "encode((heap_page_item_attrs(get_raw_page('inline_pglz', b), 'inline_pglz')).t_attrs[2], 'hex')"
    )
    blocks = f"generate_series(0, {len(written.files['inline_pglz']) // 8192 - 1}) AS b"
    packed = [bytes.fromhex(line) for line in written.server.sql(f"SELECT {attribute} FROM {blocks}").split()]
    texts = written.server.sql("SELECT x FROM inline_pglz ORDER BY ctid").split("\n")
    assert len(packed) == len(texts) == N

    for shown, text in zip(packed, texts, strict=True):
        size = int.from_bytes(shown[4:8], "little")
        assert pglz.decompress(shown[8:], size).decode() == text


@needs_server
def test_a_backup_in_a_compressed_archive_is_read_as_its_files_are(written):
    """Values compressed twice: by the server, and with the archive around its files."""
    data = gzip.compress(bytes(512) + written.files["inline_pglz"] + bytes(512) + written.files["toast_pglz"])

    findings = searched(data)

    assert len(findings.residue) == N
    assert plainly(data) == 0


def test_chunks_of_many_values_interleaved_are_joined_by_number():
    """Two sessions fill one TOAST table: their chunks alternate, and what crosses them is found."""
    content = "".join(VALUES).encode() + b"!" * 700
    pieces = [content[at : at + 1996] for at in range(0, len(content), 1996)]
    rows = b"".join(chunk(value, nth, piece) for nth, piece in enumerate(pieces) for value in (7000, 7001))

    findings = searched(rows)

    cut = N - plainly(rows)
    assert cut == 2
    assert len(findings.residue) == N
    assert findings.counts["toast", "utf-8", "phone", False] == 2 * cut


TEXT = b"".join(phone.encode().ljust(40, b"-") for phone in VALUES[:1]) * 20


@pytest.mark.parametrize("method", ["pglz", "lz4"])
def test_a_value_between_two_readings_is_read_whole(method):
    """A stream is read in blocks; a value that lies across two of them is none the less found."""
    hidden = value(TEXT.replace(b"13", b"31"), method) + value(b"q" * 33 + TEXT, method)
    for before in (8, 64, 200, 40_000, 41_000):
        data = bytes(BLOCK - before) + hidden + bytes(99)

        assert searched(data).residue, before


def test_live_values_are_told_from_residue_by_their_bytes():
    """Two values in one page, one of them kept: what it holds is kept, the other is residue."""
    first = value(TEXT, "pglz")
    data = bytes(8192) + first + value(b"-" * 40 + VALUES[5].encode() * 20)
    kept = np.array([[8192, 8192 + len(first)]])

    findings = searched(data, kept)

    assert {key[3] for key in findings.counts if key[0] == "pglz"} == {True}
    assert {hit.kept for hit in findings.hits if hit.lane == "lz4"} == {False}
    assert findings.kept
    assert findings.residue
    assert not findings.kept & findings.residue


@pytest.mark.parametrize("method", ["pglz", "lz4"])
def test_a_value_whose_end_was_overwritten_gives_its_beginning(method):
    """Another row lies over the second half: what decodes before it is searched."""
    text = b"".join(phone.encode() + b"." * 60 for phone in VALUES[:60])
    whole = value(text, method)
    half = whole[: len(whole) // 2] + b"\xff" * (len(whole) // 2)

    assert 10 < len(searched(half).residue) < 60


def test_the_beginning_of_a_stream_decodes_as_the_whole_does():
    """Each cut of a pglz and of an LZ4 stream gives a beginning of the text; only the whole is whole."""
    text = b"".join(phone.encode().ljust(40, b"-") * 3 for phone in VALUES[:40])
    packed = slow_pglz(text)
    assert pglz.decompress(packed, len(text)) == text
    block = lz4.block.compress(text, store_size=False)
    for cut in range(1, len(packed), 7):
        out, used = pglz.beginning(packed[:cut], len(text))
        assert text.startswith(out)
        assert used <= cut
        with pytest.raises(pglz.PglzError):
            pglz.decompress(packed[:cut], len(text))
    for cut in range(1, len(block), 3):
        assert text.startswith(postgres_values.lz4_beginning(block[:cut], len(text))[0])
    assert postgres_values.lz4_beginning(block, len(text)) == (text, len(block))
