"""The statements of a case in log order, and what can be asked of them. Checks nothing, does no IO.

`cenotaph_proof.case.Case` fills it, statement by statement, under the rules.
"""

from __future__ import annotations

from collections.abc import Callable
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


class Casebook:
    """What was admitted of one case, and the checkpoints over it.

    `trust` is whose keys count; of a case without a trust file it is what the charter claims.
    """

    def __init__(self, trust: trusts.Trust | None = None) -> None:
        self.trust = trust
        self.entries: list[Entry] = []
        self.by_digest: dict[str, Entry] = {}
        self.cosigned: list[Cosigned] = []
        self.charter_entry: Entry | None = None
        self.untrusted: set[str] = set()  # organisations of the charter that the trust file lacks
        self.ended_elsewhere: tuple[str, ...] = ()  # other cases' charters, by certificates not checked
        self.stamped: list[Stamped] = []
        self.stamps_of_others = 0  # by authorities that the trust file does not believe
        self.stamps_unchecked = 0  # the trust file believes none, or nothing is installed to check them
        self._charters_open: dict[str, None] = {}
        self._said_closed: list[tuple[str, Callable[[], bytes]]] = []
        self._frontier = merkle.Frontier()
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
        return [e for e in self.entries if isinstance(e.statement.body, cls)]

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
        return next((c.time for c in self.cosigned if c.size > index), None)

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
        found = list(self.standing("plan", plan.digest))
        older = self.narrowed(plan)
        if older is not None:
            have = {e.signer.key_id for e in found} | self.withdrawn(plan.digest)
            found += [e for e in self.plan_approvals(older) if e.signer.key_id not in have]
        return found

    def challenges(self, plan: Entry) -> list[Entry]:
        """The newest challenge of each auditor on this plan, or on a plan that it only narrows."""
        newest: dict[str, Entry] = {}
        for challenge in self.all(Challenge):
            if self.covers(challenge.statement.cited("plan"), plan):
                newest[challenge.signer.key_id] = challenge
        return list(newest.values())

    def destroyed(self) -> dict[tuple[str, int], int]:
        """Records destroyed so far by (store, collection ordinal)."""
        totals: dict[tuple[str, int], int] = {}
        for entry in self.all(Destruction):
            for item in entry.body(Destruction).stores:
                for c in item.collections:
                    totals[item.name, c.ordinal] = totals.get((item.name, c.ordinal), 0) + c.records
        return totals

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
        commitment: str | None = None
        for entry in self.entries:
            if entry.signer.key_id != auditor.key_id or entry.index >= before:
                continue
            body = entry.statement.body
            if isinstance(body, Approval) and body.commitments is not None and commitment is None:
                c = body.commitments
                commitment = c.challenge_nonce if what is Challenge else c.probe_nonce
            elif isinstance(body, Challenge | Probe) and isinstance(body, what):
                commitment = body.next_nonce
        if commitment is None:
            raise OrderError(f"auditor {auditor.organisation} committed to no nonce before the draw")
        return commitment

    def outside_records(self, auditor: PublicKey) -> int:
        """How many outside records an auditor committed to bring, by its newest word before the survey."""
        survey = self.require(Inventory).index
        mine = [e for e in self.all(Approval) if e.signer.key_id == auditor.key_id and e.index < survey]
        said = [e.body(Approval).commitments for e in mine]
        return next((c.outside_records for c in reversed(said) if c is not None), 0)

    def standing(self, of: str, digest: str) -> list[Entry]:
        newest: dict[str, Entry] = {}
        for entry in self.all(Approval):
            if entry.body(Approval).of == of and entry.statement.cited(of) == digest:
                newest[entry.signer.key_id] = entry
        return [e for e in newest.values() if e.body(Approval).decision == "approve"]

    def withdrawn(self, plan: str) -> set[str]:
        """Keys whose last word on this very plan was to withdraw."""
        newest = {
            e.signer.key_id: e.body(Approval).decision
            for e in self.all(Approval)
            if e.body(Approval).of == "plan" and e.statement.cited("plan") == plan
        }
        return {key for key, decision in newest.items() if decision == "withdraw"}

    def narrowed(self, plan: Entry) -> Entry | None:
        """The plan that this one supersedes and only narrows, if it does."""
        older = self.by_digest.get(plan.body(Plan).supersedes or "")
        if older is None or older.statement.cited("seal") != plan.statement.cited("seal"):
            return None
        return older if self.narrows(plan.body(Plan), older.body(Plan)) else None

    def covers(self, digest: str | None, plan: Entry) -> bool:
        """Whether `digest` is this plan or one that it narrows, step by step."""
        step: Entry | None = plan
        while step is not None:
            if step.digest == digest:
                return True
            step = self.narrowed(step)
        return False

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
