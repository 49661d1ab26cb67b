"""The statements of a case in log order, and what can be asked of them. Checks nothing, does no IO.

`cenotaph_proof.case.Case` fills it, statement by statement, under the rules.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from cenotaph_proof import merkle, volumes
from cenotaph_proof import trust as trusts
from cenotaph_proof.errors import OrderError
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.stamp import Stamped
from cenotaph_proof.statements import (
    Approval,
    Certificate,
    Challenge,
    Charter,
    DestroyedCollection,
    Destruction,
    Inventory,
    Plan,
    Probe,
    Statement,
    Testimony,
)

COUNTERSIGN = ("auditor", "notary", "owner")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Entry:
    """A statement that was admitted."""

    index: int
    digest: str
    signer: PublicKey
    statement: Statement

    def body(self, cls: type[B]) -> B:
        assert isinstance(self.statement.body, cls)
        return self.statement.body


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A checkpoint whose quorum of log witnesses counts."""

    size: int
    root: bytes
    time: int  # when the quorum was complete
    witnesses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Destroyed:
    """What was destroyed of a collection, by how surely it was what had been sealed."""

    records: int = 0
    as_sealed: int = 0
    watched: int = 0
    unknown: int = 0

    def plus(self, run: DestroyedCollection) -> Destroyed:
        """With what one more run destroyed."""
        return Destroyed(
            self.records + run.records,
            self.as_sealed + run.as_sealed,
            self.watched + run.watched,
            self.unknown + run.unknown,
        )


class Casebook:
    """What was admitted of one case, and the checkpoints over it.

    `trust` is whose keys count; of a case without a trust file it is what the charter claims.
    """

    def __init__(self, trust: trusts.Trust | None = None) -> None:
        self.trust = trust
        self.entries: list[Entry] = []
        self.by_digest: dict[str, Entry] = {}
        self.cosigned: list[Cosigned] = []  # ascending by size
        self.charter_entry: Entry | None = None
        self.untrusted: set[str] = set()  # organisations of the charter that the trust file lacks
        self.ended_elsewhere: tuple[str, ...] = ()  # other cases' charters, by certificates not checked
        self.stamped: list[Stamped] = []
        self.stamps_of_others = 0  # by authorities that the trust file does not believe
        self.stamps_unchecked = 0  # the trust file believes none, or nothing is installed to check them
        self._charters_open: dict[str, None] = {}
        self._said_closed: list[tuple[str, Callable[[], bytes]]] = []
        self._frontier = merkle.Frontier()
        self._newest_seen: list[int] = []  # beside `cosigned`: the newest time until then
        # What rules ask for again and again, so that no statement is read once for each other one.
        self._by_kind: dict[type, list[Entry]] = {}
        self._approvals: dict[tuple[str, str | None], dict[str, Entry]] = {}
        self._commitments: dict[tuple[str, type], list[tuple[int, str]]] = {}
        self._revealed: dict[str, dict[tuple[str, str | None], Entry]] = {}
        self._narrowed: dict[str, Entry | None] = {}
        self._destroyed: dict[tuple[str, int], Destroyed] = {}
        self._parties: dict[str, PublicKey] = {}

    @property
    def charter(self) -> Charter:
        if self.charter_entry is None:
            raise OrderError("the case has not been opened", hint="run: cenotaph open")
        return self.charter_entry.body(Charter)

    @property
    def open_charters(self) -> tuple[str, ...]:
        """Charters of other cases in the log, so far, that no certificate closed."""
        closed = {charter for charter, _ in self._said_closed}
        return tuple(c for c in self._charters_open if c not in closed)

    @property
    def size(self) -> int:
        return self._frontier.size

    @property
    def skew(self) -> int:
        assert self.trust is not None
        return self.trust.clock_skew

    def all(self, cls: type) -> list[Entry]:
        """The statements of a kind, in log order."""
        return self._by_kind.get(cls, [])

    def latest(self, cls: type) -> Entry | None:
        found = self.all(cls)
        return found[-1] if found else None

    def require(self, cls: type) -> Entry:
        """The newest statement of a kind. Raises: OrderError with the command that makes it."""
        found = self.latest(cls)
        if found is None:
            kind = cls.__name__.lower()
            raise OrderError(f"the case has no {kind} yet", hint=f"run: cenotaph {_COMMANDS.get(kind, kind)}")
        return found

    def parties(self, *roles: str) -> list[PublicKey]:
        return [p for p in self._parties.values() if p.role in roles]

    def cosigned_time(self, index: int) -> int | None:
        """By when a quorum had seen entry `index`; None while it has not."""
        at = bisect_right(self.cosigned, index, key=_size)
        return self.cosigned[at].time if at < len(self.cosigned) else None

    def checkpoint(self, size: int) -> Cosigned | None:
        """The checkpoint of this size, if it has its quorum."""
        at = bisect_left(self.cosigned, size, key=_size)
        return self.cosigned[at] if at < len(self.cosigned) and self.cosigned[at].size == size else None

    def newest_time(self, size: int) -> int:
        """The newest time of the checkpoints of at most this size; 0 where there is none."""
        at = bisect_right(self.cosigned, size, key=_size)
        return self._newest_seen[at - 1] if at else 0

    def charter_approvals(self) -> list[Entry]:
        """The standing approvals of the charter, at most one a party."""
        assert self.charter_entry is not None
        return self.standing("charter", self.charter_entry.digest)

    def countersigning_missing(self) -> list[PublicKey]:
        """Who has not countersigned the charter."""
        have = {e.signer.key_id for e in self.charter_approvals()}
        return [p for p in self.parties(*COUNTERSIGN) if p.key_id not in have]

    def plan_approvals(self, plan: Entry) -> list[Entry]:
        """Standing approvals of a plan, or of a plan that it only narrows (9)."""
        found: list[Entry] = []
        heard: set[str] = set()  # keys whose word on a newer plan counts instead
        for step in self.chain(plan):
            found += [e for e in self.standing("plan", step.digest) if e.signer.key_id not in heard]
            heard = {e.signer.key_id for e in found} | heard | self.withdrawn(step.digest)
        return found

    def challenges(self, plan: Entry) -> list[Entry]:
        """The newest challenge of each auditor on this plan, or on a plan that it only narrows."""
        covered = {step.digest for step in self.chain(plan)}
        newest = {c.signer.key_id: c for c in self.all(Challenge) if c.statement.cited("plan") in covered}
        return list(newest.values())

    def destroyed(self) -> Mapping[tuple[str, int], Destroyed]:
        """What was destroyed so far by (store, collection ordinal)."""
        return self._destroyed

    def rejected(self) -> bool:
        """Whether the newest word of an auditor on the latest destruction is that residue is left."""
        last = self.latest(Destruction)
        words = {
            e.signer.key_id: e.body(Probe).decision
            for e in self.all(Probe)
            if last is not None and e.statement.cited("destruction") == last.digest
        }
        return "reject" in words.values()

    def nonce_commitment(self, auditor: PublicKey, what: type, before: int) -> str:
        """The commitment an auditor's next nonce must open: the newest one logged before `before`."""
        made = self._commitments.get((auditor.key_id, what), [])
        at = bisect_left(made, before, key=lambda item: item[0])
        if not at:
            raise OrderError(f"auditor {auditor.organisation} committed to no nonce before the draw")
        return made[at - 1][1]

    def revealed(self, nonce: str) -> Iterable[Entry]:
        """Challenges and probes that revealed a nonce: of those by one party about one statement, one."""
        return self._revealed.get(nonce, {}).values()

    def outside_records(self, auditor: PublicKey) -> int:
        """How many outside records an auditor committed to bring, by its newest word before the survey."""
        survey = self.require(Inventory).index
        mine = [e for e in self.all(Approval) if e.signer.key_id == auditor.key_id and e.index < survey]
        said = [e.body(Approval).commitments for e in mine]
        return next((c.outside_records for c in reversed(said) if c is not None), 0)

    def standing(self, of: str, digest: str) -> list[Entry]:
        """The approvals of one statement that stand: each party's newest word, where it approves."""
        newest = self._approvals.get((of, digest), {})
        return [e for e in newest.values() if e.body(Approval).decision == "approve"]

    def withdrawn(self, plan: str) -> set[str]:
        """Keys whose last word on this very plan was to withdraw."""
        newest = self._approvals.get(("plan", plan), {})
        return {key for key, e in newest.items() if e.body(Approval).decision == "withdraw"}

    def narrowed(self, plan: Entry) -> Entry | None:
        """The plan that this one supersedes and only narrows, if it does."""
        if plan.digest not in self._narrowed:
            older = self.by_digest.get(plan.body(Plan).supersedes or "")
            if older is not None and (
                older.statement.cited("seal") != plan.statement.cited("seal")
                or not self.narrows(plan.body(Plan), older.body(Plan))
            ):
                older = None
            self._narrowed[plan.digest] = older
        return self._narrowed[plan.digest]

    def chain(self, plan: Entry) -> Iterator[Entry]:
        """This plan, the one that it narrows, and so on."""
        step: Entry | None = plan
        while step is not None:
            yield step
            step = self.narrowed(step)

    def covers(self, digest: str | None, plan: Entry) -> bool:
        """Whether `digest` is this plan or one that it narrows, step by step."""
        return any(step.digest == digest for step in self.chain(plan))

    # ── remembering ──────────────────────────────────────────────────────────────────────────────

    def _remember(self, entry: Entry) -> None:
        """Take an entry that was judged."""
        self.entries.append(entry)
        self.by_digest[entry.digest] = entry
        body, key_id = entry.statement.body, entry.signer.key_id
        self._by_kind.setdefault(type(body), []).append(entry)
        if isinstance(body, Approval):
            self._approvals.setdefault((body.of, entry.statement.cited(body.of)), {})[key_id] = entry
            if body.commitments is not None:
                c = body.commitments
                for what, commitment in ((Challenge, c.challenge_nonce), (Probe, c.probe_nonce)):
                    made = self._commitments.setdefault((key_id, what), [])
                    if not made:  # later ones are made by what reveals the one before
                        made.append((entry.index, commitment))
        elif isinstance(body, Challenge | Probe):
            self._commitments.setdefault((key_id, type(body)), []).append((entry.index, body.next_nonce))
            about = "seal" if isinstance(body, Challenge) else "destruction"
            self._revealed.setdefault(body.nonce, {})[key_id, entry.statement.cited(about)] = entry
        elif isinstance(body, Destruction):
            self._count(body)

    def _count(self, run: Destruction) -> None:
        for item in run.stores:
            for c in item.collections:
                place = item.name, c.ordinal
                done = self._destroyed.get(place, Destroyed())
                self._destroyed[place] = done.plus(c)

    def _see(self, cosigned: Cosigned) -> None:
        """Take a checkpoint with its quorum."""
        self.cosigned.append(cosigned)
        self._newest_seen.append(max([cosigned.time, *self._newest_seen[-1:]]))

    @staticmethod
    def narrows(new: Plan, old: Plan) -> bool:
        before = {s.name: s for s in old.stores}
        inside = volumes.narrows(new.volumes or (), old.volumes or ())
        return (
            inside
            and new.annex == old.annex
            and new.steps == old.steps
            and all(
                item.name in before
                and set(item.destroy) <= set(before[item.name].destroy)
                and set(item.shared) <= set(before[item.name].shared)
                and {a.kind for a in item.own} <= {a.kind for a in before[item.name].own}
                for item in new.stores
            )
        )


def _size(checkpoint: Cosigned) -> int:
    return checkpoint.size


_COMMANDS = {
    "charter": "open",
    "inventory": "survey",
    "destruction": "destroy",
    "approval": "approve",
    "certificate": "certify",
}


def named_checkpoint(entry: Entry) -> int | None:
    """The size of the checkpoint that a statement says it was made against."""
    body = entry.statement.body
    if isinstance(body, Challenge | Probe):
        return body.against.size
    return body.log.size if isinstance(body, Certificate) else None


def claimed(entry: Entry) -> int | None:
    """The time a statement claims for what it reports, in seconds since the epoch."""
    body = entry.statement.body
    if isinstance(body, Charter):
        return body.created
    if isinstance(body, Approval | Challenge | Probe | Testimony):
        return body.signed
    if isinstance(body, Destruction):
        return body.finished
    return body.issued if isinstance(body, Certificate) else None
