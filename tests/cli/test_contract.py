"""What scripts may rely on: exit codes, the last line of --json, and where things are told."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from by_command import BIN, CSV_ROWS, ESCAPE, PEOPLE, Ground, Whole, command

STAGES = ("open", "survey", "seal", "plan", "challenge", "approve", "destroy", "probe", "certify")


@pytest.mark.parametrize("stage", STAGES)
def test_json_ends_with_one_object_that_names_the_statement(whole: Whole, stage: str) -> None:
    """Each stage's last line has its name, its statement's path and the SHA-256 of the envelope."""
    value = whole.ran[stage].value
    path = Path(value["statement"])
    logged = list((whole.ground.case / "statements").glob("[0-9]*.json"))

    assert value["stage"] == stage
    assert len(value["digest"]) == 64
    assert value["digest"] in {hashlib.sha256(p.read_bytes()).hexdigest() for p in logged}
    assert path.parent.name in ("statements", "incoming")
    assert len(whole.ran[stage].out.splitlines()) == 1


@pytest.mark.parametrize("stage", ["survey", "seal"])
def test_counts_are_told_for_each_collection(whole: Whole, stage: str) -> None:
    """Survey and seal give stores[].collections[].records."""
    stores = {s["name"]: s["collections"] for s in whole.ran[stage].value["stores"]}

    assert [c["records"] for c in stores["register"]] == [PEOPLE]
    assert [c["records"] for c in stores["list"]] == [CSV_ROWS]


@pytest.mark.parametrize("stage", ["probe", "certify"])
def test_grades_are_told_for_each_store(whole: Whole, stage: str) -> None:
    """Probe and certify give stores[].grade_asked, grade_reached and unreachable."""
    for item in whole.ran[stage].value["stores"]:
        assert (item["grade_asked"], item["grade_reached"], item["unreachable"]) == ("L2", "L2", [])


def test_certify_names_the_proof_file(whole: Whole) -> None:
    """The path that `certify` gives as proof verifies with the trust file: 0, without one: 6."""
    proof = whole.ran["certify"].value["proof"]
    trust = whole.ground.root / "trust.toml"

    assert json.loads(command("cenotaph-verify", proof, "--trust", trust, "--json").out)["verdict"]
    untrusted = command("cenotaph-verify", proof, code=6)
    assert untrusted.out.startswith("Keys as named by the operator")


def test_running_a_finished_stage_again_is_nothing_to_do(whole: Whole, tmp_path: Path) -> None:
    """`certify` again gives the same certificate, and `publish` the same page: exit 0."""
    ground = whole.ground.copy(tmp_path / "ground")

    assert ground.run("certify").value["digest"] == whole.ran["certify"].value["digest"]
    assert ground.run("publish", "--to", tmp_path / "site").code == 0


# ── exit codes ───────────────────────────────────────────────────────────────────────────────────


def test_wrong_usage_is_2(laid: Ground, tmp_path: Path) -> None:
    """No case, an unknown command or option, destroying without --confirm off a terminal."""
    assert "case.toml" in command("cenotaph", "status", cwd=tmp_path, code=2).err
    command("cenotaph", "obliterate", code=2)
    command("cenotaph", "seal", "--force", code=2)
    command("cenotaph", "keygen", "--role", "king", "--organisation", "x", "--out", tmp_path / "k", code=2)


def test_destroying_is_never_a_bare_yes(halfway: Whole) -> None:
    """Off a terminal --confirm is needed, and a wrong or short digest is refused."""
    ground = halfway.ground
    digest = ground.run("plan", "--show").value["digest"]

    assert "--confirm" in ground.run("destroy", code=2).err
    assert ground.run("destroy", "--confirm", digest[:7], code=4).out == ""
    assert ground.run("destroy", "--confirm", "0" * 8, code=4).out == ""
    assert ground.run("destroy", "--yes", code=2).out == ""
    assert (ground.estate / "list/list.csv").exists()


def test_what_comes_too_early_is_4(laid: Ground, tmp_path: Path) -> None:
    """Each stage out of its turn is blocked, and says which comes first."""
    ground = laid.copy(tmp_path / "ground")
    assert "cenotaph open" in ground.run("survey", code=4).err
    ground.run("open")
    assert "approve" in ground.run("survey", code=4).err
    assert "cenotaph survey" in ground.run("seal", code=4).err
    assert ground.run("plan", code=4).err
    assert ground.run("destroy", "--confirm", "0" * 8, code=4).err
    assert "cenotaph destroy" in ground.run("certify", code=4).err
    assert "open already" in ground.run("open", code=4).err


def test_a_forged_proof_file_is_3(whole: Whole, tmp_path: Path) -> None:
    """One changed byte, and the verifier exits 3 with the step that fails."""
    data = bytearray((whole.ground.case / "city.cenotaph").read_bytes())
    data[len(data) // 2] ^= 1
    forged = tmp_path / "forged.cenotaph"
    forged.write_bytes(data)

    ran = command("cenotaph-verify", forged, "--trust", whole.ground.root / "trust.toml", code=3)

    assert "does not verify" in ran.err


def test_interrupted_is_130_and_resumable(laid: Ground, tmp_path: Path) -> None:
    """Ctrl-C in a stage exits 130 without a traceback; the same command then does its work."""
    for attempt in range(5):
        ground = laid.copy(tmp_path / f"ground{attempt}")
        ground.upto("charter")
        code, err = _interrupted_survey(ground)
        if code != 0:  # else the survey was over before the signal came, on a busy machine
            break

    assert code == 130, err
    assert b"Traceback" not in err
    assert b"interrupted" in err
    assert ground.run("survey").value["stage"] == "survey"


def _interrupted_survey(ground: Ground) -> tuple[int, bytes]:
    """Start a survey, and press Ctrl-C once it has logged the approvals and is at work."""
    with subprocess.Popen(
        [str(BIN / "cenotaph"), "survey", "--case", str(ground.case), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **ground.env},
        start_new_session=True,
    ) as running:
        while not list((ground.case / "statements").glob("*-approval.json")) and running.poll() is None:
            time.sleep(0.01)
        os.killpg(running.pid, signal.SIGINT)
        _, err = running.communicate()
    return running.returncode, err


def test_paused_destroys_nothing_until_it_goes_on(halfway: Whole, tmp_path: Path) -> None:
    """`pause` blocks destroying with 4, `pause --off` lets it go on."""
    ground = halfway.ground.copy(tmp_path / "ground")
    assert ground.run("pause").value["paused"] is True

    blocked = ground.stage("destroy", code=4)

    assert "pause --off" in blocked.err
    assert (ground.estate / "list/list.csv").exists()
    assert ground.run("pause", "--off").value["paused"] is False
    assert ground.stage("destroy").value["records"] == PEOPLE + CSV_ROWS


# ── where things are told ────────────────────────────────────────────────────────────────────────


def test_output_off_a_terminal_is_plain(whole: Whole) -> None:
    """No escape codes, carriage returns or bars in anything that was piped."""
    said = "".join(r.out + r.err for r in [*whole.ran.values(), *whole.status.values()])

    assert ESCAPE not in said
    assert "\r" not in said


def test_no_color_is_honoured_on_a_terminal(whole: Whole) -> None:
    """With NO_COLOR a terminal gets no colour either."""
    line = f"{BIN / 'cenotaph'} status --case {whole.ground.case}"
    done = subprocess.run(
        ["script", "-qec", line, "/dev/null"],
        check=True,
        capture_output=True,
        env={**os.environ, "NO_COLOR": "1"},
    )

    assert b"\x1b[3" not in done.stdout
    assert b"certificate" in done.stdout


def test_errors_go_to_stderr_and_leave_stdout_empty(tmp_path: Path) -> None:
    """A failing command prints nothing on stdout: what is there is data."""
    ran = command("cenotaph", "status", "--case", tmp_path / "nowhere", "--json", code=2)

    assert ran.out == ""
    assert ran.err.startswith("cenotaph: error: ")
    assert "cenotaph: hint: " in ran.err


def test_the_case_is_found_upward_and_by_environment(whole: Whole) -> None:
    """--case, else CENOTAPH_CASE, else case.toml in this folder or above."""
    below = whole.ground.case / "statements"

    assert "certificate" in command("cenotaph", "status", cwd=below).out
    assert (
        "certificate"
        in command("cenotaph", "status", cwd=Path("/"), env={"CENOTAPH_CASE": str(whole.ground.case)}).out
    )


# ── status ───────────────────────────────────────────────────────────────────────────────────────

NEXT = {
    "open": ["auditor Audit Co: cenotaph approve --charter", "notary Zhao & Partners: cenotaph approve"],
    "charter": ["operator: cenotaph survey"],
    "survey": ["operator: cenotaph seal"],
    "seal": ["operator: cenotaph plan"],
    "plan": [
        "auditor Audit Co: cenotaph challenge",
        "Audit Co: cenotaph approve",
        "Partners: cenotaph approve",
    ],
    "challenge": ["auditor Audit Co: cenotaph approve", "notary Zhao & Partners: cenotaph approve"],
    "approve": ["operator: cenotaph destroy --confirm"],
    "destroy": ["auditor Audit Co: cenotaph probe"],
    "probe": ["operator: cenotaph certify"],
    "certify": ["cenotaph-verify"],
}


@pytest.mark.parametrize("stage", NEXT)
def test_status_names_who_must_do_what_next(whole: Whole, stage: str) -> None:
    """After each stage `status` tells exactly the steps that are next, what waits counted as done."""
    told = whole.status[stage].value["next"]

    assert len(told) == len(NEXT[stage])
    for step, expected in zip(told, NEXT[stage], strict=True):
        assert expected in step
