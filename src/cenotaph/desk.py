"""The operator's desk: a case directory with its log, where statements are admitted, signed, logged.

The log is the truth; `statements/` and the proof file so far are copies of it, written again after
each entry. Every operator command first admits what lies in `statements/incoming/`, logs it, obtains
cosignatures, then acts.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from cenotaph import config
from cenotaph.annex import Annex
from cenotaph.clock import Clock, wall_clock
from cenotaph.durable import write_file
from cenotaph.errors import CenotaphError, RefusedError, UsageError
from cenotaph_proof import bundle as bundles
from cenotaph_proof import envelope, merkle, note, statements
from cenotaph_proof.acts import share_info
from cenotaph_proof.bundle import Bundle
from cenotaph_proof.case import Case, Entry
from cenotaph_proof.errors import LogError, OrderError, ProofError, ThresholdError
from cenotaph_proof.folder import SO_FAR, CaseFolder, sign
from cenotaph_proof.keys import PublicKey, SecretKey
from cenotaph_proof.log import Log
from cenotaph_proof.statements import Body, Cite
from cenotaph_proof.witness import Witness

INCOMING_LIMIT = 65_535


class Desk:
    """One case directory and the operator's key. `clock` gives seconds since the epoch."""

    def __init__(self, path: Path, clock: Clock = wall_clock) -> None:
        self.path = path.absolute()
        self.clock = clock
        self.config = config.load(self.path / "case.toml")
        self.folder = CaseFolder(self.path)
        self.refused: list[str] = []  # what came in and could not be admitted, in words

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
        path = self.config.log_path()
        key = self.key
        return Log.open(path, key) if (path / "checkpoint").exists() else Log.create(path, key)

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
        )

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
        admitted: list[Entry] = []
        waiting = sorted(self.folder.incoming.glob("*.json")) if self.folder.incoming.exists() else []
        case = self.case()
        self._give_keys(case)
        progress = bool(waiting)
        while progress:
            progress = False
            for path in list(waiting):
                entry = self._admit(case, path)
                if entry is not None:
                    admitted.append(entry)
                    waiting.remove(path)
                    progress = True
                    case = self.case()
        if admitted:
            self.cosign()
            self._give_keys(self.case())
        return admitted

    def add(self, file: Path) -> Path:
        """Bring in an envelope that a remote party sent, with what lies beside it."""
        if file.stat().st_size > INCOMING_LIMIT:
            raise UsageError(f"{file} is larger than an envelope may be")
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

        Raises: ThresholdError naming the log witnesses that did not answer; what was logged stays.
        """
        log = self.log()
        signed = log.checkpoint_note()
        if log.size > 0 and log.size not in log.cosigned():
            lines, missing = self._cosignatures(log, signed)
            if len(lines) < self.config.policy.witness:
                raise ThresholdError(
                    f"the log's checkpoint has {len(lines)} of {self.config.policy.witness} cosignatures; "
                    f"missing: {', '.join(missing) or 'no log witness is named in the case'}",
                    hint="when the log witnesses answer, run the same command again",
                )
            log.store_cosigned(note.add_signatures(signed, lines) if lines else signed)
        self.write_copies()

    def write_copies(self) -> None:
        """Write `statements/` and the proof file so far from the log."""
        bundle = self.bundle()
        folder = self.folder.statements
        for index, data in enumerate(bundle.entries):
            kind = statements.outline(envelope.open_(data).payload).kind
            path = folder / f"{index + 1:04d}-{kind}.json"
            if not path.exists():
                write_file(path, data, mode=0o644)
        write_file(folder / SO_FAR, bundles.write(bundle), mode=0o644)

    def statement_path(self, entry: Entry) -> Path:
        return self.folder.statements / f"{entry.index + 1:04d}-{entry.statement.kind}.json"

    # ── small things ─────────────────────────────────────────────────────────────────────────────

    def check_unchanged(self, case: Case, annex_key: bytes) -> None:
        """The case file is the one the charter was signed for. Raises: RefusedError."""
        kept = self.annex(case).read("case-file", annex_key, case.charter.annex)
        if kept != self.config.source:
            raise RefusedError(
                "case.toml is not the one that the charter was signed for",
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

    def _admit(self, case: Case, path: Path) -> Entry | None:
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        beside = path.with_suffix(".attachment")
        attachments = dict([_named(beside.read_bytes())]) if beside.exists() else {}
        known = case.by_digest.get(digest)
        if known is None:
            try:
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
        for suffix in (".json", ".attachment", ".share"):
            path.with_suffix(suffix).unlink(missing_ok=True)
        return known

    def _keep_share(self, entry: Entry, path: Path) -> None:
        if path.exists():
            target = self.path / "annex" / share_name(entry.signer)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_file(target, path.read_bytes())

    def _give_keys(self, case: Case) -> None:
        """Wrap the annex key to parties that countersigned, so that they can read what they approve."""
        annex = self.annex(case)
        holders = [e.signer for e in case.charter_approvals() if not annex.has("annex-key", e.signer)]
        if holders and annex.has("annex-key", self.key.public):
            annex.wrap("annex-key", annex.unwrap("annex-key", self.key), holders)

    def _cosignatures(self, log: Log, signed: bytes) -> tuple[list[bytes], list[str]]:
        lines: list[bytes] = []
        missing: list[str] = []
        for party in self.config.party:
            if party.role == "log-witness":
                line = self._cosign_one(party, log, signed)
                if line is None:
                    missing.append(party.organisation)
                else:
                    lines.append(line)
        return lines, missing

    def _cosign_one(self, party: config.PartyTable, log: Log, signed: bytes) -> bytes | None:
        if party.cosign is None:
            return None
        if not party.cosign.startswith("file:"):
            raise UsageError(f"log witness {party.organisation}: this version cosigns with file: keys only")
        key_file = config.reference_path(party.cosign, self.config.base)
        witness = Witness(
            key_file.with_name(key_file.name + ".witness"), SecretKey.load(key_file), [self.key.public]
        )
        old = witness.size(self.key.public)
        if old > log.size:
            raise LogError(
                f"log witness {party.organisation} has seen a longer log than this one",
                hint="the log was restored from an older copy: bring back the newest",
            )
        proof = merkle.consistency_proof(log.leaf_hashes(), old) if old else []
        return witness.add_checkpoint(old, proof, signed, now=self.clock())

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


def cite(entry: Entry) -> Cite:
    """A citation of an admitted statement."""
    return Cite(entry.statement.kind, entry.digest)


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
