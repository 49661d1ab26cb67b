"""How long a verifier takes for large proof files: one case of many statements, and a log of many cases.

    python bench/verify_large.py [DIR [STATEMENTS [CASES]]]

Writes `one-case.cenotaph`, `many-cases.cenotaph` and `trust.toml` into DIR, for another verifier to try as
well, and prints the median of five verdicts on each. All is signed by keys that derive from names.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from cenotaph.testing.ceremony import AUDITORS, NOTARY, OPERATOR, Ceremony, Estate
from cenotaph_proof import merkle, note, statements, trust, verify
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.statements import Approval, Destruction, Probe, Testimony
from cenotaph_proof.trust import Trust

ROUND = 10  # statements of the long case between two checkpoints of its log


class LongCase(Ceremony):
    """A case whose destruction takes very many steps, each searched, approved anew and talked about."""

    def lengthen(self, statements: int) -> None:
        """Rounds of a destruction, a probe of it, two approvals and testimony, until there are so many."""
        auditor = AUDITORS[0]
        public = self.key(auditor).public
        nonce = self.nonces[self.replay().nonce_commitment(public, Probe, len(self.entries) + 1)]
        rounds = (statements - len(self.entries) - 1) // ROUND
        whole = self.destruction_body()
        total = self.estate[0].collections[0]
        tree = merkle.Frontier(merkle.leaf_hash(e) for e in self.entries)
        for number in range(1, rounds + 1):
            last = number == rounds
            records = total - (rounds - 1) if last else 1
            self._later(_batch(whole, number, records, last, self.now), ("charter", "plan"), OPERATOR, tree)
            self._checkpoint(tree)
            following = self.commit(auditor, "probe")
            probe = replace(
                _searched(self, auditor, last),
                nonce=nonce.hex(),
                next_nonce=following,
                against=self._seen(tree),
            )
            self._later(probe, ("charter", "inventory", "destruction"), auditor, tree)
            nonce = self.nonces[following]
            for name in (auditor, NOTARY):
                self._later(_consent(self, name), ("charter", "plan"), name, tree)
            for told in range(ROUND - 4):
                self._later(_told(self, NOTARY, number, told), ("charter",), NOTARY, tree)
            self._checkpoint(tree)

    def _later(self, body: statements.Body, kinds: tuple[str, ...], by: str, tree: merkle.Frontier) -> None:
        self.say(body, *map(self.cite, kinds), by=by, cosign=False)
        tree.append(merkle.leaf_hash(self.entries[-1]))

    def _seen(self, tree: merkle.Frontier) -> statements.CheckpointRef:
        return statements.CheckpointRef(tree.size, tree.root().hex())

    def _checkpoint(self, tree: merkle.Frontier) -> None:
        head = note.Checkpoint(self.origin, tree.size, tree.root())
        signed = note.sign_checkpoint(head, self.key(OPERATOR))
        lines = [note.cosign(signed, self.key(name), self.now) for name in self.witnesses]
        self.checkpoints[tree.size] = note.add_signatures(signed, lines)


def one_case(count: int = 10_000) -> Ceremony:
    """One case with `count` statements, or a few less."""
    case = LongCase(estate=(Estate("health", (count,)),))
    case.run(last="approve")
    case.lengthen(count)
    case.certify()
    return case


def many_cases(count: int = 500) -> Ceremony:
    """A log with so many small cases, all of them ended, of which the last one is to be verified.

    The others are one case's statements under other charters: a reader takes their entries into the tree.
    """
    tree: list[bytes] = []
    ends: list[Ceremony] = []
    for number in range(count - 1):
        other = Ceremony(estate=(Estate("health", (20,)),), attempt=number + 2)
        other.run()
        tree += other.entries
        ends.append(other)
    case = Ceremony(estate=(Estate("health", (20,)),), now=ends[-1].now + 60 if ends else Ceremony().now)
    case.entries = tree
    case.run()
    return case


def trust_text(parties: tuple[PublicKey, ...]) -> str:
    """A trust file that holds these parties."""
    table = "[[party]]\norganisation = '{}'\nrole = '{}'\nkey = '''{}'''\n"
    return "".join(table.format(p.organisation, p.role, p.to_text()) for p in parties)


def _batch(whole: Destruction, number: int, records: int, last: bool, now: int) -> Destruction:
    (store,) = whole.stores
    (collection,) = store.collections
    part = replace(collection, records=records, as_sealed=records, remaining=0 if last else 1)
    item = replace(store, collections=(part,), overwritten=100, returned=100)
    return replace(whole, number=number, started=now, finished=now + 30, stores=(item,), complete=last)


def _searched(case: Ceremony, auditor: str, last: bool) -> Probe:
    store = statements.ProbedStore(
        "health", "L2", "L2", "files, not volumes", 3, 10_000, 0, 0, 0, (), (), (), True
    )
    return Probe(
        organisation=auditor,
        signed=case.now,
        against=statements.CheckpointRef(0, ""),
        nonce="",
        next_nonce="",
        needles=100_000,
        stores=(store,),
        tool="cenotaph 0.1.0",
        share_destroyed=last,
        decision="accept",
        reasons=(),
    )


def _consent(case: Ceremony, name: str) -> Approval:
    role = case.key(name).role
    return Approval("plan", name, role, "approve", case.now, case.now + 90 * 86_400)  # type: ignore[arg-type]


def _told(case: Ceremony, name: str, number: int, told: int) -> Testimony:
    role = case.key(name).role
    about = f"drive {number}-{told}"
    return Testimony(name, role, case.now, "medium destroyed", about, ())  # type: ignore[arg-type]  # a role


def median(path: Path, held: Trust) -> float:
    """Seconds of processor time for a verdict: the median of five."""
    took = []
    for _ in range(5):
        begun = time.process_time()
        assert verify.verify_file(path, held).exit_code == 0
        took.append(time.process_time() - begun)
    return statistics.median(took)


def main() -> None:
    folder = Path(sys.argv[1]) if sys.argv[1:] else Path(tempfile.mkdtemp())
    count, cases = (int(n) for n in [*sys.argv[2:], "10000", "500"][:2])
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in (("one-case", lambda: one_case(count)), ("many-cases", lambda: many_cases(cases))):
        case, path = make(), folder / f"{name}.cenotaph"
        path.write_bytes(case.proof())
        (folder / "trust.toml").write_text(trust_text(case.trust().parties))
        held = trust.load(folder / "trust.toml")
        size = path.stat().st_size / 1e6
        print(
            f"{path}: {len(case.entries)} statements, {size:.1f} MB: {median(path, held):.2f} s", flush=True
        )


if __name__ == "__main__":
    main()
