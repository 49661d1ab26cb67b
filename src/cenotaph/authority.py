"""Asking a time-stamping authority over HTTP (RFC 3161, section 3.4): for the log, and for seals on paper."""

from __future__ import annotations

from cenotaph_proof.network import calling
from cenotaph_proof.network.address import Address
from cenotaph_proof.network.calling import Reply

QUERY, REPLY = "application/timestamp-query", "application/timestamp-reply"
PATIENCE = 30.0  # seconds for the whole answer


def ask(place: Address, query: bytes, limit: int) -> Reply:
    """What an authority answers to a query, at most `limit` bytes. Whether it is a time stamp is not checked.

    The prefix of `place` is the whole resource: an authority's is one, and some tell it from a folder. In
    clear any authority may be asked: what it answers bears its own signature.

    Raises: CallError when there is no answer in time, a too long one, or one that leads elsewhere.
    """
    headers = {"Content-Type": QUERY, "Accept": REPLY}
    return calling.call(place, "POST", "", limit=limit, seconds=PATIENCE, body=query, headers=headers)
