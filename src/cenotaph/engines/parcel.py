"""What travels to machines that have never heard of us: sources, kernel, one function; and what comes back.

The function is made here and pickled by value, with everything it needs inside of it: a cluster needs no
wheel, no file that it has to fetch, and no way to it but the one that every Spark since 3.3 has.
"""

from __future__ import annotations

import io
import json
import lzma
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

from cenotaph import errors
from cenotaph.engines import child
from cenotaph.errors import CenotaphError, EngineError, PartialError

PACKAGES: Final = ("cenotaph", "cenotaph_proof", "cenotaph_kernel")
LEFT_HERE: Final = frozenset(  # beneath a package: what no task needs
    (
        *("cli", "site", "paper", "testing", "stages", "discovery", "network", "commands"),
        *("account.py", "authority.py", "config.py", "cosigning.py", "cost.py", "desk.py", "estate.py"),
        *("journal.py", "pace.py", "retired.py", "retiring.py", "serving.py", "session.py"),
        *("suppression.py", "terrain.py", "volume_probe.py", "wiping.py", "verify.py", "verdict.py"),
    )
)
MOST_TOLD: Final = 2_000  # characters of a message

Work: TypeAlias = Callable[[Iterator[Any]], Iterator[Any]]
"""From record batches whose first column numbers tasks, to record batches of `feeder.COLUMNS`."""


@cache
def code() -> bytes:
    """A packed zip of our sources and of the kernel as it is compiled here: of the same files the same.

    No configuration, key or case lies among them: only what ends in .py or .so of these packages.
    """
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for package in PACKAGES:
            spec = find_spec(package)
            for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
                for path in sorted(Path(folder).rglob("*")):
                    name = path.relative_to(folder)
                    if path.suffix in (".py", ".so") and name.parts[0] not in LEFT_HERE:
                        archive.writestr(zipfile.ZipInfo(f"{package}/{name.as_posix()}"), path.read_bytes())
    return lzma.compress(sink.getvalue(), preset=2)


def function(sources: bytes, tasks: Sequence[bytes], variables: Mapping[str, str]) -> Work:
    """What a worker calls. `tasks` are pickles for `child`, `variables` its environment besides the worker's.

    Whatever it uses is imported inside or bound here: none of our modules is there when it is unpickled.
    """
    bound = dict(variables)

    def work(batches: Iterator[Any]) -> Iterator[Any]:
        import hashlib
        import io
        import lzma
        import sys
        import tempfile
        import zipfile
        from importlib.util import module_from_spec, spec_from_file_location

        # A folder for as long as this worker lives: its next child finds the modules compiled.
        folders = sys.__dict__.setdefault("cenotaph_folders", {})
        known = hashlib.sha256(sources).digest()
        if known not in folders:
            made = tempfile.TemporaryDirectory(prefix="cenotaph-", ignore_cleanup_errors=True)
            zipfile.ZipFile(io.BytesIO(lzma.decompress(sources))).extractall(made.name)
            folders.setdefault(known, made)  # of two threads, one
        folder = folders[known].name
        spec = spec_from_file_location("cenotaph_feeder", f"{folder}/cenotaph/engines/feeder.py")
        assert spec is not None
        assert spec.loader is not None
        feeder = module_from_spec(spec)
        spec.loader.exec_module(feeder)
        yield from feeder.feed(folder, batches, tasks, bound)

    return work


def answers(rows: Iterable[tuple[Any, ...]], tasks: int) -> Iterator[bytes]:
    """What each of so many tasks came to, from rows of `feeder.COLUMNS` in any order.

    Raises: PartialError when some are missing; the error that a task ended with.
    """
    pieces: dict[int, list[tuple[Any, ...]]] = {}
    for row in rows:
        pieces.setdefault(row[0], []).append(row)
    for number in range(tasks):
        yield _answer(sorted(pieces.get(number, ()), key=lambda row: int(row[1])))


def _answer(pieces: Sequence[tuple[Any, ...]]) -> bytes:
    if [row[1] for row in pieces] != list(range(len(pieces))) or not (pieces and pieces[-1][3]):
        raise PartialError("the cluster gave part of an answer", hint="run the same command again")
    data = b"".join(bytes(row[4]) for row in pieces)
    if pieces[0][2] != child.RESULT:
        _raise(pieces[0][2], json.loads(data))
    return data


def _raise(kind: int, told: dict[str, Any]) -> NoReturn:
    """What a task ended with, as an error of ours."""
    if kind == child.OURS:
        found = getattr(errors, str(told["class"]), None)
        made = found if isinstance(found, type) and issubclass(found, CenotaphError) else CenotaphError
        hint = told["hint"]
        raise made(_printable(told["message"]), hint=_printable(hint) if hint is not None else None)
    if told["missing"]:
        raise EngineError(
            f"the cluster's Python lacks the package {_printable(told['missing'])}",
            hint="docs/operate/spark.md says what workers need, and how to give it to them",
        )
    raise EngineError(
        f"a task ended in {_printable(told['class'])} at {_printable(told['place'])} on the cluster",
        hint="seal without --engine, and report it: what its message would say stays there",
    )


def _printable(text: object) -> str:
    return "".join(c if c.isprintable() else " " for c in str(text))[:MOST_TOLD]
