"""A small whole case that people watched: steps, testimonies, and cosignatures that outlive Ed25519."""

from __future__ import annotations

import re
from dataclasses import replace

from cenotaph.testing.ceremony import AUDITORS, NOTARY, OPERATOR, SEEN, Ceremony, Estate
from cenotaph_proof.keys import SecretKey
from cenotaph_proof.statements import Cite, Party

# A signature line of a note inside a proof file: "— name base64"
SIGNATURE_LINES = re.compile(rb"\xe2\x80\x94 [^ ]+ (?P<blob>[A-Za-z0-9+/]+)=*\\n")


class PostQuantum(Ceremony):
    """A ceremony whose log witnesses cosign with ML-DSA-44 too."""

    def key(self, name: str, role: str | None = None) -> SecretKey:
        key = super().key(name, role)
        return replace(key, mldsa44_seed=key.x25519_seed) if key.role == "log-witness" else key

    def party(self, name: str) -> Party:
        public = self.key(name).public
        return replace(super().party(name), mldsa44=public.mldsa44.hex() if public.mldsa44 else None)


def watched_case() -> Ceremony:
    """Two of three steps are testified to, one with evidence; one objection is answered, one is not."""
    c = PostQuantum(estate=(Estate("health", (400,)),), steps=SEEN).run(last="probe")
    c.testify(NOTARY, SEEN[0].says, SEEN[0].about, c.cite("plan"), evidence=("a5" * 32,))
    c.testify(AUDITORS[0], SEEN[1].says, SEEN[1].about, c.cite("plan"))
    objection = c.testify(NOTARY, "objects", "the scope", why="an app is missing")
    c.testify(OPERATOR, "answers", "the scope", Cite("testimony", objection), why="it never held records")
    c.testify(AUDITORS[0], "objects", "the scope", why="too little")
    return c.run("certify")
