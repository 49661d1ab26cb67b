"""National identity numbers. Check digits come from python-stdnum; few that it lacks are here.

`chance` is the share of strings that would pass if everything but the check digits were right by
design, as in an order number made of an area code, a date and a serial. Numbers without a check digit
have chance 1 and so are never proved.
"""

from __future__ import annotations

import datetime
import functools
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from stdnum.cn import ric


@dataclass(frozen=True, slots=True)
class National:
    """One country's number for its people."""

    kind: str
    called: str  # plural, for sentences
    shape: re.Pattern[str]
    chance: float
    check: Callable[[str], bool]
    alone: bool  # the shape is peculiar enough to indicate without a hint in the column's name


def resident_id(value: str) -> bool:
    """Whether this is a Chinese resident identity number: province, birth date, check digit (GB 11643).

    Stricter than stdnum on the birth date (1880 to today). Laxer on the county: stdnum refuses counties
    that its table does not know in the year of birth, and refuses real numbers with them.
    """
    return (
        value[:2] in _PROVINCES
        and _plausible(value[6:14])
        and value[-1].upper() == ric.calc_check_digit(value.upper())
    )


def hong_kong_id(value: str) -> bool:
    """Whether the check digit of a Hong Kong identity card number is right (weights 9 to 2, modulo 11)."""
    plain = re.sub(r"[()\s]", "", value.upper())
    letters = plain[:-7]
    points = [ord(letter) - 55 for letter in letters] if len(letters) == 2 else [36, ord(letters) - 55]
    points += [int(digit) for digit in plain[-7:-1]]
    total = sum(weight * point for weight, point in zip(range(9, 1, -1), points, strict=True))
    return (11 - total % 11) % 11 == (10 if plain[-1] == "A" else int(plain[-1]))


def taiwan_id(value: str) -> bool:
    """Whether the check digit of a Taiwan identity card number is right."""
    area = "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(value[0].upper()) + 10
    digits = [area // 10, area % 10, *(int(digit) for digit in value[1:])]
    weights = (1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1)
    return sum(weight * digit for weight, digit in zip(weights, digits, strict=True)) % 10 == 0


# The first two digits of a county's code (GB/T 2260): provinces, Taiwan, Hong Kong, Macau; 83 is for
# residents from Taiwan.
_PROVINCES = frozenset(
    str(number)
    for numbers in (
        *(range(11, 16), range(21, 24), range(31, 38), range(41, 47)),
        *(range(50, 55), range(61, 66), (71,), range(81, 84)),
    )
    for number in numbers
)


def _plausible(written: str) -> bool:
    try:
        born = datetime.date(int(written[:4]), int(written[4:6]), int(written[6:]))
    except ValueError:
        return False
    return datetime.date(1880, 1, 1) <= born <= datetime.datetime.now(datetime.UTC).date()


@functools.cache
def _validator(module: str) -> Callable[[str], bool]:
    valid: Callable[[str], bool] = importlib.import_module(f"stdnum.{module}").is_valid
    return valid


def _stdnum(module: str) -> Callable[[str], bool]:
    # Imported at the first value that has the shape: most surveys meet few of these countries.
    def valid(value: str) -> bool:
        return _validator(module)(value)

    return valid


def _row(
    kind: str, called: str, shape: str, chance: float, check: Callable[[str], bool] | str, alone: bool = False
) -> National:
    return National(
        kind, called, re.compile(shape), chance, _stdnum(check) if isinstance(check, str) else check, alone
    )


NATIONALS: tuple[National, ...] = (
    _row("resident-id", "Chinese resident identity numbers", r"\d{17}[\dXx]", 1 / 11, resident_id, True),
    _row(
        "hk-id",
        "Hong Kong identity card numbers",
        r"[A-Z]{1,2}\d{6}(?:\([\dA]\)|[\dA])",
        1 / 11,
        hong_kong_id,
    ),
    _row("tw-id", "Taiwan identity card numbers", r"[A-Z][1289]\d{8}", 1 / 10, taiwan_id),
    _row("us-ssn", "US social security numbers", r"\d{3}-\d{2}-\d{4}", 1, "us.ssn", True),
    _row("kr-rrn", "Korean resident registration numbers", r"\d{6}-?[0-9]\d{6}", 1 / 10, "kr.rrn"),
    _row("in-aadhaar", "Aadhaar numbers", r"[2-9]\d{3} ?\d{4} ?\d{4}", 1 / 10, "in_.aadhaar"),
    _row("pl-pesel", "PESEL numbers", r"\d{11}", 1 / 10, "pl.pesel"),
    _row(
        "fr-nir", "French NIR numbers", r"[1-478] ?\d\d ?\d\d ?\d[\dAB] ?\d{3} ?\d{3} ?\d\d", 1 / 97, "fr.nir"
    ),
    _row("br-cpf", "CPF numbers", r"\d{3}\.?\d{3}\.?\d{3}-?\d{2}", 1 / 90, "br.cpf"),
    _row(
        "it-cf",
        "Italian fiscal codes",
        r"[A-Z]{6}[\dLMNP-V]{2}[A-Z][\dLMNP-V]{2}[A-Z]\w{3}[A-Z]",
        1 / 26,
        "it.codicefiscale",
        True,
    ),
    _row("es-dni", "DNI numbers", r"\d{8}-?[A-Z]", 1 / 23, "es.dni"),
    _row("es-nie", "NIE numbers", r"[XYZ]-?\d{7}-?[A-Z]", 1 / 23, "es.nie"),
    _row("tr-kimlik", "Turkish identity numbers", r"[1-9]\d{10}", 1 / 50, "tr.tckimlik"),
    _row("za-id", "South African identity numbers", r"\d{13}", 1 / 10, "za.idnr"),
    _row("th-pin", "Thai identity numbers", r"[1-8]-?\d{4}-?\d{5}-?\d{2}-?\d", 1 / 10, "th.pin"),
    _row("mx-curp", "CURP codes", r"[A-Z]{4}\d{6}[HMX][A-Z]{5}[A-Z\d]\d", 1 / 10, "mx.curp", True),
    _row("gb-nhs", "NHS numbers", r"\d{3}[ -]?\d{3}[ -]?\d{4}", 1 / 10, "gb.nhs"),
    _row("de-idnr", "German tax identification numbers", r"[1-9]\d ?\d{3} ?\d{3} ?\d{3}", 1 / 10, "de.idnr"),
    _row("nl-bsn", "BSN numbers", r"\d{9}", 1 / 11, "nl.bsn"),
    _row("fi-hetu", "Finnish identity codes", r"\d{6}[-+A-FU-Y]\d{3}[0-9A-Y]", 1 / 31, "fi.hetu", True),
    _row("se-pnr", "Swedish personal numbers", r"(?:19|20)?\d{6}[-+]\d{4}", 1 / 10, "se.personnummer"),
    _row("no-fnr", "Norwegian birth numbers", r"\d{6} ?\d{5}", 1 / 100, "no.fodselsnummer"),
    _row("ro-cnp", "CNP numbers", r"[1-9]\d{12}", 1 / 10, "ro.cnp"),
    _row("bg-egn", "EGN numbers", r"\d{10}", 1 / 10, "bg.egn"),
    _row("be-nn", "Belgian national numbers", r"\d\d[ .]?\d\d[ .]?\d\d[ -]?\d{3}[ .]?\d\d", 1 / 48, "be.nn"),
    _row("ch-ahv", "AHV numbers", r"756\.?\d{4}\.?\d{4}\.?\d\d", 1 / 10, "ch.ssn"),
    _row("ca-sin", "Canadian SIN numbers", r"\d{3}[ -]\d{3}[ -]\d{3}", 1 / 10, "ca.sin"),
    _row("jp-mynumber", "My Number numbers", r"\d{4} ?\d{4} ?\d{4}", 1 / 10, "jp.in_"),
    _row("pk-cnic", "CNIC numbers", r"\d{5}-\d{7}-\d", 1, "pk.cnic", True),
    _row("id-nik", "NIK numbers", r"\d{16}", 1, "id.nik"),
    _row("my-nric", "NRIC numbers", r"\d{6}-\d{2}-\d{4}", 1, "my.nric", True),
)
