"""L3 is a chain of conditions on volumes; each is tried on its own. Whole lies are in tests/attacks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cenotaph.testing.ceremony import (
    AUDITORS,
    ON_VOLUME,
    OWNER,
    VOLUMES,
    Ceremony,
    Disk,
    Estate,
    as_stream,
    in_store,
    on_volume,
)
from cenotaph_proof import facts, report, statements, verify, volumes
from cenotaph_proof.case import Case
from cenotaph_proof.errors import FormatError, OrderError, ThresholdError
from cenotaph_proof.statements import (
    Destruction,
    Plan,
    Probe,
    ProbedVolume,
    Recall,
    Referee,
    SharedAction,
    VolumeAction,
)

BOTH = (
    Estate("health", (12_000,), shared=("free_space",)),
    Estate("visits", (5_000,), shared=("free_space",)),
)
ONE_DISK = (Disk("retired", ("health", "visits")),)
AUDITOR = AUDITORS[0]


def a_case(**settings: Any) -> Ceremony:
    return Ceremony(**{"estate": ON_VOLUME, "volumes": VOLUMES, **settings})


def verdict(c: Ceremony) -> verify.Verdict:
    return verify.verify(as_stream(c.proof()), c.trust())


def reached(c: Ceremony, store: str = "health") -> tuple[str, str]:
    """What follows for a store, as operator and verifier compute it."""
    (found,) = [s for s in c.certificate_body().stores if s.name == store]
    return found.reached, found.why_not_higher


# ── the honest ways ──────────────────────────────────────────────────────────────────────────────


def test_a_store_on_a_volume_that_was_found_clean_has_l3() -> None:
    """Approved, erased, wiped, frozen, read whole, nothing found, nothing restored: L3 for it alone."""
    found = verdict(a_case().run())

    assert [(s.name, s.reached) for s in found.certificate.stores] == [("health", "L3"), ("visits", "L2")]
    (volume,) = found.certificate.volumes or ()
    assert (volume.name, volume.stores, volume.reached) == ("retired", ("health",), "L3")
    assert (volume.read, volume.restores, volume.referees) == (1 << 30, 1, ("grep", "photorec"))


def test_a_volume_that_others_write_to_is_l2_with_the_reason() -> None:
    """Asked L3 and not quiesced: the case goes on, and the certificate says why not."""
    c = a_case(volumes=(Disk("retired", ("health",), quiesced=False),)).run()

    found = verdict(c)

    assert reached(c)[0] == "L2"
    assert "Volume retired reached L2, not L3: others may write to it." in [f.text for f in found.not_shown]


def test_a_case_without_volumes_says_nothing_of_them() -> None:
    """Proof files of L2 cases are what they were, to the byte: no member, no line, no limit."""
    c = Ceremony().run()
    found = verdict(c)

    assert found.certificate.volumes is None
    assert found.certificate.limits == facts.LIMITS
    assert b"volumes" not in c.proof()
    assert "volume" not in report.render(found).split("NOT SHOWN")[0]


def test_a_volume_that_was_never_wiped_may_be_probed_all_the_same() -> None:
    """A plan may name a volume and touch nothing on it: no consent is needed, and L3 is out of reach."""
    c = a_case(estate=(Estate("health", (12_000,)),), volumes=(Disk("retired", ("health",), quiesced=False),))
    c.run(last="seal")
    c.plan(volumes=on_volume(c.plan_body(), "retired", actions=()).volumes)
    c.run("challenge", "approve")
    c.destroy(volumes=None)
    c.run("probe")

    assert verdict(c).certificate.stores[0].reached == "L2"


def test_a_rejecting_probe_tells_what_the_volume_still_holds() -> None:
    """Residue on the volume sends the case to another run; wiped again and found clean, it has L3."""
    c = a_case().run(last="destroy")
    body = c.probe_body(AUDITOR)
    dirty = on_volume(body, "retired", residue=3, reached="L2", why_not_higher="3 values in the journal")
    stores = in_store(body, "health", reached="L2").stores
    c.probe(
        stores=stores,
        volumes=dirty.volumes,
        nonce=body.nonce,
        decision="reject",
        reasons=("residue",),
        share_destroyed=False,
    )
    again = tuple(replace(s, collections=()) for s in c.bodies["destruction"].stores)
    c.destroy(stores=again)
    c.run("probe")

    assert verdict(c).certificate.stores[0].reached == "L3"


def test_an_amended_plan_may_drop_a_volume() -> None:
    """Taking a volume out is narrowing: it needs nobody, and its stores are at L2 then."""
    c = a_case().run(last="approve")
    planned = in_store(c.plan_body(), "health", grade="L2", why_not_higher="amended", shared=())
    c.plan(volumes=None, stores=planned.stores)
    c.destroy(volumes=None)
    body = c.probe_body(AUDITOR)
    c.probe(stores=in_store(body, "health", reached="L2").stores, volumes=None, nonce=body.nonce)
    c.certify()

    assert verdict(c).certificate.volumes is None
    assert reached(c) == ("L2", "amended")


def test_the_owner_of_a_volume_must_approve() -> None:
    """Its free blocks are others' too: without the owner the gate stays shut, whatever the policy asks."""
    c = a_case().run(last="challenge")
    for name in c.countersigners():
        if name != OWNER:
            c.approve_plan(name)

    with pytest.raises(ThresholdError, match="shared actions that Host Co did not approve"):
        c.replay(Case).approved_plan(c.now)

    c.approve_plan(OWNER)
    assert OWNER in c.replay(Case).approved_plan(c.now).approved_by


# ── what keeps a store at L2 ─────────────────────────────────────────────────────────────────────


def test_no_volume_of_the_plan() -> None:
    """A store that everybody calls L3 and that stands on no volume is L2."""
    c = a_case().run(last="seal")
    c.plan(volumes=None)
    c.run("challenge", "approve")
    c.destroy(volumes=None)
    c.probe(volumes=None)

    assert reached(c) == ("L2", facts.NO_VOLUME)


def test_not_wiped_after_the_last_erasing() -> None:
    """A wiping is older than an erasing of another store on the same volume: both stores are L2."""
    c = a_case(estate=BOTH, volumes=ONE_DISK).run(last="approve")
    body = c.destruction_body()
    c.destroy(stores=body.stores[:1], complete=False)
    c.destroy(stores=body.stores[1:], volumes=None)
    c.probe()

    assert reached(c, "health") == reached(c, "visits") == ("L2", facts.NOT_WIPED)


def test_a_store_taken_from_the_volume_by_an_amended_plan_lies_there_all_the_same() -> None:
    """Between two runs one of two stores leaves the volume in the plan; erasing it frees blocks there."""
    c = a_case(estate=BOTH, volumes=ONE_DISK).run(last="approve")
    c.destroy(stores=c.destruction_body().stores[:1], complete=False)
    less = in_store(c.plan_body(), "visits", grade="L2", why_not_higher="amended")
    c.plan(stores=less.stores, volumes=on_volume(less, "retired", stores=("health",)).volumes)
    c.destroy(stores=in_store(c.destruction_body(), "visits", reached="L2").stores[1:], volumes=None)
    c.volumes = (Disk("retired", ("health",)),)
    c.probe()

    assert reached(c, "health") == ("L2", facts.NOT_WIPED)


def test_a_wiping_of_its_own_run_counts() -> None:
    """Erased in one run, wiped in the next, which erased nothing: L3."""
    c = a_case().run(last="approve")
    c.destroy(volumes=None)
    assert c.bodies["destruction"].complete
    c.destroy(stores=())
    c.run("probe")

    assert verdict(c).certificate.stores[0].reached == "L3"


@pytest.mark.parametrize("change", [{"overwritten": 4_096}, {"returned": 4_096}], ids=str)
def test_rewriting_after_the_wiping_counts_as_erasing(change: dict[str, int]) -> None:
    """A store that was compacted once more has freed blocks that nobody wiped."""
    c = a_case().run(last="destroy")
    quiet = tuple(
        replace(s, collections=(), overwritten=0, returned=0) for s in c.bodies["destruction"].stores
    )
    c.destroy(stores=quiet, volumes=None)
    c.probe()
    assert reached(c) == ("L3", "")

    c.destroy(stores=(replace(quiet[0], **change), *quiet[1:]), volumes=None)
    c.probe()
    assert reached(c) == ("L2", facts.NOT_WIPED)


def test_the_operators_own_account_is_believed_against_itself() -> None:
    """A run that says that its wiping fell short is L2, however clean a probe found the volume."""
    c = a_case().run(last="approve")
    body = on_volume(c.destruction_body(), "retired", reached="L2", why_not_higher="the journal stayed")
    c.destroy(volumes=body.volumes)
    c.probe()

    assert reached(c) == ("L2", "the journal stayed")


def test_every_auditor_who_read_the_store_must_have_found_its_volume_clean() -> None:
    """Two auditors, one of whom found the volume moving: the lower word counts."""
    c = a_case(auditors=2).run(last="destroy")
    body = c.probe_body(AUDITOR)
    moved = on_volume(body, "retired", state="moving", reached="L2", why_not_higher="it was moving")
    c.probe(
        AUDITOR,
        stores=in_store(body, "health", reached="L2", why_not_higher="it was moving").stores,
        volumes=moved.volumes,
        nonce=body.nonce,
    )
    c.probe(AUDITORS[1])

    assert reached(c) == ("L2", "it was moving")
    (volume,) = c.certificate_body().volumes or ()
    assert (volume.reached, volume.why_not_higher) == ("L2", "it was moving")


def test_the_fewest_of_several_probes_stand_in_the_certificate() -> None:
    """Bytes read and attempts made are those of the auditor who did least; tools are listed once."""
    c = a_case(auditors=2).run(last="destroy")
    body = c.probe_body(AUDITOR)
    (given,) = body.volumes or ()
    less = on_volume(
        body,
        "retired",
        read=5,
        reached="L2",
        restores=(),
        referees=(*given.referees, Referee("foremost", "1", 0, 0, 0, "")),
    )
    c.probe(
        AUDITOR, stores=in_store(body, "health", reached="L2").stores, volumes=less.volumes, nonce=body.nonce
    )
    c.probe(AUDITORS[1])

    (volume,) = c.certificate_body().volumes or ()
    assert (volume.read, volume.restores) == (5, 0)
    assert volume.referees == ("grep", "photorec", "foremost")


def test_residue_below_the_files_lowers_no_grade_of_files() -> None:
    """What is left in free blocks keeps a store at L2, not at L1: its files were found clean."""
    c = a_case().run(last="destroy")
    body = c.probe_body(AUDITOR)
    dirty = on_volume(body, "retired", residue=9, reached="none", why_not_higher="9 values in free blocks")
    c.probe(stores=in_store(body, "health", reached="L2").stores, volumes=dirty.volumes, nonce=body.nonce)

    assert reached(c)[0] == "L2"
    (volume,) = c.certificate_body().volumes or ()
    assert volume.reached == "none"


def test_more_than_l3_is_never_certified() -> None:
    """No statement of this version speaks of a medium, so nobody's word lifts a store above L3."""
    c = a_case()
    c.open(stores=in_store(c.charter_body(), "health", grade="L4").stores)
    c.countersign()
    c.survey(stores=in_store(c.inventory_body(), "health", reachable="L4").stores)
    c.seal()
    planned = on_volume(in_store(c.plan_body(), "health", grade="L4"), "retired", grade="L4")
    c.plan(stores=planned.stores, volumes=planned.volumes)
    c.run("challenge", "approve")
    run = on_volume(in_store(c.destruction_body(), "health", reached="L4"), "retired", reached="L4")
    c.destroy(stores=run.stores, volumes=run.volumes)
    body = c.probe_body(AUDITOR)
    found = on_volume(in_store(body, "health", reached="L4"), "retired", reached="L4")
    c.probe(stores=found.stores, volumes=found.volumes, nonce=body.nonce)
    c.certify()

    assert reached(c) == ("L3", facts.NO_MORE)
    assert "Store health reached L3, not L4" in "\n".join(f.text for f in verdict(c).not_shown)


# ── plan, destruction, probe, each by itself ─────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def told() -> Ceremony:
    """An honest case whose bodies the checks below are given with one change."""
    return a_case().run()


def plan_of(c: Ceremony) -> Plan:
    body: Plan = c.bodies["plan"]
    return body


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stores": ("elsewhere",)}, "holds a store that the plan does not name"),
        ({"stores": ()}, "volume retired of the plan holds no store"),
        ({"stores": ("health", "health")}, "puts store health on a volume twice"),
        ({"stores": ("health", "visits")}, "volume retired of store visits without its owner's free_space"),
        ({"quiesced": False}, "grants volume retired L3 while others may write to it"),
        ({"grade": "L1"}, "grants store health L3 without a volume that can be clean"),
        ({"owner": "Somebody"}, "without its owner's free_space"),
        ({"owner": "Somebody", "actions": ()}, "without its owner's free_space"),
    ],
    ids=str,
)
def test_a_plan_is_refused(told: Ceremony, change: dict[str, Any], words: str) -> None:
    """Each rule of spec/plan.md on volumes, broken alone."""
    volumes.check_plan(plan_of(told))

    with pytest.raises((OrderError, FormatError), match=words):
        volumes.check_plan(on_volume(plan_of(told), "retired", **change))


def test_a_volume_does_not_go_by_a_stores_name(told: Ceremony) -> None:
    """What is measured on a volume would count as recall of the store."""
    with pytest.raises(FormatError, match="names a volume as it names a store"):
        volumes.check_plan(on_volume(plan_of(told), "retired", name="visits"))


def test_two_volumes_of_one_name_are_refused(told: Ceremony) -> None:
    """A name means one volume."""
    (volume,) = plan_of(told).volumes or ()

    with pytest.raises(FormatError, match="names a volume twice"):
        volumes.check_plan(replace(plan_of(told), volumes=(volume, volume)))


@pytest.mark.parametrize(
    ("change", "narrower"),
    [
        ({}, True),
        ({"actions": ("journal",)}, True),
        ({"actions": ("journal", "snapshots")}, False),
        ({"stores": ("health", "visits")}, False),
        ({"owner": "Somebody"}, False),
        ({"bytes": 5}, False),
        ({"filesystem": "xfs"}, False),
        ({"quiesced": False, "grade": "L2"}, True),
        ({"name": "another"}, False),
    ],
    ids=str,
)
def test_narrowing(told: Ceremony, change: dict[str, Any], narrower: bool) -> None:
    """A plan narrows if it does no more, to no more, and to the same volume."""
    old = plan_of(told)

    assert Case.narrows(on_volume(old, "retired", **change), old) is narrower


def test_quiesced_cannot_be_added_while_narrowing(told: Ceremony) -> None:
    """Where others write, headroom is left; to fill it too needs the owner's word anew."""
    old = on_volume(plan_of(told), "retired", quiesced=False)

    assert not Case.narrows(plan_of(told), old)
    assert Case.narrows(replace(old, volumes=None), old)
    assert not Case.narrows(old, replace(old, volumes=None))


@pytest.mark.parametrize("kind", ["trim", "fill", "directories", "file tails", "journal"])
def test_a_run_wipes_in_the_ways_of_its_plan(told: Ceremony, kind: str) -> None:
    """Trim and fill are the two ways to wipe free blocks; the others go by their own name."""
    actions = (VolumeAction(kind, 1, 4_096),)
    run: Destruction = on_volume(told.bodies["destruction"], "retired", actions=actions)
    named = "free blocks" if kind in ("trim", "fill") else kind

    volumes.check_destruction(run, on_volume(plan_of(told), "retired", actions=(named,)))

    with pytest.raises(OrderError, match="in a way that the plan does not name"):
        volumes.check_destruction(run, on_volume(plan_of(told), "retired", actions=("something",)))


def test_volumes_of_a_run_stand_once_in_the_plans_order() -> None:
    """One way to write: no volume twice, none before another that the plan names first."""
    disks = (Disk("first", ("health",)), Disk("second", ("visits",)))
    c = a_case(estate=BOTH, volumes=disks).run()
    run: Destruction = c.bodies["destruction"]
    one, two = run.volumes or ()

    volumes.check_destruction(replace(run, volumes=(two,)), plan_of(c))
    for wrong in ((two, one), (one, one)):
        with pytest.raises(FormatError, match="once each, in the plan's order"):
            volumes.check_destruction(replace(run, volumes=wrong), plan_of(c))


@pytest.mark.parametrize(
    "change",
    [
        {"state": "read-only"},
        {"kept_elsewhere": 7, "referees": (Referee("grep", "3.8", 1 << 30, 7, 0, ""),)},
        {"referees": ()},
        {"recall": (Recall("x", "free blocks", "utf-8", 9, 9), Recall("x", "free blocks", "packed", 9, 0))},
        {"recall": (Recall("x", "free blocks", "utf-8", 9, 1), Recall("x", "file tails", "utf-8", 0, 0))},
        {"blank": 0},
        {"why_not_higher": "volumes, not media"},
    ],
    ids=str,
)
def test_what_does_not_speak_against_l3(told: Ceremony, change: dict[str, Any]) -> None:
    """Kept values may be found by others too; a place where nothing was planted counts for nothing."""
    volumes.check_probe(on_volume(told.bodies["probe"], "retired", **change), plan_of(told))


@pytest.mark.parametrize("state", ["moving", "not read"])
def test_a_volume_below_l3_may_be_anything(told: Ceremony, state: Any) -> None:
    """What could not be read, or was not clean, is told and not refused: only L3 has conditions."""
    probe: Probe = told.bodies["probe"]
    (given,) = probe.volumes or ()
    changed: ProbedVolume = replace(
        given,
        state=state,
        read=0,
        residue=7,
        strangers=2,
        reached="L2",
        recall=(),
        restores=(),
        referees=(),
        unreachable=("all of it",),
    )
    lower = in_store(probe, "health", reached="L2")

    volumes.check_probe(replace(lower, volumes=(changed,)), plan_of(told))

    with pytest.raises(OrderError, match="although no volume of it was found clean"):
        volumes.check_probe(replace(probe, volumes=(changed,)), plan_of(told))


@pytest.mark.parametrize("change", [{"free": 1 << 31}, {"blank": 1 << 30}], ids=str)
def test_parts_are_not_larger_than_the_whole(told: Ceremony, change: dict[str, int]) -> None:
    """Numbers that cannot have been counted are refused, whatever the grade."""
    probe = in_store(told.bodies["probe"], "health", reached="L2")

    with pytest.raises(FormatError, match="counts more bytes than there are"):
        volumes.check_probe(on_volume(probe, "retired", reached="L2", **change), plan_of(told))


def test_a_probe_of_a_plan_without_volumes_names_none(told: Ceremony) -> None:
    """Nobody may add a volume at the end that no plan announced."""
    probe: Probe = told.bodies["probe"]

    with pytest.raises(OrderError, match="does not cover the plan's volumes"):
        volumes.check_probe(probe, replace(plan_of(told), volumes=None))


def test_a_shared_action_alone_needs_no_volume(told: Ceremony) -> None:
    """`free_space` of a store at L2 may stand in a plan that names no volume: nothing is wiped then."""
    stores = in_store(plan_of(told), "health", grade="L2").stores
    assert SharedAction("free_space", OWNER) in stores[0].shared

    volumes.check_plan(replace(plan_of(told), stores=stores, volumes=None))


# ── how it is written and told ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["plan", "destruction", "probe", "certificate"])
def test_volumes_are_written_one_way(told: Ceremony, kind: str) -> None:
    """With volumes the member is there; without it is left out, and an empty list is refused."""
    body = told.bodies[kind]
    value = statements.to_json(body)
    assert statements.from_json(type(body), value, kind) == body

    without = {k: v for k, v in value.items() if k != "volumes"}
    assert statements.from_json(type(body), without, kind).volumes is None
    with pytest.raises(FormatError, match=rf"{kind}\.volumes must be left out where there is nothing"):
        statements.from_json(type(body), {**value, "volumes": []}, kind)


def test_the_verdict_tells_all_that_l3_rests_on(told: Ceremony) -> None:
    """Bytes, state, attempts, outside tools and the worst recall: attested, by name, and never proven."""
    found = verdict(told)
    said = "\n".join(f.text for f in found.attested)

    assert "operator Big Data Bureau wiped volume retired: directories (2, 8,192 bytes), fill (1," in said
    assert (
        "auditor Audit Co read 1,073,741,824 of 1,073,741,824 bytes of volume retired (ext4, frozen;" in said
    )
    assert "1 attempt to restore (cenotaph 0.1.0) brought back 0 values" in said
    assert (
        "outside tools (grep 3.8, photorec 7.1) found at most 0 values, and 0 that the search missed" in said
    )
    assert "found 39 of 40 values planted on a scratch volume, so with 95 % confidence at least 67 %" in said
    assert "(file system journal, utf-8); granted L3" in said
    assert not any("volume" in f.text for f in found.proven)


def test_what_was_sampled_on_the_volume_itself_is_told_apart() -> None:
    """Values found before destruction are no planted ones; where they were found is no recall of its own."""
    c = a_case().run(last="destroy")
    body = c.probe_body(AUDITOR)
    (given,) = body.volumes or ()
    rows = (Recall("retired", "any place", "any", 40, 38), Recall("retired", "free blocks", "any", 40, 2))
    c.probe(volumes=on_volume(body, "retired", recall=(*rows, *given.recall)).volumes, nonce=body.nonce)
    c.certify()

    (said,) = [f.text for f in verdict(c).attested if "of volume retired" in f.text]

    assert "at least 67 % in its worst place" in said
    assert "; found 38 of 40 sampled values before destruction; granted L3" in said


def test_a_volumes_recall_in_a_challenge_is_no_stores_recall() -> None:
    """A challenge that measured the volume too says of the stores what it would have said without."""
    c = a_case().run(last="plan")
    body = c.challenge_body(AUDITOR)
    c.challenge(recall=(*body.recall, Recall("retired", "any place", "any", 40, 1)), nonce=body.nonce)
    c.run("approve")

    found = verdict(c)

    assert any("found 80 of 80 sampled values raw" in f.text for f in found.attested)
    assert found.recall == {"health": 92, "visits": 92}


def test_the_verdict_tells_what_was_not_done() -> None:
    """No attempt, no outside tool, no recall, not read: each in words."""
    c = a_case(auditors=2, volumes=(Disk("retired", ("health",), quiesced=False),)).run(last="destroy")
    body = c.probe_body(AUDITOR)
    bare = on_volume(
        body, "retired", restores=(), referees=(), recall=(), unreachable=("8 blocks gave errors",)
    )
    bare = on_volume(bare, "retired", notes=("no undelete tool is installed",))
    c.probe(AUDITOR, volumes=bare.volumes, nonce=body.nonce)
    body = c.probe_body(AUDITORS[1])
    unread = on_volume(body, "retired", state="not read", read=0, why_not_higher="no right to read it")
    c.probe(AUDITORS[1], volumes=unread.volumes, nonce=body.nonce)
    c.certify()

    found = verdict(c)
    said = "\n".join(f.text for f in found.attested)

    assert "nothing was tried to restore; no outside tool was run; recall not measured; granted L2" in said
    assert "auditor Second Audit Co could not read volume retired: no right to read it" in said
    not_shown = [f.text for f in found.not_shown]
    assert "Not reached on volume retired: 8 blocks gave errors" in not_shown
    assert "Noted of volume retired: no undelete tool is installed" in not_shown


def test_l3_without_an_outside_tool_says_so() -> None:
    """Outside tools are no condition, and their absence is no secret."""
    c = a_case().run(last="destroy")
    body = c.probe_body(AUDITOR)
    c.probe(volumes=on_volume(body, "retired", referees=()).volumes, nonce=body.nonce)
    c.certify()

    found = verdict(c)

    assert found.certificate.stores[0].reached == "L3"
    assert "No outside tool was run on volume retired." in [f.text for f in found.not_shown]


def test_the_table_and_the_json_have_the_volumes(told: Ceremony) -> None:
    """Both readers, the person and the machine, see the volume beside the stores."""
    found = verdict(told)

    text = report.render(found)
    assert (
        "retired                             L3       1,073,741,824               1  grep, photorec" in text
    )
    assert report.to_json(found)["volumes"] == [
        {
            "name": "retired",
            "stores": ["health"],
            "grade_reached": "L3",
            "why_not_higher": "",
            "bytes_read": 1 << 30,
            "restores": 1,
            "referees": ["grep", "photorec"],
        }
    ]


def test_a_difference_in_a_volume_is_named(told: Ceremony) -> None:
    """Where a certificate departs, the error says in which field of which volume."""
    honest = told.bodies["certificate"]

    assert facts.difference(on_volume(honest, "retired", read=1), honest) == "read of volume retired"
    assert facts.difference(replace(honest, volumes=None), honest) == "it lists 0 volumes, not 1"
