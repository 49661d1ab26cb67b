"""Every type of PostgreSQL is read from the wire as the record format wants it, none is skipped."""

from __future__ import annotations

import datetime
import struct
import uuid
from collections.abc import Iterator, Mapping
from decimal import Decimal

import pyarrow as pa
import pytest

import postgres_server
from cenotaph.discovery.text import as_texts
from cenotaph.records import Tagged, encode
from cenotaph.scope import EVERYTHING, Selection, parse_predicate
from cenotaph.store import Partition
from cenotaph.stores.postgres import open_reader
from cenotaph.stores.postgres.rows import Bounds

postgres_server.need()

UTC = datetime.UTC
ID = uuid.UUID("12345678-1234-5678-1234-567812345678")


def tagged(name: str, *values: bytes | None) -> pa.Array:
    return Tagged(f"postgresql:{name}").array(list(values))


def decimals(*values: str | None) -> pa.Array:
    return pa.array([None if v is None else Decimal(v) for v in values], pa.decimal256(76, 38))


def moments(zone: str | None, *values: str | None) -> pa.Array:
    read = [None if v is None else datetime.datetime.fromisoformat(v) for v in values]
    return pa.array(read, pa.timestamp("us", zone))


def one(first: pa.Array, second: pa.Array) -> pa.Array:
    """Values of two types, one after the other."""
    codes = [0] * len(first) + [1] * len(second)
    places = [*range(len(first)), *range(len(second))]
    return pa.UnionArray.from_dense(pa.array(codes, pa.int8()), pa.array(places, pa.int32()), [first, second])


def inside(items: pa.Array, *bounds: int) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), items)


i32, i64 = struct.Struct(">i").pack, struct.Struct(">q").pack
TWO_DIMENSIONS = b"".join(map(i32, (2, 0, 23, 1, 1, 2, 1))) + i32(4) + i32(1) + i32(4) + i32(2)
FROM_ZERO = b"".join(map(i32, (1, 0, 23, 1, 0))) + i32(4) + i32(7)
NAN = struct.pack(">hhHH", 0, 0, 0xC000, 0)

# A column's type, its values in SQL, and what is to be read; a null is added to each.
CASES: Mapping[str, tuple[str, list[str], pa.Array]] = {
    "booleans": ("bool", ["true", "false"], pa.array([True, False])),
    "small integers": ("int2", ["-32768", "32767"], pa.array([-32768, 32767], pa.int16())),
    "integers": ("int4", ["-2147483648"], pa.array([-(2**31)], pa.int32())),
    "large integers": (
        "int8", ["-9223372036854775808", "9223372036854775807"], pa.array([-(2**63), 2**63 - 1]),
    ),
    "object numbers": ("oid", ["4294967295"], pa.array([2**32 - 1])),
    "floats": ("float8", ["'-0'", "1e308", "'-Infinity'"], pa.array([-0.0, 1e308, float("-inf")])),
    "small floats": ("float4", ["1.5", "'Infinity'"], pa.array([1.5, float("inf")], pa.float32())),
    "numerics": (
        "numeric",
        ["0", "12.50", "-0.0001", "10000", "99999999", "-123456789012.5", "0.00010000", "1e15", "-99.99"],
        decimals("0", "12.5", "-0.0001", "10000", "99999999", "-123456789012.5", "0.0001", "1e15", "-99.99"),
    ),
    "numerics of two digits behind the point": ("numeric(12,2)", ["1.10", "-0.01"], decimals("1.1", "-0.01")),
    "numerics rounded before the point": ("numeric(5,-2)", ["12345"], decimals("12300")),
    "numerics of 38 digits": (
        "numeric",
        ["9" * 38, "-0." + "0" * 37 + "1", "123456789012345678901234567890.25"],
        decimals("9" * 38, "-0." + "0" * 37 + "1", "123456789012345678901234567890.25"),
    ),
    "numerics that are none": ("numeric", ["1.5", "'NaN'"], one(decimals("1.5"), tagged("numeric", NAN))),
    "numerics of more digits": (
        "numeric",
        ["7", "1e38"],
        one(decimals("7"), tagged("numeric", struct.pack(">hhHHH", 1, 9, 0, 0, 100))),
    ),
    "texts": ("text", ["''", "'阴性'", "e'a\\tb'"], pa.array(["", "阴性", "a\tb"])),
    "padded texts": ("char(3)", ["'x'"], pa.array(["x  "])),
    "names": ("name", ["'n'"], pa.array(["n"])),
    "json": ("json", ["'{\"a\":  1}'"], pa.array(['{"a":  1}'])),
    "binary json": ("jsonb", ["'{\"a\":  1}'", "'null'"], pa.array(['{"a": 1}', "null"])),
    "xml": ("xml", ["'<a>ü</a>'"], pa.array(["<a>ü</a>"])),
    "enums": ("mood", ["'sad'"], pa.array(["sad"])),
    "domains": ("address", ["'a@b'"], pa.array(["a@b"])),
    "bytes": ("bytea", ["''", "'\\x00ff'"], pa.array([b"", b"\0\xff"])),
    "dates": (
        "date",
        ["'1969-12-31'", "'infinity'"],
        one(pa.array([datetime.date(1969, 12, 31)]), tagged("date", i32(2**31 - 1))),
    ),
    "dates before Christ": ("date", ["'4714-11-24 BC'"], pa.array([-2440588], pa.int32()).cast(pa.date32())),
    "times without zone": (
        "timestamp",
        ["'2020-02-29 12:34:56.789012'", "'-infinity'", "'294276-12-31 23:59:59.999999'"],
        one(
            moments(None, "2020-02-29 12:34:56.789012"),
            tagged("timestamp", i64(-(2**63)), i64(9223371331199999999)),
        ),
    ),
    "instants": (
        "timestamptz", ["'2020-02-29 12:00:00+08'"], moments("UTC", "2020-02-29 04:00:00+00:00"),
    ),
    "times of day": (
        "time",
        ["'23:59:59.999999'", "'24:00'"],
        one(pa.array([datetime.time(23, 59, 59, 999999)]), tagged("time", i64(86_400_000_000))),
    ),
    "times of day with a zone": (
        "timetz", ["'12:00+08'"], tagged("timetz", i64(43_200_000_000) + i32(-28800)),
    ),
    "intervals": (
        "interval",
        ["'14 months 3 days -1.5 seconds'", "'2562048 hours'"],
        one(
            pa.array([pa.MonthDayNano([14, 3, -1_500_000_000])], pa.month_day_nano_interval()),
            tagged("interval", i64(2562048 * 3_600_000_000) + bytes(8)),
        ),
    ),
    "uuids": ("uuid", [f"'{ID}'"], tagged("uuid", ID.bytes)),
    "addresses": ("inet", ["'10.0.0.1'"], tagged("inet", b"\2\x20\0\4\x0a\0\0\1")),
    "points": ("point", ["'(1,0)'"], tagged("point", struct.pack(">dd", 1, 0))),
    "ranges": ("int4range", ["'empty'"], tagged("int4range", b"\1")),
    "composites": ("pair", ["'(7,)'"], tagged("pair", b"".join(map(i32, (2, 23, 4, 7, 25, -1))))),
    "access lists, which have no binary form": (
        "aclitem", ["'postgres=r/postgres'"], tagged("aclitem", b"postgres=r/postgres"),
    ),
    "composites of what has no binary form": (
        "grants", ["'(postgres=r/postgres)'"], tagged("grants", b"(postgres=r/postgres)"),
    ),
    "arrays of integers": (
        "int4[]", ["'{}'", "'{1,NULL}'"], inside(pa.array([1, None], pa.int32()), 0, 0, 2),
    ),
    "arrays of texts": ("text[]", ["'{\"\",ü}'", "'{NULL}'"], inside(pa.array(["", "ü", None]), 0, 2, 3)),
    "arrays of numerics": ("numeric[]", ["'{1.50,-2}'"], inside(decimals("1.5", "-2"), 0, 2)),
    "arrays of enums": ("mood[]", ["'{happy}'"], inside(pa.array(["happy"]), 0, 1)),
    "arrays in domains": ("several", ["'{7}'"], inside(pa.array([7], pa.int32()), 0, 1)),
    "long arrays": (
        "int4[]",
        ["(SELECT array_agg(n) FROM generate_series(0, 299) n)", "'{5}'"],
        inside(pa.array([*range(300), 5], pa.int32()), 0, 300, 301),
    ),
    "arrays of two dimensions, and from zero": (
        "int4[]",
        ["'{3}'", "'{{1,2}}'", "'[0:0]={7}'"],
        one(inside(pa.array([3], pa.int32()), 0, 1), tagged("_int4", TWO_DIMENSIONS, FROM_ZERO)),
    ),
    "arrays of ranges": (
        "int4range[]",
        ["'{empty}'"],
        tagged("_int4range", b"".join(map(i32, (1, 0, 3904, 1, 1, 1))) + b"\1"),
    ),
}  # fmt: skip


NOT_NULL = Selection(rows=parse_predicate("v IS NOT NULL"))


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The address of a database with a table a case."""
    server = postgres_server.shared()
    name = server.database(
        "CREATE TYPE mood AS ENUM ('sad', 'happy')",
        "CREATE DOMAIN address AS text CHECK (value LIKE '%@%')",
        "CREATE DOMAIN several AS int4[]",
        "CREATE TYPE pair AS (a int4, b text)",
        "CREATE TYPE grants AS (a aclitem)",
        *(
            f"CREATE TABLE t{number:02} AS "
            + " UNION ALL ".join(f"SELECT ({value})::{kind} AS v" for value in [*values, "NULL"])
            for number, (kind, values, _) in enumerate(CASES.values())
            if _can(server, kind)
        ),
    )
    yield server.url(name)
    server.drop(name)


@pytest.fixture(scope="module")
def everything(database: str) -> dict[str, pa.RecordBatch]:
    return read(database, EVERYTHING)


@pytest.fixture(scope="module")
def all_but_nulls(database: str) -> dict[str, pa.RecordBatch]:
    return read(database, NOT_NULL)


def read(url: str, selection: Selection) -> dict[str, pa.RecordBatch]:
    """The one batch of each table, by its case."""
    reader = open_reader(url, selection)
    found = {}
    for number, (case, (kind, _, _)) in enumerate(CASES.items()):
        if not _can(postgres_server.shared(), kind):
            continue
        (batch,) = reader.batches(Partition(number, 0, 0, Bounds("public", f"t{number:02}").dump()))
        found[case] = batch
    return found


def _can(server: postgres_server.Server, kind: str) -> bool:
    if kind == "numeric(5,-2)":
        return server.version >= 150000
    return kind != "xml" or server.has("xml")


def of(case: str, batches: dict[str, pa.RecordBatch]) -> pa.RecordBatch:
    if case not in batches:
        pytest.skip("this server does not know the type")
    return batches[case]


def encoded(*columns: pa.Array) -> bytes:
    return b"".join(bytes(encode(pa.RecordBatch.from_arrays([column], ["v"]))[0]) for column in columns)


@pytest.mark.parametrize("case", CASES)
def test_values_are_encoded_as_what_they_are(everything: dict[str, pa.RecordBatch], case: str) -> None:
    """The bytes that are digested are those of the expected values, whatever Arrow holds them in."""
    batch = of(case, everything)

    batch.validate(full=True)
    assert encoded(batch.column(0)) == encoded(CASES[case][2], pa.nulls(1))


@pytest.mark.parametrize("case", CASES)
def test_rows_of_every_type_can_be_chosen(all_but_nulls: dict[str, pa.RecordBatch], case: str) -> None:
    """A condition that leaves one row out gives the others unchanged."""
    assert encoded(of(case, all_but_nulls).column(0)) == encoded(CASES[case][2])


@pytest.mark.parametrize("case", CASES)
def test_values_of_every_type_can_be_surveyed(everything: dict[str, pa.RecordBatch], case: str) -> None:
    """Infinite dates, days before Christ, lists and tagged bytes: a survey looks at them all."""
    texts = as_texts(of(case, everything).column(0))

    assert len(texts.texts) == len(texts.blobs) == len(CASES[case][2]) + 1
    assert not texts.texts[-1].is_valid
