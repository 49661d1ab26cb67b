"""The folder that is published into: written whole, and nobody else's files touched."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from page_reading import broken, reachable
from site_steps import Published

from cenotaph.errors import RefusedError, UsageError
from cenotaph.site import folder
from cenotaph.stages.publish import publish
from small_case import Clock, SmallCase, people, table

STORE = '[[store]]\nname = "health"\nurl = "sqlite:../estate/health.db"\n\n'


def contents(to: Path) -> dict[str, bytes]:
    hidden = (folder.MANIFEST, folder.LOCK)
    files = (p for p in sorted(to.rglob("*")) if p.is_file() and p.name not in hidden)
    return {p.relative_to(to).as_posix(): p.read_bytes() for p in files}


def killed_after(changes: int, to: Path, of: str, files: dict[str, bytes]) -> bool:
    """Write in another process that dies, as by a kill, before its next change; whether it did."""
    child = os.fork()
    if child == 0:
        left = changes

        def write(path: Path, data: bytes, *, mode: int) -> None:
            nonlocal left
            if left == 0:
                path.with_name(folder.tombstone_name()).write_bytes(data[: len(data) // 2])
                os._exit(9)
            left -= 1
            path.write_bytes(data)

        folder.write_file = write
        folder.write(to, of, files)
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0


def test_a_kill_at_any_change_leaves_a_site_whose_links_hold(published: Published, tmp_path: Path) -> None:
    """Old pages stay until new ones are whole, what they lead to comes first, the next run finishes it."""
    old, new = (contents(published.at[step]) for step in ("plan", "certify"))
    order = list(json.loads((published.site / folder.MANIFEST).read_bytes())["files"])
    new = {name: new[name] for name in _as_published(published, order)}
    deaths = 0
    for changes in range(0, 3 * len(new), 11):
        to = tmp_path / f"killed-after-{changes}"
        folder.write(to, "case x", old)
        if not killed_after(changes, to, "case x", new):
            break
        deaths += 1
        found = reachable(to)
        assert len(found) > 10
        assert broken(to, found) == []
        assert [p.faults for p in found if p.faults] == []
        folder.write(to, "case x", new)
        assert contents(to) == new

    assert deaths > 5


def _as_published(published: Published, names: list[str]) -> list[str]:
    """The files in the order in which the stage writes them, by when a fresh folder got them."""
    to = published.case.root / "fresh"
    shutil.rmtree(to, ignore_errors=True)
    publish(published.case.desk(), to)
    return sorted(names, key=lambda name: (to / name).stat().st_mtime_ns)


def test_files_of_others_are_refused_and_never_touched(tmp_path: Path) -> None:
    """A folder that holds something is not ours, unless we wrote it; what others put beside ours stays."""
    to = tmp_path / "www"
    to.mkdir()
    (to / "holiday.jpg").write_bytes(b"mine")

    with pytest.raises(UsageError, match="not ours"):
        folder.write(to, "case x", {"index.html": b"x"})
    assert contents(to) == {"holiday.jpg": b"mine"}

    ours = tmp_path / "ours"
    folder.write(ours, "case x", {"index.html": b"1", "old/page.html": b"1"})
    (ours / ".htaccess").write_bytes(b"mine")
    (ours / "old" / "notes.txt").write_bytes(b"mine")
    folder.write(ours, "case x", {"index.html": b"2"})

    assert contents(ours) == {"index.html": b"2", ".htaccess": b"mine", "old/notes.txt": b"mine"}


def test_a_file_of_others_at_our_place_stops_the_run_before_it_writes(tmp_path: Path) -> None:
    """Nothing is changed when one of the new names is taken."""
    to = tmp_path / "www"
    folder.write(to, "case x", {"index.html": b"1"})
    (to / "feed.xml").write_bytes(b"mine")

    with pytest.raises(UsageError, match="in the way"):
        folder.write(to, "case x", {"index.html": b"2", "feed.xml": b"2"})

    assert contents(to) == {"index.html": b"1", "feed.xml": b"mine"}


def test_what_an_earlier_site_had_more_is_taken_away_with_its_empty_folders(tmp_path: Path) -> None:
    """By the list of what we wrote, and by nothing else."""
    to = tmp_path / "www"
    folder.write(to, "case x", {"a/b/c.html": b"1", "index.html": b"1"})
    folder.write(to, "case x", {"index.html": b"1"})

    assert sorted(p.name for p in to.iterdir()) == [folder.MANIFEST, folder.LOCK, "index.html"]


@pytest.mark.parametrize(
    "manifest",
    [
        "{",
        "[]",
        '{"format": "cenotaph-site/v1", "of": "case x", "files": ["../victim"]}',
        '{"format": "cenotaph-site/v1", "of": "case x", "files": ["/etc/passwd"]}',
        '{"format": "cenotaph-site/v1", "of": "case x", "files": [7]}',
        '{"format": "cenotaph-site/v2", "of": "case x", "files": []}',
    ],
)
def test_a_list_that_somebody_changed_removes_nothing(tmp_path: Path, manifest: str) -> None:
    """We remove by the list, and others may write where it lies."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    to = tmp_path / "www"
    to.mkdir()
    (to / folder.MANIFEST).write_text(manifest)

    with pytest.raises(UsageError, match="not a list of our files"):
        folder.write(to, "case x", {"index.html": b"1"})

    assert victim.read_bytes() == b"mine"
    assert contents(to) == {}


def test_a_folder_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    """A link in the place of a folder of ours would let us write, and remove, in somebody else's."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    to = tmp_path / "www"
    folder.write(to, "case x", {"index.html": b"1"})
    (to / "log").symlink_to(elsewhere)

    with pytest.raises(UsageError, match="leads elsewhere"):
        folder.write(to, "case x", {"log/tile/0/000.p/1": b"1"})

    assert list(elsewhere.rglob("*.p")) == []


def test_one_folder_publishes_one_case(tmp_path: Path) -> None:
    """Another case's site is not overwritten, whatever is in it."""
    folder.write(tmp_path / "www", "case x", {"index.html": b"1"})

    with pytest.raises(UsageError, match="publishes something else"):
        folder.write(tmp_path / "www", "case y", {"index.html": b"2"})
    assert contents(tmp_path / "www") == {"index.html": b"1"}


def test_two_commands_do_not_write_one_folder_at_once(tmp_path: Path) -> None:
    """The second is told to come again."""
    with folder._alone(tmp_path / "www", "case x"), pytest.raises(RefusedError, match="another command"):
        folder.write(tmp_path / "www", "case x", {"index.html": b"1"})


def test_large_files_are_copied_and_not_read_into_memory(tmp_path: Path) -> None:
    """A film of evidence is copied by pieces, once."""
    film = tmp_path / "film"
    film.write_bytes(os.urandom(3 << 20))
    folder.write(tmp_path / "www", "case x", {"evidence/1": film})
    first = (tmp_path / "www/evidence/1").stat()
    folder.write(tmp_path / "www", "case x", {"evidence/1": film})

    assert (tmp_path / "www/evidence/1").read_bytes() == film.read_bytes()
    assert (tmp_path / "www/evidence/1").stat().st_ino == first.st_ino
    assert first.st_mode & 0o777 == 0o644


def test_a_log_that_was_published_longer_is_not_taken_back(tmp_path: Path) -> None:
    """Readers would see a rewritten history: an older copy of a case publishes nothing."""
    table(tmp_path / "root/estate/health.db", "visits", people(0, 4))
    case = SmallCase.make(tmp_path / "root", STORE, clock=Clock())
    case.open()
    older = tmp_path / "older"
    shutil.copytree(tmp_path / "root", older)
    case.countersign("audit")
    case.admit()
    publish(case.desk(), tmp_path / "www")
    before = contents(tmp_path / "www")

    with pytest.raises(RefusedError, match="the site shows a log of 2 statements"):
        publish(SmallCase(older, Clock()).desk(), tmp_path / "www")
    assert contents(tmp_path / "www") == before
