"""The operator's desk: a case directory with its log, where statements are admitted, signed, logged.

The log is the truth; `statements/` and the proof file so far are copies of it, written again after
each entry. Every operator command first finishes what a killed one left (cosignatures, copies, a
destruction not yet stated), then admits what lies in `statements/incoming/`, logs it, obtains cosignatures,
then acts. One command at a time works on a case, and on a log.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from cenotaph import account, config, lock
from cenotaph import estate as estates
from cenotaph.annex import Annex
from cenotaph.clock import Clock, wall_clock
from cenotaph.cosigning import OLDER_LOG, Witnesses
from cenotaph.durable import write_file
from cenotaph.errors import CenotaphError, RefusedError, UsageError
from cenotaph.estate import Estate
from cenotaph.journal import Journal, JournalError
from cenotaph_proof import bundle as bundles
from cenotaph_proof import envelope, note, statements
from cenotaph_proof.acts import share_info
from cenotaph_proof.bundle import Bundle
from cenotaph_proof.case import Case
from cenotaph_proof.casebook import Entry
from cenotaph_proof.errors import HistoryError, LogError, OrderError, ProofError, ThresholdError
from cenotaph_proof.folder import SO_FAR, CaseFolder, sign, wipe
from cenotaph_proof.keys import PublicKey, SecretKey
from cenotaph_proof.log import Log
from cenotaph_proof.network.witness_client import Answered
from cenotaph_proof.stamp import Stamp
from cenotaph_proof.statements import Approval, Body, Cite, Destruction, Inventory, Plan

P = ParamSpec("P")
R = TypeVar("R")
STAMPS = "stamps"  # in the log's folder (spec/time.md)
INCOMING_LIMIT = 65_535
LOG_PATIENCE = 60.0  # seconds to wait for another case's command that appends to the same log


class Desk:
    """One case directory and the operator's key. `clock` gives seconds since the epoch."""

    def __init__(self, path: Path, clock: Clock = wall_clock) -> None:
        self.path = path.absolute()
        self.clock = clock
        self.config = config.load(self.path / "case.toml")
        self.folder = CaseFolder(self.path)
        self.refused: list[str] = []  # what came in and could not be admitted, in words
        self.unheard: list[str] = []  # log witnesses that did not cosign the newest head, and why

    @property
    def key(self) -> SecretKey:
        try:
            return SecretKey.load(self.config.operator_key())
        except OSError as error:
            raise UsageError(
                f"the operator's key {self.config.operator_key()} cannot be read: {error.strerror}",
                hint=f"run: cenotaph keygen --role operator --organisation "
                f"'{self.config.case.operator}' --out {self.config.operator_key()}",
            ) from None

    def log(self) -> Log:
        """The operator's log; created when it is absent."""
        return Log.open_or_create(self.config.log_path(), self.key)

    def journal_path(self) -> Path:
        return self.path / "journal.sqlite"

    def annex(self, case: Case) -> Annex:
        return Annex(self.path / "annex", case.charter.case)

    def proof_path(self) -> Path:
        return self.path / f"{self.config.case.name}.cenotaph"

    # ── replaying ────────────────────────────────────────────────────────────────────────────────

    def case(self) -> Case:
        """Replay the log. Raises: OrderError when the case was not opened; ProofError when the log
        does not hold together."""
        return bundles.replay(self.bundle())

    def bundle(self) -> Bundle:
        """Everything logged until now, as a proof file carries it."""
        case_id = self.case_id()
        log = self.log()
        entries = tuple(log.entries())
        outlines = [statements.outline(envelope.open_(e).payload) for e in entries]
        charter = next((i for i, o in enumerate(outlines) if o.case == case_id), None)
        if charter is None:
            raise OrderError("the log does not hold this case's charter", hint="run: cenotaph open")
        mine = hashlib.sha256(entries[charter]).hexdigest()
        attached = {
            o.detached for i, o in enumerate(outlines) if o.detached and (i == charter or o.charter == mine)
        }
        return Bundle(
            case=case_id,
            entries=entries,
            checkpoints=tuple(n for size, n in sorted(log.cosigned().items()) if size > charter),
            attachments={d: self._attachment(d) for d in attached},
            stamps=tuple(self._stamps(charter, len(entries))),
        )

    def _stamps(self, beyond: int, size: int) -> Iterator[Stamp]:
        """Time stamps of checkpoints of more than `beyond` entries, and of no more than there are."""
        for place in sorted((self.config.log_path() / STAMPS).glob("*.tsr")):
            of, _, _ = place.stem.rpartition("-")
            stamped = place.with_name(f"{of}.note").read_bytes()
            if beyond < note.Checkpoint.parse(note.parse_note(stamped).body).size <= size:
                yield Stamp(stamped, place.read_bytes())

    def case_id(self) -> str:
        """The id of this directory's case. Raises: OrderError before `open`."""
        try:
            return (self.path / "statements" / "case-id").read_text("ascii").strip()
        except FileNotFoundError:
            raise OrderError(f"{self.path} holds no opened case", hint="run: cenotaph open") from None

    def admit_incoming(self) -> list[Entry]:
        """Log what parties left in `statements/incoming/`, in the order in which it fits.

        What does not fit now stays there and is told in `refused`; nothing is thrown away.
        """
        self.finish()
        self.say_done()
        admitted: list[Entry] = []
        waiting = self._waiting()
        case = self.case()
        self._give_keys(case)
        progress = bool(waiting)
        while progress:
            progress = False
            for path in list(waiting):
                with self._log_alone():
                    case = self.case()
                    entry = self._admit(case, path)
                if entry is not None:
                    admitted.append(entry)
                    waiting.remove(path)
                    progress = True
        if admitted:
            self.cosign()
            self._give_keys(self.case())
        return admitted

    def finish(self) -> bool:
        """Do what a command that was killed after logging had left to do. Whether there was anything."""
        log = self.log()
        self._check_newest(log)
        newest = self.folder.statements.glob(f"{log.size:04d}-*.json")
        if log.size in log.cosigned() and any(newest):
            return False
        self.cosign()
        return True

    def say_done(self, *, empty: bool = False) -> Entry | None:
        """Sign what the journal shows done and no destruction has said yet; None when there is nothing.

        Called before anything else is admitted: what was done was done under the approvals as they were
        then. `empty`: where the plan names no partition at all, say that it is complete.

        Raises: JournalError when the journal is not the one that the last destruction was signed from.
        """
        if not self.journal_path().exists():
            return None
        with Journal(self.journal_path()) as journal:
            journal.check()
            case = self.case()
            older = case.latest(Destruction)
            covered = journal.covered(older.body(Destruction).journal) if older else 0
            if older and not covered:
                raise JournalError(
                    "the journal is not the one that the last destruction was signed from",
                    hint="bring back the newest journal.sqlite; an older one would count twice",
                )
            lines = list(journal.entries())
        if not account.has_news(lines, covered) and not (
            empty and older is None and account.complete(case, self.estate(case), lines)
        ):
            return None
        body = account.destruction(case, self.estate(case), lines, covered, self.clock())
        assert case.charter_entry is not None
        return self.sign(body, cite(case.charter_entry), cite(case.require(Plan)))

    def add(self, file: Path) -> Path:
        """Bring in an envelope that a remote party sent, with what lies beside it."""
        if file.suffix != ".json" or not file.is_file() or file.stat().st_size > INCOMING_LIMIT:
            raise UsageError(f"{file} is no envelope", hint="envelopes are plain files, named NAME.json")
        self.folder.incoming.mkdir(parents=True, exist_ok=True)
        target = self.folder.incoming / file.name
        for suffix in (".share", ".attachment"):
            beside = file.with_suffix(suffix)
            if beside.exists() and beside != target.with_suffix(suffix):
                write_file(target.with_suffix(suffix), beside.read_bytes())
        if target != file:
            write_file(target, file.read_bytes())
        return target

    def open_charters(self) -> tuple[str, ...]:
        """Charters in the log that no certificate closed: earlier attempts, or cases under way."""
        return self._before_charter().open_charters

    # ── writing ──────────────────────────────────────────────────────────────────────────────────

    def begin(self, case_id: str) -> None:
        """Give the directory its case id, once."""
        path = self.path / "statements" / "case-id"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, case_id.encode() + b"\n", mode=0o644)

    def sign(self, body: Body, *cites: Cite) -> Entry:
        """Sign a statement as the operator, check it by replaying, log it, obtain cosignatures."""
        data, attachment = sign(body, cites, self.key)
        if attachment is not None:
            self._keep_attachment(attachment)
        return self.log_entry(data, dict([_named(attachment)]) if attachment is not None else {})

    def log_entry(self, data: bytes, attachments: dict[str, bytes]) -> Entry:
        """Append an envelope that the case admits. Raises: ProofError when it does not."""
        with self._log_alone():
            try:
                case = self.case()
            except OrderError:
                case = self._before_charter()
            entry = case.admit(data, attachments)
            self.log().append(data)
        self.cosign()
        return entry

    def cosign(self) -> None:
        """Bring the log's head under its quorum of cosignatures, then write the copies again.

        Witnesses beyond the quorum that did not cosign are told in `unheard`.

        Raises: ThresholdError naming the log witnesses that did not answer, HistoryError naming one that saw
        another log, where too few are left; what was logged stays.
        """
        log = self.log()
        with self._log_alone():  # the head that is shown is the head that is kept
            if log.size > 0 and log.size not in log.cosigned():
                needed = self.config.policy.witness
                answers = self._witnesses().cosign(log, needed)
                lines = [a.lines for a in answers if a.lines is not None]
                self.unheard = [_unheard(a) for a in answers if a.lines is None]
                if len(lines) < needed:
                    raise _too_few(answers, len(lines), needed)
                signed = log.checkpoint_note()
                log.store_cosigned(note.add_signatures(signed, lines) if lines else signed)
        self.write_copies()

    def write_copies(self) -> None:
        """Write the proof file so far and `statements/` from the log; the newest statement's file is last,
        so that where it is, all are."""
        bundle = self.bundle()
        folder = self.folder.statements
        write_file(folder / SO_FAR, bundles.write(bundle), mode=0o644)
        for index, data in enumerate(bundle.entries):
            kind = statements.outline(envelope.open_(data).payload).kind
            path = folder / f"{index + 1:04d}-{kind}.json"
            if not path.exists():
                write_file(path, data, mode=0o644)

    def statement_path(self, entry: Entry) -> Path:
        return self.folder.statements / f"{entry.index + 1:04d}-{entry.statement.kind}.json"

    # ── small things ─────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other operator commands off this case while the block runs. Raises: RefusedError."""
        with lock.held(self.path / ".lock") as mine:
            if not mine:
                raise RefusedError(
                    "another cenotaph command is at work on this case",
                    hint="wait until it has ended (cenotaph status), then run this again",
                )
            yield

    @contextmanager
    def _log_alone(self) -> Iterator[None]:
        """Between looking at the log and appending to it nobody else appends: cases share a log."""
        path = self.config.log_path()
        path.mkdir(parents=True, exist_ok=True)
        with lock.held(path / ".desk", wait=LOG_PATIENCE) as mine:
            if not mine:
                raise RefusedError("another case's command holds the log", hint="run the same command again")
            yield

    def _witnesses(self) -> Witnesses:
        return Witnesses(self.config, self.key, self.clock)

    def estate(self, case: Case) -> Estate:
        """The clear inventory, checked against its statement. Raises: AnnexError."""
        inventory = case.require(Inventory).body(Inventory)
        return estates.from_json(
            self.annex(case).read_json("inventory", self.annex_key(case), inventory.annex)
        )

    def check_unchanged(self, case: Case, annex_key: bytes) -> None:
        """The case file is the one the charter was signed for. Raises: RefusedError."""
        kept = self.annex(case).read("case-file", annex_key, case.charter.annex)
        if kept != self.config.source:
            raise RefusedError(
                "case.toml, or a list it names, is not the one that the charter was signed for",
                hint="restore it, or open a new case",
            )

    def annex_key(self, case: Case) -> bytes:
        return self.annex(case).unwrap("annex-key", self.key)

    def case_key(self, case: Case) -> bytes:
        return self.annex(case).unwrap("case-key", self.key)

    def _before_charter(self) -> Case:
        """A case that has taken the log's earlier entries, which belong to other cases."""
        case = Case()
        for data in self.log().entries():
            outline = statements.outline(envelope.open_(data).payload)
            case.skip(data, outline.kind, outline.charter)
        return case

    def _waiting(self) -> list[Path]:
        """The envelopes in `incoming`. Parties may leave anything there: what could stop a run, or lead it to
        files elsewhere, is told and not opened."""
        found = []
        for path in sorted(self.folder.incoming.glob("*.json")):
            beside = [
                path.with_suffix(s) for s in (".share", ".attachment") if os.path.lexists(path.with_suffix(s))
            ]
            if _plain(path, INCOMING_LIMIT) and all(_plain(b, statements.ATTACHMENT_LIMIT) for b in beside):
                found.append(path)
            else:
                self.refused.append(f"{path.name}: not a plain file, or larger than an envelope may be")
        return found

    def _admit(self, case: Case, path: Path) -> Entry | None:
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        beside = path.with_suffix(".attachment")
        attachments = dict([_named(beside.read_bytes())]) if beside.exists() else {}
        known = case.by_digest.get(digest)
        if known is None:
            try:
                self._check_not_too_late(data, attachments)
                known = case.admit(data, attachments)
            except ProofError as error:
                self.refused = [r for r in self.refused if not r.startswith(path.name)]
                self.refused.append(f"{path.name}: {error.message}")
                return None
            self.refused = [r for r in self.refused if not r.startswith(path.name)]
            for attachment in attachments.values():
                self._keep_attachment(attachment)
            self._keep_share(known, path.with_suffix(".share"))
            self.log().append(data)
        wipe(path.with_suffix(".share"))  # the envelope goes last, so that a killed run comes back for all
        for suffix in (".attachment", ".json"):
            path.with_suffix(suffix).unlink(missing_ok=True)
        return known

    def _check_newest(self, log: Log) -> None:
        """Nothing is appended to an older copy of the log. Raises: LogError."""
        copies = (path.name[:4] for path in self.folder.statements.glob("[0-9][0-9][0-9][0-9]-*.json"))
        if max((int(number) for number in copies), default=0) > log.size:
            raise LogError("statements/ holds statements that the log does not", hint=OLDER_LOG)
        self._witnesses().check_newest(log, self.config.policy.witness)

    def _check_not_too_late(self, data: bytes, attachments: dict[str, bytes]) -> None:
        """Destruction begins with the journal's first *begun*, which only this side can see."""
        body = statements.parse(envelope.open_(data).payload, attachments).body
        if isinstance(body, Approval) and body.decision == "withdraw" and self._journalled("begun"):
            raise OrderError("an approval cannot be withdrawn after destruction began")

    def _journalled(self, kind: str) -> bool:
        if not self.journal_path().exists():
            return False
        with Journal(self.journal_path()) as journal:
            return any(e.kind == kind for e in journal.entries())

    def _keep_share(self, entry: Entry, path: Path) -> None:
        if path.exists():
            target = self.path / "annex" / share_name(entry.signer)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_file(target, path.read_bytes())

    def _give_keys(self, case: Case) -> None:
        """Wrap the annex key to parties that countersigned, so that they can read what they approve."""
        if self._journalled("certifying"):
            return  # the annex is going, or gone
        annex = self.annex(case)
        holders = [e.signer for e in case.charter_approvals() if not annex.has("annex-key", e.signer)]
        if holders and annex.has("annex-key", self.key.public):
            annex.wrap("annex-key", annex.unwrap("annex-key", self.key), holders)

    def _keep_attachment(self, data: bytes) -> None:
        self.folder.attachments.mkdir(parents=True, exist_ok=True)
        write_file(self.folder.attachments / f"{hashlib.sha256(data).hexdigest()}.json", data, mode=0o644)

    def _attachment(self, digest: str) -> bytes:
        try:
            return (self.folder.attachments / f"{digest}.json").read_bytes()
        except FileNotFoundError:
            raise CenotaphError(
                "a detached part of a statement is missing from statements/attachments",
                hint="restore the case directory from its backup",
            ) from None


def alone(stage: Callable[Concatenate[Desk, P], R]) -> Callable[Concatenate[Desk, P], R]:
    """An operator's stage that keeps other commands off the case while it runs."""

    @functools.wraps(stage)
    def guarded(desk: Desk, /, *args: P.args, **options: P.kwargs) -> R:
        with desk.alone():
            return stage(desk, *args, **options)

    return guarded


def _unheard(answer: Answered) -> str:
    return f"{answer.organisation} ({answer.why.message})" if answer.why else answer.organisation


def _too_few(answers: Sequence[Answered], have: int, needed: int) -> ProofError:
    """Why a head has no quorum. A witness that saw another history says more than those that are down."""
    for answer in answers:
        if isinstance(answer.why, HistoryError):
            return answer.why
    missing = ", ".join(_unheard(a) for a in answers if a.lines is None)
    return ThresholdError(
        f"the log's checkpoint has {have} of {needed} cosignatures; "
        f"missing: {missing or 'no log witness is named in the case'}",
        hint="when the log witnesses answer, run the same command again",
    )


def cite(entry: Entry) -> Cite:
    """A citation of an admitted statement."""
    return Cite(entry.statement.kind, entry.digest)


def _plain(path: Path, limit: int) -> bool:
    """Whether this is a regular file with this one name, no link, and no larger than `limit`."""
    info = path.lstat()
    return stat.S_ISREG(info.st_mode) and info.st_nlink == 1 and info.st_size <= limit


def share_name(auditor: PublicKey) -> str:
    """Where in the annex an auditor's sealed key share lies."""
    return f"share-{auditor.key_id[:16]}.sealed"


def open_share(annex: Path, case: str, auditor: PublicKey, operator: SecretKey) -> bytes:
    """An auditor's key share, decrypted. Raises: OrderError when it is not in the annex."""
    try:
        sealed = (annex / share_name(auditor)).read_bytes()
    except FileNotFoundError:
        raise OrderError(
            f"the key share of auditor {auditor.organisation} has not arrived",
            hint="it lies beside their approval of the charter (FILE.share): cenotaph approve --add FILE",
        ) from None
    return operator.open_sealed(share_info(case), sealed)


def _named(data: bytes) -> tuple[str, bytes]:
    return hashlib.sha256(data).hexdigest(), data
