"""A log witness on the network: the statuses of C2SP tlog-witness, and never two roots of one size."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from asked_witness import FORKED, LEAVES, OPERATOR, OTHER, PAPER, Said, add, asked, call, head, verify
from cenotaph_proof import merkle, note
from cenotaph_proof.network.witness_service import Operators
from cenotaph_proof.witness import Request
from servers import BIN, Server, running, witness_line


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for key, name in ((OPERATOR, "bureau"), (OTHER, "other"), (PAPER, "paper")):
        key.save(folder / name)
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("witness")
    line = witness_line(folder, keys / "paper", [keys / "bureau.pub"])
    with running(*line, errors=folder / "errors") as made:
        assert add(made, asked(0, 5)).status == 200
        yield made


def test_a_grown_log_is_cosigned(shared):
    """200 with the lines; asked again for the same head, it cosigns again."""
    said = add(shared, asked(5, 5))

    assert said.status == 200
    verify(head(5), said.body)


def test_another_old_size_is_answered_as_c2sp_says(shared):
    """409, the size in decimal and a line feed, and the content type of tlog-witness: nothing else."""
    for old in (0, 4):
        assert add(shared, asked(old, 9)) == Said(409, "text/x.tlog.size", b"5\n")


def test_another_root_for_a_size_is_refused(shared):
    """A fork offered to a witness: 409 for the same size, 422 for one that grew."""
    assert add(shared, asked(5, 5, FORKED)) == Said(409, "text/x.tlog.size", b"5\n")
    assert add(shared, asked(5, 9, FORKED)).status == 422
    assert add(shared, asked(5, 5)).status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"old 5\n\n", 400),
        (b"old +5\n\n" + head(5), 400),
        (b"old 5\n" + b"AAAA\n" * 3 + b"\n" + head(5), 400),
        (asked(0, 4).replace(b"old 0", b"old 9"), 400),
        (asked(0, 5, key=OTHER), 404),
        (asked(5, 9).replace(b"\n9\n", b"\n8\n"), 403),
        (Request(5, (), head(9)).to_bytes(), 422),
        (b"x" * 300_000, 413),
    ],
)
def test_what_is_refused_has_the_status_of_c2sp(shared, body, status):
    """Malformed, unknown, unsigned, unproven; and what is too long before it is read."""
    said = add(shared, body)

    assert said.status == status
    assert said.kind.startswith("text/plain")
    assert said.body.endswith(b"\n")


def test_a_witness_says_what_it_has_seen(shared):
    """Its page names it, its key and each log; what it last cosigned is there for monitors to verify."""
    page = call(shared, "GET", "/").body.decode()
    origin = note.log_origin(OPERATOR.public)

    assert "Daily Paper" in page
    assert note.witness_note_key(PAPER.public).to_text() in page
    assert f"{origin} Big Data Bureau: 5 " in page
    kept = call(shared, "GET", f"/checkpoint/{origin}").body
    seen = note.verify_checkpoint(kept, OPERATOR.public, [PAPER.public])
    assert (seen.checkpoint.size, seen.checkpoint.root) == (5, merkle.root(LEAVES[:5]))
    assert [key_id for key_id, _ in seen.cosignatures] == [PAPER.public.key_id]
    assert call(shared, "GET", f"/checkpoint/{note.log_origin(OTHER.public)}").status == 404


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/add-checkpoint", 405), ("PUT", "/", 405), ("GET", "/state", 404)]
)
def test_nothing_else_is_served(shared, method, path, status):
    """No file of the witness can be asked for."""
    assert call(shared, method, path).status == status


def test_what_was_written_for_the_operator_of_the_server_names_no_client(shared):
    """JSON lines of method, route, sizes, status: no address, no path."""
    lines = shared.lines()
    known = {"time", "method", "route", "old", "status", "ms", "bytes"}

    assert {"add-checkpoint", "page", "checkpoint"} <= {line.get("route") for line in lines}
    assert all(line.keys() <= known for line in lines)


def test_an_operator_is_added_while_it_runs(tmp_path, keys):
    """The folder of operators is looked at anew; what is no operator's key in it stops nobody."""
    folder = tmp_path / "operators"
    folder.mkdir()
    shutil.copy(keys / "bureau.pub", folder)
    line = ["cenotaph", "witness", "serve", "--key", keys / "paper", "--state", tmp_path / "state"]
    more = ["--operators", folder, "--listen", "127.0.0.1:0"]
    with running(*line, *more, errors=tmp_path / "errors") as server:
        assert add(server, asked(0, 3, key=OTHER)).status == 404
        shutil.copy(keys / "other.pub", folder)
        shutil.copy(keys / "paper.pub", folder)
        (folder / "broken.pub").write_text("no key")
        assert add(server, asked(0, 3, key=OTHER)).status == 200
        assert add(server, asked(0, 3)).status == 200
        (folder / "other.pub").unlink()
        assert add(server, asked(3, 4, key=OTHER)).status == 404
        assert server.stop() == 0
    left_out = [line["event"] for line in server.lines() if "event" in line]
    assert len(left_out) == 2
    assert all(event.startswith("left out: ") for event in left_out)


def test_operators_are_read_again_only_when_they_changed(tmp_path, keys):
    """One bad file is told once, not at each request."""
    (tmp_path / "a.pub").write_text((keys / "bureau.pub").read_text())
    operators = Operators([keys / "other.pub"], tmp_path)

    assert [key.organisation for key in operators()] == ["Other Bureau", "Big Data Bureau"]
    assert operators()[1] is operators()[1]


def test_a_disk_that_refuses_is_no_cosignature(tmp_path, keys):
    """503: what could not be written down is not signed; once it can be, the witness goes on."""
    with running(
        *witness_line(tmp_path, keys / "paper", [keys / "bureau.pub"]), errors=tmp_path / "e"
    ) as server:
        assert add(server, asked(0, 5)).status == 200
        (tmp_path / ".state.new").mkdir()
        said = add(server, asked(5, 9))
        assert said.status == 503
        assert "—".encode() not in said.body
        (tmp_path / ".state.new").rmdir()
        assert add(server, asked(5, 9, FORKED)).status == 422
        assert add(server, asked(5, 9)).status == 200


def test_a_damaged_state_is_not_begun_anew(tmp_path, keys):
    """503 until somebody has looked: an empty memory would cosign a second history."""
    (tmp_path / "state").write_bytes(b'{"format":"cenotaph-witness-state/v1","logs":')
    with running(
        *witness_line(tmp_path, keys / "paper", [keys / "bureau.pub"]), errors=tmp_path / "e"
    ) as server:
        assert add(server, asked(0, 5)).status == 503
        assert call(server, "GET", "/").status == 503
        assert "damaged" in server.errors.read_text() or "JSON" in server.errors.read_text()


def started(line: list[str | Path]) -> subprocess.CompletedProcess[str]:
    """A command that is expected to end at once."""
    words = [str(BIN / str(line[0])), *map(str, line[1:])]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--listen", "0.0.0.0:0"], "no TLS"),
        (["--listen", "nonsense"], "no address to listen on"),
        (["--tls-cert", "missing.pem", "--tls-key", "missing.pem"], "cannot be used"),
    ],
)
def test_it_does_not_start_in_a_way_that_would_do_harm(tmp_path, keys, more, message):
    """Exit 2, and what to do instead."""
    line = witness_line(tmp_path, keys / "paper", [keys / "bureau.pub"], *more)
    done = started(line)

    assert done.returncode == 2
    assert message in done.stderr
    assert "hint: " in done.stderr
    assert not (tmp_path / "state").exists()


def test_a_key_of_another_role_does_not_cosign(tmp_path, keys):
    """Neither is an operator's key a witness's, nor a witness's an operator's."""
    for key, operator in (("bureau", "bureau.pub"), ("paper", "paper.pub")):
        line = witness_line(tmp_path, keys / key, [keys / operator])
        done = started(line)
        assert done.returncode == 2
        assert "is the key of a" in done.stderr
