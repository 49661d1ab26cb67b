"""Which columns hold personal data, with the evidence.

Three answers, never a yes or no: *proved* where values carry their own proof (check digits, numbering
plans, forms that nothing else has) and so many pass that chance explains it less than once in a million
columns; *indication* where a column's name or the form of its values suggests it; *undetermined*
otherwise. Undetermined does not mean clean.

Only a sample is read, and no sentence of evidence holds a value.
"""

from __future__ import annotations

import datetime
import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cenotaph.discovery.hints import hints, is_a_person, of_a_person, spaced
from cenotaph.discovery.rules import RULES, Rule
from cenotaph.discovery.sample import ColumnSample, Sample

Confidence: TypeAlias = Literal["proved", "indication", "undetermined"]

CLOSE_LOOK = 200
"""Distinct values that rules read one by one; validators take up to 0.1 ms a value."""

_FIRST_LOOK = 32
_ONE_IN_A_MILLION = math.log(1e-6)
_ONE_IN_TWO_HUNDRED = math.log(1 / 200)


class Named(Protocol):
    """A column as the store contract gives it."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True, slots=True)
class ColumnFinding:
    """What one column holds, as far as a sample shows."""

    column: int  # ordinal
    name: str = field(repr=False)
    kind: str  # "resident-id", "phone" …; "date" and "other" are not personal by themselves
    confidence: Confidence
    evidence: tuple[str, ...]  # sentences without values
    distinct_ratio: float  # in the sample
    sampled: int
    needle: bool  # its values are worth searching for after destruction
    needle_kind: (
        str | None
    )  # "id", "phone", "name", "address", "email", "text", "blob", "path", "geo", "number"
    subject: float  # 0 to 1: how well it names the person a record is about
    text: bool = False  # texts of six bytes and more: to be searched for where a collection has no needle

    @property
    def personal(self) -> bool:
        """Whether anything says that the column holds personal data."""
        return self.confidence != "undetermined" and self.kind not in ("other", "date")


class ColumnSurvey:
    """Samples the batches of one collection, then says what each column holds."""

    def __init__(self, columns: Sequence[Named], *, seed: int | None = None) -> None:
        self._names = [column.name for column in columns]
        self._samples = [ColumnSample() for _ in columns]
        self._draw = np.random.default_rng(seed)
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Offer a batch whose columns are those of the collection, in order."""
        if batch.num_columns != len(self._names):
            raise ValueError(f"a batch of {batch.num_columns} columns for a collection of {len(self._names)}")
        priorities = self._draw.integers(0, np.iinfo(np.uint64).max, batch.num_rows, np.uint64)
        for sample, column in zip(self._samples, batch.columns, strict=True):
            sample.add(column, priorities, self._rows)
        self._rows += batch.num_rows

    def findings(self) -> tuple[ColumnFinding, ...]:
        """One finding a column, in order."""
        profiles = [
            _profile(ordinal, name, sample.result())
            for ordinal, (name, sample) in enumerate(zip(self._names, self._samples, strict=True))
        ]
        return tuple(_with_use(profile, _verdict(profile, profiles)) for profile in profiles)


def subject_column(findings: Sequence[ColumnFinding]) -> ColumnFinding | None:
    """The column that most probably names the person, or None where none is likely."""
    best = max(findings, key=lambda finding: finding.subject, default=None)
    return best if best is not None and best.subject >= 0.3 else None


@dataclass(frozen=True, slots=True)
class _Profile:
    """One column's sample, measured once."""

    ordinal: int
    name: str = field(repr=False)
    hints: frozenset[str]
    sample: Sample = field(repr=False)
    sampled: int
    distinct: int
    median_length: float
    values: tuple[str, ...] = field(repr=False)  # distinct, at most CLOSE_LOOK

    @property
    def ratio(self) -> float:
        return self.distinct / self.sampled if self.sampled else 0.0


@dataclass(frozen=True, slots=True)
class _Verdict:
    kind: str
    confidence: Confidence
    evidence: tuple[str, ...]
    needle: str | None = None
    strength: float = 0.0  # orders verdicts of equal confidence


_OTHER = _Verdict("other", "undetermined", ())


_NOTHING = pa.array(["NA", "N/A", "NULL", "null", "None", "nan", "NaN", "\\N", "-", "--", "无", "未知"])
"""How exports spell that there is no value."""


def _profile(ordinal: int, name: str, sample: Sample) -> _Profile:
    texts = sample.texts.drop_null()
    texts = texts.filter(pc.invert(pc.is_in(texts, _NOTHING)))
    distinct = pc.unique(texts)
    lengths = pc.binary_length(texts).to_numpy(zero_copy_only=False)
    return _Profile(
        ordinal,
        name,
        hints(name),
        sample,
        len(texts) + len(sample.blobs),
        len(distinct) + len(sample.blob_marks),
        float(np.median(lengths)) if len(lengths) else 0.0,
        tuple(value.strip() for value in distinct.slice(0, CLOSE_LOOK).to_pylist()),
    )


def _verdict(profile: _Profile, profiles: Sequence[_Profile]) -> _Verdict:
    """The strongest of what the values, their neighbours and the name say."""
    if not profile.sampled:
        return replace(_OTHER, evidence=("no values to look at", *_named(profile, "personal data")))
    if len(profile.sample.blobs) * 2 > profile.sampled:
        return _of_blobs(profile)
    if profile.sample.family == "boolean":
        return _OTHER
    if "birth-date" in profile.hints and _share(_YEARS, profile.values) > 0.9:
        return _of_dates(profile, profiles)
    if profile.sample.family == "date" or _share(_DATES, profile.values) > 0.9 or _epochs(profile):
        return _of_dates(profile, profiles)
    found = [verdict for rule in RULES if (verdict := _by_rule(rule, profile)) is not None]
    found += _of_coordinates(profile, profiles)
    found += _of_text(profile)
    return max(
        found, key=lambda verdict: (_RANK[verdict.confidence], verdict.strength), default=_by_name(profile)
    )


_RANK: dict[Confidence, int] = {"proved": 2, "indication": 1, "undetermined": 0}


def _by_rule(rule: Rule, profile: _Profile) -> _Verdict | None:
    hinted = rule.kind in profile.hints
    values = profile.values
    mixed = rule.kind == "resident-id"
    if not hinted and not rule.alone:
        return None
    first = _passing(rule, values[:_FIRST_LOOK])
    hopeless = len(first.passed) < rule.share * len(values[:_FIRST_LOOK]) / 3
    if hopeless and not (mixed or (hinted and first.shaped)):
        return None
    looked = _passing(rule, values)
    shaped, passed = looked.shaped, looked.passed
    share = len(passed) / len(values) if values else 0.0
    sentence = f"{len(passed):,} of {len(values):,} different values sampled are {rule.called}{rule.how}"
    strength = share + hinted - rule.chance / 2
    chance = _log_chance(len(passed), len(values), rule.chance)
    if share >= rule.share and (hinted or rule.chance == 1 or chance < _ONE_IN_TWO_HUNDRED):
        varied = rule.varied is None or rule.varied(passed)
        proved = varied and chance < _ONE_IN_A_MILLION
        confidence: Confidence = "proved" if proved else "indication"
        return _Verdict(rule.kind, confidence, (sentence, *_named(profile, rule.kind)), rule.needle, strength)
    if mixed and share >= 0.02 and _log_chance(len(passed), len(shaped), rule.chance) < _ONE_IN_A_MILLION:
        return _Verdict(rule.kind, "indication", (f"{sentence}, among others",), rule.needle, strength)
    if hinted and len(shaped) >= rule.share * len(values):
        fit = f"{len(shaped):,} of {len(values):,} different values sampled have the form of {rule.called}"
        evidence = (f"{fit}; {len(passed):,} pass the check", *_named(profile, rule.kind))
        return _Verdict(rule.kind, "indication", evidence, rule.needle, strength)
    return None


class _Looked(NamedTuple):
    shaped: Sequence[str]
    passed: Sequence[str]


def _passing(rule: Rule, values: Sequence[str]) -> _Looked:
    shaped = [value for value in values if rule.shape.fullmatch(value)]
    return _Looked(shaped, shaped if rule.check is None else [value for value in shaped if rule.check(value)])


def _log_chance(passed: int, looked: int, chance: float) -> float:
    """Upper bound of the logarithm of the chance that so many impostors pass (Chernoff, 1952)."""
    if not looked or passed / looked <= chance:
        return 0.0
    share = passed / looked
    gain = share * math.log(share / chance)
    if share < 1:
        gain += (1 - share) * math.log((1 - share) / (1 - chance))
    return -looked * gain


def _of_blobs(profile: _Profile) -> _Verdict:
    blobs = profile.sample.blobs
    known = [kind for kind in blobs if kind in _PICTURES]
    if len(known) * 2 > len(blobs):
        kind = statistics.mode(known)
        return _Verdict(
            "photo",
            "proved",
            (f"{len(known):,} of {len(blobs):,} sampled values begin as {kind} files do",),
            "blob",
        )
    shapes = blobs.count("geometry")
    if shapes * 2 > len(blobs):
        return _Verdict(
            "coordinates",
            "proved",
            (f"{shapes:,} of {len(blobs):,} sampled values are GeoPackage geometries",),
            "geo",
        )
    evidence = (
        f"{len(blobs):,} of {profile.sampled:,} sampled values are bytes that are not text",
        *_named(profile, "photo"),
    )
    return _Verdict("blob", "indication", evidence, "blob")


_PICTURES = frozenset({"jpeg", "png", "gif", "tiff", "webp", "heic", "bmp", "pdf"})

_DATES = re.compile(
    r"(?:1[89]|20|21)\d\d([-/.])\d{1,2}\1\d{1,2}(?:[T ].*)?"
    r"|(?:18|19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[0-2]\d(?:[0-5]\d){1,2})?"
    r"|\d{1,2}[-/. ](?:\d{1,2}|[A-Za-z]{3,9})[-/. ](?:\d{2}|\d{4})(?: .*)?"
    r"|\d{4}年\d{1,2}月\d{1,2}日.*|\d{1,2}:\d\d(?::\d\d)?(?:\.\d+)?"
)


_YEARS = re.compile(r"(?:18|19|20)\d\d(?:\.0)?")


def _share(shape: re.Pattern[str], values: Sequence[str]) -> float:
    if not any(shape.fullmatch(value) for value in values[:_FIRST_LOOK]):
        return 0.0
    return sum(bool(shape.fullmatch(value)) for value in values) / len(values)


# 2010-01-01. Earlier ones are left out since counters like to begin at 1,000,000,000, which is in 2001.
_OLDEST_EPOCH = 1_262_304_000


def _epochs(profile: _Profile) -> bool:
    """Whether all values are seconds or milliseconds since 1970 that fall between 2010 and next year."""
    if not profile.values or len(profile.values[0]) not in (10, 13) or "record-id" in profile.hints:
        return False
    if not all(value.isascii() and value.isdigit() for value in profile.values):
        return False
    unit = 1 if len(profile.values[0]) == 10 else 1_000
    latest = (datetime.datetime.now(datetime.UTC).timestamp() + 366 * 86_400) * unit
    return all(_OLDEST_EPOCH * unit <= int(value) <= latest for value in profile.values)


def _of_dates(profile: _Profile, profiles: Sequence[_Profile]) -> _Verdict:
    for other in profiles:
        same, both = _births(profile, other)
        if both >= 20 and same >= 0.8 * both:
            evidence = (
                f"{same:,} of {both:,} dates sampled are those in the identity numbers of the same records"
            )
            return _Verdict("birth-date", "proved", (evidence, *_named(profile, "birth-date")))
    if "birth-date" in profile.hints:
        return _Verdict(
            "birth-date",
            "indication",
            ("the sampled values are dates or years", *_named(profile, "birth-date")),
        )
    return _Verdict("date", "undetermined", ("the sampled values are dates or times",))


_IDENTITY = re.compile(r"\d{17}[\dXx]")


def _births(dates: _Profile, numbers: _Profile) -> tuple[int, int]:
    """Rows where a date is digits 7 to 14 of an identity number beside it, and rows that have both."""
    if numbers is dates or _share(_IDENTITY, numbers.values) < 0.5:
        return 0, 0
    born = {row: text[6:14] for row, text in _by_row(numbers) if _IDENTITY.fullmatch(text)}
    pairs = [(born[row], re.sub(r"\D", "", text)[:8]) for row, text in _by_row(dates) if row in born]
    return sum(left == right for left, right in pairs), len(pairs)


def _by_row(profile: _Profile) -> list[tuple[int, str]]:
    """The first values of the sample with their rows; full columns of a collection give the same rows."""
    texts = profile.sample.texts.slice(0, CLOSE_LOOK).to_pylist()
    rows = profile.sample.rows[:CLOSE_LOOK].tolist()
    return [(row, text) for row, text in zip(rows, texts, strict=True) if text is not None]


_DECIMAL = re.compile(r"-?\d{1,3}\.\d+")


def _degrees(profile: _Profile, limit: float) -> bool:
    """Whether the values are decimal degrees of a precision that places a house (four decimals)."""
    if profile.sample.family in ("integer", "date", "boolean") or _share(_DECIMAL, profile.values) < 0.9:
        return False
    numbers = [value for value in profile.values if _DECIMAL.fullmatch(value)]
    fine = sum(len(value.partition(".")[2]) >= 4 for value in numbers)
    return fine >= 0.5 * len(numbers) and all(abs(float(value)) <= limit for value in numbers)


def _of_coordinates(profile: _Profile, profiles: Sequence[_Profile]) -> list[_Verdict]:
    hinted = profile.hints & {"latitude", "longitude"} or spaced(profile.name) in ("x", "y")
    if not hinted or not _degrees(profile, 90 if "latitude" in profile.hints else 180):
        return []
    beside = [
        other for other in profiles if abs(other.ordinal - profile.ordinal) == 1 and _degrees(other, 180)
    ]
    evidence = [
        f"{len(profile.values):,} different values sampled are decimal degrees, most to four places or more"
    ]
    if beside:
        evidence.append("a column of the same form stands beside it")
    evidence += _named(profile, "coordinates")
    return [
        _Verdict(
            "coordinates",
            "proved" if beside and profile.distinct > 5 else "indication",
            tuple(evidence),
            "geo",
            1.0,
        )
    ]


def _of_text(profile: _Profile) -> list[_Verdict]:
    """Free text: long and mostly different values in several words."""
    if profile.ratio < 0.3 or profile.median_length < (12 if "text" in profile.hints else 40):
        return []
    words = sum(" " in value or "\u4e00" <= value[:1] <= "\u9fff" for value in profile.values)
    if words < 0.6 * len(profile.values):
        return []
    evidence = (
        f"{words:,} of {len(profile.values):,} different values sampled are texts of several words",
        *_named(profile, "text"),
    )
    return [_Verdict("text", "indication", evidence, "text", 0.2 + 0.4 * ("text" in profile.hints))]


_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")


def _by_name(profile: _Profile) -> _Verdict:
    """What is left when no rule on values applies: identifiers of records, and bare hints."""
    if _share(_UUID, profile.values) > 0.9:
        return _Verdict("record-id", "indication", ("the sampled values are UUIDs",), "id")
    if "record-id" in profile.hints or is_a_person(profile.name):
        evidence = (
            f"{profile.distinct:,} of {profile.sampled:,} sampled values are distinct",
            *_named(profile, "record-id"),
        )
        return _Verdict(
            "record-id", "indication" if of_a_person(profile.name) else "undetermined", evidence, "id"
        )
    personal = sorted(profile.hints - {"record-id", "text", "latitude", "longitude"})
    if personal:
        return _Verdict(
            personal[0], "undetermined", (*_named(profile, personal[0]), "its values do not look so")
        )
    return _OTHER


def _named(profile: _Profile, kind: str) -> tuple[str, ...]:
    known = profile.hints | ({"coordinates"} if profile.hints & {"latitude", "longitude"} else set())
    return (f"the column's name suggests {kind}",) if kind in known else ()


def _with_use(profile: _Profile, verdict: _Verdict) -> ColumnFinding:
    """Add what the finding is good for: needles, and naming the person."""
    needle = _needle(profile, verdict)
    return ColumnFinding(
        profile.ordinal, profile.name, verdict.kind, verdict.confidence, verdict.evidence,
        round(profile.ratio, 4), profile.sampled, needle is not None, needle, _subject(profile, verdict),
        profile.sample.family == "text" and profile.median_length >= 6 and profile.distinct > 1,
    )  # fmt: skip


_STRONG = frozenset({"id", "phone", "email"})
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def _needle(profile: _Profile, verdict: _Verdict) -> str | None:
    """The kind of needle that the values make, or None: dates, codes, booleans and measurements make none."""
    if not profile.sampled or verdict.kind in ("date", "birth-date"):
        return None
    if profile.sample.family in ("boolean", "date", "float"):  # a double has no one spelling to search for
        return None
    if verdict.kind == "blob":
        # Bytes that are the same in many rows, as a network or a shape that an app gives to everybody, name
        # nobody, and what stays has them, too.
        return None if _few(profile) else verdict.needle
    if verdict.kind == "photo" or (verdict.needle == "geo" and profile.sample.blobs):
        return verdict.needle
    if profile.median_length < 6:
        return None
    if verdict.confidence != "undetermined" and verdict.needle is not None and verdict.kind != "record-id":
        # A list of a few districts under the heading "address" is a code; a few phones are still phones.
        code = _few(profile) or (profile.ratio < 0.05 and profile.distinct < 100)
        return (
            None
            if code and verdict.needle not in _STRONG and verdict.confidence != "proved"
            else verdict.needle
        )
    persons = verdict.kind == "record-id" and of_a_person(profile.name) and profile.distinct > 5
    if profile.ratio <= 0.5 and not persons:
        return None
    if _share(_NUMBER, profile.values) > 0.9:
        whole = statistics.median(len(value.partition(".")[0].lstrip("-")) for value in profile.values) >= 9
        return "number" if whole else None
    return "id" if verdict.kind == "record-id" else "text"


def _few(profile: _Profile) -> bool:
    """Whether all rows share a handful of values."""
    return profile.sampled >= 20 and profile.distinct <= 5


def _subject(profile: _Profile, verdict: _Verdict) -> float:
    """How well the values name the person: official numbers before the system's own, both before names."""
    scores = {
        "passport": 0.7,
        "phone": 0.55,
        "email": 0.5,
        "driving-licence": 0.5,
        "name": 0.35,
        "device-id": 0.3,
    }
    score = scores.get(verdict.kind, 0.0)
    if verdict.kind in _OFFICIAL:
        score = 0.95
    elif verdict.kind == "record-id":
        score = 0.8 if of_a_person(profile.name) else 0.4
    weight = {"proved": 1.0, "indication": 0.9, "undetermined": 0.5}[verdict.confidence]
    few = 0.3 if profile.sampled >= 50 and profile.distinct <= 5 else 1.0
    return round(score * weight * few, 3)


_OFFICIAL = frozenset(
    rule.kind for rule in RULES[: next(at for at, rule in enumerate(RULES) if rule.kind == "phone")]
)
