"""Values that PostgreSQL writes in forms of its own are found in them, and are gone once they are."""

from __future__ import annotations

import io
import ipaddress
import random
import uuid
from collections.abc import Iterator

import pyarrow as pa
import pytest
from phone_numbers import NOTHING_KEPT, phones
from postgres_bytes import Server, needs_server, server

from cenotaph.records import Tagged
from cenotaph.residue import postgres_forms
from cenotaph.residue.needles import NeedleBuilder, Needles
from cenotaph.residue.scan import scan
from cenotaph.spelling import parts, spelled

N = 400
DRAW = random.Random(11)
PHONES = [phone for phone in phones(3, N) if not phone.endswith("0000")]
IDENTITIES = [f"32028219{DRAW.randrange(10**9, 10**10)}" for _ in range(N)]
UUIDS = [str(uuid.UUID(int=DRAW.getrandbits(128))) for _ in range(N)]
V4 = [str(ipaddress.IPv4Address(DRAW.getrandbits(32))) for _ in range(N)]
V6 = [str(ipaddress.IPv6Address(DRAW.getrandbits(128))) for _ in range(N)]
MACS = [DRAW.randbytes(6).hex(":") for _ in range(N)]
LONG = "repeat('abcdefg ', 300)"  # so much is compressed

FORMS = {
    "numeric": ("numeric", "v::numeric", PHONES),
    "numeric with a long header": ("numeric(100, 70)", "v::numeric", IDENTITIES),
    "numeric with two digits behind the point": ("numeric(30, 2)", "v::numeric", IDENTITIES),
    "array of numerics": ("numeric[]", "ARRAY[7, v::numeric]", PHONES),
    "range of numerics": ("numrange", "numrange(v::numeric, v::numeric + 1)", PHONES),
    "number in jsonb": ("jsonb", "jsonb_build_object('seen', true, 'phone', v::int8)", PHONES),
    "number in compressed jsonb": ("jsonb", f"jsonb_build_object('a', {LONG}, 'phone', v::int8)", PHONES),
    "text in jsonb": ("jsonb", "jsonb_build_object('phone', v)", PHONES),
    "range of integers": ("int8range", "int8range(v::int8, NULL)", PHONES),
    "array of texts": ("text[]", "ARRAY['x', v]", PHONES),
    "text search vector": ("tsvector", "to_tsvector('simple', 'phone ' || v)", PHONES),
    "composite": ("pair", "ROW(n, v)::pair", PHONES),
    "generated column": ("text GENERATED ALWAYS AS (upper('p' || w)) STORED, w text", "v", PHONES),
    "uuid": ("uuid", "v::uuid", UUIDS),
    "array of uuids": ("uuid[]", "ARRAY[v::uuid]", UUIDS),
    "uuid as text": ("text", "v", UUIDS),
    "IPv4": ("inet", "v::inet", V4),
    "IPv6": ("inet", "v::inet", V6),
    "macaddr": ("macaddr", "v::macaddr", MACS),
}


@pytest.fixture(scope="module")
def made() -> Iterator[Server]:
    """A table for each form, with its values in it."""
    with server() as running:
        lines = ["CREATE TYPE pair AS (n int, v text);"]
        for nth, (type_, value, values) in enumerate(FORMS.values()):
            listed = ",".join(values)
            column = "w" if type_.startswith("text GENERATED") else "x"
            lines.append(f"CREATE TABLE form{nth} (x {type_});")
            lines.append(
                f"INSERT INTO form{nth} ({column}) SELECT {value}"
                f" FROM unnest('{{{listed}}}'::text[]) WITH ORDINALITY AS u (v, n);"
            )
        running.sql("\n".join(lines))
        yield running


def needles(values: list[str], *stores: str) -> Needles:
    builder = NeedleBuilder(bytes(32), stores)
    builder.add(pa.array(values), "id")
    return builder.finish()


def found(running: Server, relation: str, what: Needles) -> int:
    data = running.file(relation).read_bytes()
    return len(scan(io.BytesIO(data), len(data), what, NOTHING_KEPT).residue)


@needs_server
@pytest.mark.parametrize("form", FORMS)
def test_each_value_is_found_until_its_row_is_gone(made: Server, form: str) -> None:
    """All of them in the table's file, none in the one that is there once its rows went."""
    nth, values = list(FORMS).index(form), FORMS[form][2]
    sought = needles(values, "postgresql")

    assert found(made, f"form{nth}", sought) == len(values)
    made.sql(f"DELETE FROM form{nth}")
    assert found(made, f"form{nth}", sought) == len(values)
    made.sql(f"VACUUM FULL form{nth}")
    assert found(made, f"form{nth}", sought) == 0


@needs_server
@pytest.mark.parametrize("form", ["numeric", "number in jsonb", "uuid", "IPv4", "IPv6", "macaddr"])
def test_a_search_for_texts_alone_finds_nothing(made: Server, form: str) -> None:
    """The positive control is one: without these forms the same bytes look clean."""
    type_, value, values = FORMS[form]
    listed = ",".join(values)
    rows = f"SELECT {value} FROM unnest('{{{listed}}}'::text[]) v"
    made.sql(f"CREATE TABLE plain (x {type_}); INSERT INTO plain {rows}; CREATE INDEX plain_x ON plain (x)")

    try:
        for relation in ("plain", "plain_x"):
            assert found(made, relation, needles(values)) == 0
            assert found(made, relation, needles(values, "postgresql")) == len(values)
    finally:
        made.sql("DROP TABLE plain")


@needs_server
@pytest.mark.parametrize("form", ["numeric with a long header", "array of numerics", "uuid", "macaddr"])
def test_values_are_found_as_they_travel(made: Server, form: str) -> None:
    """COPY BINARY, replication and dumps made of it have the same values with the high byte first."""
    type_, value, values = FORMS[form]
    path = made.folder / "copied"
    listed = ",".join(values)
    made.sql(
        f"COPY (SELECT {value}::{type_} FROM unnest('{{{listed}}}'::text[]) v) TO '{path}' (FORMAT BINARY)"
    )
    data = path.read_bytes()

    whole = scan(io.BytesIO(data), len(data), needles(values, "postgresql"), NOTHING_KEPT)

    few = 0.1 if form == "array of numerics" else 0  # of small digits to the base, which are everywhere
    assert len(whole.residue) >= (1 - few) * len(values)


def test_short_numbers_count_as_written_and_no_others() -> None:
    """Eleven digits count where the point is behind them all; the same digits in a fraction are nobody's."""
    phone = b"\x8b\x00\xd2\x04\x2e\x16"  # 139 1234 5678
    sought = needles(["13912345678"], "postgresql")

    def hits(data: bytes) -> int:
        return len(scan(io.BytesIO(data), len(data), sought, NOTHING_KEPT).residue)

    assert hits(b"\x00\x02\x80" + phone + b"\x00") == 1
    assert hits(b"\x00\x02\x83" + phone + b"\x00") == 0
    assert hits(b"\x00\x00\x80" + phone + b"\x00") == 0


@pytest.mark.parametrize("number", ["0", "7", "13900000000", "100000000000000000000", "9" * 64])
def test_numbers_that_say_little_have_no_form(number: str) -> None:
    """Few digits to the base 10,000 are everywhere."""
    forms = dict(postgres_forms.of(number))

    assert (forms["numericle"] is None) == (len(number.rstrip("0")) < 9)


def test_types_with_one_spelling_are_spelled() -> None:
    """As the server writes them; networks with their bits; what is no value of the type is null."""
    address = ipaddress.IPv6Address("2001:db8::7").packed
    cases = {
        "uuid": [(uuid.UUID(UUIDS[0]).bytes, UUIDS[0]), (b"short", None), (None, None)],
        "inet": [
            (b"\x02\x20\x00\x04\x0a\x01\x02\x03", "10.1.2.3"),
            (b"\x02\x18\x00\x04\x0a\x01\x02\x00", "10.1.2.0/24"),
            (b"\x03\x80\x00\x10" + address, "2001:db8::7"),
            (b"\x03\x80\x00\x10" + ipaddress.IPv6Address("::ffff:1.2.3.4").packed, "::ffff:1.2.3.4"),
            (b"\x02\x20\x00\x05\x0a\x01\x02\x03", None),
            (b"", None),
        ],
        "macaddr": [(bytes.fromhex(MACS[0].replace(":", "")), MACS[0])],
    }

    for name, pairs in cases.items():
        column = Tagged(f"postgresql:{name}").array([value for value, _ in pairs])
        assert spelled(column).to_pylist() == [text for _, text in pairs]
    assert spelled(Tagged("postgresql:int4range").array([b"x"])) is None
    assert spelled(Tagged("sqlite:text").array([b"x"])) is None
    assert spelled(pa.array(["x"])) is None


MADE = {
    "composite": f"ROW(7, v, {PHONES[0]}, NULL, v::uuid)::person",
    "array of two dimensions": "ARRAY[[v, 'x'], ['y', v]]",
    "tsvector": "to_tsvector('simple', v || ' of quirin longwords ' || v)",
    "numrange": "numrange(v::numeric, NULL)",
    "int8range": "int8range(NULL, v::int8)",
    "numeric": "('-' || v || repeat('5', 60) || '.25')::numeric",
}


@needs_server
def test_values_made_of_others_are_taken_apart(made: Server) -> None:
    """As COPY sends them: fields, elements, words, bounds. Cut anywhere, they are bytes. Short words of plain
    letters are not sought by themselves: they are parts of others."""
    made.sql("CREATE TYPE person AS (n int, name text, number numeric, gone text, id uuid)")
    path = made.folder / "parts"
    for name, value in MADE.items():
        v = UUIDS[0] if name in ("composite", "array of two dimensions") else PHONES[0]
        made.sql(f"COPY (SELECT {value} FROM (SELECT '{v}' AS v) x) TO '{path}' (FORMAT BINARY)")
        wire = path.read_bytes()[25:-2]
        tag = Tagged(f"postgresql:{name}")

        texts, rest = parts(tag.array([wire]))

        wanted = {
            "composite": ["7", v, PHONES[0]],
            "array of two dimensions": [v, "x", "y"],
            "tsvector": [v, "longwords"],
            "numeric": [f"-{v}{'5' * 60}.25"],
        }.get(name, [v])
        assert (sorted(texts.to_pylist()), len(rest)) == (sorted(wanted), 0)
        for end in range(len(wire)):
            texts, rest = parts(tag.array([wire[:end]]))
            assert len(texts) == 0 or len(rest) == 0
