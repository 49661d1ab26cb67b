"""A case about a volume, driven through the real commands: its stores ask for L3, its owner approves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from volume_estate import VolumeEstate

from by_command import Ground, Ran, command, make_keys, store, toml
from volume_images import Image

OWNER = "Host Co"
VOLUME = "retired disk"


class VolumeCase(Ground):
    """A case whose estate is a mounted volume; case, log, keys and temporary files lie elsewhere."""

    def __init__(self, root: Path, scratch: Image) -> None:
        super().__init__(root)
        self.estate = scratch.mount

    @classmethod
    def make(
        cls,
        root: Path,
        scratch: Image,
        estate: VolumeEstate,
        *,
        quiesced: bool = True,
        grade: str = "L3",
        head: str = "",
    ) -> VolumeCase:
        """Lay out keys, case.toml and trust.toml for an estate."""
        made = cls(root, scratch)
        made.root.mkdir()
        keys = make_keys(root.parent / f"{root.name} keys")
        named = ("--role", "owner", "--organisation", OWNER, "--out", keys / "owner")
        command("cenotaph-proof", "keygen", *named)
        made.case.mkdir()
        (made.case / "held.txt").write_text("\n".join(estate.held) + "\n", "utf-8")
        asked = (f'grade = "{grade}"', 'shared = ["free_space"]')
        tables = "".join(store(s.name, s.url, *asked, *s.more) for s in estate.stores)
        if estate.held:
            tables += (
                '[[hold]]\nby = "District court"\nreference = "case 21-443"\nstores = ["quarantine"]\n'
                'subjects = "file:held.txt"\n\n'
            )
        kept = ", ".join(toml(str(path)) for path in estate.kept)
        tables += (
            f'[[volume]]\nname = "{VOLUME}"\npath = {toml(str(scratch.mount))}\nowner = "{OWNER}"\n'
            f"quiesced = {str(quiesced).lower()}\nkept = [{kept}]\n\n"
            f'[[party]]\norganisation = "{OWNER}"\nrole = "owner"\nkey = "../keys/owner.pub"\n'
        )
        made.lay(keys, tables, head=head)
        trusted = made.root / "trust.toml"
        owner = f'[[party]]\norganisation = "{OWNER}"\nrole = "owner"\nkey = "keys/owner.pub"\n\n'
        trusted.write_text(owner + trusted.read_text("utf-8"), "utf-8")
        return made

    def stage(
        self, name: str, code: int | None = 0, outside: Path | None = None, more: Sequence[str] = ()
    ) -> Ran:
        """As `Ground.stage`; the owner of the volume approves what the others do."""
        if name in ("charter", "approve"):
            line = ("approve", "--charter") if name == "charter" else ("approve",)
            self.run(*line, "--key", self.keys / "owner", code=code)
        if name == "probe":
            return self.run("probe", "--key", self.keys / "auditor", *more, code=code)
        return super().stage(name, code, outside)
