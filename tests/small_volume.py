"""A small case about a small volume, stage by stage in this process, so that a test can weaken a stage.

Its estate is one database and one folder of exports. What lies on the volume beside them, the test lays.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cenotaph.engines import local
from cenotaph.residue import calibrate
from cenotaph.stages.probe import Options, probe
from cenotaph.stores import open_reader
from cenotaph_proof.statements import Destruction, Plan, PlanVolume, Probe, ProbedVolume, WipedVolume
from small_case import PARTIES, POLICY, Person, SmallCase, csv, people, put, table, values
from volume_images import Image

OWNER = ("Host Co", "owner", "host")
STEPS = (
    *("open", "countersign-auditor", "countersign-notary", "countersign-owner", "survey", "seal", "plan"),
    *("challenge", "admit", "approve-auditor", "approve-notary", "approve-owner"),
    *("destroy", "probe", "certify"),
)
LIVE = people(0, 40)
OLD = people(0, 20)  # who were deleted elsewhere years ago, and whom the seal knows
EXPORTED = people(100, 20)


class SmallVolumeCase(SmallCase):
    """`SmallCase` with a `[[volume]]` and its owner. Make it with `lay`."""

    accept_lower = False

    @classmethod
    def lay(
        cls, root: Path, scratch: Image, *, quiesced: bool = True, kept: Sequence[Path] = ()
    ) -> SmallVolumeCase:
        """Put the stores on the volume, and write the case beside it."""
        table(scratch.mount / "apps/register.db", "residents", LIVE)
        put(scratch.mount / "exports/a.csv", csv(EXPORTED))
        stores = "".join(
            f'[[store]]\nname = "{name}"\nurl = "{url}"\ngrade = "L3"\nshared = ["free_space"]\n\n'
            for name, url in (
                ("register", f"sqlite:{scratch.mount}/apps/register.db"),
                ("exports", f"files:{scratch.mount}/exports"),
            )
        )
        stays = ", ".join(f'"{path}"' for path in kept)
        stores += (
            f'[[volume]]\nname = "disk"\npath = "{scratch.mount}"\nowner = "{OWNER[0]}"\n'
            f"quiesced = {str(quiesced).lower()}\nkept = [{stays}]\n\n"
        )
        root.mkdir(exist_ok=True)
        made = cls.make(root, stores, parties=(*PARTIES, OWNER), policy=POLICY)
        assert isinstance(made, SmallVolumeCase)
        return made

    def steps(self) -> dict[str, Any]:
        more = {
            "countersign-owner": lambda: self.countersign("host"),
            "approve-owner": lambda: self.approve("host"),
        }
        steps = {**super().steps(), **more}
        return {name: steps[name] for name in STEPS}

    def probe(self, addresses: dict[str, str] | None = None) -> Path:
        return probe(
            self.session(addresses=addresses), open_reader, options=Options(accept_lower=self.accept_lower)
        )

    def planned(self) -> PlanVolume:
        return _only(self.now().require(Plan).body(Plan).volumes)

    def wiped(self) -> WipedVolume:
        return _only(self.now().require(Destruction).body(Destruction).volumes)

    def probed(self) -> ProbedVolume:
        """The volume of the newest probe, once it is admitted."""
        self.admit()
        return _only(self.now().require(Probe).body(Probe).volumes)


def _only(volumes: Any) -> Any:
    assert volumes is not None
    assert len(volumes) == 1
    return volumes[0]


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Children that have what a test replaced: forked from here instead of from the fork server."""
    fork: Any = multiprocessing.get_context("fork")
    monkeypatch.setattr(fork, "set_forkserver_preload", lambda names: None, raising=False)
    monkeypatch.setattr(local.multiprocessing, "get_context", lambda method=None: fork)
    return monkeypatch


def deleted(path: Path, who: Sequence[Person], *, block: bool = False) -> None:
    """A file that was written out, and then deleted; with `block` each person fills a block."""
    lines = [p.line().encode() for p in who]
    put(path, b"".join(line.ljust(4096) for line in lines) if block else b"\n".join(lines))
    os.sync()
    path.unlink()
    os.sync()


def found(scratch: Image, who: Sequence[Person]) -> int:
    """How many values of these people GNU grep sees in the image, where the file system has written all."""
    scratch.drop_caches()
    patterns = b"\n".join(values(who)) + b"\n"
    line = ["grep", "-aohF", "-f", "-", str(scratch.file)]
    done = subprocess.run(line, input=patterns, capture_output=True, check=False, env={"LC_ALL": "C"})
    assert done.returncode in (0, 1), done.stderr
    return len(set(done.stdout.split(b"\n")) & set(values(who)))


def without_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recall is not what these tests are about, and another scratch volume takes its time."""
    monkeypatch.setattr(calibrate, "calibrate", lambda *_: ([], "left out in this test"))
