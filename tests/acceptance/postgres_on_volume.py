"""A PostgreSQL server on a scratch volume of its own, and a case on it whose stores ask for L3.

What surprised its author: the server's user must be able to reach its folder, and pytest keeps its own from
everybody else.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import postgres_server
from by_command import Ground, Ran, command, make_keys, store, toml
from volume_images import Image, image

OWNER = "Host Co"
PERSONS = 300
TABLES = (
    "CREATE TABLE patient (id int8 PRIMARY KEY, id_number text UNIQUE, name text, scan text)",
    "CREATE TABLE visit (id int8 PRIMARY KEY, patient int8 NOT NULL REFERENCES patient, note text)",
    "CREATE TABLE ward (id int4 PRIMARY KEY, name text)",
    "INSERT INTO ward SELECT n, 'ward ' || n FROM generate_series(1, 5) n",
    "INSERT INTO patient SELECT n, '32028219' || (70000000 + n * 7) || '12', 'Patient-' || md5(n::text),"
    " (SELECT string_agg(md5((n * k)::text), '') FROM generate_series(1, 200) k)"
    f" FROM generate_series(1, {PERSONS}) n",
    "INSERT INTO visit SELECT n, n % 300 + 1, 'Visit-' || md5((n * 5)::text) FROM generate_series(1, 900) n",
    "UPDATE patient SET name = name || '!' WHERE id % 3 = 0",
    "ANALYZE",
    "CHECKPOINT",
)


@dataclass(frozen=True)
class OnVolume:
    """A server that lies on a volume with nobody else, and the values of its people."""

    image: Image
    server: postgres_server.Server
    database: str
    needles: set[bytes]

    def found(self) -> set[bytes]:
        """Which values GNU grep sees in the whole image, free blocks and journal included."""
        self.image.drop_caches()
        line = ["grep", "-aohF", "-f", "-", str(self.image.file)]
        done = subprocess.run(
            line,
            input=b"\n".join(sorted(self.needles)) + b"\n",
            capture_output=True,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
        assert done.returncode in (0, 1), done.stderr
        return set(done.stdout.split(b"\n")) & self.needles


@contextlib.contextmanager
def server_on(kind: str = "ext4", size: int = 192 << 20, **settings: str) -> Iterator[OnVolume]:
    """A server with `TABLES` in a database, and a bystander database, on a new volume."""
    folder = Path(tempfile.mkdtemp(prefix="cenotaph-vol-"))
    folder.chmod(0o755)
    try:
        with image(folder, kind, size) as scratch:
            scratch.mount.parent.chmod(0o755)
            home = scratch.mount / "pg"
            home.mkdir()
            server = postgres_server.start_in(home, {"fsync": "on", **settings})
            try:
                database = server.database(*TABLES)
                server.database("CREATE TABLE other AS SELECT n FROM generate_series(1, 100) n")
                rows = server.run("SELECT id_number, name FROM patient WHERE id % 3 = 0", database=database)
                needles = {str(value).encode() for row in rows for value in row}
                yield OnVolume(scratch, server, database, needles)
            finally:
                server.stop_only()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class ServerCase(Ground):
    """A case on such a server; case, log, keys and temporary files lie elsewhere."""

    def ask(self, on: OnVolume, *more: str, shared: Sequence[str] = ("statistics", "wal")) -> ServerCase:
        """Lay out keys, case.toml and trust.toml."""
        self.root.mkdir()
        keys = make_keys(self.root.parent / f"{self.root.name} keys")
        owner = ("--role", "owner", "--organisation", OWNER, "--out", keys / "owner")
        command("cenotaph-proof", "keygen", *owner)
        listed = ", ".join(f'"{action}"' for action in (*shared, "free_space"))
        text = store(
            "clinic",
            on.server.url(on.database),
            'grade = "L3"',
            f"data_dir = {toml(str(on.server.data))}",
            f"shared = [{listed}]",
            *more,
        )
        text += (
            f'[[volume]]\nname = "disk"\npath = {toml(str(on.image.mount))}\nowner = "{OWNER}"\n'
            f'quiesced = true\n\n[[party]]\norganisation = "{OWNER}"\nrole = "owner"\n'
            'key = "../keys/owner.pub"\n'
        )
        self.lay(keys, text)
        trusted = self.root / "trust.toml"
        trust = f'[[party]]\norganisation = "{OWNER}"\nrole = "owner"\nkey = "keys/owner.pub"\n\n'
        trusted.write_text(trust + trusted.read_text("utf-8"), "utf-8")
        return self

    def stage(self, name: str, code: int | None = 0, outside: Path | None = None) -> Ran:
        """As `Ground.stage`; the owner approves what the others do."""
        if name in ("charter", "approve"):
            line = ("approve", "--charter") if name == "charter" else ("approve",)
            self.run(*line, "--key", self.keys / "owner", code=code)
        return super().stage(name, code, outside)
