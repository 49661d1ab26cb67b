"""What a plan says of volumes, when one is wiped, and what a case file must say. No device is touched."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from cenotaph import config, terrain, wiping
from cenotaph.errors import UsageError
from cenotaph.journal import Entry
from cenotaph.stages.plan import describe
from cenotaph.volume import identify
from cenotaph.volume.model import Volume
from cenotaph_proof.statements import Plan, PlanStore, PlanVolume
from small_case import PARTIES, STORES, SmallCase, build_estate

OWNED = (*PARTIES, ("Host Co", "owner", "host"))
L3 = 'grade = "L3"\nshared = ["free_space"]\n'
VOLUME = '[[volume]]\npath = "../estate"\nowner = "Host Co"\nquiesced = {quiesced}\n\n'

Mounted = Callable[..., None]


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch) -> Mounted:
    """Make `identify` see a volume at the estate's folder, as a test wants it."""

    def see(**changes: object) -> None:
        volume = Volume(
            mount=Path("/"),
            device=Path("/dev/null"),
            number=1,
            kind="ext4",
            options=frozenset(),
            size=1 << 30,
            block=4096,
            discards=True,
            refusal="",
        )
        found = dataclasses.replace(volume, **changes)  # type: ignore[arg-type]  # fields by name
        monkeypatch.setattr(identify, "identify", lambda path: found)
        monkeypatch.setattr(identify, "holds", lambda volume, path: "estate" in path.parts)
        monkeypatch.setattr(identify, "mixed", lambda volume, folder: False)

    return see


def planned(root: Path, *, stores: str = STORES, volume: str = VOLUME.format(quiesced="true")) -> SmallCase:
    build_estate(root / "estate")
    case = SmallCase.make(root, stores + volume, parties=OWNED)
    for step in ("open", "countersign-auditor", "countersign-notary"):
        case.steps()[step]()
    case.countersign("host")
    case.go("survey", "plan")
    return case


def asking(*names: str) -> str:
    """The stores, of which these ask for L3."""
    text = STORES
    for name in names:
        text = text.replace(f'name = "{name}"\n', f'name = "{name}"\n{L3}')
    return text


def body(case: SmallCase) -> Plan:
    return case.now().require(Plan).body(Plan)


def test_stores_that_ask_and_lie_on_a_volume_are_planned_with_it(tmp_path, mounted):
    """The volume is named once, with its stores; each of these has the shared action of its owner."""
    mounted()
    plan = body(planned(tmp_path, stores=asking("health", "export")))

    (volume,) = plan.volumes or ()
    assert (volume.name, volume.owner, volume.stores) == ("disk 1", "Host Co", ("health", "export"))
    assert volume.grade == "L3"
    assert volume.actions == terrain.ACTIONS
    assert all([(a.kind, a.owner) for a in s.shared] == [("free_space", "Host Co")] for s in plan.stores)


def test_a_store_that_does_not_ask_is_not_on_the_volume(tmp_path, mounted):
    """Nothing shared is done for a store whose case does not list it, and its plan has no such action."""
    mounted()
    plan = body(planned(tmp_path, stores=asking("health")))

    assert plan.volumes is not None
    assert plan.volumes[0].stores == ("health",)
    assert [s.name for s in plan.stores if s.shared] == ["health"]


def test_a_case_without_volumes_has_none_in_its_plan(tmp_path):
    """The member is left out: plans up to L2 are what they were."""
    assert body(planned(tmp_path, volume="")).volumes is None


def test_a_volume_that_is_not_quiesced_limits_its_stores(tmp_path, mounted):
    """It is wiped, with headroom; L3 is not promised, and the reason says what would raise it."""
    mounted()
    case = planned(tmp_path, stores=asking("export"), volume=VOLUME.format(quiesced="false"))

    (volume,) = body(case).volumes or ()
    assert (volume.grade, volume.why_not_higher) == ("L2", terrain.NOT_QUIESCED)
    assert volume.actions
    assert "leaving headroom" in "\n".join(describe(case.now()))


def test_a_refused_volume_is_named_with_its_reason_and_not_wiped(tmp_path, mounted):
    """What copies on write is never wiped, and nobody need approve that it is."""
    mounted(kind="btrfs", refusal="btrfs copies on write")
    case = planned(tmp_path, stores=asking("export"))

    (volume,) = body(case).volumes or ()
    assert (volume.grade, volume.why_not_higher, volume.actions) == ("L2", "btrfs copies on write", ())
    assert not any(s.shared for s in body(case).stores)
    assert "nothing of it is wiped" in "\n".join(describe(case.now()))


def test_a_volume_that_holds_the_case_is_not_wiped(tmp_path, mounted, monkeypatch):
    """A fill to the last byte would take the room that the journal of the case needs."""
    mounted()
    monkeypatch.setattr(identify, "holds", lambda volume, path: True)

    (volume,) = body(planned(tmp_path, stores=asking("export"))).volumes or ()
    assert (volume.grade, volume.why_not_higher, volume.actions) == ("L2", terrain.HOLDS_CASE, ())


def test_what_stays_unseen_is_said_in_the_plan(tmp_path, mounted):
    """Whoever approves reads that something on the volume is left out of the search."""
    mounted()
    case = planned(
        tmp_path,
        stores=asking("export"),
        volume=VOLUME.format(quiesced="true").strip() + '\nkept = ["../other"]\n\n',
    )

    assert (body(case).volumes or ())[0].kept == 1
    assert "1 files or folders of it stay" in "\n".join(describe(case.now()))


# ── the case file ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("volume", "says"),
    [
        (VOLUME.replace("Host Co", "Nobody").format(quiesced="true"), "is no party of role owner"),
        (VOLUME.format(quiesced="true") * 2, "two [[volume]] tables"),
        (VOLUME.format(quiesced="true").replace("path", 'name = "health"\npath'), "both named health"),
        (VOLUME.format(quiesced='true\nkept = ["../estate/export/old"]'), "lie in each other"),
    ],
)
def test_a_volume_that_makes_no_sense_is_refused_at_reading(tmp_path, volume, says):
    """Before anything is signed, in words that name what is wrong."""
    build_estate(tmp_path / "estate")
    case = SmallCase.make(tmp_path, STORES + volume, parties=OWNED)

    with pytest.raises(UsageError, match=says.replace("[", r"\[")):
        config.load(case.path / "case.toml")


def test_a_path_that_is_no_mount_point_is_refused_by_name(tmp_path):
    """A folder of somebody else's volume is never taken for a volume."""
    build_estate(tmp_path / "estate")
    case = SmallCase.make(tmp_path, asking("export") + VOLUME.format(quiesced="true"), parties=OWNED)

    with pytest.raises(UsageError, match="disk 1"):
        terrain.grounds(config.load(case.path / "case.toml"))


# ── when a volume is due ─────────────────────────────────────────────────────────────────────────

VOL = PlanVolume("disk 1", "Host Co", "ext4", 1, ("a", "b"), True, 0, "L3", "", terrain.ACTIONS)


def plan_store(name: str, *destroy: int) -> PlanStore:
    return PlanStore(name, "L3", "", destroy, len(destroy), 0, 0, (), (), ())


def lines(*what: str) -> list[Entry]:
    """Journal lines, each "kind store"."""
    split = [line.split(" ", 1) for line in what]
    return [Entry(n, 0, kind, store, 0, 0, {}, "") for n, (kind, store) in enumerate(split, 1)]


@pytest.mark.parametrize(
    ("what", "due"),
    [
        ((), False),
        (("done a", "reclaimed a"), False),
        (("done a", "reclaimed a", "done b", "reclaimed b"), True),
        (("done a", "reclaimed a", "done b", "reclaimed b", "wiping disk 1"), True),
        (("done a", "reclaimed a", "done b", "reclaimed b", "wiping disk 1", "wiped disk 1"), False),
        (("done a", "reclaimed a", "done b", "reclaimed b", "wiped disk 1", "reclaimed a"), True),
        (("done a", "reclaimed a", "done b", "reclaimed b", "begun b"), False),
    ],
)
def test_a_volume_is_wiped_once_all_its_stores_are_reclaimed_and_not_twice(what, due):
    """Not before the last of them, again after any of them freed blocks again, and after a kill."""
    stores = [plan_store("a", 0), plan_store("b", 0)]

    assert wiping.is_due(VOL, stores, lines(*what), 0, False) is due


def test_a_store_of_which_nothing_goes_keeps_no_volume_waiting():
    """It is never reclaimed, since it is never erased."""
    stores = [plan_store("a", 0), plan_store("b")]

    assert wiping.is_due(VOL, stores, lines("done a", "reclaimed a"), 0, False)


def test_a_probe_that_rejected_wants_the_volume_wiped_again():
    """What was wiped before the rejection does not count."""
    stores = [plan_store("a", 0), plan_store("b", 0)]
    done = lines("done a", "reclaimed a", "done b", "reclaimed b", "wiped disk 1")

    assert not wiping.is_due(VOL, stores, done, 5, False)
    assert wiping.is_due(VOL, stores, done, 5, True)
