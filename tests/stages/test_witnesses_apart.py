"""Log witnesses on the network: how many must cosign, who is missing, who saw another history, who lies."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cenotaph.desk import Desk
from cenotaph_proof import note
from cenotaph_proof.errors import HistoryError, ThresholdError
from cenotaph_proof.keys import PublicKey, SecretKey
from cenotaph_proof.log import Log
from servers import Server, lying, running, start, witness_line
from small_case import STORES, SmallCase, build_estate

NAMES = ("Daily Paper", "City Library", "State University")


class Three:
    """A case of three log witnesses on the network, of which two must cosign; each on a port that it keeps."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.servers: dict[str, Server] = {}
        build_estate(root / "estate")
        (root / "keys").mkdir(parents=True)
        SecretKey.generate("Big Data Bureau", "operator").save(root / "keys" / "bureau")
        for name in NAMES:
            SecretKey.generate(name, "log-witness").save(root / "keys" / name)
            self.up(name)
        parties = [("Big Data Bureau", "operator", "bureau"), *((n, "log-witness", n) for n in NAMES)]
        self.case = SmallCase.make(
            root, STORES, parties=parties, policy="[policy]\napprove = {}\nwitness = 2\n"
        )
        self.write({name: self.servers[name].url for name in NAMES})

    def write(self, addresses: dict[str, str]) -> None:
        """Name other addresses in case.toml; only before the case is opened."""
        text = (self.case.path / "case.toml").read_text("utf-8")
        for name in NAMES:
            text = text.replace(f'cosign = "file:../keys/{name}"', f'cosign = "{addresses[name]}"')
        (self.case.path / "case.toml").write_text(text, "utf-8")

    def up(self, name: str) -> None:
        folder = self.root / "witnesses" / name
        folder.mkdir(parents=True, exist_ok=True)
        port = f"127.0.0.1:{self.servers[name].port if name in self.servers else 0}"
        line = witness_line(
            folder, self.root / "keys" / name, [self.root / "keys" / "bureau.pub"], "--listen", port
        )
        self.servers[name] = start(*line, errors=folder / "errors")

    def down(self, *names: str) -> None:
        for name in names:
            self.servers[name].kill()

    def log(self) -> Log:
        return Log.open(self.root / "log", SecretKey.load(self.root / "keys" / "bureau"))

    def cosigned(self, size: int) -> set[str]:
        """The organisations that cosigned the head of this size."""
        keys = [PublicKey.load(self.root / "keys" / f"{name}.pub") for name in NAMES]
        operator = PublicKey.load(self.root / "keys" / "bureau.pub")
        seen = note.verify_checkpoint(self.log().cosigned()[size], operator, keys)
        return {k.organisation for k in keys for key_id, _ in seen.cosignatures if key_id == k.key_id}


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Three]:
    made = Three(tmp_path)
    try:
        yield made
    finally:
        made.down(*NAMES)


def test_enough_witnesses_are_enough_and_the_missing_one_is_told(three: Three) -> None:
    """Two of three: one is down, the case opens, and it is said who did not cosign."""
    three.down("City Library")
    desk = three.case.desk()
    from cenotaph.stages.open import open_case

    open_case(desk)

    assert three.cosigned(1) == {"Daily Paper", "State University"}
    assert [told.partition(" (")[0] for told in desk.unheard] == ["City Library"]
