"""The building site of a generated city: what its apps share, and what they planted."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cenotaph.testing.city_people import Numbers, People, Texts

NEEDLES_A_KIND = 200
OUTSIDE_A_COLLECTION = 50
HELD = 3
"""The first people of a city are under court hold."""
STAFF = 60

_SHARES = {
    "tests": 0.20,
    "colour_changes": 0.06,
    "contacts": 0.05,
    "interviews": 0.008,
    "journeys": 0.06,
    "entries": 0.10,
    "doses": 0.05,
    "stays": 0.01,
    "alarms": 0.02,
    "temperatures": 0.10,
    "calls": 0.01,
    "returns": 0.03,
}

_FIRST_DAY = np.datetime64("2020-02-01")
_DAYS = np.array([str(_FIRST_DAY + day) for day in range(1040)], dtype=object)
_CLOCK = np.array([f"{m // 60:02d}:{m % 60:02d}:{m * 7 % 60:02d}" for m in range(1440)], dtype=object)


@dataclass(frozen=True, slots=True)
class CityStore:
    """One store of the city. `url` is relative to the city's root."""

    name: str
    url: str
    app: str
    purpose: str
    declared: bool = True
    subject: Mapping[str, str] = field(default_factory=dict)  # collection pattern → column

    @property
    def path(self) -> str:
        """Where the store lies, relative to the city's root."""
        return self.url.partition(":")[2]


@dataclass(slots=True)
class Site:
    """A city being built. Apps read the upper fields and fill the lower ones."""

    root: Path
    seed: int
    people: People = field(repr=False)  # on the current lists
    departed: People = field(repr=False)  # deleted years ago, on no list
    staff: People = field(repr=False)  # bystanders
    sizes: Mapping[str, int]
    shared_bystanders: bool = False

    stores: list[CityStore] = field(default_factory=list)
    records: dict[str, dict[str, int]] = field(default_factory=dict)
    needles: dict[str, tuple[bytes, ...]] = field(default_factory=dict, repr=False)
    places: dict[str, str] = field(default_factory=dict)
    bystanders: list[str] = field(default_factory=list)
    outside: list[list[dict[str, object]]] = field(default_factory=list, repr=False)

    def rng(self, purpose: str) -> np.random.Generator:
        """Each purpose has its own generator, so that a change of one app leaves the others as they were."""
        return generator(self.seed, purpose)

    def draw(self, rng: np.random.Generator, count: int) -> Numbers:
        """Indices of `count` people, some often and some never, the held ones among them."""
        drawn = rng.integers(0, len(self.people), count)
        drawn[: min(count, HELD)] = np.arange(min(count, HELD))
        return rng.permutation(drawn)

    def store(self, store: CityStore, records: Mapping[str, int]) -> None:
        """Declare a finished store with what was planted in each of its collections."""
        self.stores.append(store)
        self.records[store.name] = dict(records)

    def needle(
        self, kind: str, place: str, values: Sequence[str | bytes] | Texts, *, encoding: str = "utf-8"
    ) -> None:
        """Values that lie at `place` in this encoding: a sample, without identity numbers under hold."""
        held = set(self.people.ids[:HELD])
        sampled = (value for value in values[:: max(1, len(values) // NEEDLES_A_KIND)] if value not in held)
        self.needles[kind] = tuple(
            dict.fromkeys(value if isinstance(value, bytes) else value.encode(encoding) for value in sampled)
        )
        self.places[kind] = place

    def hand_out(
        self, store: str, collection: str, who: Numbers, columns: Mapping[str, Sequence[str]]
    ) -> None:
        """Remember some rows, of people without a hold, as volunteers hold them outside the city.

        `collection` is a pattern: how a store of files names its collections is for that store to say.
        """
        rows = [row for row in range(min(len(who), 4 * OUTSIDE_A_COLLECTION)) if who[row] >= HELD]
        self.outside.append(
            [
                {
                    "store": store,
                    "collection": collection,
                    "values": {name: values[row] for name, values in columns.items()},
                }
                for row in rows[:OUTSIDE_A_COLLECTION]
            ]
        )


def generator(seed: int, purpose: str) -> np.random.Generator:
    """The generator of this seed and purpose."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def plan_sizes(residents: int, records: int) -> dict[str, int]:
    """Records for each collection, adding up to exactly `records`; venue check-ins take what is left."""
    volunteers = residents // 20
    sizes = {
        "codes": residents,
        "faces": residents,
        "passes": min(400, residents // 2),
        "volunteers": volunteers,
        "volunteers_copy": volunteers - volunteers // 20 + volunteers // 25,
        "pupils": residents // 8,
        "dump": residents // 10,  # lines, its head included
        "export": residents // 5,
    }
    left = records - sum(sizes.values())
    sizes |= {name: int(left * share) for name, share in _SHARES.items()}
    return sizes | {"checkins": records - sum(sizes.values())}


def moments(rng: np.random.Generator, count: int) -> Texts:
    """`YYYY-MM-DD hh:mm:ss` between February 2020 and December 2022, ascending by day."""
    days = np.sort(rng.integers(0, len(_DAYS), count))
    return np.asarray(_DAYS[days] + " " + _CLOCK[rng.integers(0, len(_CLOCK), count)])


def days(rng: np.random.Generator, count: int) -> Texts:
    """`YYYY-MM-DD`, in no order."""
    return np.asarray(_DAYS[rng.integers(0, len(_DAYS), count)])


def choice(rng: np.random.Generator, values: Sequence[str], count: int) -> Texts:
    """`count` of these texts."""
    return np.asarray(np.array(list(values), dtype=object)[rng.integers(0, len(values), count)])


def serials(rng: np.random.Generator, prefix: str, count: int) -> list[str]:
    """Unique texts of one prefix, ascending with gaps."""
    numbers = np.cumsum(rng.integers(1, 9, count)) + 100_000
    return [f"{prefix}{number:010d}" for number in numbers.tolist()]


# fmt: off
VENUES = (
    "三阳百盛", "崇安寺", "荟聚购物中心", "大润发长江北路店", "南禅寺书城", "鼋头渚", "无锡东站",
    "苏南硕放机场", "市图书馆", "第二人民医院", "蠡湖公园", "江南大学北门", "海岸城", "八佰伴",
    "清名桥古街", "朝阳菜场",
)
# fmt: on
SCHOOLS = ("江阴一中", "大桥实验学校", "东林小学", "连元街小学", "太湖高中", "辅仁高中")
CLASSES = ("一班", "二班", "三班", "四班", "五班", "六班")
