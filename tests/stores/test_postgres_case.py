"""A case names a PostgreSQL database: surveyed and sealed as any store; its address is told nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

import postgres_server
from cenotaph.config import load
from cenotaph.errors import UsageError
from cenotaph_proof.statements import Inventory, Seal
from small_case import Clock, SmallCase, people

postgres_server.need()

STORE = """\
[[store]]
name = "register"
url = "{}"
"""


@pytest.mark.slow
def test_a_database_of_people_is_surveyed_and_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By reference to its address; personal data is found, every record is sealed and read again alike."""
    server = postgres_server.shared()
    rows = ", ".join(str(p.row()) for p in people(0, 40))
    name = server.database(
        "CREATE TABLE visits (id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
        " id_number text, phone text, day date)",
        f"INSERT INTO visits (id_number, phone, day) VALUES {rows}",
        "CREATE TABLE log (line jsonb)",
        "INSERT INTO log SELECT to_jsonb(visits) FROM visits",
    )
    monkeypatch.setenv("REGISTER_URL", server.url(name))
    case = SmallCase.make(tmp_path, STORE.format("env:REGISTER_URL"), clock=Clock())

    case.go("open", "challenge")

    inventory = case.now().require(Inventory).body(Inventory).stores[0]
    assert [(c.name, c.records) for c in inventory.collections] == [("public.log", 40), ("public.visits", 40)]
    assert {p.kind for p in inventory.collections[1].personal} >= {"resident-id", "phone"}
    assert [c.records for c in case.now().require(Seal).body(Seal).stores[0].collections] == [40, 40]
    said = [path for path in case.root.rglob("*") if path.is_file() and path.parent.name != "annex"]
    assert not [path for path in said if str(server.folder).encode() in path.read_bytes()]
    server.drop(name)


@pytest.mark.parametrize(
    "url", ["postgresql://app:secret@host/app", "postgresql://app@host/app?password=secret"]
)
def test_a_password_in_the_case_file_is_refused(tmp_path: Path, url: str) -> None:
    """The case file is shown to parties: secrets stand there by reference alone, and are not repeated."""
    case = SmallCase.make(tmp_path, STORE.format(url), clock=Clock())

    with pytest.raises(UsageError, match="password") as refused:
        load(case.path / "case.toml")

    assert "secret" not in f"{refused.value.message}{refused.value.hint}"


def test_a_reference_leads_to_a_server_or_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reference holds is checked when it is followed, and never shown."""
    case = SmallCase.make(tmp_path, STORE.format("env:REGISTER_URL"), clock=Clock())
    config = load(case.path / "case.toml")
    monkeypatch.setenv("REGISTER_URL", "sqlite:secret.db")

    with pytest.raises(UsageError, match="its address is not one of postgresql:"):
        config.url(config.find("register"))


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ('url = "postgresql://app@/app"\nread = "pages"', 'read = "pages"'),
        ('url = "sqlite:app.db"\nread = "pages"', 'read = "pages"'),
        ('url = "postgresql://app@/app"\ndata_dir = "server"\nread = "sectors"', "read"),
    ],
)
def test_pages_are_read_where_the_case_says_they_are(tmp_path: Path, said: str, names: str) -> None:
    """Of a server, with its files; what else is asked for is refused by its name."""
    case = SmallCase.make(tmp_path, f'[[store]]\nname = "register"\n{said}\n', clock=Clock())

    with pytest.raises(UsageError, match=names):
        load(case.path / "case.toml")
