"""The operator's log: append-only, also through crashes, and readable by anyone."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from some_keys import a_key

from cenotaph_proof import log as log_module
from cenotaph_proof import merkle, note
from cenotaph_proof.errors import FormatError, LogError, ProofError, SignatureError
from cenotaph_proof.log import Log, parse_tile_path, tile_hashes, tile_path
from cenotaph_proof.note import Checkpoint


@pytest.fixture
def log(tmp_path, operator) -> Log:
    """A log of three entries."""
    made = Log.create(tmp_path / "log", operator)
    for entry in (b"one", b"two", b"three"):
        made.append(entry)
    return made


def test_entries_are_read_back_in_order(log, tmp_path, operator):
    """With the key, with the operator's public key, and with neither."""
    for opened in (
        log,
        Log.open(tmp_path / "log", operator),
        Log.open(tmp_path / "log", operator=operator.public),
        Log.open(tmp_path / "log"),
    ):
        assert opened.size == 3
        assert list(opened.entries()) == [b"one", b"two", b"three"]
        assert opened.entry(1) == b"two"
        assert opened.root() == merkle.root(map(merkle.leaf_hash, [b"one", b"two", b"three"]))


def test_a_log_begins_empty(tmp_path, operator):
    """Size 0, signed, with the root of nothing."""
    made = Log.create(tmp_path / "log", operator)
    checkpoint = note.verify_checkpoint(made.checkpoint_note(), operator.public).checkpoint
    assert (checkpoint.size, checkpoint.root) == (0, merkle.EMPTY_ROOT)
    assert list(made.entries()) == []


def test_a_log_is_created_once(log, tmp_path, operator):
    """Creating it again would fork it."""
    with pytest.raises(LogError, match="already"):
        Log.create(tmp_path / "log", operator)


def test_a_folder_without_a_log_is_not_opened(tmp_path, operator):
    """Opening makes nothing."""
    with pytest.raises(LogError, match="no log"):
        Log.open(tmp_path / "log", operator)
    assert not (tmp_path / "log").exists()


def test_another_operators_log_is_not_opened(log, tmp_path):
    """Neither to write nor to read, once one says whose log it should be."""
    other = a_key("Other Bureau", "operator")
    with pytest.raises(LogError, match="another operator"):
        Log.open(tmp_path / "log", other)
    with pytest.raises(LogError, match="another operator"):
        Log.open(tmp_path / "log", operator=other.public)


def test_a_reader_cannot_append(log, tmp_path):
    """Without the secret key there is nothing to sign with."""
    with pytest.raises(LogError, match="reading"):
        Log.open(tmp_path / "log").append(b"x")


def test_an_entry_has_a_length_that_a_bundle_can_hold(log):
    """65,535 bytes fit, one more does not, none at all does."""
    assert log.entry(log.append(bytes(65_535))) == bytes(65_535)
    assert log.entry(log.append(b"")) == b""
    with pytest.raises(LogError, match="at most 65535"):
        log.append(bytes(65_536))
    assert log.size == 5


def test_asking_for_an_entry_that_is_not_there_says_so(log):
    """Nor does a negative index count from the end."""
    for index in (-1, 3):
        with pytest.raises(LogError, match="no entry"):
            log.entry(index)


def test_every_size_is_consistent_with_every_later_one(tmp_path, operator):
    """Through a full tile: 260 entries, the tiles' own hashes used throughout."""
    made = Log.create(tmp_path / "log", operator)
    heads = [made.checkpoint()]
    for number in range(260):
        made.append(b"%d" % number)
        heads.append(made.checkpoint())
    hashes = Log.open(tmp_path / "log", operator).leaf_hashes()
    for head in heads:
        proof = merkle.consistency_proof(hashes, head.size)
        merkle.verify_consistency(head.size, 260, head.root, heads[-1].root, proof)
    assert list(made.entries()) == [b"%d" % number for number in range(260)]
    _check_full_tile(tmp_path / "log" / "tile", hashes)


def _check_full_tile(tiles: Path, hashes: list[bytes]) -> None:
    # C2SP tlog-tiles: one full tile at level 0, its root alone at level 1, four hashes in the next.
    assert (tiles / "0/000").read_bytes() == b"".join(hashes[:256])
    assert (tiles / "0/001.p/4").read_bytes() == b"".join(hashes[256:])
    assert (tiles / "1/000.p/1").read_bytes() == merkle.root(hashes[:256])
    assert (tiles / "entries/000").read_bytes()[:4] == b"\x00\x010\x00"
    assert not (tiles / "0/000.p").exists()


@pytest.mark.parametrize("tile", ["0/000.p/3", "entries/000.p/3"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_log_is_noticed(log, tmp_path, operator, tile, damage):
    """A changed, cut or missing file under the checkpoint is an error and never an entry."""
    place = tmp_path / "log" / "tile" / tile
    data = place.read_bytes()
    if damage == "remove":
        place.unlink()
    else:
        place.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if damage == "flip" else data[:-1])

    with pytest.raises(LogError):
        list(Log.open(tmp_path / "log", operator).entries())
    with pytest.raises(LogError):
        log.entry(2)
    assert log.size == 3


@pytest.mark.parametrize("hidden", [b"\x00", b"\x00\x06hidden", bytes(2), b"\xff\xff", bytes(20_000_000)])
@pytest.mark.parametrize("tile", ["0/000.p/3", "entries/000.p/3"])
def test_nothing_hides_behind_the_entries(log, tmp_path, tile, hidden):
    """A bundle or tile with more in it than was logged is refused, and a huge one is not read."""
    place = tmp_path / "log" / "tile" / tile
    place.write_bytes(place.read_bytes() + hidden)
    with pytest.raises(LogError, match=r"holds more|longer"):
        list(Log.open(tmp_path / "log").entries())


def test_a_damaged_log_is_not_appended_to(log, tmp_path):
    """A new head over damaged tiles would fork the log."""
    place = tmp_path / "log" / "tile/0/000.p/3"
    place.write_bytes(bytes(96))
    with pytest.raises(LogError, match="root"):
        log.append(b"four")
    assert log.size == 3


def test_a_forged_checkpoint_is_noticed(log, tmp_path, operator):
    """A head that the operator's key did not sign is refused, wherever the operator's key is known."""
    place = tmp_path / "log" / "checkpoint"
    place.write_bytes(place.read_bytes().replace(b"\n3\n", b"\n2\n"))
    with pytest.raises(SignatureError):
        Log.open(tmp_path / "log", operator=operator.public)
    with pytest.raises(LogError):
        Log.open(tmp_path / "log")


# Cosigned checkpoints.


def test_cosigned_checkpoints_are_kept_by_size(log, operator, paper, library):
    """Every size that was cosigned stays, and a second witness's line joins the first's."""
    two = _note_at(log, operator, 2)
    three = log.checkpoint_note()
    log.store_cosigned(two + note.cosign(two, paper, 50))
    log.store_cosigned(three + note.cosign(three, paper, 60))
    log.store_cosigned(three + note.cosign(three, library, 70))
    log.store_cosigned(three + note.cosign(three, paper, 80))

    kept = log.cosigned()
    assert list(kept) == [2, 3]
    seen = note.verify_checkpoint(kept[3], operator.public, [paper.public, library.public])
    assert seen.cosignatures == ((paper.public.key_id, 60), (library.public.key_id, 70))


def _note_at(log, operator, size: int) -> bytes:
    root = merkle.root(log.leaf_hashes()[:size])
    return note.sign_checkpoint(Checkpoint(note.log_origin(operator.public), size, root), operator)


def test_the_current_cosigned_checkpoint_is_published(log, tmp_path, operator, paper):
    """Readers of the static folder get the cosignatures, witnesses the bare checkpoint."""
    bare = log.checkpoint_note()
    cosigned = bare + note.cosign(bare, paper, 60)
    log.store_cosigned(cosigned)

    assert (tmp_path / "log" / "checkpoint").read_bytes() == cosigned
    assert log.checkpoint_note() == bare
    assert Log.open(tmp_path / "log", operator).append(b"four") == 3


def test_a_checkpoint_of_another_history_is_not_kept(log, operator, paper):
    """Another root, another signer or a size to come is refused."""
    origin = note.log_origin(operator.public)
    for size, root in ((3, merkle.leaf_hash(b"x")), (4, log.root())):
        forked = note.sign_checkpoint(Checkpoint(origin, size, root), operator)
        with pytest.raises(LogError, match="not one of this log"):
            log.store_cosigned(forked + note.cosign(forked, paper, 60))
    with pytest.raises(LogError, match="another operator"):
        log.store_cosigned(
            note.sign_checkpoint(
                Checkpoint(note.log_origin(a_key("O", "operator").public), 3, log.root()),
                a_key("O", "operator"),
            )
        )
    bare = log.checkpoint_note()
    with pytest.raises(SignatureError):
        log.store_cosigned(bare.rpartition(b"\n\n")[0] + b"\n\n" + note.cosign(bare, paper, 60))
    assert log.cosigned() == {}


def test_a_stray_file_among_the_cosigned_is_not_a_size(log, tmp_path):
    """Names that no writer of ours gives are refused, not guessed at."""
    (tmp_path / "log" / "cosigned").mkdir()
    (tmp_path / "log" / "cosigned" / "03").write_bytes(b"")
    with pytest.raises(FormatError):
        log.cosigned()


# Crashes.

DIE_AT = """
import os, sys
from pathlib import Path
from cenotaph_proof import log as log_module
from cenotaph_proof.keys import SecretKey
from cenotaph_proof.log import Log, parse_tile_path, tile_hashes, tile_path

folder, key, dies_at = Path(sys.argv[1]), SecretKey.load(Path(sys.argv[2])), int(sys.argv[3])
log_module.TILE_WIDTH = int(sys.argv[4])
calls = 0

def dying(real):
    def call(*arguments, **named):
        global calls
        calls += 1
        if calls == dies_at:
            os._exit(9)
        return real(*arguments, **named)
    return call

log = Log.open(folder, key)
for name in ("fsync", "unlink", "rmdir"):
    setattr(os, name, dying(getattr(os, name)))
Path.replace = dying(Path.replace)
log.append(b"doomed")
"""


def _append_and_die(folder: Path, key: Path, dies_at: int) -> bool:
    """Whether the process died before its append came back."""
    arguments = [folder, key, dies_at, log_module.TILE_WIDTH]
    command = [sys.executable, "-c", DIE_AT, *map(str, arguments)]
    code = subprocess.run(command, check=False).returncode
    assert code in (0, 9)
    return code == 9


def _signed_heads(folder: Path, operator) -> set[tuple[int, bytes]]:
    """Every head that carries the operator's signature, in any file at all, half-written ones included."""
    heads = set()
    for place in folder.rglob("*"):
        if place.is_file():
            try:
                head = note.verify_checkpoint(place.read_bytes(), operator.public).checkpoint
            except ProofError:
                continue
            heads.add((head.size, head.root))
    return heads


@pytest.mark.parametrize(("width", "writes"), [(256, 12), (4, 25)])
def test_a_log_survives_a_kill_at_every_write(log, tmp_path, operator, monkeypatch, width, writes):
    """Killed before any flush, rename or removal, the log goes on, and no size ever has two signed roots.

    With tiles of 4 the append fills a tile, begins the level above and drops the partial tiles.
    """
    monkeypatch.setattr(log_module, "TILE_WIDTH", width)
    operator.save(tmp_path / "key")
    before, deaths, finished = list(log.entries()), 0, 0
    for dies_at in range(1, 100):
        folder = tmp_path / f"copy{dies_at}"
        shutil.copytree(tmp_path / "log", folder)
        if not _append_and_die(folder, tmp_path / "key", dies_at):
            break
        deaths += 1
        heads = _signed_heads(folder, operator)
        list(Log.open(folder).entries())  # a reader sees a whole log before anyone repairs it
        again = Log.open(folder, operator)
        assert list(again.entries()) in (before, [*before, b"doomed"])
        finished += again.size == 4
        index = again.append(b"after")
        assert list(Log.open(folder, operator).entries())[index:] == [b"after"]
        heads |= _signed_heads(folder, operator)
        assert len(dict(heads)) == len(heads), f"two roots of one size after a kill at write {dies_at}"
    assert deaths == writes
    assert 0 < finished < deaths


def test_the_count_of_signed_heads_finds_a_fork(log, tmp_path, operator):
    """A head signed without being fixed first is a second root of its size, and the count above sees it."""
    folder = tmp_path / "log"
    doomed = merkle.root([*log.leaf_hashes(), merkle.leaf_hash(b"doomed")])
    head = Checkpoint(note.log_origin(operator.public), 4, doomed)
    (folder / ".checkpoint.new").write_bytes(note.sign_checkpoint(head, operator))
    heads = _signed_heads(folder, operator)
    Log.open(folder, operator).append(b"after")
    heads |= _signed_heads(folder, operator)
    assert (4, doomed) in heads
    assert len(heads) == len(dict(heads)) + 1


@pytest.mark.parametrize("length", [0, 1, 50, 10_000])
def test_what_a_cut_off_append_left_is_overwritten(log, tmp_path, operator, length):
    """Files of an entry that never was and half-written temporary files, of any length, do not matter."""
    tiles = tmp_path / "log" / "tile"
    for place in ("0/000.p/4", "0/000.p/.4.new", "entries/000.p/4", "../.checkpoint.new", "../..next.new"):
        (tiles / place).write_bytes(b"\xa5" * length)

    again = Log.open(tmp_path / "log", operator)
    assert again.append(b"four") == 3
    assert list(again.entries()) == [b"one", b"two", b"three", b"four"]


def test_a_log_restored_from_an_older_copy_is_not_appended_to(log, tmp_path, operator):
    """A head older than the one that was fixed next tells of a restored copy: appending would fork."""
    old = (tmp_path / "log" / "checkpoint").read_bytes()
    log.append(b"four")
    log.append(b"five")
    (tmp_path / "log" / "checkpoint").write_bytes(old)
    with pytest.raises(LogError, match="do not belong") as refused:
        Log.open(tmp_path / "log", operator)
    assert "older copy" in refused.value.hint


def test_a_next_head_that_the_tiles_do_not_lead_to_is_not_signed(log, tmp_path, operator):
    """Recovery signs nothing that it has not computed."""
    head = Checkpoint(note.log_origin(operator.public), 4, merkle.leaf_hash(b"planted"))
    (tmp_path / "log" / ".next").write_bytes(head.body())
    (tmp_path / "log" / "tile/0/000.p/4").write_bytes(b"".join([*log.leaf_hashes(), merkle.leaf_hash(b"x")]))
    with pytest.raises(LogError, match="do not lead"):
        Log.open(tmp_path / "log", operator)
    assert Log.open(tmp_path / "log").size == 3


def test_files_are_flushed_before_they_are_named(log, tmp_path, monkeypatch):
    """Every rename comes after a flush of the file and before a flush of its folder; the head comes last."""
    events = []
    real_sync, real_replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append(("sync", _name(fd))), real_sync(fd))[1])
    monkeypatch.setattr(
        Path, "replace", lambda a, b: (events.append(("name", Path(b).name)), real_replace(a, b))[1]
    )
    log.append(b"four")

    named = [at for at, (kind, _) in enumerate(events) if kind == "name"]
    assert [events[at][1] for at in named] == ["4", "4", ".next", "checkpoint"]
    for at in named:
        assert events[at - 1] == ("sync", f".{events[at][1]}.new")
        assert events[at + 1][0] == "sync"
        assert Path(events[at + 1][1]).suffix != ".new"


def _name(fd: int) -> str:
    return os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))


APPEND_TEN = """
import sys
from pathlib import Path
from cenotaph_proof.keys import SecretKey
from cenotaph_proof.log import Log, parse_tile_path, tile_hashes, tile_path

log = Log.open(Path(sys.argv[1]), SecretKey.load(Path(sys.argv[2])))
for number in range(10):
    log.append(f"{sys.argv[3]} {number}".encode())
"""


def test_two_processes_append_one_after_the_other(log, tmp_path, operator):
    """Each entry gets an index of its own, and each process's entries stay in its order."""
    operator.save(tmp_path / "key")
    writers = [
        subprocess.Popen([sys.executable, "-c", APPEND_TEN, tmp_path / "log", tmp_path / "key", name])
        for name in ("left", "right")
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]

    entries = list(Log.open(tmp_path / "log", operator).entries())[3:]
    for name in (b"left", b"right"):
        own = [entry for entry in entries if entry.startswith(name)]
        assert own == [b"%b %d" % (name, number) for number in range(10)]
    assert len(entries) == 20


# Logs of others, and tiles above the lowest.


@pytest.fixture
def large(tmp_path, operator) -> tuple[Log, Path]:
    """A log of 260 entries in a folder: a full tile, a partial one, and one of level 1."""
    entries = [b"%d" % number for number in range(260)]
    hashes = [merkle.leaf_hash(entry) for entry in entries]
    folder = tmp_path / "large"
    made = Log.create(folder, operator)
    made._write_tiles(hashes[:256])
    made._write_tiles(hashes)
    for tile, part in enumerate((entries[:256], entries[256:])):
        made._write("entries", tile, len(part), log_module._pack(part))
    head = Checkpoint(note.log_origin(operator.public), 260, merkle.root(hashes))
    (folder / "checkpoint").write_bytes(note.sign_checkpoint(head, operator))
    return made, folder


def test_tiles_of_every_level_are_checked(large):
    """Who reads level 1 must find there what the entries lead to; this log's own reading needs level 0."""
    made, folder = large
    made.check_tiles()
    place = folder / "tile/1/000.p/1"
    good = place.read_bytes()
    for bad in (bytes(32), good[:31], good * 2, b""):
        place.write_bytes(bad)
        assert made.size == 260
        assert len(made.leaf_hashes()) == 260
        with pytest.raises(LogError, match="level 1"):
            made.check_tiles()
    place.unlink()
    with pytest.raises(LogError, match="missing"):
        made.check_tiles()


def test_a_full_tile_stands_in_for_a_partial_one_at_every_level(large):
    """Partial tiles may go once the full one is there (C2SP tlog-tiles)."""
    made, folder = large
    (folder / "tile/1/000").write_bytes((folder / "tile/1/000.p/1").read_bytes() + bytes(32 * 255))
    shutil.rmtree(folder / "tile/1/000.p")
    made.check_tiles()


def test_bundles_that_a_server_keeps_gzipped_are_read(large):
    """As they were sent; cut off, with something behind, or larger than a bundle can be, they are refused."""
    made, folder = large
    plain = list(made.entries())
    place = folder / "tile/entries/001.p/4"
    good = gzip.compress(place.read_bytes())
    place.write_bytes(good)
    assert list(made.entries()) == plain
    bomb = gzip.compress(bytes(log_module.MAX_BUNDLE + 1))
    for bad in (good[:-1], good + b"x", good + good, gzip.compress(b"x"), bomb, b"\x1f\x8b"):
        place.write_bytes(bad)
        with pytest.raises(LogError, match="cut off"):
            made.entry(257)


@pytest.mark.parametrize("name", ["checkpoint", "cosigned/7"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(log, tmp_path, name):
    """A copy of somebody's log may hold anything."""
    place = tmp_path / "log" / name
    place.unlink(missing_ok=True)
    place.parent.mkdir(exist_ok=True)
    os.mkfifo(place)
    with pytest.raises(FormatError):
        note.parse_note(log.cosigned()[7] if name != "checkpoint" else log.checkpoint_note())


def test_a_checkpoint_with_extension_lines_is_another_logs(large, operator):
    """Read where nobody says whose log it is; refused where the operator is known, and never written."""
    made, folder = large
    body = made.checkpoint().body() + b"an extension\n"
    signer = note.operator_note_key(operator.public)
    line = note.NoteSignature(signer.name, signer.key_hash, operator.sign(body))
    (folder / "checkpoint").write_bytes(note.Note(body, (line,)).to_bytes())

    assert Log.open(folder).size == 260
    with pytest.raises(FormatError, match="three lines"):
        Log.open(folder, operator=operator.public)


@given(st.sampled_from(["0", "1", "63", "entries"]), st.integers(0, 10**15), st.integers(1, 256))
def test_a_tile_has_one_path(level, index, width):
    """And the path says which tile it is."""
    path = f"tile/{tile_path(level, index, width)}"
    assert parse_tile_path(path) == (level, index, width)


def test_the_path_of_the_specification():
    """Index 1234067."""
    assert str(tile_path("0", 1234067, 256)) == "0/x001/x234/067"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile",
        "tile/0",
        "tile/0/1",
        "tile/0/0001",
        "tile/0/x001",
        "tile/0/001/002",
        "tile/0/x000/001",
        "tile/0/x001/x002",
        "tile/00/001",
        "tile/64/001",
        "tile/-1/001",
        "tile/+1/001",
        "tile/٣/001",
        "tile/0/00١",
        "tile/0/001.p/0",
        "tile/0/001.p/256",
        "tile/0/001.p/01",
        "tile/0/001.p/",
        "tile/0/001.p",
        "tile/0/001/",
        "/tile/0/001",
        "tile/0/../001",
        "tile/data/001",
        "tile/0/001\n",
        "tile/0/" + "x001/" * 7 + "001",
    ],
)
def test_what_is_no_path_of_a_tile(path):
    """Another spelling of one, or something else."""
    with pytest.raises(FormatError, match="not the path"):
        parse_tile_path(path)


@pytest.mark.parametrize("length", [0, 1, 31, 33, 257 * 32])
def test_what_is_no_tile(length):
    """From 1 to 256 whole hashes."""
    with pytest.raises(FormatError, match="1 to 256"):
        tile_hashes(bytes(length))


def test_one_of_several_processes_starts_the_log(tmp_path, operator):
    """Opening or creating is one step; afterwards nobody creates another."""
    logs = [Log.open_or_create(tmp_path / "new", operator) for _ in range(2)]
    logs[0].append(b"one")
    assert logs[1].size == 1
    with pytest.raises(LogError, match="already"):
        Log.create(tmp_path / "new", operator)


READ_ON = """
import sys
from pathlib import Path
from cenotaph_proof.log import Log, parse_tile_path, tile_hashes, tile_path

log = Log.open(Path(sys.argv[1]))
read, size = 0, 0
while size < 13:
    entries = list(log.entries())
    assert len(entries) >= size, "the log shrank"
    size, read = len(entries), read + 1
print(read)
"""


def test_a_reader_sees_one_log_while_a_writer_is_at_work(log, tmp_path, operator):
    """Whenever it looks, all entries lead to the root that it saw; the log never shrinks."""
    reader = subprocess.Popen([sys.executable, "-c", READ_ON, tmp_path / "log"], stdout=subprocess.PIPE)
    for number in range(10):
        log.append(b"%d" % number)
    out, _ = reader.communicate(timeout=60)
    assert reader.returncode == 0
    assert int(out) >= 1
