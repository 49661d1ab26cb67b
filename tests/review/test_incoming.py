"""What may lie in the folder where parties leave their envelopes, and in names that are published."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cenotaph.errors import UsageError
from cenotaph_proof.statements import Inventory
from small_case import SmallCase, people, person, table

STORE = '[[store]]\nname = "health"\nurl = "sqlite:../estate/health.db"\n\n'


def test_what_is_no_plain_file_stops_nobody(tmp_path: Path) -> None:
    """A pipe would hang every command of the operator, a folder would end it, a link leads elsewhere."""
    case = _opened(tmp_path)
    incoming = case.countersign("audit").parent
    case.countersign("zhao")
    os.mkfifo(incoming / "pipe.json")
    (incoming / "folder.json").mkdir()
    (incoming / "link.json").symlink_to("/nowhere")
    (incoming / "huge.json").write_bytes(b"[" * 100_000)
    desk = case.desk()

    admitted = desk.admit_incoming()

    assert len(admitted) == 2
    assert [line.split(":")[0] for line in desk.refused] == [
        "folder.json",
        "huge.json",
        "link.json",
        "pipe.json",
    ]


def test_a_key_share_that_is_a_second_name_is_not_overwritten(tmp_path: Path) -> None:
    """Shares are wiped once they are in the annex: a hard link would wipe the file behind it."""
    case = _opened(tmp_path)
    envelope = case.countersign("audit")
    victim = tmp_path / "victim"
    victim.write_bytes(b"somebody else's")
    envelope.with_suffix(".share").unlink()
    os.link(victim, envelope.with_suffix(".share"))

    assert case.admit() == []
    assert victim.read_bytes() == b"somebody else's"


def test_what_is_added_must_be_an_envelope(tmp_path: Path) -> None:
    """Another name would be copied, and never looked at again."""
    case = _opened(tmp_path)

    with pytest.raises(UsageError, match="no envelope"):
        case.desk().add(case.path / "case.toml")

    assert not list(case.path.glob("statements/incoming/*.toml"))


def test_a_table_named_after_a_person_is_not_published(tmp_path: Path) -> None:
    """Some programs make a table a person; its ordinal is enough for everybody but those with the annex."""
    table(tmp_path / "estate" / "health.db", f"of_{person(5).identity}", people(0, 4))
    table(tmp_path / "estate" / "health.db", "visits_20200131", people(0, 4))
    case = SmallCase.make(tmp_path, STORE)

    case.go(last="survey")

    (store,) = case.now().require(Inventory).body(Inventory).stores
    assert [c.name for c in store.collections] == [None, "visits_20200131"]


def _opened(root: Path) -> SmallCase:
    table(root / "estate" / "health.db", "visits", people(0, 4))
    case = SmallCase.make(root, STORE)
    case.open()
    return case
