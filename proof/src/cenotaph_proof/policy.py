"""Which witnesses are enough: the grammar of C2SP tlog-policy (spec/trust.md, rules 13 to 15).

A quorum is one witness or a group: k of its members, any, or all; members are witnesses and groups that were
defined above it. So a policy can ask for two universities and one newspaper, not just for three witnesses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cenotaph_proof.errors import FormatError
from cenotaph_proof.note import COSIGNATURE, COSIGNATURE_MLDSA44, ED25519, NoteKey

MAX_BYTES = 1 << 18
MAX_DEFINED = 256  # logs, witnesses and groups, each; the specification asks for 32
NONE = b"none"


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness under the name that the policy gives it. Names are opaque bytes."""

    name: bytes
    key: NoteKey


@dataclass(frozen=True, slots=True)
class Group:
    """At least `threshold` of these members, each a witness or a group defined before this one."""

    name: bytes
    threshold: int
    members: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """Known logs, known witnesses, and the rule by which witnesses are enough.

    `quorum` is the name of a witness or group, or None where no cosignature is asked for.
    """

    logs: tuple[NoteKey, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]
    quorum: bytes | None

    @classmethod
    def parse(cls, data: bytes) -> Policy:
        """Read a policy file.

        Raises:
            FormatError: it is anything else; the message names the line.
        """
        if len(data) > MAX_BYTES:
            raise FormatError(f"the policy has {len(data)} bytes; at most {MAX_BYTES} are read")
        if _FORBIDDEN.search(data):
            raise FormatError("the policy holds a control character other than tab and line feed")
        if data and not data.endswith(b"\n"):
            raise FormatError("the last line of the policy does not end with a line feed")
        reader = _Reader()
        for number, line in enumerate(data.split(b"\n"), 1):
            words = line.split()
            if words and not words[0].startswith(b"#"):
                reader.take(number, words)
        return reader.policy()

    def time(self, times: Mapping[NoteKey, int]) -> int | None:
        """When the quorum was complete, given when each witness cosigned; None while it is not.

        0 where the policy asks for no cosignature. Keys that the policy does not name count for nothing.
        """
        if self.quorum is None:
            return 0
        # A group can only name what stands before it: one pass in order, however deeply groups are nested.
        known = {witness.name: times.get(witness.key) for witness in self.witnesses}
        for group in self.groups:
            reached = sorted(t for t in map(known.get, group.members) if t is not None)
            known[group.name] = reached[group.threshold - 1] if len(reached) >= group.threshold else None
        return known[self.quorum]


_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_THRESHOLD = re.compile(rb"[1-9][0-9]{0,2}")
_LOG_KINDS = (ED25519, COSIGNATURE_MLDSA44)
_WITNESS_KINDS = (COSIGNATURE, COSIGNATURE_MLDSA44)


class _Reader:
    """What the lines so far have defined."""

    def __init__(self) -> None:
        self._logs: list[NoteKey] = []
        self._witnesses: list[Witness] = []
        self._groups: list[Group] = []
        self._defined: set[bytes] = {NONE}
        self._members: set[bytes] = set()
        self._quorum: list[bytes] = []

    def take(self, number: int, words: list[bytes]) -> None:
        readers = {b"log": self._log, b"witness": self._witness, b"group": self._group, b"quorum": self._rule}
        read = readers.get(words[0])
        if read is None:
            raise FormatError(f"line {number} of the policy is none of log, witness, group, quorum")
        try:
            read(words[1:])
        except FormatError as error:
            raise FormatError(f"line {number} of the policy: {error.message}") from None

    def policy(self) -> Policy:
        if len(self._quorum) != 1:
            raise FormatError("a policy has exactly one quorum line")
        quorum = self._quorum[0]
        return Policy(
            tuple(self._logs),
            tuple(self._witnesses),
            tuple(self._groups),
            None if quorum == NONE else quorum,
        )

    def _log(self, words: list[bytes]) -> None:
        if not 1 <= len(words) <= 2:
            raise FormatError("a log line has a key and perhaps an address")
        key = _key(words[0], _LOG_KINDS)
        if key.public in {log.public for log in self._logs}:
            raise FormatError("the key of this log stands in the policy already")
        self._logs.append(key)
        _bounded(self._logs)

    def _witness(self, words: list[bytes]) -> None:
        if not 2 <= len(words) <= 3:
            raise FormatError("a witness line has a name, a key and perhaps an address")
        key = _key(words[1], _WITNESS_KINDS)
        if key.public in {witness.key.public for witness in self._witnesses}:
            raise FormatError("the key of this witness stands in the policy already")
        self._witnesses.append(Witness(self._define(words[0]), key))
        _bounded(self._witnesses)

    def _group(self, words: list[bytes]) -> None:
        if len(words) < 3:
            raise FormatError("a group line has a name, a number (or any, or all) and members")
        name, count, members = words[0], words[1], tuple(words[2:])
        for member in members:
            self._known(member)
            if member in self._members:
                raise FormatError("a name is a member of a group already; it can count only once")
            self._members.add(member)
        self._groups.append(Group(self._define(name), _threshold(count, len(members)), members))
        _bounded(self._groups)

    def _rule(self, words: list[bytes]) -> None:
        if len(words) != 1:
            raise FormatError("a quorum line has one name")
        if words[0] != NONE:
            self._known(words[0])
        self._quorum.append(words[0])

    def _define(self, name: bytes) -> bytes:
        if name in self._defined:
            raise FormatError("the name is taken")
        self._defined.add(name)
        return name

    def _known(self, name: bytes) -> None:
        if name == NONE or name not in self._defined:
            raise FormatError("a name is not defined on a line before this one")


def _key(text: bytes, kinds: tuple[int, ...]) -> NoteKey:
    try:
        key = NoteKey.from_text(text.decode())
    except UnicodeDecodeError:
        raise FormatError("the key is not UTF-8") from None
    if key.kind not in kinds:
        raise FormatError("the key is of a type that is not for this kind of line")
    return key


def _threshold(word: bytes, members: int) -> int:
    if word == b"all":
        return members
    if word == b"any":
        return 1
    if not _THRESHOLD.fullmatch(word) or int(word) > members:
        raise FormatError("the threshold of a group is any, all, or a number from 1 to that of its members")
    return int(word)


def _bounded(defined: list[NoteKey] | list[Witness] | list[Group]) -> None:
    if len(defined) > MAX_DEFINED:
        raise FormatError(f"a policy has at most {MAX_DEFINED} logs, witnesses and groups, each")
