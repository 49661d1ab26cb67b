"""One small case, and its site as it was published after each step."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cenotaph.stages.publish import publish
from small_case import STORES, Clock, SmallCase, build_estate

TABLES = (
    STORES
    + """\
[[app]]
name = "健康码"
purpose = "movement permission"
stores = ["health", "export"]
retire = true

[[app]]
name = "Venue code"
purpose = "contact tracing"
stores = ["export"]

[[hold]]
by = "District court"
reference = "case 21-443"
stores = ["health"]
collections = ["codes"]

[[kept]]
name = "Death certificates"
why = "the archives act"

[[recipient]]
name = "Statistics Office"
why = "yearly report"

"""
)
CONTACT = "objections@bureau.example"
NOTICE = 72 * 3600
TAKEN = ("open", "survey", "plan", "admitted", "destroy", "probe", "certify")


@dataclass(frozen=True, slots=True)
class Published:
    """A case that went its whole way, and copies of its site by the step after which it was published."""

    case: SmallCase
    clock: Clock
    at: Mapping[str, Path]
    begins: int  # before which nothing may be destroyed

    @property
    def site(self) -> Path:
        return self.at["certify"]


def publish_every_step(root: Path) -> Published:
    """Take a case its whole way below `root`, publishing after each of `TAKEN`."""
    build_estate(root / "estate")
    clock = Clock()
    case = SmallCase.make(root, TABLES, clock=clock, notice="72h")
    path = case.path / "case.toml"
    path.write_text(
        path.read_text("utf-8").replace(
            "[case]\n", f'[case]\ncontact = "{CONTACT}"\nbasis = "purpose achieved"\n'
        ),
        "utf-8",
    )
    at: dict[str, Path] = {}
    case.go("open", "open")
    at["open"] = _keep(case, "open")
    case.go("countersign-auditor", "survey")
    at["survey"] = _keep(case, "survey")
    case.go("seal", "plan")
    at["plan"] = _keep(case, "plan")
    case.go("challenge", "approve-notary")
    case.admit()
    at["admitted"] = _keep(case, "admitted")
    begins = max(c.time for c in case.now().cosigned) + NOTICE
    clock.now = begins + 60
    case.destroy()
    at["destroy"] = _keep(case, "destroy")
    case.probe()
    case.admit()
    at["probe"] = _keep(case, "probe")
    case.certify()
    at["certify"] = _keep(case, "certify")
    return Published(case, clock, at, begins)


def _keep(case: SmallCase, step: str) -> Path:
    """Publish over what was published before, as an operator does, and keep a copy."""
    publish(case.desk(), case.root / "site")
    kept = case.root / f"site-after-{step}"
    shutil.copytree(case.root / "site", kept)
    return kept
