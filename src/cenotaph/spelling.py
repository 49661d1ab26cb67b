"""Values that a store gives as bytes of a type of its own, as people and other stores write them.

A search for a person's number begins with how it is written: a UUID, an address. The record that is sealed
keeps the bytes.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Callable, Mapping

import pyarrow as pa

from cenotaph.records import Tagged


def spelled(column: pa.Array) -> pa.Array | None:
    """As text, values tagged with a type that has one spelling; None for a column of another type.

    What does not have the form of its type is null.
    """
    spell = _SPELLINGS.get(column.type.tag) if isinstance(column.type, Tagged) else None
    if spell is None:
        return None
    encoded = column.storage.dictionary_encode()
    texts = pa.array([spell(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return texts.take(encoded.indices)


def _uuid(value: bytes) -> str | None:
    return str(uuid.UUID(bytes=value)) if len(value) == 16 else None


def _inet(value: bytes) -> str | None:
    """As `inet_send` and `cidr_send` write it: family, bits, whether it is a network, length, address."""
    if len(value) < 4 or value[3] != len(value) - 4 or value[3] not in (4, 16):
        return None
    address = ipaddress.ip_address(value[4:])
    whole = value[1] == 8 * value[3] and not value[2]
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    text = str(address) if mapped is None else f"::ffff:{mapped}"
    return text if whole else f"{text}/{value[1]}"


def _mac(value: bytes) -> str | None:
    return value.hex(":") if len(value) in (6, 8) else None


_SPELLINGS: Mapping[str, Callable[[bytes], str | None]] = {
    "postgresql:uuid": _uuid,
    "postgresql:inet": _inet,
    "postgresql:cidr": _inet,
    "postgresql:macaddr": _mac,
    "postgresql:macaddr8": _mac,
}
