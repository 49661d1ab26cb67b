"""Stores nobody declared are found by content; what cannot be read is never called clean."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import random
import sqlite3
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from cenotaph.discovery import Found, find


@pytest.fixture
def rows(people) -> list[tuple[str, str]]:
    return [(people.resident_id(), people.name()) for _ in range(300)]


def _csv(rows: list[tuple[str, str]], encoding: str = "utf-8") -> bytes:
    return ("证件,人\n" + "".join(f"{one},{two}\n" for one, two in rows)).encode(encoding)


def _database(path: Path, rows: list[tuple[str, str]]) -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE p (a TEXT, b TEXT)")
    database.executemany("INSERT INTO p VALUES (?, ?)", rows)
    database.commit()
    database.close()


def _dump(rows: list[tuple[str, str]]) -> bytes:
    inserted = "".join(f"INSERT INTO `p` (`a`, `b`) VALUES ('{one}', '{two}');\n" for one, two in rows)
    return f"-- MySQL dump 10.19\nCREATE TABLE `p` (`a` text, `b` text);\n{inserted}".encode()


def _pg_dump(rows: list[tuple[str, str]]) -> bytes:
    copied = "".join(f"{one}\t{two}\n" for one, two in rows)
    return f"--\n-- PostgreSQL database dump\n--\n\nCOPY public.p (a, b) FROM stdin;\n{copied}\\.\n".encode()


def _only(root: Path) -> Found:
    found = list(find([root]))
    assert len(found) == 1
    return found[0]


class TestKinds:
    @pytest.mark.parametrize(
        ("kind", "write"),
        [
            ("sqlite", _database),
            ("csv", lambda path, rows: path.write_bytes(_csv(rows))),
            ("csv", lambda path, rows: path.write_bytes(_csv(rows, "gb18030"))),
            ("csv", lambda path, rows: path.write_bytes(b"\xef\xbb\xbf" + _csv(rows).replace(b",", b"\t"))),
            (
                "jsonl",
                lambda path, rows: path.write_text(
                    "".join(json.dumps({"a": a, "b": b}) + "\n" for a, b in rows)
                ),
            ),
            (
                "parquet",
                lambda path, rows: pa.parquet.write_table(
                    pa.table(dict(zip("ab", zip(*rows, strict=True), strict=True))), path
                ),
            ),
            ("sql dump", lambda path, rows: path.write_bytes(_dump(rows))),
            ("sql dump", lambda path, rows: path.write_bytes(_pg_dump(rows))),
            ("compressed", lambda path, rows: path.write_bytes(gzip.compress(_csv(rows)))),
            ("compressed", lambda path, rows: path.write_bytes(bz2.compress(_csv(rows)))),
        ],
    )
    def test_a_store_is_known_by_its_content(self, tmp_path, rows, kind, write):
        """Under a name without extension, each format is found and its people are seen."""
        write(tmp_path / "x", rows)
        found = _only(tmp_path)

        assert (found.kind, found.cannot_read) == (kind, None)
        assert [column.name for column in found.findings] in (["a", "b"], ["证件", "人"])
        assert found.personal == {"resident-id": 1, "name": 1}

    @pytest.mark.parametrize("format", ["file", "stream"])
    def test_arrow_is_read_in_both_forms(self, tmp_path, rows, format):
        """Arrow files and streams."""
        table = pa.table(dict(zip("ab", zip(*rows, strict=True), strict=True)))
        maker = pa.ipc.new_file if format == "file" else pa.ipc.new_stream
        with maker(str(tmp_path / "x"), table.schema) as writer:
            writer.write_table(table)
        found = _only(tmp_path)

        assert (found.kind, found.detail) == ("arrow", format)
        assert found.personal == {"resident-id": 1, "name": 1}

    def test_archives_are_looked_into(self, tmp_path, rows):
        """Members of zip and tar, and their names."""
        (tmp_path / "in").write_bytes(_csv(rows))
        with zipfile.ZipFile(tmp_path / "z", "w") as archive:
            archive.write(tmp_path / "in", "x")
        with tarfile.open(tmp_path / "t", "w") as archive:
            archive.add(tmp_path / "in", "x")
        (tmp_path / "in").unlink()

        assert {(found.detail, found.personal["resident-id"]) for found in find([tmp_path])} == {
            ("zip", 1),
            ("tar", 1),
        }

    def test_a_folder_of_scans_named_after_people_is_one_store(self, tmp_path, people):
        """Twenty images are one finding, whose file names hold people."""
        for at in range(20):
            (tmp_path / f"{people.name()}_{people.resident_id()}.jpg").write_bytes(
                b"\xff\xd8\xff\xe0" + bytes([at] * 40)
            )
        found = _only(tmp_path)

        assert (found.kind, found.files, found.sampled) == ("images", 20, 20)
        assert found.personal == {"file-name": 1}

    def test_program_text_and_pages_are_not_stores(self, tmp_path):
        """Prose, program text and HTML hold no records."""
        (tmp_path / "a").write_text(
            "It was, on the whole, quiet.\nNobody came.\nThe end, at last, was near.\n"
        )
        (tmp_path / "b.py").write_text("import os\n\n\ndef main() -> None:\n    print(os.name)\n")
        (tmp_path / "c.html").write_text("<html><body>\n<p>one</p>\n<p>two</p>\n</body></html>\n")

        assert list(find([tmp_path])) == []

    def test_a_database_is_left_as_it_was(self, tmp_path, rows):
        """Looking leaves no journal or shared-memory file beside a database in WAL mode, and no change."""
        path = tmp_path / "x"
        _database(path, rows)
        database = sqlite3.connect(path)
        database.execute("PRAGMA journal_mode = WAL")
        database.close()
        before = path.read_bytes()

        assert _only(tmp_path).sampled > 0
        assert list(tmp_path.iterdir()) == [path]
        assert path.read_bytes() == before


class TestWalk:
    def test_declared_stores_are_passed_over(self, tmp_path, rows):
        """A declared file and all below a declared folder; what stands beside is found."""
        for name in ("a", "b", "c/d"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(_csv(rows))
        everything = [found.path.name for found in find([tmp_path])]
        undeclared = [found.path.name for found in find([tmp_path], [tmp_path / "a", tmp_path / "c"])]

        assert (sorted(everything), undeclared) == (["a", "b", "d"], ["b"])

    def test_links_and_pipes_are_not_followed(self, tmp_path, rows):
        """A symlink to a store outside, one to its own folder, and a pipe that would block for ever."""
        outside = tmp_path / "outside"
        outside.write_bytes(_csv(rows))
        root = tmp_path / "root"
        root.mkdir()
        (root / "link").symlink_to(outside)
        (root / "loop").symlink_to(root)
        os.mkfifo(root / "pipe")

        assert list(find([root])) == []
        assert len(list(find([outside]))) == 1

    def test_a_file_with_two_names_is_found_once(self, tmp_path, rows):
        """Hard links are one store."""
        (tmp_path / "a").write_bytes(_csv(rows))
        (tmp_path / "b").hardlink_to(tmp_path / "a")

        assert len(list(find([tmp_path]))) == 1

    def test_names_that_are_not_utf8_are_found(self, tmp_path, rows):
        """A name of any bytes; TOML cannot hold it, and the suggestion says so."""
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe\n"))
        path.write_bytes(_csv(rows))
        _database(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xfd%3f")), rows)
        found = list(find([tmp_path]))

        assert [store.personal["resident-id"] for store in found] == [1, 1]
        assert found[1].suggestion.startswith("# This path is not UTF-8")

    def test_the_suggestion_is_toml(self, tmp_path, rows):
        """A path with quotes, backslash, newline and DEL survives the way through TOML."""
        path = tmp_path / 'q"\\\n\x7f人'
        _database(path, rows)
        store = tomllib.loads(_only(tmp_path).suggestion)["store"][0]

        assert store["url"] == f"sqlite:{path}"
        assert store["grade"] == "L2"


class TestCannotRead:
    def test_damaged_files_are_said_to_be_unreadable(self, tmp_path):
        """A format's beginning with nothing behind it is reported with the reason, not as clean."""
        (tmp_path / "a").write_bytes(b"PAR1" + bytes(100))
        (tmp_path / "b").write_bytes(b"SQLite format 3\x00" + b"\xff" * 200)
        (tmp_path / "c").write_bytes(b"\x1f\x8b\x08" + b"\xff" * 40)
        found = list(find([tmp_path]))

        assert [store.kind for store in found] == ["parquet", "sqlite", "compressed"]
        assert all(store.cannot_read for store in found)

    def test_a_file_that_lies_about_its_sizes_or_names_is_said_to_be_unreadable(self, tmp_path):
        """A name that is not UTF-8 ended the walk; a terabyte that a buffer claims was allocated."""
        table = pa.table({"name": [f"1380000{n:04d}" for n in range(400)]})
        pa.parquet.write_table(table, tmp_path / "a", store_schema=False)
        (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes().replace(b"name", b"nam\xff"))
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_file(tmp_path / "b", table.schema, options=options) as writer:
            writer.write_table(table)
        claimed = (4400).to_bytes(8, "little")  # bytes of all names
        assert claimed in (tmp_path / "b").read_bytes()
        data = (tmp_path / "b").read_bytes().replace(claimed, (1 << 40).to_bytes(8, "little"))
        (tmp_path / "b").write_bytes(data)
        found = list(find([tmp_path]))

        assert [store.kind for store in found] == ["parquet", "arrow"]
        assert all(store.cannot_read for store in found)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_files_without_permission_are_said_to_be_unreadable(self, tmp_path, rows):
        """Rights that keep us out are a finding."""
        (tmp_path / "a").write_bytes(_csv(rows))
        (tmp_path / "a").chmod(0)

        assert (_only(tmp_path).kind, _only(tmp_path).cannot_read) == (
            "unreadable",
            "cannot read: Permission denied",
        )

    def test_a_root_that_is_not_there_is_said(self, tmp_path):
        """A misspelt root is not an estate without undeclared stores."""
        assert _only(tmp_path / "gone").cannot_read == "cannot read: No such file or directory"

    def test_damage_anywhere_never_stops_the_walk(self, tmp_path, rows):
        """Bytes flipped and ends cut in every format: each file is looked at or said to be unreadable."""
        good = tmp_path / "good"
        good.mkdir()
        _database(good / "sqlite", rows)
        table = pa.table(dict(zip("ab", zip(*rows, strict=True), strict=True)))
        pa.parquet.write_table(table, good / "parquet")
        with pa.ipc.new_file(str(good / "arrow"), table.schema) as writer:
            writer.write_table(table)
        with zipfile.ZipFile(good / "zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x", _csv(rows))
        (good / "gzip").write_bytes(gzip.compress(_csv(rows)))
        (good / "dump").write_bytes(_dump(rows))
        (good / "json").write_bytes(b'{"a": "\\ud800"}\n{"a": 1}\n')
        draw = random.Random(3)
        for path in sorted(good.iterdir()):
            for at in range(12):
                (tmp_path / f"{path.name}-{at}").write_bytes(_damaged(path.read_bytes(), draw))

        assert len(list(find([tmp_path]))) >= 60


def _damaged(data: bytes, draw: random.Random) -> bytes:
    """The first 16 bytes stay, so that the format is still recognised."""
    changed = bytearray(data)
    for _ in range(20):
        changed[draw.randrange(min(16, len(changed) - 1), len(changed))] ^= 1 << draw.randrange(8)
    return bytes(
        changed if draw.random() < 0.5 else changed[: draw.randrange(len(changed) // 2, len(changed))]
    )


def test_no_value_and_no_path_is_in_the_repr(tmp_path, rows):
    """A finding may be logged: neither people nor their file names are in it."""
    path = tmp_path / f"{rows[0][1]}_{rows[0][0]}"
    path.write_bytes(_csv(rows))
    found = _only(tmp_path)

    assert found.path == path
    assert "resident-id" in repr(found)
    assert not [value for row in rows for value in row if value in repr(found)]
    assert str(tmp_path) not in repr(found)
