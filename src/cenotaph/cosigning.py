"""Obtaining cosignatures: the log witnesses of a case, on the network or, for rehearsals, in this process.

A witness that is down is missing, and the others may be enough. A witness that has seen another history is a
sign that the log was restored from an older copy: then nothing is appended, unless so many others know this
very head as the newest that no quorum can have seen a longer one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from cenotaph import config
from cenotaph.clock import Clock
from cenotaph.config import CaseFile, PartyTable
from cenotaph.errors import UsageError
from cenotaph_proof import merkle, note
from cenotaph_proof.errors import FormatError, HistoryError, LogError
from cenotaph_proof.keys import PublicKey, SecretKey
from cenotaph_proof.log import Log
from cenotaph_proof.network.address import Address
from cenotaph_proof.network.witness_client import TRIES, Answered, RemoteWitness, Shown, ask, cosignature
from cenotaph_proof.trust import seconds
from cenotaph_proof.witness import Witness

PATIENCE = 30.0  # seconds for all witnesses together
GRACE = 1.5  # seconds more for the others once enough have cosigned
OLDER_LOG = "the log was restored from an older copy: bring back the newest"


class Witnesses:
    """The log witnesses that a case names, and how each is asked."""

    def __init__(self, case: CaseFile, key: SecretKey, clock: Clock) -> None:
        self._case = case
        self._key = key
        self._clock = clock
        self._parties = [p for p in case.party if p.role == "log-witness"]

    def cosign(self, log: Log, enough: int) -> list[Answered]:
        """What came of asking each of them for the log's head; does not wait for all once `enough` answered.

        Raises: LogError when a witness in this process has seen a longer log; UsageError about case.toml.
        """
        answers = self._here(log)
        here = sum(a.lines is not None for a in answers.values())
        remote = self._asks(log)
        answers |= {a.organisation: a for a in ask(remote, enough - here, patience=PATIENCE, grace=GRACE)}
        return [answers.get(p.organisation, Answered(p.organisation, None)) for p in self._parties]

    def check_newest(self, log: Log, needed: int) -> None:
        """Refuse to go on where the log is an older copy of itself. `needed` is the case's quorum.

        Raises: LogError naming the witness that has seen more; UsageError about case.toml.
        """
        self._check_newest_here(log)
        remote = self._asks(log, tries=1)  # who is down says nothing about it: no need to wait for them
        if not remote or log.size == 0:
            return
        answers = ask(remote, len(remote), patience=PATIENCE, grace=GRACE)
        others = [a.why for a in answers if isinstance(a.why, HistoryError)]
        # Two sets of witnesses, one of `needed` and one of all but `needed - 1`, always share a member.
        here = sum(self._witness(party) is not None for party in self._parties)
        agree = sum(a.lines is not None for a in answers) + here
        if others and agree < len(self._parties) - needed + 1:
            raise others[0]

    def _here(self, log: Log) -> dict[str, Answered]:
        """What those in this process sign."""
        self._check_newest_here(log)
        answers = {}
        for party in self._parties:
            witness = self._witness(party)
            if witness is not None:
                old = witness.size(self._key.public)
                proof = merkle.consistency_proof(log.leaf_hashes(), old) if old else []
                lines = witness.add_checkpoint(old, proof, log.checkpoint_note(), now=self._clock())
                answers[party.organisation] = Answered(party.organisation, lines)
        return answers

    def _check_newest_here(self, log: Log) -> None:
        for party in self._parties:
            witness = self._witness(party)
            if witness is not None and witness.size(self._key.public) > log.size:
                raise LogError(
                    f"log witness {party.organisation} has seen a longer log than this one", hint=OLDER_LOG
                )

    def _witness(self, party: PartyTable) -> Witness | None:
        """A log witness that signs in this process; None for others."""
        if party.cosign is None or not party.cosign.startswith("file:"):
            return None
        key_file = config.reference_path(party.cosign, self._case.base)
        return Witness(
            key_file.with_name(key_file.name + ".witness"), SecretKey.load(key_file), [self._key.public]
        )

    def _asks(self, log: Log, tries: int = TRIES) -> list[tuple[str, Callable[[], bytes]]]:
        """How each witness on the network is asked for the log's head."""
        remote = remote_witnesses(self._case)
        if not remote:
            return []
        shown = Shown(
            note=log.checkpoint_note(),
            operator=self._key.public,
            prove=partial(merkle.consistency_proof, log.leaf_hashes()),
            clock=self._clock,
            clock_skew=seconds(self._case.policy.clock_skew, "clock_skew"),
        )
        cosigned = {size: found for size, found in log.cosigned().items() if size <= log.size}
        return [
            (name, partial(cosignature, replace(witness, tries=tries), shown, _known(cosigned, witness.key)))
            for name, witness in remote
        ]


def remote_witnesses(case: CaseFile) -> list[tuple[str, RemoteWitness]]:
    """The log witnesses on the network, by organisation. Raises: UsageError about case.toml."""
    named = [
        (party, party.cosign)
        for party in case.party
        if party.role == "log-witness" and party.cosign is not None and not party.cosign.startswith("file:")
    ]
    keys = {key.organisation: key for key in case.parties()} if named else {}
    return [
        (party.organisation, _remote(case, party, cosign, keys[party.organisation]))
        for party, cosign in named
    ]


def _remote(case: CaseFile, party: PartyTable, cosign: str, key: PublicKey) -> RemoteWitness:
    try:
        address = Address.parse(config.resolve(cosign, case.base))
    except FormatError as error:
        raise UsageError(
            f"cosign of log witness {party.organisation}: {error.message}", hint=error.hint
        ) from None
    return RemoteWitness(key, address, None if party.cosign_ca is None else case.base / party.cosign_ca)


def _known(cosigned: Mapping[int, bytes], witness: PublicKey) -> int:
    """The size that a witness last cosigned, as far as the log's folder tells."""
    name = note.witness_note_key(witness).name
    for size, found in sorted(cosigned.items(), reverse=True):
        if any(line.name == name for line in note.parse_note(found).signatures):
            return size
    return 0
