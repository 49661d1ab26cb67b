"""Policies: which witnesses are enough, read strictly and bounded."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from some_keys import a_key

from cenotaph_proof import note, policy
from cenotaph_proof.errors import FormatError
from cenotaph_proof.policy import Policy

KEYS = {name: note.witness_note_key(a_key(name, "log-witness").public) for name in "ABCDEF"}
LOG = note.operator_note_key(a_key("Big Data Bureau", "operator").public)
LINES = "".join(f"witness {name} {key.to_text()}\n" for name, key in KEYS.items())


def read(text: str) -> Policy:
    return Policy.parse(text.encode())


def reached(quorum: str, **times: int) -> int | None:
    """The time at which a quorum over the six witnesses is complete."""
    return read(f"{LINES}{quorum}").time({KEYS[name]: time for name, time in times.items()})


def test_a_quorum_of_one():
    """The witness that is named, and no other."""
    assert reached("quorum A\n", A=5) == 5
    assert reached("quorum A\n", B=5) is None


def test_none_is_asked_for():
    """Then no time is needed, and no witness need be named."""
    assert reached("quorum none\n") == 0
    assert read("quorum none\n").time({}) == 0


@pytest.mark.parametrize(
    ("rule", "times", "expected"),
    [
        ("any A B C", {"C": 9, "B": 7}, 7),
        ("any A B C", {"D": 1}, None),
        ("all A B C", {"A": 3, "B": 7, "C": 5}, 7),
        ("all A B C", {"A": 3, "B": 7}, None),
        ("2 A B C", {"A": 3, "B": 7, "C": 5}, 5),
        ("2 A B C", {"A": 3}, None),
        ("1 A", {"A": 3}, 3),
    ],
)
def test_groups(rule, times, expected):
    """All, any or k of the members; the time is that of the k-th of them."""
    assert reached(f"group g {rule}\nquorum g\n", **times) == expected


def test_groups_within_groups():
    """Two of the universities and any newspaper: the example of the specification."""
    rule = "group X 2 A B C\ngroup Y any D E\ngroup both all X Y\nquorum both\n"
    assert reached(rule, A=10, B=30, D=20) == 30
    assert reached(rule, A=10, B=11, C=12, D=20) == 20
    assert reached(rule, A=10, B=11, C=12) is None
    assert reached(rule, A=10, D=11, E=12) is None


def test_deep_nesting_takes_no_stack():
    """256 groups, each in the next."""
    groups = ["group g0 any A", *(f"group g{n} all g{n - 1}" for n in range(1, policy.MAX_DEFINED))]
    text = LINES + "\n".join(groups) + f"\nquorum g{policy.MAX_DEFINED - 1}\n"
    assert read(text).time({KEYS["A"]: 4}) == 4


@given(st.integers(1, 6), st.dictionaries(st.sampled_from("ABCDEF"), st.integers(1, 50)))
@settings(max_examples=60, deadline=None)
def test_the_time_is_the_first_at_which_the_rule_holds(k, times):
    """Against the definition: the earliest moment at which k members had cosigned."""
    moments = [t for t in range(1, 51) if sum(when <= t for when in times.values()) >= k]
    assert reached(f"group g {k} A B C D E F\nquorum g\n", **times) == (moments[0] if moments else None)


def test_spaces_comments_addresses_and_order():
    """Tabs and spaces part words; comments and empty lines say nothing; addresses are passed over."""
    text = (
        f"# who watches\n\n \t\n  witness\tA  {KEYS['A'].to_text()}   https://example.org/a \n"
        f"log {LOG.to_text()} https://example.org/log\n\t# the rule\nquorum \t A\n"
    )
    parsed = read(text)
    assert parsed.logs == (LOG,)
    assert parsed.witnesses == (policy.Witness(b"A", KEYS["A"]),)
    assert parsed.quorum == b"A"


def test_names_are_bytes():
    """K and the Kelvin sign are two names; bytes that are no UTF-8 are a name too."""
    names = [b"K", "\u212a".encode(), b"\xff\xfe"]
    lines = [
        b"witness %b %b\n" % (n, k.to_text().encode()) for n, k in zip(names, KEYS.values(), strict=False)
    ]
    parsed = Policy.parse(b"".join(lines) + b"quorum \xff\xfe\n")
    assert [witness.name for witness in parsed.witnesses] == names
    assert parsed.quorum == b"\xff\xfe"


A, B, D = (f"witness {name} {KEYS[name].to_text()}\n" for name in "ABD")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "exactly one quorum"),
        (A, "exactly one quorum"),
        (A + "quorum A\nquorum A\n", "exactly one quorum"),
        (A + "quorum A", "does not end with a line feed"),
        (A + "quorum B\n", "not defined"),
        ("quorum A\n" + A, "line 1 of the policy: .*not defined"),
        (A + "quorum A B\n", "one name"),
        (A + "quorum\n", "one name"),
        (A + A.replace("witness A", "witness A2") + "quorum A\n", "line 2.*already"),
        (A + B.replace("witness B", "witness A") + "quorum A\n", "name is taken"),
        (A.replace("witness A", "witness none") + "quorum none\n", "name is taken"),
        ("witness A\nquorum A\n", "a name, a key"),
        (A.replace("\n", " x y\n") + "quorum A\n", "a name, a key"),
        (f"log\n{A}quorum A\n", "a key and perhaps"),
        (f"log {LOG.to_text()}\nlog {LOG.to_text()}\n{A}quorum A\n", "already"),
        (f"log {KEYS['A'].to_text()}\nquorum none\n", "not for this kind of line"),
        (f"witness A {LOG.to_text()}\nquorum A\n", "not for this kind of line"),
        ("witness A Big+00000000+AAAA\nquorum A\n", "line 1"),
        (A + "group g\nquorum g\n", "a name, a number"),
        (A + "group g any\nquorum g\n", "a name, a number"),
        (A + "group g 0 A\nquorum g\n", "threshold"),
        (A + "group g 2 A\nquorum g\n", "threshold"),
        (A + "group g 01 A\nquorum g\n", "threshold"),
        (A + "group g +1 A\nquorum g\n", "threshold"),
        (A + "group g ١ A\nquorum g\n", "threshold"),
        (A + "group g 1000 A\nquorum g\n", "threshold"),
        (A + "group g Any A\nquorum g\n", "threshold"),
        (A + "group g any none\nquorum g\n", "not defined"),
        (A + "group g any g\nquorum g\n", "not defined"),
        (A + "group g any A A\nquorum g\n", "a member of a group already"),
        (A + "group g any A\ngroup h any A\nquorum g\n", "a member of a group already"),
        (A + "group A any A\nquorum A\n", "name is taken"),
        (A + "group none any A\nquorum A\n", "name is taken"),
        (A + "groups g any A\nquorum g\n", "none of log"),
        (A + "Quorum A\n", "none of log"),
        (A + "quorum A\r\n", "control character"),
        (A + "quorum A\x00\n", "control character"),
        (A + "quorum A\x7f\n", "control character"),
        (A + "quorum\x0bA\n", "control character"),
    ],
)
def test_what_is_no_policy_is_refused(text, words):
    """Each with the line, so that its author can find it."""
    with pytest.raises(FormatError, match=words):
        read(text)


def test_a_policy_is_bounded():
    """Bytes and definitions."""
    with pytest.raises(FormatError, match="bytes"):
        read("#" * policy.MAX_BYTES + "\nquorum none\n")
    names = ["".join(pair) for pair in itertools.product("abcdefghijklmnopq", repeat=2)][:257]
    groups = "".join(f"group {name} any {before}\n" for before, name in itertools.pairwise(["A", *names]))
    with pytest.raises(FormatError, match="at most 256"):
        read(f"{A}{groups}quorum A\n")


@given(st.text(st.sampled_from("witness group quorum all any none AB12#\t\n ").map(str), max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_text_is_refused_or_a_policy(text):
    """And a policy answers without anybody's cosignature."""
    try:
        parsed = read(LINES + text)
    except FormatError:
        return
    assert parsed.time({}) == (0 if parsed.quorum is None else None)
