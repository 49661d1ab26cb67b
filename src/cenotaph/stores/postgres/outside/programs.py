"""The server's own programs, and private scratch servers made of them.

No program is told a password in its arguments, and nothing that one prints is shown: it may quote rows.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cenotaph.errors import PermanentStoreError, StoreError
from cenotaph.stores.postgres.session import Place, Session

STARTS = 120.0  # seconds in which a scratch server must answer
_PORT = "5432"
_OWN_USER = "cenotaph"
_ALWAYS = {
    "listen_addresses": "",
    "port": _PORT,
    "fsync": "off",  # all of it is overwritten at the end
    "full_page_writes": "off",
    "autovacuum": "off",
    "archive_mode": "off",  # above all else: it must not write into anybody's archive
    "hot_standby": "off",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",  # a copy's subscriptions would take what the server's wait for
    "wal_level": "minimal",
    "shared_preload_libraries": "",
    "log_min_messages": "panic",
    "log_statement": "none",
    "logging_collector": "off",
    "log_destination": "stderr",
    "ssl": "off",
}


@dataclass(frozen=True, slots=True)
class Programs:
    """Where the programs of the server's version are."""

    folder: str
    version: int  # the server's, such as 15

    def run(
        self,
        name: str,
        *arguments: str,
        user: int | None = None,
        secrets: Mapping[str, str] | None = None,
        into: Path | None = None,
    ) -> None:
        """Run one to its end. Raises: PermanentStoreError where it fails."""
        with open(into, "wb") if into else contextlib.nullcontext(subprocess.DEVNULL) as output:
            done = subprocess.run(  # noqa: S603
                [*_dies_with_us(user), f"{self.folder}/{name}", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                env=_environment(secrets),
                cwd="/",
                check=False,
                umask=0o077,
            )
        if done.returncode:
            raise PermanentStoreError(f"{name} ended with status {done.returncode}")


def find(session: Session) -> Programs:
    """The programs of this server's major version, on this machine.

    Raises: PermanentStoreError where there are none.
    """
    version = session.version // 10_000
    told = [row[0] for row in session.rows(_BINDIR)] if session.one(_MAY_SEE_BINDIR) else []
    path = shutil.which("postgres")
    for folder in (*told, f"/usr/lib/postgresql/{version}/bin", os.path.dirname(path or "")):
        if folder and _version(f"{folder}/postgres") == version and _version(f"{folder}/initdb") == version:
            return Programs(str(folder), version)
    raise PermanentStoreError(
        f"no programs of PostgreSQL {version} are installed here to make and restore copies"
    )


@dataclass(frozen=True, slots=True)
class Scratch:
    """A private server that runs."""

    folder: Path = field(repr=False)
    user: str

    def place(self, database: str, user: str | None = None) -> Place:
        return Place.at(str(self.folder), _PORT, user or self.user, database)


def server_user(data: str | None) -> int | None:
    """The user that a server can run as: PostgreSQL refuses root. None where it is this one."""
    if os.geteuid() != 0:
        return None
    if data is not None and (owner := os.stat(data).st_uid):
        return owner
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres").pw_uid
    raise PermanentStoreError("a scratch server cannot run as root, and there is no user postgres")


@contextlib.contextmanager
def fresh(programs: Programs, folder: Path, user: int | None, options: Sequence[str]) -> Iterator[Scratch]:
    """A new server in this folder, which is its user's, of nothing but its own databases."""
    data = folder / "data"
    programs.run("initdb", "-D", str(data), "-U", _OWN_USER, "-A", "trust", "--no-sync", *options, user=user)
    with started(programs, data, user, _OWN_USER, {}) as scratch:
        yield scratch


@contextlib.contextmanager
def started(
    programs: Programs, data: Path, user: int | None, role: str, settings: Mapping[str, str]
) -> Iterator[Scratch]:
    """A server on this data directory, whatever its own settings say, until the block ends. Only this process
    and its user can reach it.

    Raises: PermanentStoreError where it does not start.
    """
    sockets = Path(tempfile.mkdtemp(prefix="cenotaph-"))  # a socket's path must be short
    try:
        (sockets / "hba").write_text("local all all trust\n")
        for name in ("conf", "ident"):
            (sockets / name).write_text("")
        if user is not None:
            for path in (sockets, *sockets.iterdir()):
                os.chown(path, user, -1)
        chosen = {
            **_ALWAYS,
            **settings,
            "config_file": str(sockets / "conf"),
            "hba_file": str(sockets / "hba"),
            "ident_file": str(sockets / "ident"),
            "unix_socket_directories": str(sockets),
        }
        if programs.version >= 17:
            chosen["event_triggers"] = "off"  # a copy may have some that run when somebody connects
        line = [*_without_network(), *_dies_with_us(user), f"{programs.folder}/postgres", "-D", str(data)]
        line += [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]
        process = subprocess.Popen(  # noqa: S603
            line,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_environment(None),
            cwd="/",
            start_new_session=True,
            umask=0o077,
        )
        try:
            scratch = Scratch(sockets, role)
            _wait(process, scratch)
            yield scratch
        finally:
            process.send_signal(2)  # SIGINT: fast
            try:
                process.wait(STARTS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(sockets, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], scratch: Scratch) -> None:
    deadline = time.monotonic() + STARTS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            Session(scratch.place("template1")).close()
        except StoreError:
            time.sleep(0.1)
        else:
            return
    raise PermanentStoreError("a scratch server does not start on it")


@functools.cache
def _without_network() -> tuple[str, ...]:
    """What to put before a command so that it has no network at all, where the system lets us (unshare(1)):
    functions of extensions may reach out. A Unix socket that has a path is reached all the same."""
    path = shutil.which("unshare")
    line = (path, "--net", "--") if path and os.geteuid() == 0 else ()
    if line and subprocess.run([*line, "true"], capture_output=True, check=False).returncode == 0:  # noqa: S603
        return line
    return ()


def _dies_with_us(user: int | None) -> list[str]:
    """What to put before a command: our own death ends it, and it runs as its user (setpriv(1))."""
    path = shutil.which("setpriv")
    if path is None:
        raise PermanentStoreError("setpriv is not installed, without which a scratch server could outlive us")
    if user is None:
        return [path, "--pdeathsig", "KILL", "--"]
    group = pwd.getpwuid(user).pw_gid
    return [path, "--pdeathsig", "KILL", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--"]


def _environment(secrets: Mapping[str, str] | None) -> dict[str, str]:
    """One language; what libpq itself reads, for programs that connect to the store, and nothing else."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("PG") or name == "HOME"}
    return {
        **(kept if secrets is not None else {}),
        **(secrets or {}),
        "LC_ALL": "C",
        "PATH": "/usr/bin:/bin",
    }


def _version(program: str) -> int | None:
    """The major version that a program says it has."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, check=False, timeout=30)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(rb"\) (\d+)", done.stdout)
    return int(found[1]) if found else None


_MAY_SEE_BINDIR = """
SELECT has_table_privilege('pg_config', 'SELECT') AND has_function_privilege('pg_config()', 'EXECUTE')
"""
_BINDIR = "SELECT setting FROM pg_config WHERE name = 'BINDIR'"
