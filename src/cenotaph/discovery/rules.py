"""Rules on single values: what each kind of personal data looks like.

A rule has a shape, a stricter check, and the share of impostors that would pass. It proves a kind
only where so many distinct values pass that chance is no explanation.
"""

from __future__ import annotations

import functools
import importlib
import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cenotaph.discovery.identity import NATIONALS

# The hundred most frequent surnames of the People's Republic of China, about 85 in 100 persons.
SURNAMES = frozenset(
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许邓冯韩曹曾彭萧肖蔡潘田董袁于余叶蒋杜苏魏程吕丁任卢姚沈钟姜崔谭陆范汪"
    "廖石金韦贾夏付傅方邹熊白孟秦邱侯江尹薛闫阎雷龙黎史陶贺毛郝顾龚邵万覃武钱戴严莫孔向常汤康易乔"
)
_COMPOUND = ("欧阳", "司马", "上官", "诸葛", "司徒", "东方", "皇甫", "尉迟", "慕容", "令狐", "夏侯", "公孙")
_NOT_A_NAME = re.compile(
    r"[省市区县镇乡村路街巷号栋楼室院店局部科厅处所站场厂校园司国洲江河湖山]$|公司|医院|病|症"
)

_PLATE_PLACES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"

_ADMINISTRATIVE = re.compile(r"[省市区县镇乡州旗]|街道")
_STREET = re.compile(r"[路街巷弄村道里]|小区|花园|大厦|新村|公寓|苑|组")
_DOOR = re.compile(r"[\d一二三四五六七八九十]+\s*(?:号|栋|幢|单元|室|楼|组|弄|座|#)")
_WESTERN = re.compile(
    r"\b\d+[A-Za-z]?[,]?\s+(?:[\w.'’-]+\s+){0,5}?(?:street|st|road|rd|avenue|ave|lane|ln|drive|dr|boulevard|blvd|way|court|ct|"
    r"place|pl|square|sq|terrace|close|crescent|highway|hwy|parkway|fork|unit|apt|suite|camp|mews|mill|quay|gate)\b"
    r"|\b[\w.-]*(?:stra(?:ß|ss)e|str\.|weg|platz|allee|gasse|ring|damm)\s+\d+|\b(?:rue|calle|avenida|via|rua)\s+\w+",
    re.IGNORECASE,
)
_ENDING = re.compile(
    r"\.(?:jpe?g|png|gif|bmp|tiff?|heic|pdf|docx?|xlsx?|mp4|avi|wav|mp3|amr)$", re.IGNORECASE
)
_INNER_ID = re.compile(r"(?<!\d)\d{17}[\dXx](?!\d)")
_INNER_PHONE = re.compile(r"(?<!\d)1[3-9]\d{9}(?!\d)")
_INNER_NAME = re.compile(r"(?<![\u4e00-\u9fff])[\u4e00-\u9fff]{2,4}(?![\u4e00-\u9fff])")


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of personal data and how its values are told."""

    kind: str
    called: str  # plural, for sentences: "… are {called}{how}"
    shape: re.Pattern[str]  # matches the whole value
    needle: str
    chance: float = 1.0  # share of impostors of this shape that pass the check; 1: never proves
    check: Callable[[str], bool] | None = None
    alone: bool = True  # indicates without a hint in the column's name
    share: float = 0.5  # of the values that must pass
    varied: Callable[[Sequence[str]], bool] | None = None  # else not proved
    how: str = ""


def is_chinese_name(value: str) -> bool:
    """Two to four Chinese characters that begin with a frequent surname and do not end as a place does."""
    if _NOT_A_NAME.search(value):
        return False
    return (value[0] in SURNAMES and len(value) <= 3) or value.startswith(_COMPOUND) or "·" in value


def is_phone(value: str) -> bool:
    """Whether a numbering plan (Chinese, or the country's behind a "+") gives this number out."""
    phones = _phonenumbers()
    try:
        return bool(phones.is_valid_number(phones.parse(value, "CN")))
    except phones.NumberParseException:
        return False


def is_address(value: str) -> bool:
    """A Chinese address down to a street or a door, or a street with a house number elsewhere."""
    if any("\u4e00" <= character <= "\u9fff" for character in value):
        areas = len(_ADMINISTRATIVE.findall(value))
        street, door = bool(_STREET.search(value)), bool(_DOOR.search(value))
        return areas + street + door >= 3 and (street or door)
    return bool(_WESTERN.search(value))


def names_a_person(value: str) -> bool:
    """Whether a file name holds an identity number, a mobile number or a Chinese name."""
    national = NATIONALS[0].check
    return (
        any(national(found) for found in _INNER_ID.findall(value))
        or bool(_INNER_PHONE.search(value))
        or any(is_chinese_name(found) for found in _INNER_NAME.findall(_ENDING.sub("", value)))
    )


def _is_ip(value: str) -> bool:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    # Version numbers have the same four parts, all small.
    return address.version == 6 or any(part >= 32 for part in address.packed)


def _many_prefixes(values: Sequence[str]) -> bool:
    """Phones come from several networks; a counter that happens to start with 138 does not."""
    return len({value[-11:-8] for value in values}) >= min(3, len(values))


@functools.cache
def _phonenumbers() -> Any:
    # 0.07 s and 10 MB, paid only where something looks like a phone.
    return importlib.import_module("phonenumbers")


def _luhn(module: str) -> Callable[[str], bool]:
    return lambda value: bool(
        importlib.import_module(f"stdnum.{module}").is_valid(re.sub(r"[ -]", "", value))
    )


RULES: tuple[Rule, ...] = (
    *(
        Rule(
            row.kind,
            row.called,
            row.shape,
            "id",
            row.chance,
            row.check,
            row.alone or row.chance < 1,
            how=" with valid check digits" if row.chance < 1 else " by their form",
        )
        for row in NATIONALS
    ),
    Rule(
        "phone",
        "mobile numbers of the Chinese numbering plan",
        re.compile(r"(?:(?:\+|00)?86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}"),
        "phone",
        0.25,
        is_phone,
        varied=_many_prefixes,
    ),
    Rule(
        "phone",
        "fixed-line numbers of the Chinese numbering plan",
        re.compile(r"\(?0\d{2,3}\)?[- ]?\d{7,8}"),
        "phone",
        0.5,
        is_phone,
    ),
    Rule(
        "phone", "international phone numbers", re.compile(r"\+[1-9][\d ().-]{6,20}"), "phone", 0.3, is_phone
    ),
    Rule(
        "phone",
        "numbers in the form of phone numbers",
        re.compile(
            r"(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}(?: ?x\d+)?|0\d{2,4}[ /-]\d{4,8}|\d{10,11}"
            r"|\d{3,4} \d{6,8}"
        ),
        "phone",
        alone=False,
    ),
    Rule(
        "email", "email addresses", re.compile(r"[\w.+%'-]{1,64}@(?:[\w-]+\.)+[A-Za-z]{2,24}"), "email", 0.01
    ),
    Rule(
        "plate",
        "Chinese number plates",
        re.compile(rf"[{_PLATE_PLACES}][A-Z][·•. ]?[A-HJ-NP-Z0-9]{{5,6}}"),
        "id",
        0.01,
    ),
    Rule("mac", "MAC addresses", re.compile(r"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}"), "id", 0.01),
    Rule(
        "ip",
        "IP addresses",
        re.compile(r"\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F:]*:[0-9a-fA-F:]+:[0-9a-fA-F:.]*"),
        "id",
        0.1,
        _is_ip,
    ),
    Rule(
        "device-id",
        "IMEI numbers",
        re.compile(r"\d{2}-?\d{6}-?\d{6}-?\d"),
        "id",
        0.1,
        _luhn("imei"),
        how=" with valid check digits",
    ),
    Rule(
        "device-id",
        "device identifiers by their form",
        re.compile(
            r"[0-9a-fA-F]{14,16}|[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|\d{14,16}"
        ),
        "id",
        alone=False,
    ),
    Rule(
        "bank-card",
        "bank card numbers",
        re.compile(r"(?:62|4\d|5[1-5]|3[47])\d{2}[ -]?\d{4}[ -]?\d{4}[ -]?\d{3,7}"),
        "id",
        0.1,
        _luhn("luhn"),
        how=" with valid check digits",
    ),
    Rule(
        "passport",
        "Chinese passport numbers by their form",
        re.compile(r"(?:[DSPG]|E[A-HJ-NP-Z]?|1[45])\d{7,8}"),
        "id",
        alone=False,
    ),
    Rule(
        "passport",
        "passport numbers by their form",
        re.compile(r"[A-Z]{1,2}\d{6,9}[A-Z]?|\d{8,9}"),
        "id",
        alone=False,
    ),
    Rule(
        "driving-licence",
        "licence numbers by their form",
        re.compile(r"[A-Z]?\d{7,12}[\dXx]?|\d{17}[\dXx]"),
        "id",
        alone=False,
    ),
    Rule(
        "file-name",
        "file names that hold an identity number, a phone number or a name",
        re.compile(r".{1,512}\.[A-Za-z0-9]{2,5}"),
        "path",
        0.2,
        names_a_person,
    ),
    Rule(
        "name",
        "personal names: a frequent Chinese surname and one or two characters more",
        re.compile(r"[\u4e00-\u9fff·]{2,10}"),
        "name",
        0.4,
        is_chinese_name,
        share=0.6,
    ),
    Rule(
        "name",
        "words in the form of personal names",
        re.compile(r"[^\W\d_][\w'’.\u00b7-]*(?:,? +[^\W\d_][\w'’.-]*){0,4}\s*"),
        "name",
        alone=False,
        share=0.7,
    ),
    Rule(
        "address",
        "addresses down to a street or a door",
        re.compile(r"[^\n]{6,300}"),
        "address",
        0.05,
        is_address,
        share=0.4,
    ),
    Rule(
        "address",
        "words in the form of addresses",
        re.compile(r"[^\n]*[^\W\d_]{2}[^\n]*"),
        "address",
        alone=False,
    ),
    Rule(
        "coordinates",
        "points in well-known text",
        re.compile(r"(?:POINT|LINESTRING|POLYGON|MULTI\w+) ?Z?M? ?\(.*\)", re.IGNORECASE),
        "geo",
        0.01,
    ),
    Rule(
        "coordinates",
        "pairs of decimal degrees",
        re.compile(r"[(\[]?-?\d{1,3}\.\d{4,}\s*[,; ]\s*-?\d{1,3}\.\d{4,}[)\]]?"),
        "geo",
        0.01,
    ),
)
