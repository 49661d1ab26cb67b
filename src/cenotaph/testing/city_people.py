"""The invented people of the generated city, as columns.

Nobody here exists. Names are drawn from the lists below, numbers are drawn and then given the check
digit that makes them well-formed; a match with a living person's number is a coincidence.

A person is an index: the same position in every column. Columns are object arrays of the very Python
strings that every app will write, so that a million rows cost references and not copies.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Texts: TypeAlias = npt.NDArray[np.object_]
"""A column of `str` (or None)."""

Numbers: TypeAlias = npt.NDArray[np.int64]

FIRST_YEAR, LAST_YEAR = 1935, 2016


@dataclass(frozen=True, slots=True)
class People:
    """Columns of people; equal positions are one person."""

    ids: Texts = field(repr=False)  # resident identity number, 18 characters, unique
    names: Texts = field(repr=False)
    mobiles: Numbers = field(repr=False)  # 11 digits, unique
    mobile_texts: Texts = field(repr=False)
    addresses: Texts = field(repr=False)
    districts: Texts = field(repr=False)
    plates: Texts = field(repr=False)
    emails: Texts = field(repr=False)  # "" for two thirds
    passports: Texts = field(repr=False)  # "" for four fifths

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, who: slice | Numbers) -> People:
        """These people, by position."""
        return People(*(getattr(self, column.name)[who] for column in fields(self)))

    def and_then(self, others: People) -> People:
        """These people, and after them the others."""
        columns = (column.name for column in fields(self))
        return People(*(np.concatenate([getattr(self, name), getattr(others, name)]) for name in columns))


def make_people(count: int, rng: np.random.Generator) -> People:
    """`count` people, the same for the same generator state."""
    mobiles = _mobiles(count, rng)
    mobile_texts = _objects([str(mobile) for mobile in mobiles.tolist()])
    districts, addresses = _addresses(count, rng)
    handles = _objects([f"{number:x}" for number in rng.permutation(count * 7)[:count].tolist()])
    syllables = _pick(_SYLLABLES, count, rng) + _pick(_SYLLABLES, count, rng)
    passports = _pick(("E", "G", "EJ", "EA"), count, rng) + _padded(
        rng.choice(10**7, count, replace=False), 7
    )
    return People(
        ids=_identity_numbers(count, rng),
        names=_names(count, rng),
        mobiles=mobiles,
        mobile_texts=mobile_texts,
        addresses=addresses,
        districts=districts,
        plates=_plates(count, rng),
        emails=np.where(rng.random(count) < 1 / 3, syllables + "." + handles + "@mail.example", ""),
        passports=np.where(rng.random(count) < 1 / 5, passports, ""),
    )


def check_digits(numbers: npt.NDArray[np.int64]) -> Texts:
    """The eighteenth character for each 17-digit number (GB 11643-1999; ISO 7064 MOD 11-2)."""
    digits = numbers[:, None] // 10 ** np.arange(16, -1, -1, dtype=np.int64) % 10
    weights = np.array([pow(2, 17 - place, 11) for place in range(17)], dtype=np.int64)
    remainders = (digits * weights).sum(axis=1) % 11
    characters: Texts = _objects("10X98765432")[remainders]
    return characters


def _identity_numbers(count: int, rng: np.random.Generator) -> Texts:
    """Unique numbers whose region code was in use in the year of birth."""
    drawn = np.unique(_seventeen_digits(count + count // 8 + 64, rng))
    while len(drawn) < count:
        drawn = np.unique(np.concatenate([drawn, _seventeen_digits(count, rng)]))
    numbers = rng.permutation(drawn)[:count]
    whole: Texts = _objects([str(number) for number in numbers.tolist()]) + check_digits(numbers)
    return whole


def _seventeen_digits(count: int, rng: np.random.Generator) -> Numbers:
    first, last = (np.datetime64(f"{year}-01-01") for year in (FIRST_YEAR, LAST_YEAR + 1))
    births = first + rng.integers(0, int((last - first).astype(int)), count)
    years = births.astype("datetime64[Y]").astype(np.int64) + 1970
    months = births.astype("datetime64[M]").astype(np.int64) % 12 + 1
    days = (births - births.astype("datetime64[M]")).astype(np.int64) + 1
    regions = np.array(_REGIONS, dtype=np.int64)[rng.integers(0, len(_REGIONS), count)]
    codes = np.where((regions[:, 1] <= years) & (years <= regions[:, 2]), regions[:, 0], _ALWAYS_IN_USE)
    sequence = rng.integers(1, 1000, count)
    return np.asarray(
        ((codes * 10**4 + years) * 100 + months) * 10**5 + days * 1000 + sequence, dtype=np.int64
    )


def _mobiles(count: int, rng: np.random.Generator) -> Numbers:
    prefixes = np.array(_MOBILE_PREFIXES, dtype=np.int64)
    drawn = np.zeros(0, dtype=np.int64)
    while len(drawn) < count:
        size = count + 64
        fresh = prefixes[rng.integers(0, len(prefixes), size)] * 10**8 + rng.integers(0, 10**8, size)
        drawn = np.unique(np.concatenate([drawn, fresh]))
    return rng.permutation(drawn)[:count]


def _names(count: int, rng: np.random.Generator) -> Texts:
    # Common surnames come first; squaring a uniform number prefers them as a real register does.
    surnames = _objects(_SURNAMES)[(rng.random(count) ** 2 * len(_SURNAMES)).astype(np.int64)]
    second = np.where(rng.random(count) < 0.8, _pick(_GIVEN, count, rng), "")
    names = surnames + _pick(_GIVEN, count, rng) + second
    return np.where(rng.random(count) < 0.004, _pick(_OTHER_NAMES, count, rng), names)


def _addresses(count: int, rng: np.random.Generator) -> tuple[Texts, Texts]:
    districts = _pick(_DISTRICTS, count, rng)
    streets = _pick(_STREETS, count, rng) + _texts(rng.integers(1, 400, count)) + "号"
    homes = _pick(_COMPOUNDS, count, rng) + _texts(rng.integers(1, 90, count)) + "栋"
    rooms = _texts(rng.integers(1, 32, count)) + _padded(rng.integers(1, 7, count), 2) + "室"
    return districts, "江苏省无锡市" + districts + streets + homes + rooms


def _plates(count: int, rng: np.random.Generator) -> Texts:
    letters = _objects("ABCDEFGHJKLMNPQRSTUVWXYZ")
    series, numbers = np.divmod(rng.choice(max(count, 240_000), count, replace=False) % 240_000, 10_000)
    plates: Texts = "苏B" + letters[series] + _padded(numbers, 4)
    return plates


def _objects(values: str | tuple[str, ...] | list[str]) -> Texts:
    return np.array(list(values), dtype=object)


def _pick(values: tuple[str, ...] | str, count: int, rng: np.random.Generator) -> Texts:
    return _objects(values)[rng.integers(0, len(values), count)]


def _texts(numbers: Numbers) -> Texts:
    return _objects([str(number) for number in numbers.tolist()])


def _padded(numbers: Numbers, width: int) -> Texts:
    return _objects([f"{number:0{width}d}" for number in numbers.tolist()])


_ALWAYS_IN_USE = 320200
# Region code, first and last year of birth for which it was in use.
_REGIONS = (
    (320211, 1983, 2016),
    (320205, 2000, 2016),
    (320206, 2000, 2016),
    (320281, 1989, 2016),
    (320282, 1989, 2016),
    (320202, 1983, 2014),
    (320200, 1900, 2016),
    (320100, 1900, 2016),
    (320300, 1900, 2016),
    (310101, 1900, 2016),
    (310104, 1900, 2016),
    (330100, 1900, 2016),
    (340121, 1900, 2016),
    (340400, 1900, 2016),
    (410100, 1900, 2016),
    (420100, 1900, 2016),
)
# fmt: off
_MOBILE_PREFIXES = (
    130, 131, 133, 135, 136, 137, 138, 139, 150, 151, 152, 155, 158, 159, 177, 180, 186, 187, 188, 189,
)
# fmt: on
_SURNAMES = (
    *"王李张刘陈杨黄赵周吴徐孙朱马胡郭林何高梁郑罗宋谢唐韩曹许邓萧冯曾程蔡彭潘袁于董余苏叶吕魏蒋田杜丁沈姜范江傅钟卢汪戴崔任",
    *"陆廖姚方金邱夏谭韦贾邹石熊孟秦阎薛侯雷白龙段郝孔邵史毛常万顾赖武康贺严尹钱施牛洪龚",
    *("欧阳", "上官", "司马", "诸葛", "慕容", "端木"),
)
_GIVEN = (
    "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰红建国志文斌鑫宇浩然子涵欣怡梓轩雨泽晨曦思佳琪俊逸天佑嘉悦博诗婷雪"
    "梅春秋冬青松柏林森海波江河山川云飞龙凤鸣瑞祥庆福安康宁远航启正德仁义礼智信慧美雅淑贞惠"
)
# Names that break narrow assumptions: a middle dot, characters of four bytes in UTF-8 and GB18030.
_OTHER_NAMES = ("阿依古丽·买买提", "迪丽努尔·阿不都", "才让卓玛", "古力娜·艾尔肯", "吴𠮷辰", "周𬭎", "柯㛃然")
_DISTRICTS = ("梁溪区", "滨湖区", "新吴区", "锡山区", "惠山区", "江阴市", "宜兴市")
_STREETS = (
    "槐荫路",
    "望湖大道",
    "清泉街",
    "凤栖路",
    "学府东路",
    "工运路",
    "隐秀路",
    "吴都南路",
    "长庚街",
    "新辉路",
    "运河西路",
)
_COMPOUNDS = (
    "湖畔新村",
    "青枫家园",
    "锦绣花苑",
    "万景天成",
    "康乐里",
    "桃源雅居",
    "金桂苑",
    "河埒小区",
    "时光城",
    "惠民公寓",
)
_SYLLABLES = (
    "wang",
    "li",
    "zhang",
    "chen",
    "xiao",
    "ming",
    "lan",
    "yue",
    "tao",
    "fei",
    "jun",
    "qing",
    "hao",
    "mei",
)
