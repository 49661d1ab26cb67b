"""A log witness killed at any moment, while it is offered two histories at once."""

from __future__ import annotations

import http.client
import os
import random
import threading
import time
from collections import defaultdict
from pathlib import Path

import pytest

from asked_witness import FORKED, LEAVES, OPERATOR, PAPER, Said, add, asked, head, verify
from cenotaph_proof import merkle
from servers import Server, start, wait_until, witness_line

KILLS = 100 if os.environ.get("CENOTAPH_CRASH") == "every" else 4


class Forks:
    """Clients that offer a witness two histories of one log at once, and keep every answer that they get."""

    def __init__(self) -> None:
        self.cosigned: dict[int, set[bytes]] = defaultdict(set)  # size to roots that came with a good line
        self.answers = 0
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.server: Server | None = None
        self.known = 0

    def offer(self, leaves: list[bytes], seed: int) -> None:
        dice = random.Random(seed)
        while not self.stop.is_set():
            old = self.known
            size = min(old + dice.randrange(0, 3), len(leaves) - 1)
            body = asked(old, size, leaves)
            try:
                assert self.server is not None
                said = add(self.server, body)
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)
                continue
            self.keep(said, size, leaves)

    def keep(self, said: Said, size: int, leaves: list[bytes]) -> None:
        with self.lock:
            self.answers += 1
            if said.status == 409:
                self.known = int(said.body)
            elif said.status == 200:
                verify(head(size, leaves), said.body)
                self.cosigned[size].add(merkle.root(leaves[:size]))
                self.known = max(self.known, size)


@pytest.mark.timeout(900)
def test_a_witness_killed_at_any_moment_never_signs_two_roots_of_one_size(tmp_path: Path) -> None:
    """SIGKILL, many times, under several clients that offer two forks at once: of all answers that ever left
    it, no two are of one size and different roots. Both forks are still being offered at the end."""
    OPERATOR.save(tmp_path / "bureau")
    PAPER.save(tmp_path / "paper")
    line = witness_line(tmp_path, tmp_path / "paper", [tmp_path / "bureau.pub"])
    forks = Forks()
    clients = [
        threading.Thread(target=forks.offer, args=(leaves, seed), daemon=True)
        for seed, leaves in enumerate((LEAVES, FORKED) * 2)
    ]
    dice = random.Random(7)
    for kill in range(KILLS):
        forks.server = start(*line, errors=tmp_path / "errors")
        before = forks.answers
        if kill == 0:
            for client in clients:
                client.start()
        # more sizes signed than lives lived: where all is refused, nothing is shown
        wait_until(lambda: forks.answers > before + 3 and len(forks.cosigned) > kill + 1)  # noqa: B023
        time.sleep(dice.random() * 0.15)
        forks.server.kill()
    forks.stop.set()
    for client in clients:
        client.join()

    assert [size for size, roots in forks.cosigned.items() if len(roots) > 1] == []
    assert len(forks.cosigned) > KILLS
    # A fork is real: beyond its third entry the two have no root in common.
    assert merkle.root(LEAVES[:9]) != merkle.root(FORKED[:9])
