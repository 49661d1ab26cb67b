"""The register: each operator's public place, checked as a reader would, and remembered."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from page_reading import allows_its_own_style, broken, pages, read

from cenotaph.cli.main import cli
from cenotaph.errors import UsageError
from cenotaph.site import looking, register
from cenotaph.testing.ceremony import OPERATOR, START, Ceremony
from cenotaph.testing.lying import LyingOperator
from cenotaph_proof import bundle
from cenotaph_proof.__main__ import main as proof_main
from cenotaph_proof.keys import SecretKey
from cenotaph_proof.log import Log

DAY = 86_400
SOON = START + 2 * DAY


def put_site(to: Path, proof: bytes, checkpoint: bytes) -> Path:
    """What of a published site a register reads."""
    (to / "log").mkdir(parents=True, exist_ok=True)
    (to / "proof.cenotaph").write_bytes(proof)
    (to / "log" / "checkpoint").write_bytes(checkpoint)
    return to


def put(to: Path, case: Ceremony) -> Path:
    return put_site(to, case.proof(), case.checkpoints[max(case.checkpoints)])


def put_log(to: Path, case: Ceremony) -> Path:
    """The log alone."""
    log = Log.create(to, case.key(OPERATOR))
    for entry in case.entries:
        log.append(entry)
    for checkpoint in case.checkpoints.values():
        log.store_cosigned(checkpoint)
    return to


def trust_file(path: Path, case: Ceremony) -> Path:
    """Every honest party, by the text of its key."""
    lines = [
        f"[[party]]\norganisation = {json.dumps(k.organisation)}\nrole = '{k.role}'\n"
        f"key = {json.dumps(k.to_text())}\n"
        for k in (case.key(name).public for name in case.parties())
    ]
    path.write_text("".join(lines) + "[policy]\nwitness = 1\n", "utf-8")
    return path


def the_list(folder: Path, *operators: tuple[str, str, Path | None], head: str = "") -> Path:
    path = folder / "list.toml"
    tables = [
        f"[[operator]]\nname = {json.dumps(name)}\nlog = {json.dumps(at)}\n"
        + (f"trust = {json.dumps(str(trust))}\n" if trust else "")
        for name, at, trust in operators
    ]
    path.write_text(head + "".join(tables), "utf-8")
    return path


def states(found: list[register.Known]) -> list[str]:
    return [row.state for known in found for row in known.rows]


@pytest.fixture
def honest() -> Ceremony:
    return Ceremony()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of an operator who does nothing wrong."""
    return put(tmp_path_factory.mktemp("good"), Ceremony().run(last="plan"))


@pytest.mark.parametrize(
    ("last", "after", "state"),
    [
        ("open", 1 * DAY, "announced"),
        ("approve", 1 * DAY, "announced"),
        ("destroy", 1 * DAY, "under way"),
        ("probe", 1 * DAY, "under way"),
        ("certify", 1 * DAY, "verified"),
        ("certify", 999 * DAY, "verified"),
        ("approve", 91 * DAY, "silent"),
        ("destroy", 91 * DAY, "silent"),
    ],
)
def test_a_case_stands_in_the_register_as_it_stands(
    tmp_path: Path, honest: Ceremony, last: str, after: int, state: str
) -> None:
    """Announced, under way, destroyed and verified, silent: by its statements and the witnesses' times."""
    at = put(tmp_path / "site", honest.run(last=last))
    listed = the_list(tmp_path, ("Bureau", str(at), trust_file(tmp_path / "trust.toml", honest)))

    found = register.run(listed, tmp_path / "register", honest.now + after)

    assert states(found) == [state]
    assert found[0].problem == ""


def test_without_a_trust_file_nothing_is_called_verified(tmp_path: Path, honest: Ceremony) -> None:
    """A certificate that fits, by keys that nobody vouched for, is said to be that."""
    listed = the_list(tmp_path, ("Bureau", str(put(tmp_path / "site", honest.run())), None))

    found = register.run(listed, tmp_path / "register", SOON)

    assert states(found) == ["unidentified"]
    assert "Nobody checked who holds the keys." in read(tmp_path / "register/index.html").text


def test_a_row_says_what_was_destroyed_and_how_far(tmp_path: Path, honest: Ceremony) -> None:
    """Apps, records, grades and days, as they follow from the proof file."""
    listed = the_list(
        tmp_path,
        ("Bureau", str(put(tmp_path / "site", honest.run())), trust_file(tmp_path / "trust.toml", honest)),
    )
    row = register.run(listed, tmp_path / "register", SOON)[0].rows[0]
    certificate = honest.bodies["certificate"]

    assert (row.sealed, row.destroyed) == (certificate.sealed, certificate.destroyed)
    assert sorted(row.grades) == sorted(s.reached for s in certificate.stores)
    assert row.apps == tuple(a.name for a in honest.bodies["charter"].apps)
    assert row.announced is not None
    assert row.certified is not None
    assert START < row.announced < row.certified <= honest.now
    assert f"{row.sealed:,}" in read(tmp_path / "register/zh/index.html").text


@pytest.mark.parametrize("lie", ["fewer_collections", "padded_counts", "another_log"])
def test_a_lie_stands_in_the_register_with_the_step_that_caught_it(tmp_path: Path, lie: str) -> None:
    """What does not verify for a reader does not verify here; nothing of what it claims is repeated."""
    liar = LyingOperator()
    proof = getattr(liar, lie)()
    held = bundle.read(_stream(proof))
    listed = the_list(
        tmp_path,
        (
            "Bureau",
            str(put_site(tmp_path / "site", proof, held.checkpoints[-1])),
            trust_file(tmp_path / "trust.toml", liar.ceremony),
        ),
    )

    (known,) = register.run(listed, tmp_path / "register", SOON)

    assert [row.state for row in known.rows] == ["does not verify"]
    assert known.rows[0].why[0].isdigit()
    assert known.rows[0].destroyed is None
    assert "does not verify" in read(tmp_path / "register/index.html").text


def _stream(data: bytes) -> io.BytesIO:
    return io.BytesIO(data)


def test_an_attempt_that_was_given_up_stays_in_sight(tmp_path: Path, honest: Ceremony) -> None:
    """A case that another one followed in the same log is abandoned once it is silent; not before."""
    first = honest.fresh(attempt=2).run(last="countersign")
    second = honest.fresh().follow(first, admit=True).run()
    second.checkpoints = {**first.checkpoints, **second.checkpoints}
    at = put_log(tmp_path / "log", second)
    listed = the_list(tmp_path, ("Bureau", str(at), trust_file(tmp_path / "trust.toml", honest)))

    assert states(register.run(listed, tmp_path / "r1", second.now + DAY)) == ["announced", "verified"]
    assert states(register.run(listed, tmp_path / "r2", second.now + 91 * DAY)) == ["abandoned", "verified"]


def test_a_case_that_its_own_site_shows_is_not_told_unchecked_by_another(
    tmp_path: Path, honest: Ceremony
) -> None:
    """One log, two sites: each shows the other's case in part, and the register takes the whole one."""
    first = honest.fresh(attempt=2).run()
    second = honest.fresh().follow(first).run(last="plan")
    held = trust_file(tmp_path / "trust.toml", honest)
    two = put(tmp_path / "two", second)
    alone = register.run(the_list(tmp_path, ("Two", str(two), held)), tmp_path / "r1", second.now)
    one = put(tmp_path / "one", first)
    both = register.run(
        the_list(tmp_path, ("Two", str(two), held), ("One", str(one), held)), tmp_path / "r2", second.now
    )

    assert sorted(states(alone)) == ["announced", "not checked"]
    assert [row.state for row in both[0].rows] == ["announced"]
    assert [row.state for row in both[1].rows] == ["verified"]


def test_a_forked_log_is_proven_and_stays_proven(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The operator shows another history: both checkpoints are kept, and convict without the register."""
    liar = LyingOperator()
    proofs = liar.second_history()
    heads = [bundle.read(_stream(p)).checkpoints[-1] for p in proofs]
    listed = the_list(
        tmp_path, ("Bureau", str(tmp_path / "site"), trust_file(tmp_path / "trust.toml", liar.ceremony))
    )
    to = tmp_path / "register"
    splits = []
    for day, which in enumerate((0, 1, 1, 0)):
        put_site(tmp_path / "site", proofs[which], heads[which])
        splits.append([s.why for s in register.run(listed, to, SOON + day * DAY)[0].splits])
    (to.parent / "bureau.pub").write_text(liar.ceremony.key(OPERATOR).public.to_text())
    pair = [str(to / "evidence" / name) for name in ("0001-before.txt", "0001-after.cenotaph")]

    assert splits == [[], ["forked"], ["forked"], ["forked"]]
    assert (to / "evidence/0001-before.txt").read_bytes() == heads[0]
    assert (to / "evidence/0001-after.txt").read_bytes() == heads[1]
    assert proof_main(["compare", *pair, "--operator", str(to.parent / "bureau.pub")]) == 3
    assert "the operator signed two histories" in capsys.readouterr().err
    assert "Not the history that was seen before" in read(to / "index.html").text
    assert "历史分叉" in read(to / "zh/index.html").text
    assert broken(to, pages(to)) == []


def test_a_log_that_shrank_is_shown_with_what_it_was(tmp_path: Path, honest: Ceremony) -> None:
    """Statements that were there are gone: the longer checkpoint, signed by the operator, is kept."""
    listed = the_list(
        tmp_path, ("Bureau", str(tmp_path / "site"), trust_file(tmp_path / "trust.toml", honest))
    )
    shorter = honest.fresh().run(last="plan")
    put(tmp_path / "site", honest.run())
    register.run(listed, tmp_path / "register", SOON)
    put(tmp_path / "site", shorter)

    (split,) = register.run(listed, tmp_path / "register", SOON + DAY)[0].splits

    assert (split.why, split.before, split.after) == ("shrank", len(honest.entries), len(shorter.entries))
    assert (tmp_path / "register" / split.files[0]).read_bytes() == honest.checkpoints[split.before]


def test_a_log_that_shrank_is_held_against_what_it_was(tmp_path: Path) -> None:
    """Whoever shows less, and then another history, is found out all the same; once for each."""
    liar = LyingOperator()
    proofs = liar.second_history()
    heads = [bundle.read(_stream(p)).checkpoints[-1] for p in proofs]
    shorter = liar.ceremony.fresh().run(last="open")
    listed = the_list(tmp_path, ("Bureau", str(tmp_path / "site"), None))
    put_site(tmp_path / "site", proofs[0], heads[0])
    register.run(listed, tmp_path / "register", SOON)
    put(tmp_path / "site", shorter)
    for day in (1, 2):
        (less,) = register.run(listed, tmp_path / "register", SOON + day * DAY)
    put_site(tmp_path / "site", proofs[1], heads[1])

    (other,) = register.run(listed, tmp_path / "register", SOON + 3 * DAY)

    assert [s.why for s in less.splits] == ["shrank"]
    assert [s.why for s in other.splits] == ["shrank", "forked"]


def test_a_log_of_endless_cases_costs_itself_alone(
    tmp_path: Path, honest: Ceremony, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each case is replayed over the whole log: beyond a bound the place is told, and the others are read."""
    good = put(tmp_path / "good", honest.fresh().run(last="plan"))
    long = put(tmp_path / "long", honest.run())
    monkeypatch.setattr(looking, "MOST_WORK", len(honest.entries) - 1)
    listed = the_list(tmp_path, ("Long", str(long), None), ("Good", str(good), None))

    one, other = register.run(listed, tmp_path / "register", SOON)

    assert "too many to check here" in one.problem
    assert (other.problem, [r.state for r in other.rows]) == ("", ["announced"])


def test_two_places_of_one_log_are_held_against_each_other(tmp_path: Path) -> None:
    """An operator who tells one history here and another there is found out by who reads both; told once."""
    liar = LyingOperator()
    places = []
    for number, proof in enumerate(liar.second_history()):
        head = bundle.read(_stream(proof)).checkpoints[-1]
        places.append((f"Bureau {number}", str(put_site(tmp_path / f"site{number}", proof, head)), None))
    listed = the_list(tmp_path, *places)

    runs = [register.run(listed, tmp_path / "register", SOON + day * DAY) for day in range(3)]

    told = [[[s.why for s in known.splits] for known in found] for found in runs]
    assert told == [[[], ["forked"]], [["forked"], ["forked"]], [["forked"], ["forked"]]]
    assert broken(tmp_path / "register", pages(tmp_path / "register")) == []


def test_a_checkpoint_that_the_operator_did_not_sign_is_not_remembered(
    tmp_path: Path, honest: Ceremony
) -> None:
    """Whoever serves the site cannot make the register accuse its operator, or look away afterwards."""
    listed = the_list(tmp_path, ("Bureau", str(tmp_path / "site"), None))
    at = put(tmp_path / "site", honest.run(last="plan"))
    signed = (at / "log/checkpoint").read_bytes()
    text = signed[: signed.index(b"\n\n") + 2]
    (at / "log/checkpoint").write_bytes(
        text + b"\xe2\x80\x94 somebody " + base64.b64encode(bytes(68)) + b"\n"
    )

    (unsigned,) = register.run(listed, tmp_path / "register", SOON)
    (at / "log/checkpoint").write_bytes(signed)
    (known,) = register.run(listed, tmp_path / "register", SOON + DAY)

    assert "not signed" in unsigned.problem
    assert (unsigned.heads, unsigned.seen) == ((), None)
    assert (known.problem, known.splits, known.seen) == ("", (), SOON + DAY)


def test_what_was_found_stays_when_a_place_leaves_the_list(tmp_path: Path, honest: Ceremony) -> None:
    """An operator who moves, or a list that forgets one, takes no evidence away, and is held against it."""
    shorter = honest.fresh().run(last="plan")
    put(tmp_path / "site", honest.run())
    listed = the_list(tmp_path, ("Bureau", str(tmp_path / "site"), None))
    register.run(listed, tmp_path / "register", SOON)
    put(tmp_path / "site", shorter)
    register.run(listed, tmp_path / "register", SOON + DAY)
    (tmp_path / "site").rename(tmp_path / "moved")
    listed = the_list(tmp_path, ("Bureau", str(tmp_path / "moved"), None))

    moved, gone = register.run(listed, tmp_path / "register", SOON + 2 * DAY)

    assert [s.why for s in moved.splits] == ["shrank"]
    assert (gone.rows, gone.problem) == ((), register.GONE)
    assert (tmp_path / "register" / gone.splits[0].files[0]).is_file()
    assert "no longer in the list" in read(tmp_path / "register/index.html").text


class _Other(Ceremony):
    """Another operator: the same names, other keys."""

    def key(self, name: str, role: str | None = None) -> SecretKey:
        theirs = super().key(f"another {name}", role or super().key(name).role)
        return replace(theirs, organisation=name)


def test_a_place_that_moves_is_held_against_what_the_old_one_showed(tmp_path: Path) -> None:
    """A log is known by its origin: a new address does not make another history a first one."""
    liar = LyingOperator()
    proofs = liar.second_history()
    heads = [bundle.read(_stream(p)).checkpoints[-1] for p in proofs]
    place = str(put_site(tmp_path / "site", proofs[0], heads[0]))
    register.run(the_list(tmp_path, ("Bureau", place, None)), tmp_path / "register", SOON)
    other = str(put(tmp_path / "other", _Other().run(last="open")))
    register.run(the_list(tmp_path, ("Other", other, None)), tmp_path / "register", SOON + DAY)
    moved = str(put_site(tmp_path / "moved", proofs[1], heads[1]))

    listed = the_list(tmp_path, ("Bureau", moved, None))
    told = [register.run(listed, tmp_path / "register", SOON + day * DAY) for day in (2, 3)]

    assert [[[s.why for s in known.splits] for known in found] for found in told] == [[["forked"]]] * 2
    assert (tmp_path / "register/evidence/0001-before.txt").read_bytes() == heads[0]


def test_a_log_that_was_replaced_is_still_known_when_it_comes_back(tmp_path: Path) -> None:
    """Another log in between is told, and does not wash away what the first one had shown."""
    liar = LyingOperator()
    proofs = liar.second_history()
    heads = [bundle.read(_stream(p)).checkpoints[-1] for p in proofs]
    other = _Other().run(last="open")
    listed = the_list(tmp_path, ("Bureau", str(tmp_path / "site"), None))
    put_site(tmp_path / "site", proofs[0], heads[0])
    register.run(listed, tmp_path / "register", SOON)
    put(tmp_path / "site", other)
    for day in (1, 2):
        (replaced,) = register.run(listed, tmp_path / "register", SOON + day * DAY)
    put_site(tmp_path / "site", proofs[1], heads[1])
    (back,) = register.run(listed, tmp_path / "register", SOON + 3 * DAY)
    put(tmp_path / "site", other)
    (again,) = register.run(listed, tmp_path / "register", SOON + 4 * DAY)

    assert [s.why for s in replaced.splits] == ["replaced"]
    assert [s.why for s in back.splits] == ["replaced", "forked"]
    assert again.splits == back.splits
    assert (tmp_path / "register" / back.splits[1].files[0]).read_bytes() == heads[0]


def test_less_of_one_history_after_two_were_shown_is_told_once(tmp_path: Path, honest: Ceremony) -> None:
    """A place that goes on showing what fits nothing whole makes no new evidence every night."""
    listed = the_list(tmp_path, ("Bureau", str(tmp_path / "site"), None))
    first = honest.fresh(outside=3).run(last="plan")
    second = honest.fresh().run(last="approve")
    less = honest.fresh().run(last="challenge")
    for day, shown in enumerate((first, second, less, less, less)):
        put(tmp_path / "site", shown)
        (known,) = register.run(listed, tmp_path / "register", SOON + day * DAY)

    told = [(s.why, s.before, s.after) for s in known.splits]
    sizes = [len(c.entries) for c in (first, second, less)]
    assert sizes[0] < sizes[2] < sizes[1]
    assert told == [("forked", sizes[0], sizes[1]), ("forked", sizes[0], sizes[2])]


def test_an_operator_who_cannot_be_reached_keeps_its_place(tmp_path: Path, honest: Ceremony) -> None:
    """What was seen before stands there with its day, and with why there is nothing newer."""
    held = trust_file(tmp_path / "trust.toml", honest)
    other = put(tmp_path / "other", honest.fresh().run(last="plan"))
    put(tmp_path / "site", honest.run())
    listed = the_list(tmp_path, ("Gone", str(tmp_path / "site"), held), ("Other", str(other), held))
    register.run(listed, tmp_path / "register", SOON)
    (tmp_path / "site").rename(tmp_path / "moved")

    gone, there = register.run(listed, tmp_path / "register", SOON + DAY)

    assert (gone.seen, [r.state for r in gone.rows]) == (SOON, ["verified"])
    assert "neither a site nor a log" in gone.problem
    assert (there.seen, there.problem) == (SOON + DAY, "")
    text = read(tmp_path / "register/index.html").text
    assert "Could not be read this time" in text
    assert "What follows was seen before." in text


@pytest.mark.parametrize("what", [b"", b"[" * 100_000, b'{"format":"cenotaph-proof/v1"}\n', b"\xff\xfe"])
@pytest.mark.parametrize("name", ["proof.cenotaph", "log/checkpoint", "checkpoint"])
def test_whatever_lies_at_a_place_the_page_is_built(
    tmp_path: Path, good: Path, name: str, what: bytes
) -> None:
    """A hostile or broken place is told as a problem of that place alone."""
    bad = tmp_path / "bad" if name == "checkpoint" else put(tmp_path / "bad", Ceremony().run(last="open"))
    bad.mkdir(exist_ok=True)
    (bad / name).write_bytes(what)
    listed = the_list(tmp_path, ("Bad", str(bad), None), ("Good", str(good), None))

    one, other = register.run(listed, tmp_path / "register", SOON)

    assert one.problem
    assert one.rows == ()
    assert [row.state for row in other.rows] == ["announced"]


# ── over the network ─────────────────────────────────────────────────────────────────────────────


@contextmanager
def serving(handler: Any) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def folder_server(folder: Path) -> Any:
    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


def test_a_site_and_a_bare_log_are_read_over_http(tmp_path: Path, honest: Ceremony) -> None:
    """By the paths of C2SP tlog-tiles, as from a folder."""
    held = trust_file(tmp_path / "trust.toml", honest)
    put(tmp_path / "site", honest.run())
    put_log(tmp_path / "log", honest)

    with serving(folder_server(tmp_path)) as url:
        listed = the_list(tmp_path, ("Site", f"{url}site", held), ("Log", f"{url}log/", held))
        found = register.run(listed, tmp_path / "register", SOON)

    assert states(found) == ["verified", "verified"]


class _Elsewhere(BaseHTTPRequestHandler):
    """Sends every reader to another host."""

    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


class _Endless(_Elsewhere):
    """Answers for ever, a byte at a time."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"x")
                time.sleep(0.05)
        except OSError:
            return


class _Failing(_Elsewhere):
    def do_GET(self) -> None:
        self.send_response(500)
        self.end_headers()


@pytest.mark.parametrize(
    ("handler", "said"), [(_Elsewhere, "sends us elsewhere"), (_Endless, ""), (_Failing, "status 500")]
)
def test_a_hostile_server_costs_its_own_time_only(
    tmp_path: Path, good: Path, handler: Any, said: str
) -> None:
    """Redirects are not followed, endless answers are cut off, and the others are read all the same."""
    started = time.monotonic()

    with serving(handler) as url:
        listed = the_list(
            tmp_path, ("Bad", url, None), ("Good", str(good), None), head='[register]\ntimeout = "1s"\n'
        )
        one, other = register.run(listed, tmp_path / "register", SOON)

    assert time.monotonic() - started < 20
    assert one.problem
    assert said in one.problem
    assert [row.state for row in other.rows] == ["announced"]


# ── the page, the list, the command ──────────────────────────────────────────────────────────────


def test_the_page_is_whole_and_names_stay_text(tmp_path: Path, honest: Ceremony) -> None:
    """Tags and quotes in names of operators are text; nothing loads, in both languages."""
    name = '"><script>alert(1)</script> שלום'
    listed = the_list(
        tmp_path,
        (name, str(put(tmp_path / "site", honest.run())), None),
        head=f"[register]\ntitle = {json.dumps(name)}\n",
    )
    register.run(listed, tmp_path / "register", SOON)
    found = pages(tmp_path / "register")

    assert len(found) == 2
    assert [p.faults for p in found if p.faults] == []
    assert broken(tmp_path / "register", found) == []
    assert all(allows_its_own_style(p) for p in found)
    assert all("<script>alert(1)</script>" in p.text for p in found)
    assert {t for p in found for t in p.tags} & {"script", "img"} == set()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[operator]\n", "not TOML"),
        ("", "names no operator"),
        ('[[operator]]\nname = "x"\n', "a name and a log"),
        ('[[operator]]\nname = "x"\nlog = "y"\nurl = "z"\n', "url"),
        ('[[operator]]\nname = "x"\nlog = "a"\n[[operator]]\nname = "y"\nlog = "a"\n', "one log twice"),
        ('[[operator]]\nname = "x"\nlog = "http://elsewhere.example/"\n', "not encrypted"),
        ('[[operator]]\nname = "x"\nlog = "a"\ntrust = "missing.toml"\n', "trust file of x"),
        ('[register]\nsilent = "soon"\n[[operator]]\nname = "x"\nlog = "a"\n', "silent must be a duration"),
    ],
)
def test_a_list_that_is_wrong_is_wrong_usage(tmp_path: Path, text: str, said: str) -> None:
    """It is told before anything is written."""
    (tmp_path / "list.toml").write_text(text)

    with pytest.raises(UsageError, match=said):
        register.run(tmp_path / "list.toml", tmp_path / "register", SOON)
    assert not (tmp_path / "register").exists()


def test_what_was_seen_is_not_forgotten_in_silence(tmp_path: Path, honest: Ceremony) -> None:
    """A state that somebody changed, or evidence that is gone, stops the register."""
    listed = the_list(tmp_path, ("Bureau", str(put(tmp_path / "site", honest.run(last="plan"))), None))
    register.run(listed, tmp_path / "register", SOON)
    (tmp_path / "register" / register.STATE).write_text('{"format": "cenotaph-register/v1"}')

    with pytest.raises(UsageError, match="is not what a register keeps"):
        register.run(listed, tmp_path / "register", SOON)


def test_the_command_says_what_it_saw(tmp_path: Path, honest: Ceremony) -> None:
    """`cenotaph register`: a line a case, one JSON object with --json, and exit 0 whoever fails."""
    listed = the_list(
        tmp_path,
        ("Bureau", str(put(tmp_path / "site", honest.run(last="plan"))), None),
        ("Nobody", "nowhere", None),
    )
    words = ["register", "--list", str(listed), "--to", str(tmp_path / "register")]
    ran = CliRunner().invoke(cli, words)
    again = CliRunner().invoke(cli, [*words, "--json"])
    value = json.loads(again.stdout.splitlines()[-1])

    assert ran.exit_code == again.exit_code == 0
    assert "Nobody: there is neither a site nor a log at this place" in ran.output
    assert value["stage"] == "register"
    assert [o["name"] for o in value["operators"]] == ["Bureau", "Nobody"]
    assert Path(value["page"]).is_file()
