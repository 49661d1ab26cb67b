"""Certify: destroy the keys and the annex, then say exactly what the statements say."""

from __future__ import annotations

import hashlib

from cenotaph.desk import Desk, alone, cite
from cenotaph.durable import write_file
from cenotaph.journal import Journal
from cenotaph_proof import bundle as bundles
from cenotaph_proof import canonical, facts
from cenotaph_proof.case import Case
from cenotaph_proof.casebook import Entry
from cenotaph_proof.errors import OrderError
from cenotaph_proof.folder import wipe
from cenotaph_proof.statements import Certificate, CheckpointRef, to_json


@alone
def certify(desk: Desk) -> Entry:
    """Sign and log the certificate, and write the proof file. Run again, it goes on.

    Raises: OrderError without an accepted probe of the latest destruction.
    """
    desk.admit_incoming()
    case = desk.case()
    done = case.latest(Certificate)
    if done is None:
        body = facts.certificate(case, _log_ref(case), desk.clock())
        _destroy_keys(desk, case, body)
        assert case.charter_entry is not None
        probes = facts.accepted(case)
        done = desk.sign(body, cite(case.charter_entry), *(cite(p) for p in probes))
    write_file(desk.proof_path(), bundles.write(desk.bundle()), mode=0o644)
    return done


def _destroy_keys(desk: Desk, case: Case, body: Certificate) -> None:
    """K, key shares and annex go, and the journal says so, before the certificate says so."""
    content = hashlib.sha256(canonical.dumps(to_json(body))).hexdigest()
    with Journal(desk.journal_path()) as journal:
        journal.append("certifying", content=content)
        files = desk.annex(case).destroy_all()
        for share in sorted(desk.folder.incoming.glob("*.share*")):  # what a cut-off approval left
            wipe(share)
        journal.append("annex destroyed", files=files)


def _log_ref(case: Case) -> CheckpointRef:
    last = case.cosigned[-1] if case.cosigned else None
    if last is None or last.size != case.size:
        raise OrderError(
            "the log's head has no quorum of cosignatures yet", hint="run the same command again"
        )
    return CheckpointRef(last.size, last.root.hex())
