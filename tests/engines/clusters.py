"""Clusters on this machine: Sail, and Spark's own, of a master and two workers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

STARTS = 120.0  # seconds, on a busy machine


@dataclass(frozen=True)
class Cluster:
    """`roots` are the processes that were started; what runs tasks descends from them."""

    address: str
    roots: tuple[int, ...]

    def processes(self, *words: str) -> list[int]:
        """Descendants whose command lines have one of the words."""
        lines = {pid: _command(pid) for pid in _descendants(self.roots)}
        return [pid for pid, line in lines.items() if any(word in line for word in words)]

    def processor(self) -> float:
        """Processor seconds of all its processes until now, and of those that ended and were waited for."""
        ticks = 0
        for pid in _descendants(self.roots):
            try:
                after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended
            ticks += sum(map(int, after[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def sail(folder: Path) -> Iterator[Cluster]:
    port = _free_port()
    command = [sys.executable, "-m", "pysail", "spark", "server", "--ip", "127.0.0.1", "--port", str(port)]
    with _running(folder / "sail.log", command, {}) as pid:
        _until(lambda: _listens(port))
        yield Cluster(f"sc://127.0.0.1:{port}", (pid,))


@contextmanager
def standalone(folder: Path) -> Iterator[Cluster]:
    """A master and two workers of one core each."""
    spec = find_spec("pyspark")
    assert spec is not None
    assert spec.origin is not None
    home, port = Path(spec.origin).parent, _free_port()
    spark = str(home / "bin" / "spark-class")
    settings = here(folder)
    place = ["--host", "127.0.0.1", "--webui-port", "0"]
    master = [spark, "org.apache.spark.deploy.master.Master", *place, "--port", str(port)]
    worker = [spark, "org.apache.spark.deploy.worker.Worker", *place, "--cores", "1", "--memory", "1g"]
    worker += [f"spark://127.0.0.1:{port}"]
    with _running(folder / "master.log", master, settings) as first:
        _until(lambda: _listens(port))
        with (
            _running(folder / "worker-1.log", worker, settings) as one,
            _running(folder / "worker-2.log", worker, settings) as two,
        ):
            _until(lambda: (folder / "master.log").read_text().count("Registering worker") == 2)
            yield Cluster(f"spark://127.0.0.1:{port}", (first, one, two))


def here(folder: Path) -> dict[str, str]:
    """Variables with which Spark stays on this machine and in this folder."""
    return {
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_HOSTNAME": "localhost",
        "SPARK_LOCAL_DIRS": str(folder / "local"),
        "SPARK_WORKER_DIR": str(folder / "work"),
        "PYSPARK_PYTHON": sys.executable,
    }


@contextmanager
def _running(log: Path, command: list[str], settings: dict[str, str]) -> Iterator[int]:
    """A command that knows nothing of our sources, as on a machine of its own, and all that it started."""
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "SPARK_HOME")}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, env=clean | settings, start_new_session=True
        )
    try:
        yield process.pid
    finally:
        below = _descendants((process.pid,))
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pid in below:
            kill(pid)


def kill(pid: int) -> bool:
    """Whether it was still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _descendants(roots: tuple[int, ...]) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(after[1])
    found, fresh = list(roots), set(roots)
    while fresh:
        fresh = {pid for pid, parent in parents.items() if parent in fresh}
        found += sorted(fresh)
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _until(ask: Callable[[], bool]) -> None:
    end = time.monotonic() + STARTS
    while not ask():
        assert time.monotonic() < end, "the cluster did not start"
        time.sleep(0.2)
