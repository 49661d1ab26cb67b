"""A trust file of one's own: made from key files, read back as the same keys and thresholds."""

from __future__ import annotations

import tomllib

import pytest

from cenotaph_proof import trust
from cenotaph_proof.__main__ import main
from cenotaph_proof.commands import trusting
from cenotaph_proof.errors import FormatError
from cenotaph_proof.keys import SecretKey

NAMES = ("Audit Co", "Zhao & Partners", 'O"Neil \\ Sons', "it's '''quoted'''", "审计机构")


def keys(name: str) -> list[SecretKey]:
    return [
        SecretKey.generate("Bureau", "operator"),
        SecretKey.generate(name, "auditor"),
        SecretKey.generate("Notary", "notary"),
        SecretKey.generate("Daily Paper", "log-witness", post_quantum=True),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read_back(name, tmp_path):
    """Whatever an organisation is called, its key and thresholds come back as they were given."""
    parties = [key.public for key in keys(name)]
    (tmp_path / "trust.toml").write_text(trusting.write(parties, {"auditor": 1, "notary": 1}, 1), "utf-8")

    held = trust.load(tmp_path / "trust.toml")

    assert list(held.parties) == parties
    assert (held.approve, held.witness) == ({"auditor": 1, "notary": 1}, 1)


def test_too_few_keys_are_told(tmp_path):
    """A trust file that no case can meet is not written."""
    parties = [key.public for key in keys("Audit Co")]

    with pytest.raises(FormatError, match="1 keys of role auditor are given, and 2 asked for"):
        trusting.write(parties, {"auditor": 2}, 1)
    with pytest.raises(FormatError, match="role operator"):
        trusting.write(parties[1:], {"auditor": 1}, 1)


@pytest.mark.parametrize("name", NAMES)
def test_who_runs_a_witness_is_read_back(name):
    """A name goes into the file as it is, quotes and all."""
    parties = [key.public for key in keys(name)]
    text = trusting.write(parties, {"auditor": 1}, 1, {"Daily Paper": name})

    assert tomllib.loads(text)["party"][3]["operated_by"] == name


@pytest.mark.parametrize(
    ("operated_by", "said"),
    [
        ({"Daily Paper": "Buraeu"}, "Buraeu, who is to run Daily Paper, is none of the organisations"),
        ({"Daily Papre": "Bureau"}, "Daily Papre is no log witness"),
        ({"Notary": "Bureau"}, "Notary is no log witness"),
        ({"Daily Paper": "Daily Paper"}, "named as its own operator"),
    ],
)
def test_a_misspelt_operator_of_a_witness_is_refused(operated_by, said):
    """It would make the operator's own log witness count as an independent one."""
    parties = [key.public for key in keys("Audit Co")]

    with pytest.raises(FormatError, match=said):
        trusting.write(parties, {"auditor": 1}, 1, operated_by)


def test_the_command_prints_one_file(tmp_path, capsys):
    """From key files to a trust file in one command; a secret key is refused."""
    for number, key in enumerate(keys("Audit Co")):
        key.save(tmp_path / f"k{number}")
    publics = [str(tmp_path / f"k{n}.pub") for n in range(4)]

    assert main(["trust", *publics]) == 0
    (tmp_path / "trust.toml").write_text(capsys.readouterr().out, "utf-8")
    assert len(trust.load(tmp_path / "trust.toml").parties) == 4
    assert main(["trust", *publics, "--out", str(tmp_path / "again.toml")]) == 0
    assert (tmp_path / "again.toml").read_text("utf-8") == (tmp_path / "trust.toml").read_text("utf-8")
    assert main(["trust", *publics, "--out", str(tmp_path / "again.toml")]) == 1
    capsys.readouterr()
    assert main(["trust", *publics, "--operated-by", "Daily Paper", "Bureau"]) == 0
    (tmp_path / "own.toml").write_text(capsys.readouterr().out, "utf-8")
    assert trust.load(tmp_path / "own.toml").operated_by == {"Daily Paper": "Bureau"}

    assert main(["trust", str(tmp_path / "k0"), *publics[1:]]) == 2
    assert "public-key" in capsys.readouterr().err
