"""A small case with real stores and every party's key, taken stage by stage as its parties would.

The people are invented; their identity numbers have valid check digits, so that discovery knows them.
"""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import subprocess
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cenotaph import clock as clocks
from cenotaph.desk import Desk
from cenotaph.session import Session
from cenotaph.stages.approve import approve_here
from cenotaph.stages.certify import certify
from cenotaph.stages.challenge import challenge
from cenotaph.stages.destroy import destroy
from cenotaph.stages.open import open_case
from cenotaph.stages.plan import plan
from cenotaph.stages.probe import probe
from cenotaph.stages.publish import publish
from cenotaph.stages.seal import seal
from cenotaph.stages.survey import survey
from cenotaph.stores import open_eraser, open_reader
from cenotaph_proof import trust, verify
from cenotaph_proof.case import Case
from cenotaph_proof.casebook import Entry
from cenotaph_proof.keys import SecretKey
from cenotaph_proof.statements import Certificate, Plan

PARTIES = (
    ("Big Data Bureau", "operator", "bureau"),
    ("Audit Co", "auditor", "audit"),
    ("Zhao & Partners", "notary", "zhao"),
    ("Daily Paper", "log-witness", "paper"),
)
POLICY = "[policy]\napprove = { auditor = 1, notary = 1 }\nwitness = 1\n"

# ── people ───────────────────────────────────────────────────────────────────────────────────────

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


@dataclass(frozen=True, slots=True)
class Person:
    identity: str
    phone: str
    day: str  # of a visit; half of them before 2021

    def row(self) -> tuple[str, str, str]:
        return self.identity, self.phone, self.day

    def line(self) -> str:
        return ",".join(self.row())


def person(number: int) -> Person:
    """The person of this number; different numbers share nothing."""
    head = f"320205{1950 + number % 50}{1 + number % 12:02d}{1 + number % 28:02d}{number % 1000:03d}"
    check = "10X98765432"[sum(int(d) * w for d, w in zip(head, _WEIGHTS, strict=True)) % 11]
    year = 2020 if number % 2 else 2022
    return Person(head + check, f"139{number * 7919 % 10**8:08d}", f"{year}-03-{1 + number % 28:02d}")


def people(start: int, count: int) -> list[Person]:
    return [person(number) for number in range(start, start + count)]


def values(who: Iterable[Person]) -> list[bytes]:
    return [value.encode() for p in who for value in (p.identity, p.phone)]


HEADER = "id_number,phone,day"


def csv(who: Sequence[Person]) -> bytes:
    return "\n".join([HEADER, *(p.line() for p in who), ""]).encode()


def jsonl(who: Sequence[Person]) -> bytes:
    names = HEADER.split(",")
    return "".join(json.dumps(dict(zip(names, p.row(), strict=True))) + "\n" for p in who).encode()


def parquet(who: Sequence[Person]) -> bytes:
    columns = list(zip(*(p.row() for p in who), strict=True))
    sink = io.BytesIO()
    pq.write_table(pa.table(dict(zip(HEADER.split(","), map(list, columns), strict=True))), sink)
    return sink.getvalue()


def zipped(who: Sequence[Person]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("part.csv", (2021, 1, 1, 0, 0, 0)), csv(who))
    return sink.getvalue()


def table(path: Path, name: str, who: Sequence[Person]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(path) as db:
        db.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, id_number TEXT, phone TEXT, day TEXT)")
        db.executemany(f"INSERT INTO {name} (id_number, phone, day) VALUES (?,?,?)", [p.row() for p in who])
    db.close()


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# ── the case ─────────────────────────────────────────────────────────────────────────────────────


class SmallCase:
    """A case directory `root/folder`, keys in `root/keys`, the log in `root/log`; stores where they are."""

    def __init__(self, root: Path, clock: clocks.Clock = clocks.wall_clock, folder: str = "case") -> None:
        self.root = root
        self.clock = clock
        self.folder = folder

    @classmethod
    def make(
        cls,
        root: Path,
        stores: str,
        *,
        clock: clocks.Clock = clocks.wall_clock,
        notice: str = "0h",
        policy: str = POLICY,
        limits: str = "",
        parties: Sequence[tuple[str, str, str]] = PARTIES,
        name: str = "small",
        folder: str = "case",
    ) -> SmallCase:
        """Make keys and `case.toml`. `stores` are the tables of stores and holds; paths from `root/case`."""
        made = cls(root, clock, folder)
        for organisation, role, key in parties:
            if not (root / "keys" / key).exists():
                (root / "keys").mkdir(parents=True, exist_ok=True)
                SecretKey.generate(organisation, role).save(root / "keys" / key)
        head = (
            f'[case]\nname = "{name}"\noperator = "Big Data Bureau"\nkey = "file:../keys/bureau"\n'
            f'log = "../log"\nnotice = "{notice}"\n\n'
        )
        case = root / folder
        case.mkdir()
        named = "".join(_party(*p, at="../keys") for p in parties if p[1] != "operator")
        limits = f'[limits]\nworkers = 1\nlock_timeout = "2s"\n{limits}'
        (case / "case.toml").write_text(head + stores + "\n" + named + policy + limits, "utf-8")
        trusted = "".join(_party(*p, at="keys", cosign=False) for p in parties)
        (root / "trust.toml").write_text(trusted + policy, "utf-8")
        return made

    @property
    def path(self) -> Path:
        return self.root / self.folder

    def desk(self) -> Desk:
        return Desk(self.path, self.clock)

    def key(self, name: str) -> Path:
        return self.root / "keys" / name

    def session(self, key: str = "audit", addresses: dict[str, str] | None = None) -> Session:
        return Session(self.path, self.key(key), addresses, self.clock)

    def now(self) -> Case:
        return self.desk().case()

    # one method a command

    def open(self) -> Entry:
        return open_case(self.desk())

    def countersign(self, key: str) -> Path:
        return self.approve(key, charter=True)

    def approve(
        self, key: str, *, charter: bool = False, withdraw: bool = False, lasts: int | None = None
    ) -> Path:
        return approve_here(
            self.path,
            self.key(key),
            self.clock,
            charter=charter,
            withdraw=withdraw,
            outside=None,
            lasts=lasts,
        )

    def survey(self) -> Entry:
        return survey(self.desk(), open_reader)

    def seal(self) -> Entry:
        return seal(self.desk(), open_reader)

    def plan(self) -> Entry:
        return plan(self.desk())

    def challenge(self, addresses: dict[str, str] | None = None) -> Path:
        return challenge(self.session(addresses=addresses), open_reader)

    def admit(self) -> list[Entry]:
        return self.desk().admit_incoming()

    def destroy(self, confirm: str | None = None) -> Entry | None:
        desk = self.desk()
        digest = desk.case().require(Plan).digest if confirm is None else confirm
        return destroy(desk, open_reader, open_eraser, digest[:8] if confirm is None else confirm)

    def probe(self, addresses: dict[str, str] | None = None) -> Path:
        return probe(self.session(addresses=addresses), open_reader)

    def certify(self) -> Entry:
        return certify(self.desk())

    def publish(self) -> list[Path]:
        return publish(self.desk(), self.root / "site")

    def verdict(self) -> verify.Verdict:
        return verify.verify_file(self.desk().proof_path(), trust.load(self.root / "trust.toml"))

    # the way as a list, so that a test can stop, kill, or leave out

    def steps(self) -> dict[str, Callable[[], object]]:
        return {
            "open": self.open,
            "countersign-auditor": lambda: self.countersign("audit"),
            "countersign-notary": lambda: self.countersign("zhao"),
            "survey": self.survey,
            "seal": self.seal,
            "plan": self.plan,
            "challenge": self.challenge,
            "admit": self.admit,
            "approve-auditor": lambda: self.approve("audit"),
            "approve-notary": lambda: self.approve("zhao"),
            "destroy": self.destroy,
            "probe": self.probe,
            "certify": self.certify,
            "publish": self.publish,
        }

    def go(self, first: str = "open", last: str = "publish") -> None:
        """Take the steps from `first` to `last`."""
        names = list(self.steps())
        for name in names[names.index(first) : names.index(last) + 1]:
            self.steps()[name]()

    def certificate(self) -> Certificate:
        found = self.now().latest(Certificate)
        assert found is not None
        return found.body(Certificate)


def _party(organisation: str, role: str, name: str, *, at: str, cosign: bool = True) -> str:
    lines = [f'organisation = "{organisation}"', f'role = "{role}"', f'key = "{at}/{name}.pub"']
    if cosign and role == "log-witness":
        lines.append(f'cosign = "file:{at}/{name}"')
    return "[[party]]\n" + "\n".join(lines) + "\n\n"


# ── an estate for the tests of stages ────────────────────────────────────────────────────────────

STORES = """\
[[store]]
name = "health"
url = "sqlite:../estate/health.db"

[[store]]
name = "export"
url = "files:../estate/export"

"""


class Clock:
    """Seconds since the epoch, as a test wants them."""

    def __init__(self, now: int = 1_790_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def pass_(self, seconds: int) -> None:
        self.now += seconds


def build_estate(root: Path) -> None:
    """A database of two tables, and a folder of two collections."""
    table(root / "health.db", "visits", people(0, 20))
    table(root / "health.db", "codes", people(100, 10))
    put(root / "export" / "a.csv", csv(people(200, 10)))
    put(root / "export" / "old" / "b.jsonl", jsonl(people(300, 10)))


# ── looking, with tools that are not cenotaph's ──────────────────────────────────────────────────


def grep(folder: Path, needles: Sequence[bytes]) -> list[Path]:
    """Files below a folder that hold one of the values, by grep(1)."""
    done = subprocess.run(
        ["grep", "-rlaF", "-f", "-", str(folder)], input=b"\n".join(needles), capture_output=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    return [Path(line) for line in done.stdout.decode().splitlines()]


def packed_with(folder: Path, needles: Sequence[bytes]) -> list[Path]:
    """Files below a folder that hold one of the values once they are unpacked."""
    wanted = set(needles)
    return [path for path in folder.rglob("*") if path.is_file() and wanted & set(_unpacked(path))]


def _unpacked(path: Path) -> Iterator[bytes]:
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        yield from gzip.decompress(data).replace(b"\n", b",").split(b",")
    elif data[:4] == b"PAR1":
        for column in pq.read_table(io.BytesIO(data)).columns:
            yield from (str(value).encode() for value in column.to_pylist())
    elif data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield from archive.read(name).replace(b"\n", b",").split(b",")
