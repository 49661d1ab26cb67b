"""An operator tells every lie we know, as well as it can be told; each is refused by its name."""

from __future__ import annotations

import re

import pytest

from cenotaph.testing.ceremony import AUDITORS, OPERATOR, Ceremony, as_stream
from cenotaph.testing.lying import SHARED, LyingOperator, Uncaught
from cenotaph_proof import history, verify
from cenotaph_proof.bundle import read
from cenotaph_proof.errors import (
    FormatError,
    LogError,
    OrderError,
    ProofError,
    SignatureError,
    ThresholdError,
)
from cenotaph_proof.trust import Trust

LIES: dict[str, tuple[type[ProofError], str, str]] = {
    "fewer_collections": (
        OrderError,
        "verify 7",
        "the certificate says other than its statements: it lists 1 stores, not 2",
    ),
    "padded_counts": (OrderError, "verify 7", "the certificate says other than its statements: destroyed"),
    "grade_rounded_up": (
        OrderError,
        "verify 7",
        "the certificate says other than its statements: reached of store health",
    ),
    "left_out_hidden": (
        OrderError,
        "verify 7",
        "the certificate says other than its statements: collections of store visits",
    ),
    "limits_struck_out": (OrderError, "verify 7", "the certificate says other than its statements: limits"),
    "another_case": (OrderError, "verify 4", "there is no certificate: the case stands at its probe"),
    "without_probe": (OrderError, "verify 4", "there is no accepted probe of the latest destruction"),
    "without_citing_the_probe": (
        OrderError,
        "verify 4",
        "the certificate does not cite the accepted probes it stands on",
    ),
    "certificate_of_an_older_head": (
        OrderError,
        "verify 4",
        "a statement names a checkpoint that does not hold what it speaks of",
    ),
    "swapped_plan": (ThresholdError, "verify 4", "the plan has 0 of 1 accepted challenges"),
    "approvals_of_another_plan": (
        OrderError,
        "verify 4",
        "Audit Co approves a plan that is not the newest one",
    ),
    "expired_approvals": (
        ThresholdError,
        "verify 4",
        "the approval of Audit Co, Zhao & Partners has expired",
    ),
    "withdrawn_approval": (
        ThresholdError,
        "verify 4",
        "notary Zhao & Partners has not",
    ),
    "withdrawn_charter": (
        ThresholdError,
        "verify 4",
        "the charter is no longer countersigned by Zhao & Partners",
    ),
    "unsigned_charter": (
        ThresholdError,
        "verify 4",
        "the charter is not countersigned by notary Zhao & Partners",
    ),
    "widened_plan": (OrderError, "verify 4", "after destruction began a plan may only become narrower"),
    "hold_ignored": (OrderError, "verify 4", "collection 1 of store visits was destroyed outside the plan"),
    "hold_forgotten": (
        OrderError,
        "verify 4",
        "the plan for store visits holds or keeps other records than were surveyed",
    ),
    "erased_before_notice": (OrderError, "verify 4", "the notice period is not over: 518400 s are missing"),
    "erased_before_approval": (
        ThresholdError,
        "verify 4",
        "auditor Audit Co has not, notary Zhao & Partners has not",
    ),
    "sealed_after_erasing": (OrderError, "verify 4", "the notice period is not over: 172800 s are missing"),
    "one_destroyed_two_claimed": (
        OrderError,
        "verify 4",
        "the plan for store health leaves out other records than were surveyed",
    ),
    "owner_not_asked": (
        ThresholdError,
        "verify 4",
        "the plan has shared actions that Host Co did not approve",
    ),
    "another_owner_asked": (
        OrderError,
        "verify 4",
        "the plan for store health has a shared action by another owner than its own",
    ),
    "undeclared_shared_action": (
        OrderError,
        "verify 4",
        "the plan for store health has a shared action the charter forbids",
    ),
    "totals_not_under_the_root": (
        FormatError,
        "verify 7",
        "the seal's stores do not add up to the estate's root or totals",
    ),
    "records_of_nothing": (
        FormatError,
        "verify 7",
        "the seal of store health counts records of no collection",
    ),
    "merged_large_collections": (
        FormatError,
        "verify 7",
        "the seal of store health merges collections that are not small",
    ),
    "one_huge_chunk": (
        FormatError,
        "verify 7",
        "the seal of store health has more records than its chunks can hold, or fewer",
    ),
    "more_destroyed_than_sealed": (
        OrderError,
        "verify 4",
        "more records of store visits were destroyed than were sealed",
    ),
    "said_complete": (
        FormatError,
        "verify 4",
        "a destruction says it is complete although records of store visits are missing",
    ),
    "seal_of_an_older_inventory": (OrderError, "verify 4", "the plan follows a seal of an older inventory"),
    "swapped_seal": (OrderError, "verify 4", "the plan is older than the newest survey or seal"),
    "another_draw": (
        OrderError,
        "verify 4",
        "the challenge of store health did not draw what the nonce picks",
    ),
    "fewer_chunks_drawn": (
        OrderError,
        "verify 4",
        "the challenge of store health did not draw what the nonce picks",
    ),
    "chunks_that_did_not_match": (
        OrderError,
        "verify 4",
        "a challenge accepts store health although chunks did not match",
    ),
    "outside_records_missing": (
        OrderError,
        "verify 4",
        "a challenge accepts although outside records are missing",
    ),
    "outside_records_not_brought": (
        OrderError,
        "verify 4",
        "auditor Audit Co brings other outside records than it committed to",
    ),
    "nothing_read": (OrderError, "verify 4", "auditor Audit Co accepts a seal without having read any store"),
    "nonce_not_the_committed_one": (
        OrderError,
        "verify 4",
        "auditor Audit Co reveals a nonce other than the one committed to before the",
    ),
    "nonce_revealed_too_early": (
        OrderError,
        "verify 4",
        "a statement names a checkpoint that does not hold what it speaks of",
    ),
    "nonce_revealed_late": (ThresholdError, "verify 4", "the plan has 0 of 1 accepted challenges"),
    "second_challenge_after_destroying": (OrderError, "verify 4", "a new challenge after destruction began"),
    "mended_after_the_draw": (
        OrderError,
        "verify 4",
        "auditor Audit Co has rejected this seal, and its draw is known",
    ),
    "rejection_left_behind": (OrderError, "verify 4", "the challenge was rejected by auditor Audit Co"),
    "one_nonce_for_two_seals": (OrderError, "verify 4", "auditor Audit Co uses one nonce for two seals"),
    "anothers_nonce": (OrderError, "verify 4", "auditor Second Audit Co uses another's nonce"),
    "one_nonce_for_two_probes": (
        OrderError,
        "verify 4",
        "auditor Audit Co uses one nonce for two destructions",
    ),
    "residue_graded_clean": (
        OrderError,
        "verify 4",
        "a probe grants store health L2 although it found residue",
    ),
    "restored_graded_clean": (
        OrderError,
        "verify 4",
        "a probe grants store health L2 although records could be restored",
    ),
    "probed_elsewhere": (OrderError, "verify 4", "a probe does not cover the charter's stores"),
    "probed_for_nothing": (
        OrderError,
        "verify 4",
        "a probe grants store health L2 without anything to search",
    ),
    "probe_without_recall": (
        OrderError,
        "verify 7",
        "the certificate says other than its statements: reached of store health;",
    ),
    "store_not_read": (
        OrderError,
        "verify 7",
        "the certificate says other than its statements: reached of store health",
    ),
    "no_auditor_read": (
        OrderError,
        "verify 7",
        "the certificate says other than its statements: reached of store visits",
    ),
    "probed_before_the_last_run": (
        OrderError,
        "verify 4",
        "there is no accepted probe of the latest destruction",
    ),
    "rejection_washed_away": (
        OrderError,
        "verify 4",
        "the latest probe of Second Audit Co rejects the destruction",
    ),
    "rejected_probe_dropped": (
        OrderError,
        "verify 4",
        "names a checkpoint that has no quorum of cosignatures",
    ),
    "nothing_destroyed_but_clean": (
        OrderError,
        "verify 7",
        "the certificate says other than its statements: reached of store visits",
    ),
    "clean_without_a_volume": (
        OrderError,
        "verify 4",
        "the plan grants store visits L3 without a volume that can be clean",
    ),
    "clean_on_a_volume_that_cannot_be": (
        OrderError,
        "verify 4",
        "the plan grants store health L3 without a volume that can be clean",
    ),
    "others_write_there": (
        OrderError,
        "verify 4",
        "the plan grants volume retired L3 while others may write to it",
    ),
    "volume_owner_not_asked": (
        ThresholdError,
        "verify 4",
        "the plan has shared actions that Host Co did not approve",
    ),
    "volume_owner_got_round": (
        OrderError,
        "verify 4",
        "the plan wipes volume retired of store health without its owner's free_space",
    ),
    "volume_of_a_friend": (
        OrderError,
        "verify 4",
        "the plan wipes volume retired of store health without its owner's free_space",
    ),
    "volume_of_nothing": (OrderError, "verify 4", "volume neighbour of the plan holds no store"),
    "store_on_two_volumes": (FormatError, "verify 4", "the plan puts store health on a volume twice"),
    "volume_added_while_narrowing": (ThresholdError, "verify 4", "the plan has 0 of 1 accepted challenges"),
    "volume_swapped_while_narrowing": (
        OrderError,
        "verify 4",
        "after destruction began a plan may only become narrower",
    ),
    "volume_outside_the_plan": (
        OrderError,
        "verify 4",
        "a destruction wipes a volume that the plan does not name",
    ),
    "wiped_in_another_way": (
        OrderError,
        "verify 4",
        "volume retired was wiped in a way that the plan does not name",
    ),
    "blank_beyond_free": (
        FormatError,
        "verify 4",
        "a destruction counts more blank blocks than free ones on volume retired",
    ),
    "volume_never_wiped": (
        OrderError,
        "verify 7",
        "the certificate says other than its statements: reached of store health; why not higher",
    ),
    "erased_after_the_wiping": (
        OrderError,
        "verify 7",
        "the certificate says other than its statements: reached of store health; why not higher",
    ),
    "rewritten_after_the_wiping": (
        OrderError,
        "verify 7",
        "the certificate says other than its statements: reached of store health; why not higher",
    ),
    "wiping_that_failed": (
        OrderError,
        "verify 7",
        "the certificate says other than its statements: reached of store health; why not higher",
    ),
    "volume_not_probed": (OrderError, "verify 4", "a probe does not cover the plan's volumes"),
    "volume_probed_for_fewer_stores": (OrderError, "verify 4", "a probe does not cover the plan's volumes"),
    "store_cleaner_than_its_volume": (
        OrderError,
        "verify 4",
        "a probe grants store health L3 although no volume of it was found clean",
    ),
    "moving_volume_clean": (
        OrderError,
        "verify 4",
        "a probe grants volume retired L3 although it was moving",
    ),
    "volume_half_read": (
        OrderError,
        "verify 4",
        "a probe grants volume retired L3 although not all of it was read",
    ),
    "volume_with_bad_blocks": (
        OrderError,
        "verify 4",
        "a probe grants volume retired L3 although not all of it was read",
    ),
    "smaller_volume_probed": (
        OrderError,
        "verify 4",
        "a probe grants volume retired L3 although it is not the volume that was planned",
    ),
    "residue_on_a_clean_volume": (
        OrderError,
        "verify 4",
        "a probe grants volume retired L3 although it found residue",
    ),
    "hits_without_residue": (
        OrderError,
        "verify 4",
        "a probe grants volume retired L3 although it found residue",
    ),
    "strangers_on_a_clean_volume": (
        OrderError,
        "verify 4",
        "a probe grants volume retired L3 although it found residue",
    ),
    "nothing_restored_nothing_tried": (
        OrderError,
        "verify 4",
        "a probe grants volume retired L3 although nobody tried to restore anything",
    ),
    "restored_and_clean": (
        OrderError,
        "verify 4",
        "a probe grants volume retired L3 although an attempt to restore brought something back",
    ),
    "referee_overruled": (
        OrderError,
        "verify 4",
        "a probe grants volume retired L3 although an outside tool found what the search did not",
    ),
    "referee_explained_away": (
        OrderError,
        "verify 4",
        "a probe grants volume retired L3 although an outside tool found what the search did not",
    ),
    "volume_searched_blindly": (
        OrderError,
        "verify 4",
        "a probe grants volume retired L3 although nothing shows that the search finds what was",
    ),
    "blind_in_one_place": (
        OrderError,
        "verify 4",
        "a probe grants volume retired L3 although nothing shows that the search finds what was",
    ),
    "volume_searched_for_nothing": (
        OrderError,
        "verify 4",
        "a probe grants volume retired L3 although there was nothing to search for",
    ),
    "more_read_than_there_is": (
        FormatError,
        "verify 4",
        "the probe of volume retired counts more bytes than there are",
    ),
    "read_without_reading": (
        FormatError,
        "verify 4",
        "the probe of volume retired counts bytes of what was not read",
    ),
    "more_missed_than_found": (
        FormatError,
        "verify 4",
        "the probe of volume retired counts more missed values than were found",
    ),
    "more_planted_found_than_planted": (
        FormatError,
        "verify 4",
        "a recall finds more values than were sampled",
    ),
    "empty_list_of_volumes": (
        FormatError,
        "verify 1",
        "plan.volumes must be left out where there is nothing to list",
    ),
    "volume_left_out": (
        OrderError,
        "verify 7",
        "the certificate says other than its statements: it lists 0 volumes, not 1",
    ),
    "referee_invented": (
        OrderError,
        "verify 7",
        "the certificate says other than its statements: referees of volume retired",
    ),
    "limit_of_volumes_struck_out": (
        OrderError,
        "verify 7",
        "the certificate says other than its statements: limits",
    ),
    "beyond_what_can_be_shown": (
        OrderError,
        "verify 7",
        "the certificate says other than its statements: reached of store health",
    ),
    "one_auditor_outvoted": (
        OrderError,
        "verify 7",
        "the certificate says other than its statements: reached of store health; why not higher",
    ),
    "one_organisation_two_keys": (
        FormatError,
        "verify 1",
        "organisation Audit Co is named twice; it has one key and one role",
    ),
    "one_organisation_two_roles": (
        FormatError,
        "verify 1",
        "organisation Audit Co is named twice; it has one key and one role",
    ),
    "one_key_two_organisations": (FormatError, "verify 1", "Second Audit Co and Audit Co have the same key"),
    "signed_by_the_operator": (
        SignatureError,
        "verify 3",
        "Big Data Bureau, operator, may sign no approval",
    ),
    "wrong_role": (SignatureError, "verify 3", "Zhao & Partners, notary, may sign no probe"),
    "words_in_anothers_mouth": (
        SignatureError,
        "verify 3",
        "a testimony is signed by another party than it names",
    ),
    "empty_contact": (FormatError, "verify 4", "the charter names an empty contact"),
    "step_of_no_app": (OrderError, "verify 4", "the plan switches off an app that the charter does not name"),
    "copy_of_no_recipient": (
        OrderError,
        "verify 4",
        "the plan has a copy gone from a recipient that the charter does not name",
    ),
    "step_twice": (FormatError, "verify 4", "the plan names a step twice"),
    "step_for_nobody": (
        FormatError,
        "verify 4",
        "a step of the plan names nobody who is to testify, or a role twice",
    ),
    "objection_foreseen": (FormatError, "verify 4", "the plan foresees an objection or its answer as a step"),
    "step_dropped": (ThresholdError, "verify 4", "the plan has 0 of 1 accepted challenges"),
    "step_dropped_between_runs": (
        OrderError,
        "verify 4",
        "after destruction began a plan may only become narrower",
    ),
    "app_of_no_charter": (OrderError, "verify 4", "a probe looks at an app that the charter does not name"),
    "answer_to_nothing": (OrderError, "verify 4", "an answer cites no objection"),
    "answer_to_a_witness": (OrderError, "verify 4", "an answer cites no objection"),
    "answer_about_something_else": (
        OrderError,
        "verify 4",
        "an answer is about something else than the objection",
    ),
    "one_answer_to_two": (
        FormatError,
        "verify 4",
        "a testimony statement cites 2 testimony statements, not one",
    ),
    "answered_by_a_log_witness": (
        OrderError,
        "verify 4",
        "an objection is answered by Daily Paper, a log-witness",
    ),
    "testimony_propped_up": (OrderError, "verify 4", "a testimony cites another one and is no answer to it"),
    "reason_in_the_wrong_place": (
        FormatError,
        "verify 4",
        "a testimony gives a reason where there is none to give",
    ),
    "empty_reason": (FormatError, "verify 4", "a testimony gives a reason where there is none to give"),
    "one_photograph_twice": (FormatError, "verify 4", "a testimony names a file of evidence twice"),
    "backdated_testimony": (OrderError, "verify 4", "a testimony is backdated: older than what it cites"),
    "testimony_after_the_end": (
        OrderError,
        "verify 4",
        "the case is closed: its certificate has been issued",
    ),
    "empty_list_of_steps": (
        FormatError,
        "verify 1",
        "plan.steps must be left out where there is nothing to list",
    ),
    "too_few_cosignatures": (
        ThresholdError,
        "verify 6",
        "the checkpoint over the certificate lacks its quorum of log witnesses",
    ),
    "backdated_probe": (OrderError, "verify 4", "a probe is backdated: older than what it cites"),
    "backdated_certificate": (OrderError, "verify 4", "a certificate is backdated: older than what it cites"),
    "postdated_destruction": (
        OrderError,
        "verify 4",
        "a destruction is dated after the log witnesses saw it",
    ),
    "witness_clock_back": (OrderError, "verify 4", "checkpoints go back in time"),
    "overlapping_runs": (OrderError, "verify 4", "a destruction starts before the one before it was over"),
    "checkpoint_of_another_history": (LogError, "verify 5", "does not cover the log's entries as they are"),
    "another_log": (OrderError, "verify 4", "the charter names a log that is not its operator's"),
    "abandoned_attempt_hidden": (
        OrderError,
        "verify 4",
        "hides an earlier attempt: the log holds 1 open charters before it, the",
    ),
    "abandoned_attempt_closed_by_a_forgery": (OrderError, "verify 4", "hides an earlier attempt"),
    "attempt_under_one_name": (OrderError, "verify 4", "the log holds 2 charters of this case, not one"),
    "truncated": (FormatError, "verify 1", "the proof file is cut off, or too large"),
    "stops_at_the_probe": (OrderError, "verify 4", "there is no certificate: the case stands at its probe"),
    "certificate_not_yet_witnessed": (
        ThresholdError,
        "verify 6",
        "the checkpoint over the certificate lacks its quorum of log witnesses",
    ),
    "statement_dropped": (LogError, "verify 5", "does not cover the log's entries as they are"),
    "statement_twice": (OrderError, "verify 4", "this approval is in the log twice"),
    "statements_reordered": (LogError, "verify 5", "does not cover the log's entries as they are"),
    "statement_filed_elsewhere": (
        OrderError,
        "verify 4",
        "a destruction cites a charter that is not in the log before it",
    ),
    "detached_part_swapped": (
        FormatError,
        "verify 1",
        "a statement's detached part is missing from the proof file",
    ),
    "detached_part_missing": (
        FormatError,
        "verify 1",
        "a statement's detached part is missing from the proof file",
    ),
    "weaker_charter": (
        ThresholdError,
        "verify 2",
        "fewer approvals or witnesses than the trust file: notary",
    ),
    "no_witness": (ThresholdError, "verify 4", "without one nobody can tell when"),
    "no_bound": (FormatError, "verify 4", "the charter's bound and confidence must lie between 0 and 1"),
    "endless_draw": (FormatError, "verify 4", "draws more than 1,000,000 chunks of a store"),
    "doubled_policy": (FormatError, "verify 4", "names a role twice"),
}
ELSEWHERE = {  # told by tests of their own below: they need another trust file, or a second reader
    "invented_witness",
    "probed_by_a_friend",
    "read_by_a_friend",
    "second_history",
    "weaker_bound",
}


@pytest.fixture(scope="module")
def everybody() -> Trust:
    """A trust file that names every honest party of every ceremony."""
    return Ceremony(auditors=2, witness=3, estate=SHARED).trust(witness=1)


def refused(proof: bytes, trust: Trust | None) -> ProofError:
    with pytest.raises(ProofError) as caught:
        verify.verify(as_stream(proof), trust)
    return caught.value


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_by_its_name(lie: str, everybody: Trust) -> None:
    """Each lie fails at its own step, with an error that says what the lie is."""
    error, step, words = LIES[lie]

    found = refused(getattr(LyingOperator(), lie)(), everybody)

    assert type(found) is error
    assert found.step == step
    assert re.search(re.escape(words), found.message), found.message


def test_every_lie_is_tested() -> None:
    """A lie that is added without a test here would be told for nothing."""
    told = {name for name in vars(LyingOperator) if not name.startswith("_")} - {"honest"}

    assert told == set(LIES) | ELSEWHERE
    assert len(told) >= 20


def test_the_honest_case_verifies(everybody: Trust) -> None:
    """What the lies depart from is accepted: a verifier that refuses everything would catch every lie."""
    assert verify.verify(as_stream(Ceremony().run().proof()), everybody).exit_code == 0


def test_without_a_trust_file_a_lie_is_refused_all_the_same() -> None:
    """Only lies about who somebody is need a trust file to be seen."""
    for lie in ("padded_counts", "hold_ignored", "erased_before_notice", "rejected_probe_dropped"):
        assert refused(getattr(LyingOperator(), lie)(), None).step


def test_a_witness_whom_the_trust_file_lacks_is_not_counted() -> None:
    """A friend of the operator cosigned: there is no quorum, so nothing has a time."""
    trust = Ceremony().trust()
    without = Trust(
        tuple(p for p in trust.parties if p.role != "log-witness"), trust.approve, 1, trust.clock_skew
    )

    found = refused(LyingOperator().invented_witness(), without)

    assert type(found) is OrderError
    assert "names a checkpoint that has no quorum of cosignatures" in found.message


def test_an_operator_whom_the_trust_file_lacks_is_refused() -> None:
    """A whole case by another key under the operator's name does not verify."""
    trust = Ceremony().trust()
    other = Trust(
        tuple(p for p in trust.parties if p.organisation != OPERATOR),
        trust.approve,
        1,
        trust.clock_skew,
    )

    found = refused(Ceremony().run().proof(), other)

    assert "does not hold this key as the key of operator" in found.message
    assert found.step == "verify 2"


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ("probed_by_a_friend", "too few auditors of the trust file accepted the destruction"),
        ("read_by_a_friend", "do not bear out L2 for health"),
    ],
)
def test_an_auditor_whom_the_trust_file_lacks_lifts_no_grade(lie: str, words: str) -> None:
    """The charter may name any auditor; a certificate stands on those whom its reader knows."""
    trust = Ceremony().trust()
    assert AUDITORS[1] not in {p.organisation for p in trust.parties}

    found = refused(getattr(LyingOperator(), lie)(), trust)

    assert type(found) is ThresholdError
    assert words in found.message


def test_a_charter_with_a_looser_bound_than_the_trust_file_is_refused() -> None:
    """A reader who wants 1 % at 99 % is not served with 20 % at 90 %."""
    trust = Ceremony().trust(chunks=459)

    found = refused(LyingOperator().weaker_bound(), trust)

    assert type(found) is ThresholdError
    assert "draws 11 chunks of a store, the trust file asks for 459" in found.message


def test_two_histories_convict_the_operator(everybody: Trust) -> None:
    """Each of two logs verifies by itself; held together they prove that the operator signed both."""
    first, second = LyingOperator().second_history()
    for proof in (first, second):
        assert verify.verify(as_stream(proof), everybody).exit_code == 0

    with pytest.raises(LogError, match="signed two histories: they agree on 5 statements"):
        history.compare(read(as_stream(first)), read(as_stream(second)), everybody)


# ── what verifies although it is a lie ───────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "lie",
    [
        "copied_before_the_seal",
        "auditors_collude",
        "false_start_time",
        "key_kept",
        "checkpoints_left_out",
        "another_device_shown",
        "snapshot_below_the_device",
        "quiesced_by_word",
        "written_after_the_probe",
        "auditors_collude_on_a_volume",
        "shown_to_the_auditor_alone",
        "testified_falsely",
    ],
)
def test_a_lie_outside_the_proof_passes(lie: str, everybody: Trust) -> None:
    """docs/limits.md lists it: no statement contradicts it, so no verifier can."""
    assert verify.verify(as_stream(getattr(Uncaught(), lie)()), everybody).exit_code == 0


@pytest.mark.parametrize("lie", ["another_device_shown", "snapshot_below_the_device", "quiesced_by_word"])
def test_what_l3_cannot_show_stands_in_its_verdict(lie: str, everybody: Trust) -> None:
    """A reader of an L3 that was lied for is told what nobody could check."""
    verdict = verify.verify(as_stream(getattr(Uncaught(), lie)()), everybody)

    assert verdict.certificate.stores[0].reached == "L3"
    open_ends = [f.text for f in verdict.not_shown]
    assert "That volume retired, as auditors were shown it, is the one that held health." in open_ends
    assert any("of nothing below and nothing later" in text for text in open_ends)


def test_one_party_under_two_names_passes_when_the_trust_file_has_both() -> None:
    """Keys carry no passport: who is behind two names is for the trust file's author to know."""
    proof, ceremony = Uncaught().one_party_two_names()

    assert verify.verify(as_stream(proof), ceremony.trust(approve={"auditor": 1, "notary": 1})).exit_code == 0


def test_an_earlier_and_a_later_proof_file_of_one_log_agree(everybody: Trust) -> None:
    """A proof file from before the certificate is a prefix of the one after it, and convicts nobody."""
    case = Ceremony().run(last="probe")
    before = case.bundle()
    case.certify()

    assert history.compare(before, case.bundle(), everybody) == len(before.entries)
