"""The operator has the log dated: over HTTP, or by files; the proof file carries it, and so does the site."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from authorities import TimeStampAuthority
from cenotaph.cli.main import cli
from cenotaph_proof import bundle as bundles
from cenotaph_proof import stamp
from cenotaph_proof import trust as trusts
from cenotaph_proof.casebook import Casebook
from cenotaph_proof.trust import Authority
from small_case import SmallCase


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TimeStampAuthority:
    return TimeStampAuthority(tmp_path_factory.mktemp("authority") / "one", "Time Co")


def run(case: SmallCase, *arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["stamp", "--case", str(case.path), *map(str, arguments)])
    return done.exit_code, done.output


def replayed(case: SmallCase, authority: TimeStampAuthority) -> Casebook:
    """The proof file so far, as a reader sees it who believes this authority."""
    believed = Authority(authority.name, authority.root_file.read_bytes())
    trust = replace(trusts.from_charter(case.now().charter), authorities=(believed,))
    with (case.path / "statements" / "so-far.cenotaph").open("rb") as stream:
        return bundles.replay(bundles.read(stream), trust)


def test_an_authority_is_asked_over_http(approved: SmallCase, authority: TimeStampAuthority) -> None:
    """The token is kept beside the log, is in the proof file at once, and is published with it."""
    with authority.serve() as url:
        code, told = run(approved, "--url", url)
    assert code == 0, told
    assert "is in every proof file from now on" in told

    case = replayed(approved, authority)
    assert [(s.authority, s.size) for s in case.stamped] == [("Time Co", case.size)]

    names = {path.name for path in approved.publish()}
    kept = {path.name for path in (approved.desk().config.log_path() / "stamps").iterdir()}
    assert len(kept) == 2
    assert kept <= names


def test_an_authority_is_asked_by_files(
    approved: SmallCase, authority: TimeStampAuthority, tmp_path: Path
) -> None:
    """The answer belongs to the request, whatever was logged in between; an answer to nothing is refused."""
    query, answer = tmp_path / "query.tsq", tmp_path / "answer.tsr"
    answer.write_bytes(authority.reply(stamp.request(b"something else")))
    code, told = run(approved, "--add", answer)
    assert code == 1
    assert "answers no request of this log" in told

    assert run(approved, "--request", query)[0] == 0
    size = approved.now().size
    approved.approve("zhao", withdraw=True)  # unlike the approval, even within its second
    approved.admit()
    assert approved.now().size > size
    answer.write_bytes(authority.reply(query.read_bytes()))
    assert run(approved, "--add", answer)[0] == 0
    assert [s.size for s in replayed(approved, authority).stamped] == [size]


def test_what_is_no_authority_is_an_error_of_ours(approved: SmallCase, tmp_path: Path) -> None:
    """Nobody there, another kind of address, two wishes at once: told in a sentence."""
    code, told = run(approved, "--url", "http://127.0.0.1:9/tsr")
    assert (code, "does not answer" in told) == (1, True)
    code, told = run(approved, "--url", "file:///etc/passwd")
    assert (code, "takes the http or https address" in told) == (2, True)
    code, told = run(approved, "--url", "http://127.0.0.1:9/", "--request", tmp_path / "x")
    assert (code, "takes one of" in told) == (2, True)
