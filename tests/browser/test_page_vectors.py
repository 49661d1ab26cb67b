"""The repository's vectors in a real browser: the page says what the other verifier says, word for word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "vectors"
SCENARIOS = sorted((FOLDER / "proof").glob("*.json"))

# Verifies scenarios one after the other: the lines of the verdict in both languages, or the step that fails.
VERIFY = """async (scenarios) => {
  const answers = [];
  for (const { proof, trust } of scenarios) {
    try {
      const held = trust === null ? null : await Cenotaph.readTrust(trust, new Map());
      const verdict = await Cenotaph.verify(new TextEncoder().encode(proof), held, {});
      const [en, zh] = ["en", "zh"].map((language) => Cenotaph.verdictJson(verdict, language));
      answers.push({ en, zh, recall: Object.fromEntries(verdict.recall), certificate: verdict.certificate });
    } catch (error) {
      if (!(error instanceof Cenotaph.ProofError)) throw error;
      answers.push({ step: error.step, why: error.message });
    }
  }
  return answers;
}"""


def load(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((FOLDER / name).read_text("utf-8"))
    return value


def with_its_trust(scenario: dict[str, Any]) -> dict[str, Any]:
    held = scenario["trust"]
    text = (FOLDER / "proof" / held).read_text("utf-8") if held else None
    return {"proof": scenario["proof"], "trust": text}


@pytest.fixture(scope="module")
def answers(verifier) -> dict[str, Any]:
    """What the page's verifier says of each scenario."""
    scenarios = [with_its_trust(json.loads(path.read_text("utf-8"))) for path in SCENARIOS]
    return dict(zip((p.stem for p in SCENARIOS), verifier.evaluate(VERIFY, scenarios), strict=True))


@pytest.mark.parametrize("name", [path.stem for path in SCENARIOS])
def test_each_proof_file_gets_its_outcome(answers, name):
    """A lie or a damage is caught at the step that the file names, an honest case gets its grades."""
    scenario, answer = load(f"proof/{name}.json"), answers[name]
    if scenario["expect"] == "does not verify":
        assert answer.get("step") == f"verify {scenario['step']}", answer.get("why", "it verified")
        return
    said = {"verified": "verified", "unidentified": "consistent, signers unidentified"}[scenario["expect"]]
    assert answer.get("why") is None
    assert answer["en"]["verdict"] == said
    certificate = answer["certificate"]
    assert [s["reached"] for s in certificate["stores"]] == scenario["reached"]
    assert [v["reached"] for v in certificate.get("volumes", [])] == scenario.get("volumes", [])
    assert [c["outcome"] for s in certificate["stores"] for c in s["collections"]] == scenario["outcomes"]


VERDICTS: dict[str, Any] = load("verdicts.json")["verdicts"]


@pytest.mark.parametrize("name", sorted(VERDICTS))
def test_each_line_is_the_other_verifiers(answers, name):
    """Codes, arguments, steps, evidence, and the words in English and Chinese: line for line the same."""
    expected, answer = VERDICTS[name], answers[name]
    assert answer["recall"] == expected["recall"]
    for part in ("proven", "attested", "not_shown"):
        words = [(e["text"], z["text"]) for e, z in zip(answer["en"][part], answer["zh"][part], strict=True)]
        assert words == [(line["en"], line["zh"]) for line in expected[part]]
        lines = [{k: v for k, v in line.items() if k != "text"} for line in answer["en"][part]]
        assert lines == [{k: v for k, v in line.items() if k not in ("en", "zh")} for line in expected[part]]


def test_every_scenario_that_verifies_has_its_lines(answers):
    """Nothing that verifies was left out of the comparison."""
    assert sorted(VERDICTS) == sorted(name for name, answer in answers.items() if "step" not in answer)


# ── parts of a proof file ────────────────────────────────────────────────────────────────────────


def expected(cases: list[dict[str, Any]], *keys: str) -> list[Any]:
    """What is expected of each case: the value of a key, a list of those of several, or "refused"."""
    found = [[case.get(key) for key in keys] for case in cases]
    values = [value[0] if len(keys) == 1 else value for value in found]
    return ["refused" if c["expect"] == "refused" else value for c, value in zip(cases, values, strict=True)]


def test_formats(ask):
    """Canonical JSON, keys, envelopes and checkpoints: accepted and refused as the vectors say."""
    vectors = load("formats.json")
    keys, envelopes, checkpoints = vectors["keys"], vectors["envelopes"], vectors["checkpoints"]
    seals = [(case["hex"], envelopes["signer"]) for case in envelopes["cases"]]
    notes = [(c["hex"], checkpoints["operator"], checkpoints["witnesses"]) for c in checkpoints["cases"]]

    assert ask("canonical", [[c["hex"]] for c in vectors["canonical"]]) == expected(
        vectors["canonical"], "hex"
    )
    assert ask("publicKey", [[c["hex"]] for c in keys]) == expected(keys, "key_id")
    assert ask("envelope", seals) == expected(envelopes["cases"], "payload", "digest")
    assert ask("checkpoint", notes) == expected(checkpoints["cases"], "cosignatures")


def test_trees(ask):
    """Every root, and every proof up to the whole tree."""
    tree = load("formats.json")["tree"]
    leaves, roots = ask("leaf", [[entry] for entry in tree["entries"]]), tree["roots"]
    size = len(leaves)
    held = [(i, size, leaves[i], proof, roots[-1]) for i, proof in enumerate(tree["inclusion"])]
    grown = [(old, size, roots[old], roots[-1], proof) for old, proof in enumerate(tree["consistency"])]

    assert ask("root", [[leaves[:n]] for n in range(size + 1)]) == roots
    assert set(ask("inclusion", held)) == set(ask("consistency", grown)) == {"holds"}
    assert set(ask("inclusion", [(i, size, leaves[i], p[:-1], r) for i, _, _, p, r in held if p])) == {
        "refused"
    }


def test_statements_in_the_browser(ask):
    """Payloads with their detached parts, accepted and refused."""
    cases = load("statements.json")["cases"]
    asked = [(case["payload"], case["attachments"]) for case in cases]
    assert ask("statement", asked) == expected(cases, "kind", "cites")


def test_draws(ask):
    """Commitments, numbers of chunks, seeds and samples."""
    vectors = load("draw.json")
    by = {
        "commitment": (vectors["commitments"], ("what", "secret"), "commitment"),
        "needed": (vectors["needed"], ("bound_ppm", "confidence_ppm"), "chunks"),
        "seed": (vectors["seeds"], ("domain", "case", "statement", "key_id", "nonce"), "seed"),
    }
    for name, (cases, arguments, result) in by.items():
        assert ask(name, [[c[a] for a in arguments] for c in cases]) == [c[result] for c in cases]
    samples = vectors["samples"]
    asked = [(c["seed"], c["label"], c["population"], c["count"]) for c in samples]
    assert ask("sample", asked) == [[c["drawn"], c["digest"]] for c in samples]


def test_seals(ask):
    """Seals whose totals and roots add up, and seals that do not."""
    cases = [{"holds": "holds", **case} for case in load("seal.json")["seals"]]
    bodies = [
        [json.dumps(case["body"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)]
        for case in cases
    ]

    assert ask("seal", bodies) == expected(cases, "holds")
