"""Referees: outside tools find what is there, it is held against what we found; living files are nobody's."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import subprocess
import zipfile
from collections.abc import Iterable, Set
from pathlib import Path

import lz4.frame
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from volume_bytes import identities, needles_of, volume_file, volume_of

from cenotaph.residue import outside, referees
from cenotaph.residue.needles import Needles
from cenotaph.volume import blocks, raw
from cenotaph.volume.identify import identify
from cenotaph.volume.model import Map, Place
from cenotaph.volume.raw import Raw
from cenotaph_proof.statements import Referee
from volume_images import LOOPS, image

pytestmark = pytest.mark.slow

MIB = 1 << 20
CARVERS = ("photorec", "scalpel", "foremost")
INSTALLED = {name: outside.installed(name) is not None for name in ("grep", "strings", "blkls", *CARVERS)}


def needs(*names: str) -> pytest.MarkDecorator:
    missing = [name for name in names if not INSTALLED[name]]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def ruled(
    volume: Raw, scratch: Path, needles: Needles, found: Set[int] = frozenset(), map_: Map | None = None
) -> dict[str, Referee]:
    """By name. The scratch folder is made, and must be empty in the end."""
    scratch.mkdir(exist_ok=True)
    given, _ = referees.referee(volume, map_ or volume.map, scratch, needles, found)
    assert list(scratch.iterdir()) == []
    return {referee.tool: referee for referee in given}


def values(given: dict[str, Referee]) -> dict[str, int]:
    return {name: referee.values for name, referee in given.items() if referee.values}


def lines(people: Iterable[str]) -> bytes:
    return "".join(f"{value},seen\n" for value in people).encode()


def zipped(people: Iterable[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("list.csv", lines(people))
    return buffer.getvalue()


def parquet(people: Iterable[str]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"id": list(people)}), buffer, compression="zstd")
    return buffer.getvalue()


@needs("grep", "strings", *CARVERS)
def test_between_them_the_referees_find_every_encoding(tmp_path):
    """Each encoding has people of its own; who finds whom is written down, and nobody is missed by all."""
    kinds = ("text", "utf-16le", "utf-16be", "gzip", "zip", "bzip2", "zstd", "lz4", "parquet")
    people = {kind: identities(nth, 60) for nth, kind in enumerate(kinds)}
    packed = {
        "text": lines(people["text"]),
        "utf-16le": lines(people["utf-16le"]).decode().encode("utf-16-le"),
        "utf-16be": lines(people["utf-16be"]).decode().encode("utf-16-be"),
        "gzip": gzip.compress(lines(people["gzip"])),
        "zip": zipped(people["zip"]),
        "bzip2": bz2.compress(lines(people["bzip2"])),
        "zstd": zstandard.compress(lines(people["zstd"])),
        "lz4": lz4.frame.compress(lines(people["lz4"])),
        "parquet": parquet(people["parquet"]),
    }
    file = volume_file(tmp_path / "volume", *((n * MIB // 2, packed[kind]) for n, kind in enumerate(kinds)))
    finders = {}
    with volume_of(file) as volume:
        for kind in kinds:
            given = ruled(volume, tmp_path / "scratch", needles_of(people[kind]))
            finders[kind] = {name for name, count in values(given).items() if count == 60}

    assert "GNU grep" in finders["text"]
    assert finders["utf-16le"] >= {"GNU strings, UTF-16"} <= finders["utf-16be"]
    assert finders["gzip"] >= {"photorec", "scalpel"} <= finders["zip"]
    assert all("scalpel" in finders[kind] for kind in ("bzip2", "zstd", "lz4", "parquet"))
    assert all(finders.values())


@needs("grep")
def test_what_our_search_had_not_found_is_missed(tmp_path):
    """`missed` counts needles that a referee found and we did not; it is 0 once we found them."""
    people = identities(1, 100)
    needles = needles_of(people)
    file = volume_file(tmp_path / "volume", (MIB, lines(people)))
    ours = set(range(100))

    with volume_of(file) as volume:
        blind = ruled(volume, tmp_path / "scratch", needles)["GNU grep"]
        half = ruled(volume, tmp_path / "scratch", needles, set(range(50)))["GNU grep"]
        sighted = ruled(volume, tmp_path / "scratch", needles, ours)["GNU grep"]

    assert [r.values for r in (blind, half, sighted)] == [100, 100, 100]
    assert [r.missed for r in (blind, half, sighted)] == [100, 50, 0]


@needs("grep", *CARVERS)
@pytest.mark.parametrize("place", [Place.STORES, Place.KEPT])
def test_living_files_are_nobodys_residue(tmp_path, place):
    """Plain and compressed bytes inside the stores' and the kept files count for no referee."""
    people = identities(1, 80)
    needles = needles_of(people)
    parts = ((MIB, lines(people)), (2 * MIB, gzip.compress(lines(people))), (3 * MIB, zipped(people)))
    file = volume_file(tmp_path / "volume", *parts)

    with volume_of(file) as volume:
        assert len(values(ruled(volume, tmp_path / "scratch", needles))) >= 4
    with volume_of(file, (MIB, 4 * MIB, place)) as volume:
        assert values(ruled(volume, tmp_path / "scratch", needles)) == {}


@needs("grep")
def test_a_find_that_reaches_out_of_a_living_file_is_cut_where_the_file_ends(tmp_path):
    """One run of letters from a kept file's last block into a free one: only the free part is residue."""
    kept, free = identities(1, 100), identities(2, 100)
    inside, behind = lines(kept).replace(b"\n", b" "), lines(free).replace(b"\n", b" ")
    file = volume_file(tmp_path / "volume", (MIB - len(inside), inside + behind))

    with volume_of(file, (MIB - 65536, MIB, Place.KEPT)) as volume:
        assert ruled(volume, tmp_path / "scratch", needles_of(kept))["GNU grep"].values == 0
        assert ruled(volume, tmp_path / "scratch", needles_of(free))["GNU grep"].values == 100


@needs("grep", "strings")
def test_names_in_chinese_are_found_in_three_encodings(tmp_path):
    """UTF-8 and GB18030 have no byte that grep ends a run at; few characters in UTF-16 have one."""
    names = [chr(0x4E00 + 7 * n) + chr(0x5000 + 11 * n) + chr(0x6000 + 13 * n) + "村" for n in range(300)]
    needles = needles_of(names)
    found = {}
    for encoding in ("utf-8", "gb18030", "utf-16-le", "utf-16-be"):
        data = "，".join(names).encode(encoding)
        with volume_of(volume_file(tmp_path / "volume", (MIB, data))) as volume:
            found[encoding] = values(ruled(volume, tmp_path / "scratch", needles))

    assert found["utf-8"]["GNU grep"] == found["gb18030"]["GNU grep"] == 300
    for encoding in ("utf-16-le", "utf-16-be"):
        assert found[encoding]["GNU grep"] > 280


@needs("grep")
def test_places_hold_far_behind_long_runs_of_zeros(tmp_path):
    """With `-z` grep skips them uncounted. What is kept at 900 MiB does not count, what is behind it does."""
    kept, free = identities(1, 10), identities(2, 10)
    file = volume_file(
        tmp_path / "volume", (900 * MIB, lines(kept)), (901 * MIB, lines(free)), size=1024 * MIB
    )
    grep = outside.installed("grep")
    assert grep is not None

    with volume_of(file) as volume:
        live = np.array([[900 * MIB, 901 * MIB]])
        bench = referees._Bench(volume, live, tmp_path, needles_of(kept, free[:5]))
        haul = referees._grep(bench, grep)

    assert isinstance(haul, outside.Haul)
    assert (len(haul.values), haul.ended) == (5, "")


@needs("grep", "blkls")
def test_without_the_right_to_the_device_grep_reads_through_our_descriptor(tmp_path):
    """What needs the device itself is listed as not run; the others still find what is there."""
    people = identities(1, 100)
    file = volume_file(tmp_path / "volume", (MIB, lines(people)))
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    with volume_of(file, kind="ext4", device=tmp_path / "nowhere") as volume:
        given, missing = referees.referee(volume, volume.map, scratch, needles_of(people), set())

    assert {r.tool: r.values for r in given}["GNU grep"] == 100
    assert [line for line in missing if "sleuthkit" in line and "was not run" in line]


def test_a_referee_that_is_not_installed_is_named(tmp_path, monkeypatch):
    """No tools at all: nobody ruled, and each is listed."""
    monkeypatch.setattr(outside, "installed", lambda name: None)
    file = volume_file(tmp_path / "volume")
    with volume_of(file) as volume:
        given, missing = referees.referee(volume, volume.map, tmp_path, needles_of(["x" * 5 + "yz"]), set())

    assert list(given) == []
    assert len(missing) == len(set(missing)) == 5
    assert all("is not installed" in line for line in missing)


@LOOPS
@needs("grep", "strings", "blkls", *CARVERS)
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_on_a_real_volume_referees_find_before_and_nothing_after(tmp_path, kind):
    """Deleted text, gzip, zip on a frozen volume; after fstrim no content is found by anybody."""
    people = identities(3, 100)
    needles = needles_of(people)
    kept = identities(4, 50)
    with image(tmp_path, kind) as made:
        (made.mount / "stays.csv").write_bytes(lines(kept))
        packed = {"a.csv": lines(people), "b.gz": gzip.compress(lines(people)), "c.zip": zipped(people)}
        for name, data in packed.items():
            (made.mount / name).write_bytes(data)
        os.sync()
        for name in packed:
            (made.mount / name).unlink()
        found = []
        for step in ("deleted", "trimmed"):
            if step == "trimmed":
                subprocess.run(["fstrim", str(made.mount)], check=True)
            with raw.opened(identify(made.mount), freeze=True) as volume:
                map_ = blocks.refine(
                    volume.map, volume.volume, stores=[], kept=[made.mount / "stays.csv"], folders=[]
                )
                found.append(ruled(volume, tmp_path / "scratch", needles, map_=map_))
                if step == "deleted":
                    others = ruled(volume, tmp_path / "scratch", needles_of(kept), map_=map_)
                assert (volume.state, volume.moved()) == ("frozen", False)
        before, after = found

    assert before["GNU grep"].values == before["photorec"].values == before["scalpel"].values == 100
    if kind == "ext4":
        assert before["sleuthkit blkls"].values == 100
        assert "sleuthkit icat, journal" in after
    assert values(after) == values(others) == {}
    assert all(referee.note == "" for referee in after.values())


@LOOPS
@needs("grep")
def test_a_tool_reads_the_disk_and_not_what_the_kernel_remembers_of_it(tmp_path):
    """The device was read before the file was overwritten: without dropping that, grep finds it still."""
    people = identities(5, 50)
    with image(tmp_path, "xfs") as made:
        path = made.mount / "list.csv"
        path.write_bytes(lines(people))
        os.sync()
        with path.open("rb") as handle:
            at = blocks.extents(handle.fileno())[0].physical
        with made.device.open("rb") as device:
            device.seek(at)
            assert people[0].encode() in device.read(4096)  # now in the device's own cache
            with path.open("r+b") as handle:
                handle.write(bytes(path.stat().st_size))
            os.sync()
            assert people[0].encode() in os.pread(device.fileno(), 4096, at)  # stale
            with raw.opened(identify(made.mount), freeze=True) as volume:
                given = ruled(volume, tmp_path / "scratch", needles_of(people))

    assert given["GNU grep"].values == 0


def test_ranges_outside_of_living_files():
    """What is left of a volume is disjoint, in order, and complete."""
    live = np.array([[0, 10], [20, 30], [90, 100]])

    assert outside.outside_of(live, 100).tolist() == [[10, 20], [30, 90]]
    assert outside.outside_of(outside.NOTHING, 100).tolist() == [[0, 100]]
