"""The city's first batch, at any size: Parquet files of health-code records, an app a file.

A record is who (an identity number of 18 characters), when, where, a result, the telephone number and the
number of the app. A resident has one telephone. Rows are drawn file by file with fixed buffers, so that a
billion of them take no more memory than a million: the residents' two columns, and a row group.

Nobody here exists; see `city_people`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

APPS = 40
ROW_GROUP = 1_000_000
RESULTS = ("NEG", "POS", "UNK")
FIRST_DAY, DAYS = np.datetime64("1935-01-01"), 29_000
SCHEMA = pa.schema(
    [
        ("id_number", pa.string()),
        ("at", pa.timestamp("us")),
        ("place", pa.int32()),
        ("result", pa.string()),
        ("phone", pa.string()),
        ("app", pa.uint8()),
    ]
)

Octets: TypeAlias = npt.NDArray[np.uint8]

_DISTRICTS = np.array([320205, 320206, 320211, 320213, 320214, 320281, 320282], np.int64)
_ORDERS = 999
_NETWORKS = np.array([*range(130, 140), *range(150, 154), *range(155, 160), *range(180, 190)], np.int64)
_WEIGHTS = np.array([pow(2, 17 - place, 11) for place in range(17)], np.int64)
_CHECKS = np.frombuffer(b"10X98765432", np.uint8)  # GB 11643-1999; ISO 7064 MOD 11-2
_STEP = 700_000_001  # a prime: multiples of it, modulo what it does not divide, hit every number once
_AT_ONCE = 1 << 18


@dataclass(frozen=True, slots=True)
class Residents:
    """Rows of ASCII characters: identity numbers and telephone numbers, each of them once."""

    identities: Octets = field(repr=False)
    phones: Octets = field(repr=False)

    @classmethod
    def make(cls, count: int) -> Residents:
        """The same residents for the same count. Raises: ValueError for more than there are numbers."""
        space = len(_DISTRICTS) * DAYS * _ORDERS
        if not 0 < count <= space:
            raise ValueError(f"a city has 1 to {space:,} residents")
        identities, phones = np.empty((count, 18), np.uint8), np.empty((count, 11), np.uint8)
        for first in range(0, count, _AT_ONCE):
            who = np.arange(first, min(count, first + _AT_ONCE), dtype=np.int64)
            identities[who] = _identities(who * _STEP % space)
            phones[who] = _phones(who * _STEP % (len(_NETWORKS) * 10**8))
        return cls(identities, phones)

    def __len__(self) -> int:
        return len(self.identities)


def write_app(path: Path, app: int, rows: int, residents: Residents, *, seed: int = 1) -> None:
    """One app's records, in the order of time. A file that is there is whole: it is made under another name.

    The same bytes for the same arguments and the same pyarrow.
    """
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb") as stream:
        with pq.ParquetWriter(stream, SCHEMA, compression="zstd", compression_level=1, **_OPTIONS) as writer:
            for group, first in enumerate(range(0, rows, ROW_GROUP)):
                drawn = np.random.default_rng([seed, app, group])
                writer.write_table(_group(drawn, app, first, min(ROW_GROUP, rows - first), residents))
        os.fsync(stream.fileno())
    beside.replace(path)


_OPTIONS = {"use_dictionary": ["place", "result", "app"], "write_statistics": False}


def _group(drawn: np.random.Generator, app: int, first: int, rows: int, residents: Residents) -> pa.Table:
    who = drawn.integers(0, len(residents), rows)
    begin = np.datetime64("2020-01-20T00:00:00", "us").astype(np.int64)
    at = begin + (np.arange(first, first + rows) * 3_800_000 + drawn.integers(0, 3_800_000, rows))
    results = drawn.choice(3, rows, p=(0.97, 0.02, 0.01)).astype(np.int8)
    columns = [
        _texts(residents.identities[who]),
        pa.array(at).cast(pa.timestamp("us")),
        pa.array(drawn.integers(0, 20_000, rows, dtype=np.int32)),
        pa.DictionaryArray.from_arrays(pa.array(results), pa.array(RESULTS)).cast(pa.string()),
        _texts(residents.phones[who]),
        pa.array(np.full(rows, app, np.uint8)),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _texts(characters: Octets) -> pa.Array:
    rows, width = characters.shape
    offsets = np.arange(0, (rows + 1) * width, width, dtype=np.int32)
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(characters))


def _identities(numbers: npt.NDArray[np.int64]) -> Octets:
    rest, order = np.divmod(numbers, _ORDERS)
    district, day = np.divmod(rest, DAYS)
    born = FIRST_DAY + day
    year = born.astype("datetime64[Y]").astype(np.int64) + 1970
    month = born.astype("datetime64[M]").astype(np.int64) % 12 + 1
    date = (born - born.astype("datetime64[M]")).astype(np.int64) + 1
    plain = ((_DISTRICTS[district] * 10_000 + year) * 10_000 + month * 100 + date) * 1_000 + order + 1
    digits = _digits(plain, 17)
    checks = _CHECKS[(digits * _WEIGHTS).sum(axis=1) % 11]
    return np.concatenate([(digits + 48).astype(np.uint8), checks[:, np.newaxis]], axis=1)


def _phones(numbers: npt.NDArray[np.int64]) -> Octets:
    network, rest = np.divmod(numbers, 10**8)
    return (_digits(_NETWORKS[network] * 10**8 + rest, 11) + 48).astype(np.uint8)


def _digits(numbers: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.int64]:
    return numbers[:, np.newaxis] // 10 ** np.arange(width - 1, -1, -1, dtype=np.int64) % 10
