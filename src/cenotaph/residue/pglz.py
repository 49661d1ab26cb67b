"""PostgreSQL's own compression (pglz): decoded whole, or as far as what is left of it goes.

What surprised the author: nothing in the stream says that it is one, and nearly any bytes decode to
something. But PostgreSQL keeps a compressed value only where that saved a quarter of its bytes, so a length
before it, and an end exactly there, tell what is one.

Format: PostgreSQL, src/common/pg_lzcompress.c (its long comment): a control byte, lowest bit first, says of
each of the next eight items whether it is a byte (0) or a tag (1) of two or three bytes that repeats what
came before.
"""

from __future__ import annotations

MOST_RATIO = 88  # decoded bytes per byte: eight tags of three bytes, 273 bytes each, behind a control byte


class PglzError(ValueError):
    """The bytes are not a whole pglz stream of the size given."""


def decompress(packed: bytes, size: int) -> bytes:
    """The `size` bytes that `packed` holds. Raises `PglzError` where it ends before or behind them."""
    out, used = beginning(packed, size)
    if len(out) != size or used != len(packed):
        raise PglzError("a pglz stream of another length than is said of it, or a damaged one")
    return out


def beginning(packed: bytes, size: int) -> tuple[bytes, int]:
    """As much as decodes, at most `size` bytes, and how many bytes that took.

    Ends where the stream does, or before a tag that points to before the beginning.
    """
    out, at, end = bytearray(), 0, len(packed)
    while at < end and len(out) < size:
        runs, rest = _ITEMS[packed[at]]
        at += 1
        for run in runs:
            out += packed[at : at + run]
            at += run
            tag_at = at
            if at + 1 >= end or len(out) >= size:
                return bytes(out[:size]), _used(out, size, at, end)
            first = packed[at]
            length = (first & 15) + 3
            offset = (first & 0xF0) << 4 | packed[at + 1]
            at += 2
            if length == 18:
                if at >= end:
                    return bytes(out), tag_at
                length += packed[at]
                at += 1
            have = len(out)
            if not 0 < offset <= have:
                return bytes(out), tag_at
            if offset >= length:
                out += out[have - offset : have - offset + length]
            else:
                out += (out[have - offset :] * (length // offset + 1))[:length]
            if len(out) >= size:
                return bytes(out[:size]), at
        out += packed[at : at + rest]
        at += rest
    return bytes(out[:size]), _used(out, size, at, end)


def _used(out: bytearray, size: int, at: int, end: int) -> int:
    """Where the stream ended: literals may have been taken from behind its end."""
    return min(at, end) - max(0, len(out) - size)


def _items(control: int) -> tuple[tuple[int, ...], int]:
    """Literals before each tag that a control byte announces, and behind the last one."""
    runs, run = [], 0
    for bit in range(8):
        if control >> bit & 1:
            runs.append(run)
            run = 0
        else:
            run += 1
    return tuple(runs), run


_ITEMS = tuple(_items(control) for control in range(256))
