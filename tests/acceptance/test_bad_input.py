"""Acceptance: input that is missing, damaged or hostile is told in a sentence, and nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from by_command import Ground, Ran, bytes_in, command, fingerprints, grep, store, toml

DATA = store("data", "files:../estate/data")
DATABASE = store("app", "sqlite:../estate/app.db")
LIMITS = '[limits]\nlock_timeout = "1s"\n'


@pytest.fixture(scope="module")
def chartered(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> dict[str, Ground]:
    """Cases of one store each whose charter is countersigned, before anything lies in their estates."""
    grounds = {}
    for name, table in (("data", DATA), ("app", DATABASE)):
        ground = Ground(tmp_path_factory.mktemp(name) / "ground")
        ground.lay(keys, table, policy=LIMITS).upto("charter")
        grounds[name] = ground
    return grounds


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Ground:
    """A database and a folder of one CSV file, approved and not begun."""
    ground = Ground(tmp_path_factory.mktemp("ready") / "ground")
    ground.lay(keys, DATA + DATABASE, policy=LIMITS)
    (ground.estate / "data").mkdir()
    lines = "".join(f"{n},Resident {n:05d} of Wuxi\n" for n in range(50))
    (ground.estate / "data/list.csv").write_text("id,name\n" + lines)
    a_database(ground.estate / "app.db").close()
    ground.upto("approve")
    return ground


def a_database(path: Path, people: int = 300) -> sqlite3.Connection:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, note TEXT)")
    rows = [(f"Person {n:06d} of Wuxi", "x" * 100) for n in range(people)]
    db.executemany("INSERT INTO people (name, note) VALUES (?, ?)", rows)
    db.commit()
    return db


def told(ran: Ran, code: int, *words: str) -> None:
    """The command failed with this code and one sentence on stderr that holds these words."""
    first = ran.err.splitlines()[0]
    assert ran.code == code, str(ran)
    assert first.startswith("cenotaph: error: ")
    assert len(first) > len("cenotaph: error: ") + 15
    for word in words:
        assert word in ran.err, str(ran)


# ── stores that cannot be read ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["data", "app"])
def test_a_missing_store_is_named(chartered: dict[str, Ground], tmp_path: Path, kind: str) -> None:
    """Survey and doctor both say which store is not there; nothing is signed."""
    ground = chartered[kind].copy(tmp_path / "ground")

    told(ground.run("survey", code=None), 2, f"store {kind}", "case.toml")
    doctor = ground.run("doctor", code=1)

    assert [c["what"] for c in doctor.value["checks"] if not c["good"]] == [f"store {kind}"]
    assert not list((ground.case / "statements").glob("*-inventory.json"))


def _random_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[8192:12288] = os.urandom(4096)
    path.write_bytes(data)


def _cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:10_000])


def _no_database(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + os.urandom(8_000))


@pytest.mark.parametrize("damage", [_random_page, _cut_off, _no_database])
def test_a_corrupt_database_is_refused_and_left_alone(
    chartered: dict[str, Ground], tmp_path: Path, damage: object
) -> None:
    """Survey exits 1, names the store, and has not changed a byte."""
    ground = chartered["app"].copy(tmp_path / "ground")
    a_database(ground.estate / "app.db").close()
    damage(ground.estate / "app.db")  # type: ignore[operator]  # one of the three above
    before = fingerprints(ground.estate)

    told(ground.run("survey", code=None), 1, "store app")

    assert fingerprints(ground.estate) == before


def test_a_locked_database_is_not_surveyed(chartered: dict[str, Ground], tmp_path: Path) -> None:
    """A lock of another process while surveying is told, with the store."""
    ground = chartered["app"].copy(tmp_path / "ground")
    db = a_database(ground.estate / "app.db")
    db.execute("BEGIN EXCLUSIVE")

    told(ground.run("survey", code=None), 1, "store app", "locked")
    db.close()


@pytest.mark.slow
def test_a_locked_database_is_waited_for(ready: Ground, tmp_path: Path) -> None:
    """A lock while destroying is partial: the rest is destroyed, exit 5, and the next run goes on to L2."""
    ground = ready.copy(tmp_path / "ground")
    db = sqlite3.connect(ground.estate / "app.db")
    db.execute("BEGIN IMMEDIATE")

    told(ground.stage("destroy", code=None), 5, "run the same command again")
    assert db.execute("SELECT count(*) FROM people").fetchone() == (300,)
    assert not (ground.estate / "data/list.csv").exists()
    db.rollback()
    db.close()

    assert ground.stage("destroy").value["records"] == 300
    assert [s["grade_reached"] for s in ground.stage("probe").value["stores"]] == ["L2", "L2"]
    assert ground.stage("certify").code == 0


def test_files_without_permission_are_reported(chartered: dict[str, Ground], tmp_path: Path) -> None:
    """Who may not read a file gets exit 1 and a sentence without its name; the file is as it was."""
    without: tuple[str, ...] = ()
    if os.geteuid() == 0:  # root obeys permissions only without its privileges over files
        if shutil.which("setpriv") is None:
            pytest.skip("root obeys permissions only where setpriv is installed")
        without = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    ground = chartered["data"].copy(tmp_path / "ground")
    (ground.estate / "data").mkdir()
    secret = ground.estate / "data/Zhang Wei of Wuxi.csv"
    secret.write_text("id,name\n1,Zhang Wei\n")
    secret.chmod(0o000)

    ran = ground.run("survey", code=None, before=without)

    told(ran, 1, "store data")
    assert "Zhang" not in ran.out + ran.err
    secret.chmod(0o600)
    assert secret.read_text() == "id,name\n1,Zhang Wei\n"


# ── hostile files, taken through a whole case ────────────────────────────────────────────────────


def _row(n: int) -> str:
    return f"{n},Resident {n:05d} of Wuxi,1390000{n:04d}"


HOSTILE = {
    b"bad line/list.csv": b"id,name,phone\n" + "\n".join(map(_row, range(1, 40))).encode() + b'\n40,"open,',
    b"ragged/list.csv": b"id,name,phone\n1,Resident 00001 of Wuxi\n2,a,b,c,d\n3,Resident 00003 of Wuxi,1\n",
    b"bare cr/list.csv": ("id,name,phone\r" + "\r".join(map(_row, range(100, 140))) + "\r").encode(),
    b"bom/list.csv": b"\xef\xbb\xbfid,name,phone\n" + "\n".join(map(_row, range(200, 240))).encode() + b"\n",
    b"long line/list.csv": b"id,name,phone\n1," + b"Resident 99999 of Wuxi " * 450_000 + b",13900000000\n",
    b"mixed/list.csv": "id,name\n1,张伟在无锡市\n".encode() + "2,李娜在无锡市\n".encode("gb18030"),
    b"utf-16/list.csv": "id,name\n1,Wang Fang of Wuxi\n".encode("utf-16"),
    b"new\nline/Zhao\nMin of Wuxi.csv": b"id,name\n1,Resident 00777 of Wuxi\n",
    b"bytes/\xff\xfe Chen Jing of Wuxi.csv": b"id,name\n1,Resident 00778 of Wuxi\n",
    b"empty/nothing.csv": b"",
    b"nul/list.csv": b"id,name\n1,Resident \0 00779 of Wuxi\n",
    b"'; DROP TABLE x; --/<script>alert(1)<.csv": b'"id","""><img src=x>"\n1,Resident 00780 of Wuxi\n',
}
LEFT = (b"of Wuxi", "在无锡市".encode(), "在无锡市".encode("gb18030"), "of Wuxi".encode("utf-16-le"))


@pytest.fixture(scope="module")
def hostile(
    tmp_path_factory: pytest.TempPathFactory, chartered: dict[str, Ground]
) -> tuple[Ground, dict[str, Ran], Path]:
    """A folder of hostile files and a link out of it, destroyed and certified; and what lies outside."""
    ground = chartered["data"].copy(tmp_path_factory.mktemp("hostile") / "ground")
    outside = ground.root.parent / "outside"
    outside.mkdir()
    (outside / "kept.csv").write_text("id,name\n1,Somebody Else of Beijing\n")
    for path, data in HOSTILE.items():
        at = os.fsencode(ground.estate / "data") + b"/" + path
        os.makedirs(os.path.dirname(at), exist_ok=True)
        with open(at, "wb") as stream:
            stream.write(data)
    (ground.estate / "data/link.csv").symlink_to(outside / "kept.csv")
    (ground.estate / "data/folder link").symlink_to(outside)
    ran = {
        name: ground.stage(name, code=None)
        for name in ("survey", "seal", "plan", "challenge", "approve", "destroy", "probe", "certify")
    }
    return ground, ran, outside


def test_hostile_files_are_destroyed_to_the_last(hostile: tuple[Ground, dict[str, Ran], Path]) -> None:
    """Bad lines, bare CR, a 10 MB line, mixed encodings, names with newline and raw bytes: all gone, L2."""
    ground, ran, _ = hostile

    assert {name: r.code for name, r in ran.items()} == dict.fromkeys(ran, 0), ran
    assert [s["grade_reached"] for s in ran["certify"].value["stores"]] == ["L2"]
    assert ran["destroy"].value["records"] == ran["seal"].value["records"]
    assert not [p for p in (ground.estate / "data").rglob("*") if p.is_file() and not p.is_symlink()]
    assert grep(LEFT[:3], ground.root) == bytes_in(LEFT[3:], ground.root) == set()


def test_no_record_of_a_hostile_file_was_overlooked(hostile: tuple[Ground, dict[str, Ran], Path]) -> None:
    """The seal counts at least every line of a person that Python finds in the files."""
    lines = sum(data.count(b"\n1") + data.count(b"\n2") for data in HOSTILE.values()) + 40

    assert hostile[1]["seal"].value["records"] >= lines


def test_what_links_lead_to_is_untouched(hostile: tuple[Ground, dict[str, Ran], Path]) -> None:
    """A symbolic link out of the scope is not followed: neither read into the seal nor destroyed."""
    assert (hostile[2] / "kept.csv").read_text() == "id,name\n1,Somebody Else of Beijing\n"


def test_hard_links_from_outside_are_refused(ready: Ground, tmp_path: Path) -> None:
    """A file with a second name outside the scope is not destroyed: exit 4, and `status` says why."""
    ground = ready.copy(tmp_path / "ground")
    before = (ground.estate / "data/list.csv").read_bytes()
    os.link(ground.estate / "data/list.csv", ground.root / "second name")

    told(ground.stage("destroy", code=None), 4, "refused")

    assert "hard links" in "".join(ground.run("status").value["troubles"])
    assert (ground.root / "second name").read_bytes() == before


def test_reflinked_files_do_not_get_the_grade(chartered: dict[str, Ground], tmp_path: Path) -> None:
    """Where a file shares its blocks with another, overwriting cannot reach them: L2 is not reached."""
    ground = chartered["data"].copy(tmp_path / "ground")
    (ground.estate / "data").mkdir()
    file = ground.estate / "data/list.csv"
    file.write_text("id,name\n" + "1,Resident 00001 of Wuxi\n" * 4_000)
    done = subprocess.run(
        ["cp", "--reflink=always", str(file), str(ground.root / "clone")], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("this file system has no reflinks")
    for name in ("survey", "seal", "plan", "challenge", "approve", "destroy", "probe"):
        ground.stage(name, code=None)
    certify = ground.stage("certify", code=None)

    assert [s["grade_reached"] for s in certify.value["stores"]] == ["L1"]
    assert (ground.root / "clone").read_bytes().count(b"of Wuxi") == 4_000


def test_a_file_that_grew_is_left_and_the_rest_goes_on(ready: Ground, tmp_path: Path) -> None:
    """Drift in one store: exit 4, nothing of it destroyed; after an amended plan the other is certified."""
    ground = ready.copy(tmp_path / "ground")
    file = ground.estate / "data/list.csv"
    with file.open("a") as stream:
        stream.write("51,Newcomer of Wuxi\n")
    before = file.read_bytes()

    told(ground.stage("destroy", code=None), 4, "changed since it was sealed")
    assert file.read_bytes() == before
    assert ground.run("plan").value["records"] == 300
    ground.stage("destroy", code=None)

    assert file.read_bytes() == before
    assert grep([b"Person 000017 of Wuxi"], ground.estate) == set()
    probed, certified = ground.stage("probe"), ground.stage("certify", code=None)
    for ran in (probed, certified):
        assert {s["name"]: s["grade_reached"] for s in ran.value["stores"]}["app"] == "L2"


# ── case files ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def fresh(keys: Path, tmp_path: Path) -> Ground:
    ground = Ground(tmp_path / "ground").lay(keys, DATA)
    (ground.estate / "data").mkdir()
    (ground.estate / "data/list.csv").write_text("id,name\n1,Resident 00001 of Wuxi\n")
    return ground


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        (DATA + "[[app]]\nname = 'a'\ncolour = 'red'\n", ["colour", "not known"]),
        (DATA.replace("files:", "cmd:cat "), ["store data"]),
        (DATA.replace("files:", "redis:"), ["store data", "sqlite, files"]),
        (DATA + store("again", "files:../estate/data/sub"), ["again", "inside"]),
        (store("all", "files:.."), ["contains the case directory"]),
        (DATA + DATA, ["same name"]),
        (DATA + '[[hold]]\nby = "x"\nstores = ["nowhere"]\n', ["nowhere"]),
        (DATA.replace('"data"', '"da\\u0000ta"'), ["store.0.name"]),
        (DATA.replace('"data"', '"da\\nta"'), ["store.0.name"]),
        (DATA.replace('"data"', '"' + "x" * 10_240 + '"'), ["store.0.name", "200"]),
        (DATA + '[[app]]\nname = "a"\npurpose = "\\u001b[31m"\n', ["app.0.purpose"]),
        (DATA + '[[hold]]\nby = "a\\u202eb"\n', ["hold.0.by"]),
        (DATA + "[[store]\n", ["not TOML"]),
    ],
)
def test_a_wrong_case_file_is_wrong_usage(fresh: Ground, tables: str, words: list[str]) -> None:
    """Exit 2, and the sentence names the key or store that is wrong; no log is begun."""
    fresh.write_case(tables)

    told(fresh.run("open", code=None), 2, *words)

    assert not (fresh.log / "checkpoint").exists()


@pytest.mark.parametrize("name", ["../../evil", "a/b", "..", ".hidden", "", "x" * 300])
def test_a_case_name_cannot_leave_its_folder(fresh: Ground, name: str) -> None:
    """The name of a case becomes the name of its proof file, so it is one plain file name."""
    path = fresh.case / "case.toml"
    path.write_text(path.read_text("utf-8").replace('name = "city"', f"name = {json.dumps(name)}"), "utf-8")

    told(fresh.run("open", code=None), 2, "case.name")


def test_keys_of_the_wrong_role_are_refused(fresh: Ground, chartered: dict[str, Ground]) -> None:
    """A notary's key cannot be named as an auditor's, nor challenge; a stranger's cannot approve."""
    shutil.copy(fresh.keys / "notary.pub", fresh.keys / "auditor.pub")
    told(fresh.run("open", code=None), 2, "Zhao & Partners")
    ground = chartered["data"]
    told(ground.run("challenge", "--key", ground.keys / "notary", code=None), 2, "auditor")
    told(ground.run("probe", "--key", ground.keys / "nowhere", code=None), 2)
    stranger = fresh.root / "stranger"
    command("cenotaph", "keygen", "--role", "notary", "--organisation", "Nobody", "--out", stranger)
    told(ground.run("approve", "--charter", "--key", stranger, code=None), 2, "Nobody")


def test_secrets_by_command_are_not_followed(fresh: Ground) -> None:
    """A key reference of the kind cmd: is refused, and the command does not run."""
    path = fresh.case / "case.toml"
    marker = fresh.root / "ran"
    path.write_text(path.read_text("utf-8").replace("file:../keys/operator", f"cmd:touch {marker}"), "utf-8")

    told(fresh.run("open", code=None), 2)
    assert not marker.exists()


def test_hostile_names_stay_text(tmp_path: Path, keys: Path) -> None:
    """Quotes, tags and emoji in names of apps, stores and holders appear escaped on the page."""
    names = ['"><script>alert(1)</script>', "O'Brien & Söhne 😀", "javascript:alert(1)", "../..", "-rf"]
    tables = "".join(store(n, f"files:../estate/{i}") for i, n in enumerate(names))
    tables += "".join(
        f"[[app]]\nname = {toml(n)}\npurpose = {toml(n)}\nstores = [{toml(n)}]\n" for n in names
    )
    tables += f"[[hold]]\nby = {toml(names[0])}\nreference = {toml(names[0])}\n"
    ground = Ground(tmp_path / "ground").lay(keys, tables)
    for i in range(len(names)):
        (ground.estate / str(i)).mkdir()
        (ground.estate / f"{i}/<b>list.csv").write_text("id,name\n1,Resident 00001 of Wuxi\n")
    ground.run("open")
    ground.run("publish", "--to", ground.root / "site")

    page = (ground.root / "site/index.html").read_text("utf-8")

    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "default-src 'none'" in page
