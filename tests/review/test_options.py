"""Options that are wrong: exit code 2, a sentence, and no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from cenotaph.cli.main import cli
from small_case import SmallCase, people, table

STORE = '[[store]]\nname = "health"\nurl = "sqlite:../estate/health.db"\n\n'


@pytest.mark.parametrize(
    "words",
    [
        ("demo", "--residents", "60"),
        ("demo", "--residents", "200", "--records", "1500"),
        ("demo", "--seed", "-3"),
        ("keygen", "--role", "auditor", "--organisation", "", "--out", "KEY"),
        ("keygen", "--role", "auditor", "--organisation", "a\nb", "--out", "KEY"),
        ("survey", "--find", "MISSING"),
        ("approve", "--key", "KEY", "--lasts", "forever"),
        ("approve", "--key", "KEY", "--lasts", "-5d"),
        ("approve", "--key", "KEY", "--charter", "--outside", "MISSING"),
        ("approve", "--add", "FOLDER"),
        ("challenge", "--key", "KEY", "--store", "health="),
        ("probe", "--key", "KEY", "--store", "=sqlite:/x.db"),
        ("publish", "--to", "FILE"),
        ("pause", "--case", "FOLDER"),
    ],
    ids=lambda words: " ".join(words).replace("\n", "\\n"),
)
def test_a_wrong_option_is_wrong_usage(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Whatever is typed wrong ends in code 2 before anything is written."""
    (tmp_path / "FOLDER").mkdir()
    (tmp_path / "FILE").touch()
    places = ("KEY", "MISSING", "FOLDER", "FILE")

    ran = CliRunner().invoke(cli, [str(tmp_path / w) if w in places else w for w in words])

    assert ran.exit_code == 2, ran.output
    assert "Error" in ran.output or "error:" in ran.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["FILE", "FOLDER"]


@pytest.mark.parametrize(
    "records",
    [
        "not JSON 320205",
        '{"store": "health"}',
        '[{"store": "health"}]',
        "[" * 100_000,
        '[{"store": "health", "collection": "visits", "values": {}}]',
    ],
    ids=["no JSON", "no list", "no values", "too deep", "empty values"],
)
def test_outside_records_that_no_challenge_can_read_are_not_committed_to(
    tmp_path: Path, records: str
) -> None:
    """A commitment to them could never be opened, and the case would stop at its challenge."""
    case = _opened(tmp_path)
    outside = tmp_path / "outside.json"
    outside.write_text(records)

    ran = CliRunner().invoke(
        cli,
        ["approve", "--charter", *_paths(case=case.path, key=case.key("audit"), outside=outside)],
    )

    assert ran.exit_code == 4, ran.output
    assert "outside records" in ran.output
    assert "320205" not in ran.output
    assert not list((case.path / "statements" / "incoming").glob("*"))


def _paths(**options: Path) -> list[str]:
    return [word for name, path in options.items() for word in (f"--{name}", str(path))]


def _opened(root: Path) -> SmallCase:
    table(root / "estate" / "health.db", "visits", people(0, 4))
    case = SmallCase.make(root, STORE)
    case.open()
    return case
