"""Text as numbers, truth values and moments: converted strictly, or not at all (spec/scope.md)."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import Final, NamedTuple, TypeAlias

MAX_DIGITS: Final = 60
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]{1,60}(?:\.[0-9]{0,60})?|\.[0-9]{1,60})", re.ASCII)
DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
TIMESTAMP: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?",
    re.ASCII,
)
ZONELESS: Final = (  # from 1000, because Arrow has a year 0 and Python has not
    r"\A[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}(?:[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)?\z"
)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Moment(NamedTuple):
    """A DATE or TIMESTAMP: microseconds since 1970-01-01 in UTC."""

    microseconds: int


Value: TypeAlias = "str | Decimal | bool | Moment"


def read_number(text: str) -> Decimal | None:
    text = text.strip()
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def read_bool(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.strip().lower())


def read_moment(text: str) -> Moment | None:
    text = text.strip()
    moment = microseconds(text) if TIMESTAMP.fullmatch(text) else None
    return None if moment is None else Moment(moment)


def microseconds(text: str) -> int | None:
    """Of an ISO 8601 date or time whose shape was checked; None for the 30th of February."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return (moment - _EPOCH) // dt.timedelta(microseconds=1)
