"""Two readers compare what they were shown: one history, the proof of two, or nothing to tell by."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import pytest

from cenotaph.testing.lying import LyingOperator
from cenotaph_proof import bundle, history, note
from cenotaph_proof.__main__ import main
from cenotaph_proof.commands import comparing
from cenotaph_proof.errors import LogError, SignatureError, SplitError
from cenotaph_proof.keys import PublicKey, SecretKey
from cenotaph_proof.log import Log


@dataclass(frozen=True, slots=True)
class Split:
    """Two proof files of one operator that tell two histories, and what may be saved of each."""

    folder: Path
    operator: PublicKey
    one: bundle.Bundle
    other: bundle.Bundle

    def compare(self, a: str, b: str) -> int:
        return main(["compare", str(self.folder / a), str(self.folder / b), "--operator", self.key])

    @property
    def key(self) -> str:
        return str(self.folder / "bureau.pub")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    folder = tmp_path_factory.mktemp("split")
    files = LyingOperator().second_history()
    read = [bundle.read(io.BytesIO(data)) for data in files]
    for name, data, held in zip(("one", "other"), files, read, strict=True):
        (folder / f"{name}.cenotaph").write_bytes(data)
        for data_of in held.checkpoints:
            size = note.Checkpoint.parse(note.parse_note(data_of).body).size
            (folder / f"{name}-{size}").write_bytes(data_of)
    (operator,) = bundle.replay(read[0]).parties("operator")
    (folder / "bureau.pub").write_text(operator.to_text())
    return Split(folder, operator, *read)


def sizes(held: bundle.Bundle) -> list[int]:
    return [note.Checkpoint.parse(note.parse_note(n).body).size for n in held.checkpoints]


def test_two_checkpoints_of_one_size_convict(split: Split, capsys: pytest.CaptureFixture[str]) -> None:
    """Two saved notes are enough: the operator signed two roots for one size. Exit 3, and what to keep."""
    size = sizes(split.one)[-1]

    assert split.compare(f"one-{size}", f"other-{size}") == 3
    said = capsys.readouterr().err
    assert f"the operator signed two histories: two roots for {size} statements" in said
    assert "keep both" in said


def test_a_checkpoint_against_a_proof_file_convicts_at_any_size(split: Split) -> None:
    """The longer one has the entries, so that a shorter checkpoint is in them or is not."""
    common = [s for s in sizes(split.one) if split.one.entries[:s] == split.other.entries[:s]]
    parted = [s for s in sizes(split.one) if s not in common]

    assert common
    assert parted
    assert [split.compare(f"one-{s}", "other.cenotaph") for s in common] == [0] * len(common)
    assert [split.compare(f"one-{s}", "other.cenotaph") for s in parted] == [3] * len(parted)
    assert [split.compare("other.cenotaph", f"one-{s}") for s in parted] == [3] * len(parted)


def test_two_proof_files_convict_and_say_where_they_part(split: Split) -> None:
    """The entries agree up to a statement; the next one differs."""
    one, other = (comparing.read(split.folder / f"{n}.cenotaph", split.operator) for n in ("one", "other"))
    same = next(
        n for n, (a, b) in enumerate(zip(split.one.entries, split.other.entries, strict=False)) if a != b
    )

    with pytest.raises(SplitError, match=f"agree on {same} statements and differ in the next one"):
        history.compare_shown(one, other)


def test_what_a_reader_saved_earlier_is_one_history_with_what_comes_later(split: Split) -> None:
    """An honest log passes in every form, whoever holds the longer one."""
    newest = sizes(split.one)[-1]

    for size in sizes(split.one):
        assert split.compare(f"one-{size}", "one.cenotaph") == 0
        assert split.compare("one.cenotaph", f"one-{size}") == 0
    assert split.compare(f"one-{newest}", f"one-{newest}") == 0
    assert split.compare("one.cenotaph", "one.cenotaph") == 0


def test_two_checkpoints_of_different_sizes_show_nothing(
    split: Split, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without entries nobody can tell: exit 4, and what to bring. It is never called one history."""
    small, large = sizes(split.one)[0], sizes(split.one)[-1]

    assert split.compare(f"one-{small}", f"one-{large}") == 4
    said = capsys.readouterr()
    assert f"of {large} statements or more" in said.err
    assert said.out == ""


def test_a_checkpoint_longer_than_the_proof_file_shows_nothing(split: Split, tmp_path: Path) -> None:
    """The proof file ends too early to hold it: that is said, and not passed."""
    entries = split.one.entries[: sizes(split.one)[0]]
    short = history.shown(split.operator, split.one.checkpoints[:1], entries)
    last = history.shown(split.operator, split.one.checkpoints[-1:])

    assert history.compare_shown(short, last).outcome == "open"
    assert history.compare_shown(last, short).outcome == "open"


def test_a_copy_of_the_log_is_compared_as_it_lies(split: Split, tmp_path: Path) -> None:
    """A folder of tiles, by itself or inside a published site, with the checkpoints kept in it."""
    key = SecretKey.generate("Big Data Bureau", "operator")
    log = Log.create(tmp_path / "site" / "log", key)
    notes = {}
    for entry in (b"one", b"two", b"three"):
        log.append(entry)
        notes[log.size] = log.checkpoint_note()
    forked = Log.create(tmp_path / "fork", key)
    for entry in (b"one", b"other"):
        forked.append(entry)
    (tmp_path / "saved").write_bytes(notes[2])
    held = comparing.read(tmp_path / "saved", key.public)

    for place in (tmp_path / "site", tmp_path / "site" / "log"):
        assert history.compare_shown(held, comparing.read(place, key.public)).size == 2
    with pytest.raises(SplitError, match="two roots for 2"):
        history.compare_shown(held, comparing.read(tmp_path / "fork", key.public))
    with pytest.raises(SplitError, match="agree on 1 statements"):
        history.compare_shown(
            comparing.read(tmp_path / "fork", key.public), comparing.read(tmp_path / "site", key.public)
        )


def test_only_the_operators_own_signature_convicts(split: Split) -> None:
    """A checkpoint by another key, of another log, or changed by a byte is no proof of anything."""
    good = split.one.checkpoints[-1]
    other = SecretKey.generate("Somebody", "operator")
    theirs = note.sign_checkpoint(note.Checkpoint(note.log_origin(other.public), 0, note.EMPTY_ROOT), other)
    lines = good.split(b"\n")
    changed = good.replace(lines[2], lines[2][:-2] + (b"A=" if lines[2][-2:] != b"A=" else b"E="))

    with pytest.raises(LogError, match="of another log"):
        history.shown(split.operator, [theirs])
    with pytest.raises(SignatureError):
        history.shown(split.operator, [changed])


def test_entries_that_do_not_lead_to_their_own_head_are_no_proof(split: Split) -> None:
    """A damaged copy is refused by itself, before it can accuse anybody."""
    entries = [*split.one.entries[:-1], b"something else"]

    with pytest.raises(LogError, match="do not lead to the root"):
        history.shown(split.operator, split.one.checkpoints, entries)
    with pytest.raises(LogError, match="a checkpoint covers"):
        history.shown(split.operator, split.one.checkpoints, split.one.entries[:-1])


def test_one_reader_alone_can_hold_the_proof(split: Split) -> None:
    """Two heads of one size in one reader's hands convict as well."""
    with pytest.raises(SplitError):
        history.shown(split.operator, [split.one.checkpoints[-1], split.other.checkpoints[-1]])


def test_what_is_neither_is_told(split: Split, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of something else, and a file that is not there: a sentence and exit 1."""
    (split.folder / "holiday").write_bytes(b"\xff\xd8\xff")

    assert split.compare("holiday", "one.cenotaph") == 1
    assert split.compare("nothing", "one.cenotaph") == 1
    assert capsys.readouterr().err.count("cenotaph-proof: error:") == 2
