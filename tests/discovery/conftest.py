"""Invented people: nobody here exists, and every test draws the same ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pytest
from stdnum.cn import ric

from cenotaph.discovery import ColumnFinding, ColumnSurvey

SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗"
GIVEN = "伟芳娜秀英敏静丽强磊军洋勇艳杰娟涛明超兰霞平刚桂文辉玲建国华红梅"


@dataclass(frozen=True)
class Column:
    name: str


class People:
    """Values in the shape of persons, from a seeded generator."""

    def __init__(self, seed: int = 7) -> None:
        self.draw = random.Random(seed)

    def many(self, one: Callable[[], str], count: int = 600) -> list[str]:
        return [one() for _ in range(count)]

    def resident_id(self) -> str:
        draw = self.draw
        area = draw.choice(("320211", "320205", "110105", "310104", "440305"))
        born = f"{draw.randint(1940, 2015)}{draw.randint(1, 12):02}{draw.randint(1, 28):02}"
        body = f"{area}{born}{draw.randint(0, 999):03}"
        return body + ric.calc_check_digit(body + "0")

    def name(self) -> str:
        return self.draw.choice(SURNAMES) + "".join(self.draw.choices(GIVEN, k=self.draw.randint(1, 2)))

    def mobile(self) -> str:
        return f"1{self.draw.choice(('38', '39', '59', '86', '77'))}{self.draw.randint(0, 99_999_999):08}"

    def address(self) -> str:
        road = self.draw.choice(("中山", "人民", "解放"))
        return f"江苏省无锡市梁溪区{road}路{self.draw.randint(1, 999)}号{self.draw.randint(1, 30)}栋"

    def note(self) -> str:
        return f"{self.name()}于{self.draw.randint(1, 28)}日从火车站返回后自述发热,已通知社区跟进随访"


@pytest.fixture
def people() -> People:
    return People()


Survey = Callable[[Mapping[str, Sequence[object] | pa.Array]], dict[str, ColumnFinding]]


@pytest.fixture
def survey() -> Survey:
    """Survey columns as CSV delivers them: every text as UTF-8 bytes."""

    def run(columns: Mapping[str, Sequence[object] | pa.Array]) -> dict[str, ColumnFinding]:
        arrays = [_array(values) for values in columns.values()]
        watch = ColumnSurvey([Column(name) for name in columns], seed=1)
        watch.add(pa.RecordBatch.from_arrays(arrays, [str(at) for at in range(len(arrays))]))
        return dict(zip(columns, watch.findings(), strict=True))

    return run


def _array(values: Sequence[object] | pa.Array) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    return pa.array([value.encode() if isinstance(value, str) else value for value in values])
