"""Which records go: predicates against SQLite as a judge, holds, subjects, and hostile conditions."""

from __future__ import annotations

import datetime as dt
import pickle
import sqlite3
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cenotaph.errors import UsageError
from cenotaph.records import Tagged
from cenotaph.scope import EVERYTHING, Hold, Selection, parse_predicate

UTC = dt.UTC
RECORDS = pa.record_batch(
    {
        "id": pa.array([1, 2, None, 4], pa.int64()),
        "name": pa.array(["张三", "李_四", None, "100%"]),
    }
)


def truths(condition: str, column: pa.Array, name: str = "c") -> list[bool | None]:
    """A condition's value for each value of one column; None is UNKNOWN."""
    return judged(condition, pa.RecordBatch.from_arrays([column], [name]))


def judged(condition: str, batch: pa.RecordBatch) -> list[bool | None]:
    true, false, _ = parse_predicate(condition).evaluate(batch)
    assert not (true & false).any()
    return [True if yes else False if no else None for yes, no in zip(true, false, strict=True)]


def union_of(*children: pa.Array) -> pa.Array:
    """All values of each child, one child after the other."""
    codes = [code for code, child in enumerate(children) for _ in child]
    offsets = [i for child in children for i in range(len(child))]
    return pa.UnionArray.from_dense(pa.array(codes, pa.int8()), pa.array(offsets, pa.int32()), list(children))


NUMBERS = st.integers(-5, 5) | st.decimals(-5, 5, places=1)
TEXTS = st.text("ab%_'张", max_size=3)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def comparisons(column: str, literals: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(["=", "<>", "!=", "<", "<=", ">", ">="])
    lists = st.lists(literals, min_size=1, max_size=3).map(", ".join)
    negation = st.sampled_from(["", "NOT "])
    return st.one_of(
        st.builds("{} {} {}".format, st.just(column), operators, literals),
        st.builds("{} {}IN ({})".format, st.just(column), negation, lists),
        st.builds("{} {}BETWEEN {} AND {}".format, st.just(column), negation, literals, literals),
        st.builds("{} IS {}NULL".format, st.just(column), negation),
    )


LIKES = st.builds(
    "b {}LIKE {} ESCAPE '!'".format, st.sampled_from(["", "NOT "]), st.text("ab%_张").map(quoted)
)
CONDITIONS = st.recursive(
    comparisons("a", NUMBERS.map(str)) | comparisons("b", TEXTS.map(quoted)) | LIKES,
    lambda inner: st.one_of(
        st.builds("({} AND {})".format, inner, inner),
        st.builds("{} OR {}".format, inner, inner),
        st.builds("NOT ({})".format, inner),
    ),
    max_leaves=5,
)
ROWS = st.lists(st.tuples(st.integers(-5, 5) | st.none(), TEXTS | st.none()), max_size=6)


class TestPredicates:
    """spec/scope.md, "Predicates"."""

    @settings(max_examples=300, deadline=None)
    @given(CONDITIONS, ROWS)
    def test_logic_is_that_of_sql(self, condition: str, rows: list[tuple[int | None, str | None]]) -> None:
        """SQLite gives true, false and unknown for the same rows."""
        batch = pa.record_batch(
            {
                "a": pa.array([a for a, _ in rows], pa.int64()),
                "b": pa.array([b for _, b in rows], pa.string()),
            }
        )
        judge = sqlite3.connect(":memory:")
        judge.execute("PRAGMA case_sensitive_like = ON")
        judge.execute("CREATE TABLE t (a INTEGER, b TEXT)")
        judge.executemany("INSERT INTO t VALUES (?, ?)", rows)
        expected = [row[0] for row in judge.execute(f"SELECT ({condition}) FROM t ORDER BY rowid")]
        judge.close()
        assert judged(condition, batch) == [None if value is None else bool(value) for value in expected]

    @settings(max_examples=100, deadline=None)
    @given(CONDITIONS, ROWS)
    def test_text_columns_may_arrive_as_bytes(
        self, condition: str, rows: list[tuple[int | None, str | None]]
    ) -> None:
        """What CSV delivers as bytes, numbers included, gives what typed columns give."""
        a = [a for a, _ in rows]
        b = [b for _, b in rows]
        typed = pa.record_batch({"a": pa.array(a, pa.int64()), "b": pa.array(b, pa.string())})
        loose = pa.record_batch(
            {
                "a": pa.array([None if n is None else f"{n}".encode() for n in a], pa.binary()),
                "b": pa.array([None if t is None else t.encode() for t in b], pa.binary_view()),
            }
        )
        assert judged(condition, loose) == judged(condition, typed)

    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            ("c < 2.5", [True, True, None, False]),
            ("c = 2.0", [False, True, None, False]),
            ("c < 99999999999999999999", [True, True, None, True]),
            ("c > -99999999999999999999", [True, True, None, True]),
            ("c = '2'", [False, True, None, False]),
            ("c LIKE '%2'", [False, True, None, False]),
            ("c IN (1, '2')", [True, True, None, False]),
            ("c = TRUE", [True, None, None, None]),
        ],
    )
    def test_integers_compare_exactly(self, condition: str, expected: list[bool | None]) -> None:
        """With integers, decimals, numbers in quotes, and numbers that fit no column."""
        for kind in (pa.int8(), pa.int64(), pa.uint64()):
            assert truths(condition, pa.array([1, 2, None, 127], kind)) == expected

    @pytest.mark.parametrize("kind", [pa.string(), pa.binary(), pa.large_string(), pa.string_view()])
    def test_numbers_in_text_convert_strictly(self, kind: pa.DataType) -> None:
        """Leading zeros and white space are numbers still; exponents, other digits and words are not."""
        values = ["007", " 7.0 ", "7e0", "七", "٧", "", "+7", "7" * 61, None]
        column = pa.array([None if v is None else v.encode() for v in values], pa.binary()).cast(kind)
        assert truths("c = 7", column) == [True, True, None, None, None, None, True, None, None]
        predicate = parse_predicate("c = 7 OR c = 8")
        assert predicate.evaluate(pa.record_batch({"c": column})).unconverted.sum() == 5

    def test_a_conversion_does_not_depend_on_the_batch(self) -> None:
        """A row alone, converted at Arrow's speed, is judged like the row among odd ones."""
        values = [
            "2021-01-01",
            "2020-12-31 23:59:59.999999",
            "2021-02-30",
            "0000-01-01",
            "2021-01-01T00:00:00+08:00",
        ]
        column = pa.array([*values, " 2021-01-01", "2021-01-01 24:00", "2021-13-01"])
        for condition in ("c < DATE '2021-01-01'", "c >= TIMESTAMP '2020-12-31 16:00:00Z'"):
            together = truths(condition, column)
            assert together == [truths(condition, column.slice(i, 1))[0] for i in range(len(column))]
        assert truths("c < DATE '2021-01-01'", column) == [False, True, None, None, True, False, None, None]

    def test_numbers_beyond_64_bits_compare_in_text(self) -> None:
        """An identity number of 19 digits is compared with all of them."""
        column = pa.array(["9223372036854775808", "9223372036854775807"])
        assert truths("c > 9223372036854775807", column) == [True, False]

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(st.decimals(-10, 10, places=2) | st.none(), max_size=5),
        st.decimals(-10, 10, places=3),
        st.sampled_from(["<", "=", ">"]),
        st.integers(0, 5),
    )
    def test_decimals_compare_alike_in_every_type(
        self, values: list[Decimal | None], literal: Decimal, operator: str, start: int
    ) -> None:
        """Narrow and wide decimals, their text, and text among odd values give Python's answer."""
        compare = {"<": Decimal.__lt__, "=": Decimal.__eq__, ">": Decimal.__gt__}[operator]
        expected = [None if value is None else compare(value, literal) for value in values][start:]
        text = pa.array([None if value is None else str(value) for value in values], pa.string())
        columns = [
            pa.array(values, kind) for kind in (pa.decimal128(9, 2), pa.decimal64(9, 2), pa.decimal256(50, 5))
        ]
        for column in (*columns, text):
            assert truths(f"c {operator} {literal}", column.slice(start)) == expected
        odd = pa.concat_arrays([text.slice(start), pa.array([" x "])])
        assert truths(f"c {operator} {literal}", odd) == [*expected, None]

    def test_decimals_compare_exactly(self) -> None:
        """A literal finer than the column's scale is not rounded to it."""
        column = pa.array([Decimal("0.10"), None, Decimal("-3.00")], pa.decimal128(9, 2))
        assert truths("c = 0.1", column) == [True, None, False]
        assert truths("c < 0.1000000001", column) == [True, None, True]

    def test_a_float_that_is_no_number_is_unknown(self) -> None:
        """NaN is neither above nor below anything."""
        assert truths("c > 0 OR c <= 0", pa.array([1.5, float("nan"), None])) == [True, None, None]

    @pytest.mark.parametrize(
        "column",
        [
            pa.array([dt.date(2020, 12, 31), dt.date(2021, 1, 1), None], pa.date32()),
            pa.array([dt.date(2020, 12, 31), dt.date(2021, 1, 1), None], pa.date64()),
            pa.array([dt.datetime(2020, 12, 31, 23), dt.datetime(2021, 1, 1), None], pa.timestamp("s")),  # noqa: DTZ001
            pa.array(
                [dt.datetime(2020, 12, 31, 23, tzinfo=UTC), dt.datetime(2021, 1, 1, tzinfo=UTC), None],
                pa.timestamp("ns", "Asia/Shanghai"),
            ),
            pa.array(["2020-12-31", "2021-01-01 00:00", None]),
            pa.array([b"2020-12-31", b"2021-01-01T08:00:00+08", None]),
        ],
    )
    def test_dates_compare_as_instants(self, column: pa.Array) -> None:
        """Dates, time stamps of any unit and zone, and their text all stand in one order."""
        for literal in (
            "DATE '2021-01-01'",
            "TIMESTAMP '2021-01-01 00:00:00'",
            "TIMESTAMP '2021-01-01T00:00Z'",
        ):
            assert truths(f"c < {literal}", column) == [True, False, None]
            assert truths(f"c = {literal}", column) == [False, True, None]

    def test_quoted_dates_are_read_as_the_column(self) -> None:
        """As databases do; against text they stay text."""
        column = pa.array([dt.date(2020, 12, 31), dt.date(2021, 1, 1), None])
        assert truths("c < '2021-01-01'", column) == [True, False, None]
        assert truths("c < '2021-1-1'", column.cast(pa.string())) == [True, True, None]

    def test_a_time_within_the_day_is_after_its_date(self) -> None:
        """A date column against a literal that falls between two dates."""
        column = pa.array([dt.date(2021, 1, 1), dt.date(2021, 1, 2)])
        assert truths("c < TIMESTAMP '2021-01-01 00:00:00.000001'", column) == [True, False]
        assert truths("c = TIMESTAMP '2021-01-01 00:00:00.000001'", column) == [False, False]

    def test_booleans_compare_with_what_stands_for_them(self) -> None:
        """TRUE, 1 and 'true' are one value; text is read in either case."""
        for literal in ("TRUE", "1", "'true'"):
            assert truths(f"c = {literal}", pa.array([True, False, None])) == [True, False, None]
        assert truths("c = TRUE", pa.array(["True", "FALSE", "yes", None])) == [True, False, None, None]

    def test_like_counts_characters_not_bytes(self) -> None:
        """`_` is one character of text or of UTF-8 bytes, and bytes that are neither do no harm."""
        column = pa.array(["张三".encode(), b"ab", b"a\xff", b"a\nb", None])
        assert truths("c LIKE '__'", column) == [True, True, True, False, None]
        assert truths("c LIKE 'a%'", column) == [False, True, True, True, None]

    def test_like_takes_regular_expressions_literally(self) -> None:
        """Nothing but % and _ means something."""
        column = pa.array(["a.c", "abc", "[a]*(b)$", "\\d"])
        assert truths("c LIKE 'a.c'", column) == [True, False, False, False]
        assert truths("c LIKE '[a]*(b)$'", column) == [False, False, True, False]
        assert truths(r"c LIKE '\\d' ESCAPE '\'", column) == [False, False, False, True]

    def test_loose_columns_compare_value_by_value(self) -> None:
        """SQLite keeps text, integers and blobs in one column; what cannot compare is unknown, counted."""
        column = union_of(
            pa.array(["5", None]), pa.array([7, 5]), pa.nulls(1), pa.array([1.5]), pa.array([[5]])
        )
        assert truths("c = 5", column) == [True, None, False, True, None, False, None]
        assert truths("c IS NULL", column) == [False, True, False, False, True, False, False]
        assert truths("c LIKE '5' OR c IS NULL", column) == [True, True, False, True, True, None, None]
        assert truths("c = 5", column.slice(2)) == [False, True, None, False, None]
        assert parse_predicate("c = 5").evaluate(pa.record_batch({"c": column})).unconverted.sum() == 1

    def test_wrapped_columns_compare_as_what_they_wrap(self) -> None:
        """Dictionaries, run lengths and a store's own bytes."""
        plain = pa.array(["a", "a", "b"])
        runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["a", "b"]))
        tagged = Tagged("sqlite:text").array([b"a", b"a", b"b"])
        for column in (plain, plain.dictionary_encode(), runs, tagged):
            assert truths("c = 'a'", column) == [True, True, False]

    def test_names_may_be_anything(self) -> None:
        """Chinese without quotes; spaces, quotes and keywords with; case decided by what is there."""
        column = pa.array([1])
        for written, name in [
            ("类型", "类型"),
            ('"two words"', "two words"),
            ('"a""b"', 'a"b'),
            ('"IN"', "IN"),
            ("date", "date"),
            ("Created", "created"),
        ]:
            assert truths(f"{written} = 1", column, name) == [True]
        both = pa.RecordBatch.from_arrays([column, pa.array([2])], ["A", "a"])
        assert judged("a = 2", both) == [True]

    @pytest.mark.parametrize(
        ("condition", "message"),
        [
            ("", "needs the name of a column, at character 1"),
            ("id", "needs a comparison"),
            ("id =", "needs a value"),
            ("id = NULL", "never true, at character 6"),
            ("id = 1 AND", "needs the name of a column"),
            ("id = 1 id = 2", "goes on after its end, at character 8"),
            ("id = 1; DROP TABLE t", "not part of the language, at character 7"),
            ("id = 'secret", "not part of the language"),
            ("id = 1e5", "not part of the language"),
            ("id IN ()", "needs a value"),
            ("(id = 1", "needs \\)"),
            ("name LIKE 'secret!' ESCAPE '!'", "escapes something"),
            ("name LIKE 'a' ESCAPE 'ab'", "one character"),
            (r"name LIKE 'se\%'", "backslash"),
            ("id < DATE '2021-02-30'", "ISO 8601"),
            ("id < DATE '2021-02-28 10:00'", "ISO 8601"),
            ("NOT " * 51 + "id = 1", "nests more than 50 deep"),
            ("(" * 5000 + "id = 1" + ")" * 5000, "nests more than 50 deep"),
            ("id IN (" + ",".join(["1"] * 10_001) + ")", "more than 10,000 values"),
            ("id = " + "1" * 61, "more than 60 digits"),
            ("name LIKE '" + "%" * 1001 + "'", "at most 1,000 characters"),
            ("id = 1" + " " * 65_536, "longer than 65,536"),
        ],
    )
    def test_what_is_not_a_condition_is_refused(self, condition: str, message: str) -> None:
        """With the place and without a word of what was written there."""
        with pytest.raises(UsageError, match=message) as error:
            parse_predicate(condition)
        assert "secret" not in f"{error.value} {error.value.hint}"

    @pytest.mark.parametrize(
        ("condition", "message"),
        [
            ("nothing = 1", "does not have, at character 1"),
            ('"ID" = 1', "does not have"),
            ("id = 'secret'", "cannot be compared"),
            ("id = DATE '2021-01-01'", "cannot be compared"),
            ("lists = 1", "cannot be compared"),
            ("lists LIKE 'secret'", "neither text nor integer"),
            ("twice = 1", "more than once"),
            ("TWICE = 1", "more than once"),
        ],
    )
    def test_what_does_not_fit_the_columns_is_refused(self, condition: str, message: str) -> None:
        """Before any row is chosen, even if there is none."""
        one = pa.array([1])
        batch = pa.RecordBatch.from_arrays(
            [one, pa.array([[1]]), one, one], ["id", "lists", "twice", "twice"]
        )
        for rows in (batch, batch.slice(0, 0)):
            with pytest.raises(UsageError, match=message) as error:
                parse_predicate(condition).evaluate(rows)
            assert "secret" not in str(error.value)

    def test_long_chains_and_patterns_do_no_harm(self) -> None:
        """Thousands of alternatives and a pattern that would trap a backtracking matcher."""
        chain = " OR ".join(f"id = {n}" for n in range(3, 3003))
        assert judged(chain, RECORDS) == [False, False, None, True]
        assert truths("c LIKE '" + "%a" * 400 + "'", pa.array(["a" * 399 + "b", "a" * 400])) == [False, True]


class TestSelection:
    """spec/scope.md, rules 1 to 5."""

    def test_everything_is_everything(self) -> None:
        """Whole, and every row of it."""
        assert EVERYTHING.whole("visits", ["id"])
        masks = EVERYTHING.masks("visits", RECORDS)
        assert masks.selected.all()
        assert not masks.held.any()

    def test_collections_are_chosen_by_pattern_or_name(self) -> None:
        """Case counts, and a name with brackets in it is still a name."""
        selection = Selection(collections=("visits*", "a[b]"))
        chosen = [
            name for name in ("visits", "visits_2021", "Visits", "a[b]", "ab") if selection.includes(name)
        ]
        assert chosen == ["visits", "visits_2021", "a[b]", "ab"]
        assert not selection.masks("Visits", RECORDS).selected.any()
        assert not selection.whole("Visits", ["id"])

    def test_a_row_that_is_unknown_is_not_selected(self) -> None:
        """Neither by a condition nor by its opposite."""
        for condition in ("id <= 2", "NOT id <= 2"):
            masks = Selection(rows=parse_predicate(condition)).masks("t", RECORDS)
            assert not masks.selected[2]
            assert not masks.held[2]

    def test_a_row_that_is_unknown_is_held(self) -> None:
        """An erasure cannot be taken back, so a hold that cannot be decided holds."""
        masks = Selection(holds=(Hold(rows=parse_predicate("id = 1")),)).masks("t", RECORDS)
        assert masks.held.tolist() == [True, False, True, False]
        assert masks.selected.tolist() == [False, True, False, True]

    def test_what_is_out_of_scope_is_not_held(self) -> None:
        """Held counts what would have gone, no more; and several holds add up."""
        holds = Hold(rows=parse_predicate("id = 1")), Hold(rows=parse_predicate("id = 4"))
        masks = Selection(rows=parse_predicate("id < 3"), holds=holds).masks("t", RECORDS)
        assert masks.held.tolist() == [True, False, False, False]
        assert masks.selected.tolist() == [False, True, False, False]

    def test_a_held_collection_is_held_whole(self) -> None:
        """A hold without conditions keeps every record of what it names, and nothing else."""
        selection = Selection(holds=(Hold(collections=("*_court",)),))
        assert selection.masks("visits_court", RECORDS).held.all()
        assert not selection.whole("visits_court", ["id"])
        assert selection.whole("visits", ["id"])

    @pytest.mark.parametrize(
        "column",
        [
            pa.array(["11", " 22\t", "33", None, "\u300022"]),
            pa.array([b"11", b" 22 ", b"\xff", None, "\u300022".encode()]),
            pa.array([11, 22, 33, None, 22]),
            union_of(pa.array([11]), pa.array([" 22 ", "x"]), pa.nulls(1), pa.array([22])),
            pa.array(["11", "22", "33", None, "22"]).dictionary_encode(),
        ],
    )
    def test_subjects_are_found_in_any_column_type(self, column: pa.Array) -> None:
        """As text without white space around it; integers by their digits; null never."""
        selection = Selection(subjects=frozenset({"22 ", "11", "", "7" * 70}), subject_columns={"v*": "who"})
        masks = selection.masks("visits", pa.RecordBatch.from_arrays([column], ["who"]))
        assert masks.selected.tolist() == [True, True, False, False, True]
        assert not selection.whole("visits", ["who"])

    def test_the_nearest_mapping_names_the_subject_column(self) -> None:
        """A collection's own name before any pattern."""
        selection = Selection(subjects=frozenset({"1"}), subject_columns={"*": "name", "visits": "id"})
        assert selection.masks("visits", RECORDS).selected.tolist() == [True, False, False, False]

    def test_a_subject_hold_meets_its_condition_too(self) -> None:
        """A hold with both covers records that meet both."""
        hold = Hold(subjects=frozenset({"1", "2"}), rows=parse_predicate("name LIKE '张%'"))
        masks = Selection(subject_columns={"*": "id"}, holds=(hold,)).masks("t", RECORDS)
        assert masks.held.tolist() == [True, False, False, False]

    @pytest.mark.parametrize("columns", [{}, {"other": "id"}, {"*": "nothing"}])
    def test_a_list_without_a_column_is_refused(self, columns: dict[str, str]) -> None:
        """For the scope and for a hold, at the first question asked."""
        listed = frozenset({"1"})
        for selection in (
            Selection(subjects=listed, subject_columns=columns),
            Selection(subject_columns=columns, holds=(Hold(subjects=listed),)),
        ):
            with pytest.raises(UsageError, match="no subject column"):
                selection.masks("t", RECORDS)
            with pytest.raises(UsageError, match="no subject column"):
                selection.whole("t", RECORDS.schema.names)

    def test_a_subject_column_of_another_type_is_refused(self) -> None:
        """A list of identity numbers says nothing of a column of floats."""
        selection = Selection(subjects=frozenset({"1"}), subject_columns={"*": "c"})
        with pytest.raises(UsageError, match="neither text nor integer"):
            selection.masks("t", pa.record_batch({"c": [1.5]}))

    def test_values_that_do_not_convert_are_counted(self) -> None:
        """So that the store can note them."""
        batch = pa.record_batch({"c": ["1", "x", "", None], "d": ["y", "y", "1", "1"]})
        hold = Hold(rows=parse_predicate("d = 1"))
        assert Selection(rows=parse_predicate("c > 0")).masks("t", batch).unconverted == 2
        assert Selection(rows=parse_predicate("c > 0"), holds=(hold,)).masks("t", batch).unconverted == 3

    def test_no_person_shows(self) -> None:
        """Neither a listed subject nor a condition is in the repr."""
        secret = "110101199003070011"
        predicate = parse_predicate(f"id = '{secret}'")
        listed = frozenset({secret})
        selection = Selection(rows=predicate, subjects=listed, holds=(Hold(rows=predicate, subjects=listed),))
        assert predicate.text.count(secret) == 1
        assert secret not in repr(selection)

    def test_a_selection_reaches_child_processes(self) -> None:
        """Pickled and back it selects the same."""
        selection = Selection(rows=parse_predicate("id IN (1, 4) AND name LIKE '%'"), collections=("t",))
        again = pickle.loads(pickle.dumps(selection))
        assert again == selection
        assert np.array_equal(again.masks("t", RECORDS).selected, selection.masks("t", RECORDS).selected)


@pytest.mark.parametrize(
    ("selection", "needed"),
    [
        (Selection(rows=parse_predicate('ID = 3 AND "a ""b""" = \'x\'')), ["Id", 'a "b"']),
        (Selection(subjects=frozenset("x"), subject_columns={"t*": "who"}), ["who"]),
        (Selection(holds=(Hold(rows=parse_predicate("note IS NULL")),)), ["note"]),
        (Selection(holds=(Hold(),)), []),
    ],
)
def test_the_columns_that_decide_are_among_those_needed(selection: Selection, needed: list[str]) -> None:
    """A store that reads no others comes to the same decision."""
    names = ["Id", "who", "note", 'a "b"', "other"]
    columns = [pa.array([3, 4]), *(pa.array(["x", None]) for _ in names[1:])]
    batch = pa.RecordBatch.from_arrays(columns, names=names)
    places = selection.needed("t1", names)

    assert [names[place] for place in places] == needed
    if needed:
        expected, found = selection.masks("t1", batch), selection.masks("t1", batch.select(places))
        assert [m.tolist() for m in found[:2]] == [m.tolist() for m in expected[:2]]
