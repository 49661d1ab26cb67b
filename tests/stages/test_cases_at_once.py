"""Several cases of one operator, worked on at once: they share a log, and none of them harms another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cenotaph_proof import envelope, note, statements
from cenotaph_proof.keys import SecretKey
from cenotaph_proof.log import Log
from small_case import SmallCase, csv, people, put

STORE = '[[store]]\nname = "{0}"\nurl = "files:../estate/{0}"\n\n'
WORK = """
import sys
from pathlib import Path
from small_case import SmallCase
from cenotaph_proof.errors import OrderError

case = SmallCase(Path(sys.argv[1]), folder=sys.argv[2])
while True:
    try:
        case.open()
        break
    except OrderError as error:  # another case was opened in between, and this charter has to name it
        assert "hides an earlier attempt" in error.message, error
case.go("countersign-auditor", "survey")
"""


@pytest.mark.slow
def test_cases_at_once_share_a_log(tmp_path: Path) -> None:
    """Two processes open, countersign and survey two cases at one time. Every statement is logged
    once, each case replays, every size that was signed has one root, and the tiles are whole."""
    cases = []
    for number, name in enumerate(("one", "two")):
        put(tmp_path / "estate" / name / "a.csv", csv(people(20 * number, 10)))
        cases.append(SmallCase.make(tmp_path, STORE.format(name), name=name, folder=f"case-{name}"))
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WORK, str(tmp_path), case.folder],
            env=_with_tests(),
            stderr=subprocess.PIPE,
        )
        for case in cases
    ]
    said = [writer.communicate(timeout=120)[1].decode() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], said

    operator = cases[0].desk().key.public
    log = Log.open(tmp_path / "log", operator=operator)
    log.check_tiles()
    entries = list(log.entries())
    assert len(set(entries)) == len(entries)
    opened = [e for e in entries if statements.outline(envelope.open_(e).payload).kind == "charter"]
    assert len(opened) == 2
    assert sorted(len(case.now().charter.earlier) for case in cases) == [0, 1]
    assert sum(len(case.now().entries) for case in cases) == len(entries)
    witness = SecretKey.load(cases[0].key("paper")).public
    heads = [note.verify_checkpoint(text, operator, [witness]) for text in log.cosigned().values()]
    assert all(head.cosignatures for head in heads)
    assert len({head.checkpoint.size for head in heads}) == len(heads)


def _with_tests() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
