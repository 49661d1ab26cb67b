"""The server's memory, which keeps pages of erased rows until its owner restarts it.

What surprised the author: nothing in SQL empties shared buffers, and whatever supervises a server would
take a restart by anybody else for a failure. So it is asked for here, and seen by the probe.
"""

from __future__ import annotations

from collections.abc import Iterator

from cenotaph.store import Command
from cenotaph.stores.postgres.work import Outlook, Work

_RESTART = Command(
    "",
    "The server's owner restarts it once all of this is done. The probe compares when it was started.",
    "Nobody is served meanwhile.",
    "The server's memory.",
)


def ask(work: Work) -> None:
    """Nothing is done here."""
    work.notes.append("the server's owner has to restart it before it is probed")


def asking(outlook: Outlook) -> Iterator[Command]:
    yield _RESTART
