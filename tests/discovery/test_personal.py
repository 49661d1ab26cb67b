"""Which columns are said to hold personal data, and that nobody's data is in the saying."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from cenotaph.discovery import ColumnSurvey, subject_column
from cenotaph.discovery.identity import NATIONALS, hong_kong_id, resident_id, taiwan_id
from cenotaph.discovery.sample import SAMPLE_VALUES, ColumnSample

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the folder of shared data sets is not beside the repository"
)


class Column:
    def __init__(self, name: str) -> None:
        self.name = name


class TestValuesProve:
    """Under a name that says nothing, values alone prove a kind."""

    @pytest.mark.parametrize(
        ("value", "kind", "needle"),
        [
            ("resident_id", "resident-id", "id"),
            ("mobile", "phone", "phone"),
            ("name", "name", "name"),
            ("address", "address", "address"),
        ],
    )
    def test_a_kind_is_proved_under_a_meaningless_name(self, people, survey, value, kind, needle):
        """Check digits, numbering plans, surnames and streets prove without a hint."""
        found = survey({"c1": people.many(getattr(people, value))})["c1"]

        assert (found.kind, found.confidence, found.needle_kind) == (kind, "proved", needle)

    @pytest.mark.parametrize(
        ("kind", "values"),
        [
            ("email", [f"user{at}@example.org" for at in range(60)]),
            ("plate", [f"苏B{at:05}" for at in range(60)]),
            ("mac", [f"00:1b:44:11:3a:{at:02x}" for at in range(60)]),
            ("ip", [f"10.3.{at}.{200 - at}" for at in range(60)]),
            ("coordinates", [f"POINT (120.3{at}1 31.5{at}7)" for at in range(60)]),
            ("phone", [f"+44 20 7946 0{at:03}" for at in range(60)]),
        ],
    )
    def test_forms_that_nothing_else_has_prove(self, survey, kind, values):
        """Forms of their own prove at 60 values."""
        found = survey({"c1": values})["c1"]

        assert (found.kind, found.confidence) == (kind, "proved")

    def test_dates_that_are_in_the_identity_numbers_are_births(self, people, survey):
        """Dates beside identity numbers that hold the same dates are proved without a name; shifted, not."""
        ids = people.many(people.resident_id)
        born = [f"{value[6:10]}-{value[10:12]}-{value[12:14]}" for value in ids]
        found = survey({"c1": ids, "c2": born, "c3": born[1:] + born[:1]})

        assert (found["c2"].kind, found["c2"].confidence) == ("birth-date", "proved")
        assert found["c3"].kind == "date"

    def test_three_values_are_an_indication_and_six_a_proof(self, people, survey):
        """With few values, chance remains an explanation, and the confidence says so."""
        few = survey({"c1": people.many(people.resident_id, 3)})["c1"]
        enough = survey({"c1": people.many(people.resident_id, 6)})["c1"]

        assert (few.confidence, enough.confidence) == ("indication", "proved")

    def test_gb18030_is_read(self, people, survey):
        """A column in the encoding of older Chinese systems is recognised as one in UTF-8 is."""
        values = [name.encode("gb18030") for name in people.many(people.name)]

        assert survey({"c1": values})["c1"].kind == "name"

    def test_identity_numbers_among_other_values_are_seen(self, people, survey):
        """A messy column, one value in ten an identity number, is an indication and a needle."""
        values = people.many(people.resident_id, 60) + [f"登记{at:06}" for at in range(540)]
        found = survey({"c1": values})["c1"]

        assert (found.kind, found.confidence, found.needle) == ("resident-id", "indication", True)

    def test_file_names_of_people_are_seen(self, people, survey):
        """Scans named after the person on them are found by the number and the name inside."""
        values = [f"{people.name()}_{people.resident_id()}.jpg" for _ in range(60)]
        found = survey({"c1": values})["c1"]

        assert (found.kind, found.needle_kind) == ("file-name", "path")

    def test_photos_are_told_by_their_first_bytes(self, survey):
        """JPEG magic proves a photo; bytes of no format are an unexplained blob."""
        photos = [b"\xff\xd8\xff\xe0" + bytes([at] * 20) for at in range(60)]
        bytes_only = [b"\x00\x01\x9f" + bytes([at] * 20) for at in range(60)]
        found = survey({"c1": photos, "c2": bytes_only})

        assert (found["c1"].kind, found["c1"].needle_kind, found["c1"].distinct_ratio) == (
            "photo",
            "blob",
            1.0,
        )
        assert (found["c2"].kind, found["c2"].confidence) == ("blob", "indication")

    def test_coordinates_are_proved_beside_each_other(self, survey):
        """Latitude and longitude of four decimals, side by side, are places; a lone price is not."""
        lat = [31.5 + at / 7919 for at in range(300)]
        found = survey(
            {
                "纬度": lat,
                "经度": [value + 88.81234 for value in lat],
                "price": [f"{at}.25" for at in range(300)],
            }
        )

        assert found["纬度"].confidence == found["经度"].confidence == "proved"
        assert found["经度"].needle_kind is None  # a double has no one spelling to search for
        assert found["price"].kind == "other"


class TestImpostors:
    """What looks like personal data and is not."""

    def test_order_numbers_of_18_digits_are_not_resident_ids(self, survey):
        """Area, date and serial as in an identity number; only one in eleven has the check digit."""
        orders = [f"320211{20200101 + at % 28}{at:04}" for at in range(1_000)]
        found = survey({"order": orders})["order"]

        assert sum(map(resident_id, orders)) > 50  # impostors do pass one by one
        assert found.kind == "other"

    @pytest.mark.parametrize("digits", [9, 10, 11, 12, 13, 15, 16, 18])
    def test_random_numbers_prove_nothing(self, people, survey, digits):
        """Twenty columns of random numbers of each length: none is said to be a person's number."""
        columns = {f"c{at}": people.many(lambda: _digits(people, digits), 200) for at in range(20)}

        assert [found.kind for found in survey(columns).values() if found.personal] == []

    def test_timestamps_are_dates_and_no_needles(self, people, survey):
        """Seconds and milliseconds since 1970, and compact timestamps, are not phones."""
        draw = people.draw
        found = survey(
            {
                "c1": [str(1_590_000_000 + draw.randint(0, 10**7)) for _ in range(300)],
                "c2": [str(1_590_000_000_000 + draw.randint(0, 10**10)) for _ in range(300)],
                "c3": [
                    f"202003{draw.randint(10, 28)}1{draw.randint(0, 9)}{draw.randint(10, 59)}00"
                    for _ in range(300)
                ],
                "c4": pa.array([1_590_000_000 + at for at in range(300)], pa.timestamp("s")),
            }
        )

        assert {(column.kind, column.needle) for column in found.values()} == {("date", False)}

    def test_a_counter_that_starts_like_a_phone_is_not_proved(self, survey):
        """Eleven digits from one prefix are an indication at most: phones come from many networks."""
        found = survey({"c1": [str(13_800_000_000 + at) for at in range(600)]})["c1"]

        assert found.confidence == "indication"

    def test_a_few_towns_are_not_names(self, survey):
        """Towns whose names begin like surnames, in a column of codes."""
        found = survey({"c1": ["黄石", "江阴", "金华", "高邮", "张家港"] * 100})["c1"]

        assert not found.personal

    def test_codes_booleans_and_dates_make_no_needles(self, survey):
        """Low-cardinality codes, booleans and dates would be found everywhere."""
        found = survey(
            {
                "result": ["positive", "negative"] * 200,
                "flag": pa.array([True, False] * 200),
                "birth_date": [f"19{at % 90 + 10}-03-12" for at in range(400)],
                "amount": [f"{at}.50" for at in range(400)],
            }
        )

        assert [name for name, column in found.items() if column.needle] == []
        assert found["birth_date"].kind == "birth-date"

    def test_bytes_that_everybody_has_make_no_needles(self, survey):
        """A network or a shape that an app gives to every row is in what stays, too. Pictures are not."""

        def blobs(often: int, distinct: int, begin: bytes = b"\x00\xff") -> pa.Array:
            values = [begin + bytes([at % distinct, 2, 255, 4, 5, 6, 7]) for at in range(often)]
            return pa.array(values + [None] * (1000 - often), pa.binary())

        found = survey(
            {
                "same": blobs(1000, 1),
                "five": blobs(60, 5),
                "fingerprints of forty": blobs(1000, 40),
                "five people's": blobs(5, 5),
                "picture": blobs(60, 1, b"\xff\xd8\xff\xe0"),
            }
        )

        assert [name for name, column in found.items() if not column.needle] == ["same", "five"]

    def test_version_numbers_are_not_addresses_of_machines(self, survey):
        """Four small parts with dots are a version."""
        assert survey({"c1": [f"1.2.{at}.{at % 7}" for at in range(30)]})["c1"].kind != "ip"


class TestNeedles:
    def test_unknown_values_that_differ_are_needles(self, people, survey):
        """High-cardinality text and large integers count, whatever they mean."""
        found = survey(
            {
                "c1": [f"Q{at * 7919:08x}" for at in range(300)],
                "c2": pa.array([10**9 + at * 7919 for at in range(300)]),
                "c3": pa.array(range(300)),
            }
        )

        assert [found[name].needle_kind for name in ("c1", "c2", "c3")] == ["text", "number", None]

    def test_few_phones_are_still_phones(self, people, survey):
        """Forty people with many visits each: the numbers repeat and are needles all the same."""
        phones = people.many(people.mobile, 40) * 50
        found = survey({"c1": phones})["c1"]

        assert found.distinct_ratio < 0.05
        assert found.needle_kind == "phone"

    def test_the_subject_column_names_the_person(self, people, survey):
        """The identity number is preferred to the phone, and a patient number to a row number."""
        official = survey(
            {
                "id": range(300),
                "sjh": people.many(people.mobile, 300),
                "sfzh": people.many(people.resident_id, 300),
            }
        )
        own = survey({"id": range(300), "patient_id": range(5_000, 5_300), "code": ["a", "b", "c"] * 100})

        assert subject_column(tuple(official.values())).name == "sfzh"
        assert subject_column(tuple(own.values())).name == "patient_id"


class TestSampling:
    def test_the_sample_is_bounded_and_spread(self):
        """Of 40 batches, no more than the bound is kept, and every tenth of the rows is in it."""
        draw = np.random.default_rng(5)
        sample = ColumnSample()
        for start in range(0, 40_000, 1_000):
            values = pa.array([str(value) for value in range(start, start + 1_000)])
            sample.add(values, draw.integers(0, 2**63, 1_000, np.uint64), start)
        kept = sample.result()

        assert len(kept.texts) == SAMPLE_VALUES
        assert kept.seen == 40_000
        counts = np.histogram(kept.rows, bins=10, range=(0, 40_000))[0]
        assert counts.min() > SAMPLE_VALUES / 10 / 2

    def test_a_sparse_column_is_sampled_where_it_has_values(self, people):
        """Ninety-nine rows in a hundred are empty; the one hundred values there are are all seen."""
        values = [people.resident_id() if at % 100 == 0 else "" for at in range(10_000)]
        watch = ColumnSurvey([Column("c1")], seed=2)
        for start in range(0, 10_000, 2_500):
            chunk = pa.array([value.encode() for value in values[start : start + 2_500]], pa.binary())
            watch.add(pa.RecordBatch.from_arrays([chunk], ["c1"]))

        assert (watch.findings()[0].sampled, watch.findings()[0].confidence) == (100, "proved")

    def test_every_arrow_type_is_taken(self, people):
        """Dictionaries, unions, nested, views, decimals and nulls: no type stops a survey."""
        ids = people.many(people.resident_id, 40)
        arrays = [
            pa.array(ids).dictionary_encode(),
            pa.array(ids).cast(pa.string_view()),
            pa.array(ids, pa.large_string()),
            pa.array([value.encode() for value in ids], pa.large_binary()),
            pa.UnionArray.from_dense(
                pa.array([0] * 40, pa.int8()), pa.array(range(40), pa.int32()), [pa.array(ids)]
            ),
            pa.array([[value] for value in ids]),
            pa.RunEndEncodedArray.from_arrays(pa.array([20, 40], pa.int32()), pa.array(ids[:2])),
            pa.nulls(40),
            pa.array(range(40)).cast(pa.decimal128(25, 2)),
            pa.array(range(40), pa.duration("s")),
            pa.array([1.5] * 40, pa.float32()),
        ]
        watch = ColumnSurvey([Column(f"c{at}") for at in range(len(arrays))])
        watch.add(pa.RecordBatch.from_arrays(arrays, [str(at) for at in range(len(arrays))]))
        found = watch.findings()

        assert [column.kind for column in found[:5]] == ["resident-id"] * 5
        assert found[7].sampled == 0

    @pytest.mark.parametrize("start", [0, 3])
    def test_unions_are_sampled_where_they_have_values(self, start):
        """Text, numbers and nulls in one SQLite column, sliced or not, dense or sparse."""
        codes = pa.array([0, 1, 0, 1, 0, 1] * 20, pa.int8())
        texts = pa.array(["abcdef", None, "ghijkl"] * 40)
        numbers = pa.array([1, None, 3, 4] * 30)
        offsets = pa.array(range(120), pa.int32())
        dense = pa.UnionArray.from_dense(codes, offsets, [texts, numbers])
        sparse = pa.UnionArray.from_sparse(codes, [texts, numbers])
        watch = ColumnSurvey([Column("c1"), Column("c2")])
        watch.add(pa.RecordBatch.from_arrays([dense, sparse], ["c1", "c2"]).slice(start))
        there = sum(value.as_py() is not None for value in dense.slice(start))

        assert there < 120 - start
        assert [found.sampled for found in watch.findings()] == [there, there]

    def test_a_batch_of_another_width_is_refused(self):
        """A batch that is not of this collection is an error, not a guess."""
        with pytest.raises(ValueError, match="2 columns for a collection of 1"):
            ColumnSurvey([Column("c1")]).add(pa.RecordBatch.from_pydict({"a": [1], "b": [2]}))


def test_no_value_and_no_name_is_in_what_is_said(people, survey):
    """Neither repr nor evidence holds a value; a column's name is not in its repr."""
    columns = {
        "zz_secret_heading": people.many(people.resident_id),
        "b": people.many(people.name),
        "c": people.many(people.mobile),
        "d": people.many(people.address),
        "e": people.many(people.note),
        "f": [f"{people.name()}.jpg" for _ in range(100)] + people.many(people.resident_id, 500),
    }
    findings = survey(columns)
    said = repr(tuple(findings.values())) + " ".join(
        line for found in findings.values() for line in found.evidence
    )

    assert "resident-id" in said  # what should be there, is
    assert "zz_secret_heading" not in said
    assert [value for values in columns.values() for value in values if value in said] == []


class TestNationalNumbers:
    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            ("resident-id", "11010519491231002X"),
            ("hk-id", "A123456(3)"),
            ("tw-id", "A123456789"),
            ("us-ssn", "536-90-4399"),
            ("kr-rrn", "971013-9019902"),
            ("in-aadhaar", "234123412346"),
            ("pl-pesel", "44051401359"),
            ("fr-nir", "2 95 10 99 126 111 93"),
            ("br-cpf", "390.533.447-05"),
            ("it-cf", "RCCMNL83S18D969H"),
            ("es-dni", "54362315-K"),
            ("tr-kimlik", "17291716060"),
            ("za-id", "7503305044089"),
            ("th-pin", "3100600445635"),
            ("mx-curp", "BOXW310820HNERXN09"),
            ("gb-nhs", "943-476-5870"),
            ("de-idnr", "36 574 261 809"),
            ("nl-bsn", "111222333"),
            ("fi-hetu", "131052-308T"),
            ("se-pnr", "880320-0016"),
            ("no-fnr", "151086 95088"),
            ("ro-cnp", "1630615123457"),
            ("bg-egn", "8032056031"),
            ("be-nn", "85 07 30 033 28"),
            ("ch-ahv", "756.9217.0769.85"),
            ("ca-sin", "123-456-782"),
            ("jp-mynumber", "6214 9832 0257"),
            ("pk-cnic", "34201-0891231-8"),
            ("id-nik", "3171011708450001"),
            ("my-nric", "770305-02-1234"),
        ],
    )
    def test_published_examples_pass_and_a_wrong_digit_does_not(self, kind, value):
        """Each row's shape and check take the published example; a wrong last digit mostly fails."""
        row = next(row for row in NATIONALS if row.kind == kind)
        last = value.rstrip(")")[-1]
        others = "0123456789" if last.isdigit() else "ABCDEFGHJKLMNPQRSTUVWXYZ"
        wrong = [
            value[: value.rindex(last)] + other + value[value.rindex(last) + 1 :]
            for other in others
            if other != last
        ]

        assert row.shape.fullmatch(value)
        assert row.check(value)
        if row.chance < 1:
            assert sum(row.check(other) for other in wrong if row.shape.fullmatch(other)) <= len(wrong) * 0.25

    @pytest.mark.parametrize(
        "row", [row for row in NATIONALS if row.shape.fullmatch("12345678901")], ids=lambda row: row.kind
    )
    def test_the_chance_of_impostors_is_not_understated(self, people, row):
        """Random numbers of eleven digits pass no more often than the table says, within a factor of two."""
        numbers = [_digits(people, 11) for _ in range(2_000)]
        shaped = [number for number in numbers if row.shape.fullmatch(number)]

        assert sum(map(row.check, shaped)) <= max(5, 2 * row.chance * len(shaped))

    def test_own_check_digits_refuse_wrong_ones(self):
        """The two that stdnum lacks: only the published digit passes."""
        assert [digit for digit in "0123456789A" if hong_kong_id(f"A123456({digit})")] == ["3"]
        assert [digit for digit in "0123456789" if taiwan_id(f"A12345678{digit}")] == ["9"]

    @pytest.mark.parametrize(
        "value", ["110105194912310021", "99010519491231002X", "110105179912310020", "110105194913310020"]
    )
    def test_resident_ids_need_province_date_and_check_digit(self, value):
        """A wrong check digit, no such province, a birth in 1799, a thirteenth month."""
        assert not resident_id(value)


@needs_shared
class TestRealSchemas:
    def _survey(self, path: str) -> dict[str, object]:
        with (SHARED / path).open("rb") as file:
            table = pyarrow.csv.read_csv(
                file, convert_options=pyarrow.csv.ConvertOptions(column_types=_as_bytes(SHARED / path))
            )
        watch = ColumnSurvey([Column(name) for name in table.column_names], seed=1)
        for batch in table.to_batches():
            watch.add(batch)
        return {found.name: found for found in watch.findings()}

    def test_synthea_patients(self):
        """Social security numbers, passports, licences, names, addresses and births, each in its column."""
        found = self._survey("synthea/patients.csv")
        kinds = {name: column.kind for name, column in found.items() if column.personal}

        assert kinds == {
            "Id": "record-id", "BIRTHDATE": "birth-date", "SSN": "us-ssn", "DRIVERS": "driving-licence",
            "PASSPORT": "passport", "FIRST": "name", "LAST": "name", "MAIDEN": "name", "ADDRESS": "address",
            "LAT": "coordinates", "LON": "coordinates",
        }  # fmt: skip
        assert found["SSN"].confidence == "indication"  # the numbers are from the range that is never issued
        assert subject_column(tuple(found.values())).name == "SSN"

    def test_synthea_phones_and_subjects(self):
        """Phones of organisations; encounters are about their PATIENT."""
        assert self._survey("synthea/organizations.csv")["PHONE"].kind == "phone"
        assert subject_column(tuple(self._survey("synthea/encounters.csv").values())).name == "PATIENT"

    def test_korean_cases_and_routes(self):
        """Patients by number, births by year, routes by coordinates."""
        patients, routes = (
            self._survey("korea_ds4c/PatientInfo.csv"),
            self._survey("korea_ds4c/PatientRoute.csv"),
        )

        assert subject_column(tuple(patients.values())).name == "patient_id"
        assert patients["birth_year"].kind == "birth-date"
        assert not patients["confirmed_date"].needle
        assert {routes[name].kind for name in ("latitude", "longitude")} == {"coordinates"}
        assert routes["latitude"].confidence == "proved"

    def test_masked_names_are_undetermined(self):
        """A column called Name whose values are stars: named as suspect, not as proved, and no needle."""
        found = self._survey("ebola_sl/ebola_sierraleone_2014_confirmed.csv")["Name"]

        assert (found.kind, found.confidence, found.needle) == ("name", "undetermined", False)

    def test_german_persons(self):
        """Names, an address column and coordinates of the SORMAS generator."""
        found = self._survey("sormas_generator/persons_df.csv")

        assert [found[name].kind for name in ("first_name", "family_name", "address", "latitude")] == [
            "name", "name", "address", "coordinates",
        ]  # fmt: skip


def test_twenty_columns_take_tens_of_milliseconds(people, survey):
    """Guards the order of magnitude, on a machine that may be busy: a survey that read all values of these
    twenty columns with every validator would take seconds."""
    columns = {
        "id": people.many(people.resident_id, 2_000), "phone": people.many(people.mobile, 2_000),
        "name": people.many(people.name, 2_000), "address": people.many(people.address, 2_000),
        **{f"code{at}": [str(value % (at + 2)) for value in range(2_000)] for at in range(8)},
        **{f"day{at}": [f"2020-03-{value % 28 + 1:02}" for value in range(2_000)] for at in range(8)},
    }  # fmt: skip
    survey(columns)  # imports phone plans
    arrays = [pa.array([value.encode() for value in values], pa.binary()) for values in columns.values()]
    batch = pa.RecordBatch.from_arrays(arrays, list(columns))

    def once() -> float:
        watch = ColumnSurvey([Column(name) for name in columns])
        start = time.process_time()
        watch.add(batch)
        watch.findings()
        return time.process_time() - start

    assert min(once() for _ in range(5)) < 0.5


def _digits(people, count: int) -> str:
    return str(people.draw.randint(10 ** (count - 1), 10**count - 1))


def _as_bytes(path: Path) -> dict[str, pa.DataType]:
    with path.open("rb") as file:
        names = pyarrow.csv.open_csv(file).schema.names
    return dict.fromkeys(names, pa.binary())
