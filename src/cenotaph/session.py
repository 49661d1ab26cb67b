"""An auditor's session: the case folder, the auditor's key, and the stores as they reach them.

Works on a copy of `case.toml`, `statements/` and `annex/`. Writes nothing but an envelope in
`statements/incoming/` and the auditor's own secrets beside their key.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cenotaph import config
from cenotaph import estate as estates
from cenotaph.annex import Annex
from cenotaph.clock import Clock, wall_clock
from cenotaph.errors import RefusedError, UsageError
from cenotaph.estate import Estate, EstateCollection, EstateStore, SealedChunks
from cenotaph.sealing import NeedleSource, Target
from cenotaph.store import OpenReader
from cenotaph_proof import seal as seals
from cenotaph_proof.acts import party_role
from cenotaph_proof.errors import OrderError
from cenotaph_proof.folder import CaseFolder, Secrets
from cenotaph_proof.keys import PublicKey, SecretKey
from cenotaph_proof.statements import CheckpointRef, Inventory, Seal

TOOL = "cenotaph 0.1.0"


class Session:
    """What an auditor's stages work with. `addresses` are store → address of the auditor's own way in.

    Raises: KeyFileError when the key is no auditor's; RefusedError when annex and statements differ;
    UsageError for an address of another kind of store.
    """

    def __init__(
        self,
        path: Path,
        key_file: Path,
        addresses: Mapping[str, str] | None = None,
        clock: Clock = wall_clock,
    ) -> None:
        self.path = path.absolute()
        self.clock = clock
        self.config = config.load(self.path / "case.toml")
        self.folder = CaseFolder(self.path)
        self.case = self.folder.replay()
        self.key = SecretKey.load(key_file)
        self.addresses = dict(addresses or {})
        party_role(self.case, self.key, "auditor")
        for name, address in self.addresses.items():
            kind = self.config.find(name).kind
            if not address.startswith(f"{kind}:"):
                raise UsageError(
                    f"store {name} is of kind {kind}, and the address given for it is not",
                    hint=f"name it as --store {name}={kind}:PATH",
                )
        self.secrets = Secrets(key_file, self.case.charter.case)
        self.annex = Annex(self.path / "annex", self.case.charter.case)
        self.seal_entry = self.case.require(Seal)
        self.seal = self.seal_entry.body(Seal)
        self.case_key = self._case_key()

    @property
    def public(self) -> PublicKey:
        return self.key.public

    def estate(self) -> Estate:
        """The clear inventory, checked against the statement's digest, and the case file likewise."""
        annex_key = self.annex.unwrap("annex-key", self.key)
        source = self.annex.read("case-file", annex_key, self.case.charter.annex)
        if source != self.config.source:
            raise RefusedError(
                "case.toml, or a list it names, is not the one that the charter was signed for"
            )
        inventory = self.case.require(Inventory).body(Inventory)
        return estates.from_json(self.annex.read_json("inventory", annex_key, inventory.annex))

    def sealed(self, estate: Estate) -> SealedChunks:
        """The chunk lists, after recomputing every published root from them."""
        chunks = estates.sealed_from_json(self.annex.read_json("seal", self.case_key, self.seal.annex))
        for store, published in zip(estate.stores, self.seal.stores, strict=True):
            collections = [
                seals.collection(
                    c.ordinal,
                    [
                        chunk
                        for p in c.partitions
                        for chunk in chunks.chunks.get((store.name, c.ordinal, p.index), ())
                    ],
                )
                for c in store.collections
            ]
            if seals.store(store.name, seals.publish(collections), published.persons) != published:
                raise RefusedError(f"the chunk lists of store {store.name} do not lie under the sealed root")
        return chunks

    def needles(self) -> NeedleSource:
        """Where child processes read the needles that the seal names."""
        return NeedleSource(self.annex.path, self.case.charter.case, self.seal.needles)

    def target(self, opener: OpenReader, store: EstateStore, item: EstateCollection) -> Target:
        return estates.target(self.config, opener, store, item, self.url(store.name))

    def url(self, store: str) -> str:
        """Where this auditor reaches a store."""
        return self.addresses.get(store) or self.config.url(self.config.find(store))

    def is_here(self, store: str) -> bool:
        """Whether this auditor reads a store at the operator's place: no other address, or the same file."""
        other = self.addresses.get(store)
        if other is None:
            return True
        try:
            place = self.config.place(self.config.find(store))
            return place is not None and os.path.samefile(other.partition(":")[2], place)
        except OSError:
            return False

    def misplaced(self, store: EstateStore) -> bool:
        """Whether the store's folder is not the one that was surveyed: unmounted, moved, or a link.

        Not asked of a store that this auditor reaches at an address of their own.
        """
        if store.name in self.addresses or store.anchor is None:
            return False
        place = self.config.home(self.config.find(store.name))
        return place is None or estates.anchor(place, self.config.base) != store.anchor

    def tool(self) -> str:
        """The program, and whose addresses led to the stores."""
        own = len(self.addresses)
        where = f"{own} of them at the auditor's own addresses" if own else "at the operator's addresses"
        return f"{TOOL}, {len(self.config.store)} stores, {where}"

    def reveal(self, commitment: str) -> str:
        """The nonce behind a commitment of ours. Raises: UsageError when it was lost."""
        nonce = self.secrets.load().get(commitment)
        if nonce is None:
            raise UsageError(
                "the nonce that was committed to is not beside this key",
                hint="run this on the machine where the charter was approved",
            )
        return nonce

    def checkpoint(self, index: int) -> CheckpointRef:
        """The newest cosigned checkpoint, which must hold log entry `index`."""
        for seen in reversed(self.case.cosigned):
            if seen.size > index:
                return CheckpointRef(seen.size, seen.root.hex())
        raise OrderError("there is no checkpoint with its quorum of log witnesses over this yet")

    def _case_key(self) -> bytes:
        key = self.annex.unwrap("case-key", self.key)
        if seals.key_commitment(key) != self.seal.key:
            raise RefusedError("the case key in the annex is not the one that the seal commits to")
        return key
