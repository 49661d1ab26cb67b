"""Signatures checked ahead: other processes go through a log from its end while this one replays it.

A helper writes down the digest of each entry whose signature it found good, in memory that both see. The
replay looks there, and checks for itself whatever is not there yet, or was read otherwise: so it waits for
nobody, and what a helper does or fails to do changes no verdict, only how long it takes.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from cenotaph_proof import envelope
from cenotaph_proof.errors import ProofError
from cenotaph_proof.keys import PublicKey

Vouched: TypeAlias = Callable[[int, bytes], bool]
"""Whether the entry at an index, with this SHA-256, bears a good signature by the key that it names."""

FEWEST = 1_000  # entries; below, a helper costs more than it gives
_DIGEST = 32


def nobody(index: int, digest: bytes) -> bool:
    """Vouches for nothing."""
    return False


@contextmanager
def signatures(
    entries: Sequence[bytes], first: int, keys: Mapping[str, PublicKey], helpers: int
) -> Iterator[Vouched]:
    """Have so many helpers check the entries from index `first` on. `entries` must be readable by several
    processes at once. Where there are few entries, or no helper can be forked, nothing is vouched for."""
    count = len(entries)
    if helpers < 1 or count - first < FEWEST or not hasattr(os, "fork") or threading.active_count() > 1:
        yield nobody
        return
    with mmap.mmap(-1, _DIGEST * count) as good:
        started: list[int] = []
        try:
            for number in range(helpers):
                started.append(_forked(entries, range(count - 1 - number, first - 1, -helpers), keys, good))
            yield lambda index, digest: good[_DIGEST * index : _DIGEST * (index + 1)] == digest
        finally:
            for process in started:
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)


def _forked(
    entries: Sequence[bytes], indexes: Sequence[int], keys: Mapping[str, PublicKey], good: mmap.mmap
) -> int:
    process = os.fork()
    if process:
        return process
    try:  # never back into the caller's code: this is a copy of its process
        for index in indexes:
            data = entries[index]
            if _is_good(data, keys):
                good[_DIGEST * index : _DIGEST * (index + 1)] = hashlib.sha256(data).digest()
    finally:
        os._exit(0)


def _is_good(data: bytes, keys: Mapping[str, PublicKey]) -> bool:
    try:
        sealed = envelope.open_(data)
        envelope.verify(sealed, keys[sealed.keyid])
    except (KeyError, ProofError):
        return False
    return True
