"""A case about the estate of `postgres_estate`, driven through the real commands and watched on its way."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from postgres_estate import DATABASE, REGISTER, PostgresEstate, store_scope
from postgres_watched import WATCH, WEAK

from by_command import Ground, Ran, command, make_keys, store, toml
from cenotaph.store import OF_SERVER
from postgres_server import Server
from volume_images import Image

STORES = ("register", "care")  # in the order in which they are erased
HERE = Path(__file__).parent
OWNER = "Host Co"
VOLUME = "the server's disk"
SHARED = tuple(OF_SERVER["postgresql"])


def copy_tables(estate: PostgresEstate) -> list[str]:
    """What the case says of copies: where they are, and where a new one of what stays goes first.

    What both databases are in is said of both. The base backups are said of the store that is erased last:
    one that is made anew has the rows of stores that are still to be erased.
    """
    dumps = sorted(estate.dumps.glob("health.*"))
    return [
        *(_copy(store, "wal archive", estate.archive) for store in STORES),
        *(_copy(store, "server log", estate.log) for store in STORES),
        *(_standby(store, estate.standby) for store in STORES if estate.standby),
        _copy("register", "dump", estate.dumps / "registry.sql", estate.renewed),
        *(_copy("care", "dump", path, estate.renewed) for path in dumps),
        _copy("care", "base backup", estate.backups / "plain", estate.renewed),
        _copy("care", "base backup", estate.backups / "tar", estate.renewed),
    ]


def _copy(store: str, kind: str, path: Path, renew: Path | None = None) -> str:
    lines = ["[[copy]]", f'store = "{store}"', f'kind = "{kind}"', f"path = {toml(str(path))}"]
    if renew is not None:
        lines.append(f"renew = {toml(str(renew / path.name))}")
    return "\n".join(lines) + "\n\n"


def _standby(store: str, standby: Server) -> str:
    url = toml(standby.url(REGISTER if store == "register" else DATABASE))
    return f'[[copy]]\nstore = "{store}"\nkind = "standby"\nurl = {url}\n\n'


class PostgresCase(Ground):
    """A case with two stores, which are one database: whole tables, and rows of another."""

    @classmethod
    def make(
        cls,
        root: Path,
        estate: PostgresEstate,
        *,
        grade: str = "L2",
        shared: Sequence[str] = SHARED,
        copies: Iterable[str] = (),
        volume: Image | None = None,
        more: Sequence[str] = (),
    ) -> PostgresCase:
        """Lay out keys, case.toml and trust.toml. `copies` are [[copy]] tables."""
        open_to_all = estate.root.parent / "tmp"  # a private server's user has to get to its socket there
        open_to_all.mkdir(exist_ok=True)
        made = cls(root, {"TMPDIR": str(open_to_all)})
        keys = make_keys(root.parent / f"{root.name} keys")
        named = ("--role", "owner", "--organisation", OWNER, "--out", keys / "owner")
        command("cenotaph", "keygen", *named)
        names = ", ".join(toml(name) for name in store_scope())
        if volume is not None:
            shared = (*shared, "free_space")
            more = (*more, f"data_dir = {toml(str(estate.server.data))}", "online_overwrite = true")
        asked = (f'grade = "{grade}"', f"shared = {json.dumps(list(shared))}", *more)
        subject = 'subject = { "care.person" = "id_number" }'
        rows = """scope = { collections = ["public.register"], rows = "town = 'north'" }"""
        tables = store("register", estate.url(REGISTER), rows, *asked)
        tables += store("care", estate.url(), f"scope = {{ collections = [{names}] }}", subject, *asked)
        tables += "".join(copies)
        if volume is not None:
            tables += (
                f'[[volume]]\nname = "{VOLUME}"\npath = {toml(str(volume.mount))}\nowner = "{OWNER}"\n'
                "quiesced = true\n\n"
            )
        tables += f'[[party]]\norganisation = "{OWNER}"\nrole = "owner"\nkey = "../keys/owner.pub"\n'
        made.lay(keys, tables, policy="[limits]\nworkers = 1\n")
        trusted = made.root / "trust.toml"
        owner = f'[[party]]\norganisation = "{OWNER}"\nrole = "owner"\nkey = "keys/owner.pub"\n\n'
        trusted.write_text(owner + trusted.read_text("utf-8"), "utf-8")
        return made

    def stage(self, name: str, code: int | None = 0, outside: Path | None = None) -> Ran:
        """As `Ground.stage`; the owner of the server approves what the others do."""
        if name in ("charter", "approve"):
            line = ("approve", "--charter") if name == "charter" else ("approve",)
            self.run(*line, "--key", self.keys / "owner", code=code)
        return super().stage(name, code, outside)

    def destroy(self, watch: Path | None = None, weak: str = "") -> Ran:
        """`cenotaph destroy` by the program that watches it, or forgets something."""
        digest = str(self.run("plan", "--show").value["digest"])
        line = [sys.executable, str(HERE / "postgres_watched.py"), "destroy"]
        line += ["--case", str(self.case), "--confirm", digest[:8], "--json"]
        paths = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
        env = {**os.environ, **self.env, "PYTHONPATH": os.pathsep.join(paths)}
        env |= {WATCH: str(watch) if watch else "", WEAK: weak}
        done = subprocess.run(line, check=False, capture_output=True, text=True, env=env, cwd=self.root)
        return Ran(tuple(line), done.returncode, done.stdout, done.stderr)

    def stated(self, probe: Ran) -> Any:
        """What a probe states; before the case takes it in."""
        envelope = json.loads(Path(probe.value["statement"]).read_text("utf-8"))
        return json.loads(base64.b64decode(envelope["payload"]))["predicate"]

    def places_found(self, probe: Ran) -> set[str]:
        """The kinds of place in which a probe found something; before the case takes it in."""
        return {found["place"] for store in self.stated(probe)["stores"] for found in store["found"]}
