"""What a log witness serves: `POST /add-checkpoint` of C2SP tlog-witness, and what it has seen.

The rules, the state and its order of writes are in `cenotaph_proof.witness`; here they meet HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock

from cenotaph_proof.errors import FormatError, KeyFileError, ProofError, WitnessError
from cenotaph_proof.keys import PublicKey, SecretKey
from cenotaph_proof.network.serving import Answer, Request, say
from cenotaph_proof.note import log_origin, witness_note_keys
from cenotaph_proof.witness import Head, Witness
from cenotaph_proof.witness import Request as AddCheckpoint

MAX_REQUEST = 256 << 10  # bytes: 63 hashes and a checkpoint with all the cosignatures it may have
SIZE = "text/x.tlog.size"


class WitnessService:
    """One witness on the network. `operators` gives the operators whose logs it watches, as they are now."""

    def __init__(
        self,
        state: Path,
        key: SecretKey,
        operators: Callable[[], Sequence[PublicKey]],
        clock: Callable[[], int] = lambda: int(time.time()),
    ) -> None:
        self._state = state
        self._key = key
        self._operators = operators
        self._clock = clock

    def limit(self, request: Request) -> int | Answer:
        """`POST /add-checkpoint` takes a body; `GET /` and `GET /checkpoint/ORIGIN` are answered at once."""
        if request.path == "/add-checkpoint":
            return MAX_REQUEST if request.method == "POST" else Answer(405, b"POST a checkpoint here\n")
        if request.method not in ("GET", "HEAD"):
            return Answer(
                405 if request.path == "/" else 404, b"POST /add-checkpoint is what a witness takes\n"
            )
        if request.path == "/":
            return self._page()
        if request.path.startswith("/checkpoint/"):
            return self._newest(request.path.removeprefix("/checkpoint/"))
        return Answer(404, b"there is nothing here\n")

    def answer(self, request: Request) -> Answer:
        """Cosign, or refuse with the status of C2SP tlog-witness."""
        said: dict[str, str | int] = {"route": "add-checkpoint"}
        try:
            asked = AddCheckpoint.parse(request.body)
        except FormatError as error:
            return Answer(400, f"{error.message}\n".encode(), said=said)
        said["old"] = asked.old_size
        try:
            lines = self._witness().add_checkpoint(
                asked.old_size, asked.consistency_proof, asked.note, now=self._clock()
            )
        except WitnessError as refused:
            if refused.status == 409:
                return Answer(409, f"{refused.size}\n".encode(), SIZE, said=said)
            return Answer(refused.status, f"{refused.message}\n".encode(), said=said)
        except ProofError as error:
            return _broken(error, said)
        return Answer(200, lines, said=said)

    def _witness(self) -> Witness:
        return Witness(self._state, self._key, self._operators())

    def _page(self) -> Answer:
        witness = self._witness()
        try:
            seen, refused = witness.seen(), witness.refused()
        except ProofError as error:
            return _broken(error, {"route": "page"})
        return Answer(200, "".join(self._lines(seen, refused)).encode(), said={"route": "page"})

    def _lines(self, seen: Mapping[str, Head], refused: int) -> Iterator[str]:
        yield f"Log witness of {self._key.organisation} (C2SP tlog-witness; POST /add-checkpoint)\n\n"
        yield from (f"vkey {key.to_text()}\n" for key in witness_note_keys(self._key.public))
        yield "\nlogs, with the size last cosigned and when (UTC):\n"
        for operator in self._operators():
            head = seen.get(log_origin(operator))
            what = f"{head.size} {_utc(head.time)} /checkpoint/{log_origin(operator)}" if head else "not yet"
            yield f"{log_origin(operator)} {operator.organisation}: {what}\n"
        if refused:
            yield f"\n{refused} heads were refused that an operator signed besides another of the same size\n"

    def _newest(self, origin: str) -> Answer:
        said: dict[str, str | int] = {"route": "checkpoint"}
        try:
            note = self._witness().newest(origin)
        except ProofError as error:
            return _broken(error, said)
        if note is None:
            return Answer(404, b"nothing was cosigned of this log\n", said=said)
        return Answer(200, note, said=said)


class Operators:
    """The operators whose logs a witness watches: key files, and the `*.pub` of a folder as it is now."""

    def __init__(self, files: Sequence[Path], folder: Path | None) -> None:
        self._fixed = tuple(map(_operator, files))
        self._folder = folder
        self._lock = Lock()
        self._read: dict[Path, tuple[int, PublicKey | None]] = {}
        self()  # a folder that is not there is told at the start

    def __call__(self) -> tuple[PublicKey, ...]:
        """All of them, each once. Of the folder, what is no operator's key is told on stderr and left out."""
        with self._lock:
            found = [*self._fixed, *(self._in_folder(self._folder) if self._folder else ())]
        return tuple({key.key_id: key for key in found}.values())

    def _in_folder(self, folder: Path) -> Iterator[PublicKey]:
        read: dict[Path, tuple[int, PublicKey | None]] = {}
        for path in sorted(p for p in folder.iterdir() if p.suffix == ".pub"):
            changed = path.stat().st_mtime_ns
            known = self._read.get(path)
            read[path] = known if known and known[0] == changed else (changed, _tolerant(path))
        self._read = read
        return (key for _, key in read.values() if key is not None)


def _operator(path: Path) -> PublicKey:
    key = PublicKey.load(path)
    if key.role != "operator":
        raise KeyFileError(
            f"{path.name} is the key of a {key.role}; a witness watches logs of operators",
            hint="ask the operator for the .pub file of its key",
        )
    return key


def _tolerant(path: Path) -> PublicKey | None:
    """An operator's key, or None: one bad file in the folder must not stop the others' logs."""
    try:
        return _operator(path)
    except (ProofError, OSError) as error:
        say({"event": f"left out: {getattr(error, 'message', None) or type(error).__name__}"})
        return None


def _broken(error: ProofError, said: Mapping[str, str | int]) -> Answer:
    """The witness's own state cannot be read: nothing is cosigned until a person has looked."""
    say({"event": error.message})
    return Answer(503, b"the witness cannot use its state\n", said=said)


def _utc(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
