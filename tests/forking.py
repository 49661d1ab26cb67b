"""Running a command in a process of its own that need not import everything again.

A fork server has loaded what commands load and has done nothing; each command is forked from it, with its
own environment, folder and standard streams, and so are the workers that it starts. With
CENOTAPH_COMMANDS=real each one is started from its script instead, as `make slow` does.
"""

from __future__ import annotations

import functools
import importlib
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

PROGRAMS = {
    "cenotaph": ("cenotaph.cli.main", "main"),
    "cenotaph-proof": ("cenotaph_proof.__main__", "main"),
    "cenotaph-verify": ("cenotaph_proof.__main__", "verify_main"),
}


def can_fork(program: str, env: Mapping[str, str]) -> bool:
    """Whether a command is the same when it is forked: not if its interpreter is to start otherwise."""
    asked = os.environ.get("CENOTAPH_COMMANDS") == "real"
    return program in PROGRAMS and not asked and env.get("PYTHONPATH") == os.environ.get("PYTHONPATH")


def run(
    line: Sequence[str], env: Mapping[str, str], cwd: Path | None, stdin: bytes
) -> tuple[int, bytes, bytes]:
    """Exit code (negative: the signal), standard output and standard error of a command."""
    context = _server()
    with tempfile.TemporaryDirectory(prefix="said-") as folder:
        streams = [Path(folder, name) for name in ("in", "out", "err")]
        for path, data in zip(streams, (stdin, b"", b""), strict=True):
            path.write_bytes(data)
        process = context.Process(target=_command, args=(tuple(line), dict(env), cwd or Path.cwd(), streams))
        process.start()
        process.join()
        code = process.exitcode
        assert code is not None
        return code, streams[1].read_bytes(), streams[2].read_bytes()


@functools.cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["every_module"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # where the server is to find it
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    return context


def _command(line: Sequence[str], env: Mapping[str, str], cwd: Path, streams: Sequence[Path]) -> None:
    _surround(env)
    os.chdir(cwd)
    flags = (os.O_RDONLY, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_APPEND)
    for number, (path, how) in enumerate(zip(streams, flags, strict=True)):
        os.dup2(os.open(path, how), number)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.argv = list(line)
    from cenotaph.engines import local

    # Its workers come from the server that it came from, with the command's environment.
    vars(forkserver._forkserver)["ensure_running"] = resource_tracker.ensure_running
    local._prepare = functools.partial(_prepare_worker, dict(env))
    module, name = PROGRAMS[Path(line[0]).name]
    sys.exit(getattr(importlib.import_module(module), name)())


def _prepare_worker(env: Mapping[str, str]) -> None:
    from cenotaph.engines import local

    _surround(env)
    local._prepare()  # the true one: a worker is forked from the server, where nothing was replaced


def _surround(env: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None
