"""Acceptance of L3: what outside referees find on a whole volume, before a case and after it.

The size of the volume and the number of people a place come from the environment: `make volume` takes 1 GiB
and 1,000, the ordinary run less. With `-s` it prints a table of places.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import outside
import pytest
from volume_estate import VolumeEstate, build

from volume_images import LOOPS, Image, image

SIZE = {
    kind: int(os.environ.get("CENOTAPH_VOLUME_MIB", str(least))) << 20
    for kind, least in (("ext4", 256), ("xfs", 320))
}
PEOPLE = int(os.environ.get("CENOTAPH_VOLUME_PEOPLE", "60"))
OFFLINE = outside.missing("ext4") + outside.missing("xfs")

pytestmark = [
    LOOPS,
    pytest.mark.skipif(bool(OFFLINE), reason=f"not installed: {', '.join(OFFLINE)}"),
    pytest.mark.timeout(3600),
]


@dataclass(frozen=True)
class Ground:
    """A volume with its estate, and what each referee found on it before anything was destroyed."""

    image: Image
    estate: VolumeEstate
    before: Mapping[str, set[bytes]]


@pytest.fixture(scope="module", params=["ext4", "xfs"])
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A volume with its estate, mounted, after the referees saw it unmounted."""
    folder = tmp_path_factory.mktemp("volume")
    with image(folder, request.param, SIZE[request.param]) as scratch:
        estate = build(scratch.mount, PEOPLE)
        before = examine(scratch, estate, folder / "scratch")
        yield Ground(scratch, estate, before)


def examine(
    scratch: Image, estate: VolumeEstate, folder: Path, *, plant: bool = True
) -> dict[str, set[bytes]]:
    """What each referee finds on the unmounted volume; it is mounted again afterwards."""
    scratch.unmount()
    if plant:
        estate.plant_tails(scratch.device)
    scratch.drop_caches()
    found = outside.referees(scratch.file, scratch.kind, folder, estate.sought())
    scratch.mount_again()
    return found


def test_referees_find_nothing_on_a_volume_where_nothing_is(tmp_path: Path) -> None:
    """The control of the control: with the same values, no referee finds any on an empty volume."""
    with image(tmp_path, "ext4", 64 << 20) as scratch, image(tmp_path, "ext4", 64 << 20) as other:
        estate = build(other.mount, 5)
        found = examine(scratch, estate, tmp_path / "scratch", plant=False)

    assert set(found) == {"grep", "photorec", "scalpel", "foremost", "blkls", "icat 8", "fls -rd"}
    assert outside.union(found.values()) == set()


def test_referees_find_every_place_before(ground: Ground) -> None:
    """The union of the referees finds every person of every place before, or all that follows is void."""
    found = ground.estate.by_place(outside.union(ground.before.values()))

    assert {place: n for place, n in found.items() if n < PEOPLE} == {}
    assert len(found) > 45


def test_no_referee_finds_all(ground: Ground) -> None:
    """Each referee alone misses some place: it is their union that counts."""
    for name, found in ground.before.items():
        assert min(ground.estate.by_place(found).values()) < PEOPLE, name
