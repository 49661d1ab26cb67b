"""Two verifiers, one verdict: the same outcome, step and lines, also of what nobody foresaw."""

from __future__ import annotations

import base64
import functools
import io
import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest

from cenotaph_proof import report, statements, trust, verify
from cenotaph_proof.errors import ProofError
from cenotaph_proof.keys import SecretKey

FOLDER = Path(__file__).resolve().parents[2] / "vectors"
SCENARIOS = sorted((FOLDER / "proof").glob("*.json"))
ROUNDS = int(os.environ.get("CENOTAPH_FUZZ_ROUNDS", "1"))  # of each kind of change; each takes some seconds


def _python(proof: bytes, trust_file: Path | None) -> dict[str, Any]:
    """What the first verifier makes of it, in the shape of `Core.verify`."""
    held = trust.load(trust_file) if trust_file else None
    try:
        verdict = verify.verify(io.BytesIO(proof), held)
    except ProofError as error:
        return {"step": error.step, "refused": error.message}
    said = json.loads(json.dumps(report.to_json(verdict)))
    return {"answer": said | {"recall": dict(verdict.recall)}}


def _both(core: Any, proof: bytes, trust_name: str | None, what: str) -> dict[str, Any]:
    """The verdict that both give; fails where they differ, naming how the file was made."""
    path = FOLDER / "proof" / trust_name if trust_name else None
    ours = _python(proof, path)
    theirs = core.verify(proof, path.read_text("utf-8") if path else None)
    assert (theirs.get("step"), "refused" in theirs) == (ours.get("step"), "refused" in ours), (
        f"{what}: {ours.get('refused')} ≠ {theirs.get('refused')}"
    )
    assert theirs.get("answer") == ours.get("answer"), what
    return ours


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenarios_have_one_verdict(core, path):
    """Each scenario of `vectors/proof`: as expected, and the same from both, line by line."""
    case = json.loads(path.read_text("utf-8"))
    said = _both(core, case["proof"].encode(), case["trust"], path.stem)
    if case["expect"] == "does not verify":
        assert said["step"] == f"verify {case['step']}"
    else:
        assert said["answer"]["verdict"].startswith("verified" if case["trust"] else "consistent")


# ── bytes and lines ──────────────────────────────────────────────────────────────────────────────


def _flipped(lines: list[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    place = chance.randrange(len(lines[at]))
    changed = lines[at][place] ^ (1 << chance.randrange(8))
    lines[at] = lines[at][:place] + bytes([changed]) + lines[at][place + 1 :]


def _inside(lines: list[bytes], chance: random.Random) -> None:
    """A byte inside what a line carries: of an envelope, or of a note."""
    at = chance.randrange(1, len(lines))
    ((key, text),) = json.loads(lines[at]).items()
    data = bytearray(base64.b64decode(text) if key == "entry" else text.encode())
    data[chance.randrange(len(data))] = chance.choice(b'0123456789abcdef "{}[],:+/=\n')
    said = base64.b64encode(data).decode() if key == "entry" else data.decode("utf-8", "replace")
    lines[at] = _line({key: said})


def _dropped(lines: list[bytes], chance: random.Random) -> None:
    at = chance.randrange(1, len(lines))
    _count(lines, lines.pop(at), -1)


def _doubled(lines: list[bytes], chance: random.Random) -> None:
    at = chance.randrange(1, len(lines))
    lines.insert(at, lines[at])
    _count(lines, lines[at], 1)


def _swapped(lines: list[bytes], chance: random.Random) -> None:
    one, other = (chance.randrange(1, len(lines)) for _ in range(2))
    lines[one], lines[other] = lines[other], lines[one]


def _unsigned(lines: list[bytes], chance: random.Random) -> None:
    """A checkpoint loses, repeats or swaps a signature line."""
    at = chance.choice([i for i, line in enumerate(lines) if line.startswith(b'{"checkpoint"')])
    text, _, signatures = json.loads(lines[at])["checkpoint"].rpartition("\n\n")
    found = signatures.splitlines(keepends=True)
    change: Callable[[], Any] = chance.choice(
        [
            lambda: found.pop(chance.randrange(len(found))),
            lambda: found.append(chance.choice(found)),
            lambda: chance.shuffle(found),
        ]
    )
    change()
    lines[at] = _line({"checkpoint": f"{text}\n\n{''.join(found)}"})


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _count(lines: list[bytes], line: bytes, by: int) -> None:
    """Keeps the counts of the first line true, so that what follows is read."""
    header = json.loads(lines[0])
    header["entries" if line.startswith(b'{"entry"') else "checkpoints"] += by
    lines[0] = _line(header)


@pytest.mark.parametrize("change", [_flipped, _inside, _dropped, _doubled, _swapped, _unsigned])
def test_changed_files_have_one_verdict(core, change):
    """Bytes flipped, lines dropped, doubled and swapped: refused by both at one step, or by neither."""
    chance = random.Random(f"{change.__name__} 1")
    sources = [json.loads(p.read_text("utf-8")) for p in SCENARIOS if p.stem.startswith("honest")]
    for number in range(12 * ROUNDS):
        case = chance.choice(sources)
        lines = case["proof"].encode().splitlines(keepends=True)
        for _ in range(chance.choice([1, 1, 1, 2])):
            change(lines, chance)
        _both(core, b"".join(lines), case["trust"], f"{change.__name__} {number}")


def _header(**changes: Any) -> bytes:
    value = {
        "attachments": 0,
        "case": "ab" * 32,
        "checkpoints": 0,
        "entries": 0,
        "format": "cenotaph-proof/v1",
    }
    return _line(dict(sorted({**value, **changes}.items())))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"{}\n",
        b"[" * 5_000_000,
        b"{" * 5_000_000 + b"\n",
        b'{"a":' * 1_000_000 + b"\n",
        b"9" * 5_000_000 + b"\n",
        b'"' + b"\\" * 4_000_000 + b'"\n',
        b"\xff" * 1_000_000,
        bytes(1_000_000),
        _header(),
        _header(entries=250_000),
        _header(entries=250_001),
        _header(entries=-1),
        _header(entries=True),
        _header(entries=2**53),
        _header(timestamps=0),
        _header(timestamps=1_001),
        _header(timestamps=1),
        _header(case=5),
        _header(case="x" * 5_000),
        _header(more=1),
        _header(entries=1) + b'{"entry":""}\n',
        _header(entries=1) + b'{"entry":"' + b"A" * 100_000 + b'"}\n',
        _header(entries=1) + b'{"entry":"' + b"A" * 80_000,
        _header(checkpoints=1) + b'{"checkpoint":"' + b"\\n" * 500_000 + b'"}\n',
        _header(checkpoints=1) + b'{"checkpoint":5}\n',
        _header(attachments=1) + b'{"attachment":"AB=="}\n',
        _header(timestamps=1) + b'{"timestamp":{"note":"","token":""}}\n',
        _header() + b"\n",
        _header() + _header(),
    ],
    ids=lambda data: f"{len(data)} {data[:12]!r}",
)
def test_what_is_no_proof_file_is_refused_in_a_sentence(core, data):
    """Rubbish of every size: no crash and no wait, and the same step from both."""
    assert _both(core, data, None, "rubbish")["step"] in ("verify 1", "verify 4")


# ── statements, signed anew ──────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def making() -> Iterator[ModuleType]:
    """The script `vectors/make_proof.py` as a module."""
    sys.path.insert(0, str(FOLDER))
    try:
        import make_proof as module

        yield module
    finally:
        sys.path.remove(str(FOLDER))


STEPS = (
    *("charter", "auditor's countersignature", "notary's countersignature", "inventory", "seal", "plan"),
    *(
        "challenge",
        "auditor's approval",
        "notary's approval",
        "destruction",
        "probe",
        "testimony",
        "certificate",
    ),
    *("first batch", "amended plan", "second batch", "owner's approval", "owner's countersignature"),
)
TEXTS = ("health", "hotline", "main", "free_space", "Vector Audit", "Vector & Partners", "", "any place", "x")


def _another(value: Any, chance: random.Random) -> Any:
    """A value of the same JSON type that a liar might write instead."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return chance.choice(
            [value + 1, max(0, value - 1), 0, 1, 2 * value, value + 301, max(0, value - 301), 2**53 - 1]
        )
    if isinstance(value, str):
        digits = len(value) == 64
        return chance.choice(
            ["0" * 64, value[1:] + value[:1]] if digits else [*TEXTS, *get_args(statements.GradeName)]
        )
    if isinstance(value, list):
        return _another_list(value, chance)
    return value


def _another_list(value: list[Any], chance: random.Random) -> list[Any]:
    if not value:
        return value
    at, to = chance.randrange(len(value)), chance.randrange(len(value))
    changed = list(value)
    match chance.randrange(4):
        case 0:
            del changed[at]
        case 1:
            changed.insert(to, value[at])
        case 2:
            changed[at], changed[to] = changed[to], changed[at]
        case 3:
            changed.reverse()
    return changed


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from _places(item, (*path, key))


def _mutated(body: Any, chance: random.Random) -> Any:
    """The body with one value changed; as it was where nothing that was tried can be written."""
    for _ in range(20):
        value = json.loads(json.dumps(statements.to_json(body)))
        *path, last = chance.choice(list(_places(value)))
        inner = value
        for key in path:
            inner = inner[key]
        if chance.random() < 0.05 and isinstance(inner, dict):
            del inner[last]
        else:
            inner[last] = _another(inner[last], chance)
        try:
            return statements.from_json(type(body), value)
        except ProofError:
            continue
    return body


def _lie(making: ModuleType, chance: random.Random) -> Any:
    """How a ceremony departs from an honest one: mostly one value of one statement."""
    kinds: dict[str, Any] = {"volume": chance.random() < 0.4, "amended": chance.random() < 0.3}
    if "people" in {f.name for f in fields(making.Lie)}:
        kinds["people"] = chance.random() < 0.4
    step = chance.choice(STEPS)
    match chance.randrange(12):
        case 0:
            return making.Lie(**kinds, skip=frozenset({step}))
        case 1:
            keys: tuple[SecretKey, ...] = (*making.PARTIES, making.OWNER, making.STRANGER)
            return making.Lie(**kinds, signers={step: chance.choice(keys)})
        case 2:
            seen = chance.choice([(), (making.PAPER,), (making.LIBRARY,), (making.LIBRARY, making.PAPER)])
            return making.Lie(**kinds, witnesses={step: seen})
        case 3:
            cites = tuple(
                chance.choice(["charter", "inventory", "seal", "plan", "challenge"]) for _ in range(3)
            )
            return making.Lie(**kinds, cites={step: cites})
        case 4:
            return making.Lie(
                **kinds,
                earlier=chance.choice(["open", "ended", "ended by a stranger"]),
                listed=chance.random() < 0.5,
            )
    steps = {step, chance.choice(STEPS)} if chance.random() < 0.3 else {step}
    return making.Lie(**kinds, bodies={s: lambda body: _mutated(body, chance) for s in steps})


@functools.cache
def _honest(making: ModuleType) -> Any:
    """The certificate of an honest case."""
    return making.bundles.replay(making.Ceremony()._bundle()).entries[-1].body(making.Certificate)


def _ceremony(making: ModuleType, seed: str) -> bytes | None:
    """A proof file with that lie; its certificate follows from it where it comes to that."""
    for fallback in (None, _honest(making)):
        try:
            proof: bytes = making.Ceremony(_lie(making, random.Random(seed)), fallback).proof()
            return proof
        except (ProofError, KeyError):  # refused before its end, or a step that cites one that was left out
            continue
    return None


@pytest.mark.parametrize("part", range(2))
def test_changed_statements_have_one_verdict(core, making, part):
    """A value of a statement changed and all signed anew: both find the same, or both believe the same."""
    ends = set()
    for number in range(16 * ROUNDS):
        seed = f"statement {part} {number}"
        proof = _ceremony(making, seed)
        if proof is not None:
            trusted = random.Random(seed).choice(["trust.toml", "trust-with-owner.toml", None])
            ends.add(_both(core, proof, trusted, seed).get("step"))
    assert {None, "verify 4"} <= ends, "the changes reach neither a verdict nor a rule"
