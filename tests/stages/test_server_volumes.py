"""Which volume a server's store lies on, and what of the server does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cenotaph import config, terrain
from cenotaph_proof.keys import SecretKey
from volume_images import LOOPS, Image, image

MIB = 1 << 20


def _case(folder: Path, scratch: Image, *more: str) -> config.CaseFile:
    key = folder / "host"
    if not key.exists():
        SecretKey.generate("Host Co", "owner").save(key)
    (folder / "case.toml").write_text(
        '[case]\nname = "c"\noperator = "o"\nkey = "file:k"\nlog = "log"\n'
        f'[[store]]\nname = "clinic"\nurl = "postgresql://a@h/b"\ngrade = "L3"\nshared = ["free_space"]\n'
        f'data_dir = "{scratch.mount}/pg"\n'
        f'[[volume]]\nname = "disk"\npath = "{scratch.mount}"\nowner = "Host Co"\nquiesced = true\n'
        '[[party]]\norganisation = "Host Co"\nrole = "owner"\nkey = "host.pub"\n' + "\n".join(more)
    )
    return config.load(folder / "case.toml")


@LOOPS
def test_a_server_lies_where_its_data_directory_does(tmp_path: Path) -> None:
    """It is planned for as files are: with tablespaces and a log that links lead to, and named copies."""
    with image(tmp_path, "ext4", 16 * MIB) as scratch:
        for name in ("pg/pg_tblspc", "space", "wal", "dumps"):
            (scratch.mount / name).mkdir(parents=True)
        (scratch.mount / "pg/pg_wal").symlink_to(scratch.mount / "wal")
        (scratch.mount / "pg/pg_tblspc/16385").symlink_to(scratch.mount / "space")
        case = _case(
            tmp_path, scratch, f'[[copy]]\nstore = "clinic"\nkind = "dump"\npath = "{scratch.mount}/dumps"\n'
        )

        (ground,) = terrain.grounds(case)

        places = {path.relative_to(scratch.mount).as_posix() for path in ground.folders}
        assert places == {"pg", "wal", "space", "dumps"}
        assert [store.name for store in ground.stores] == ["clinic"]
        assert ground.why_not_higher != terrain.MIXED


@LOOPS
@pytest.mark.parametrize("what", ["tablespace", "copy"])
def test_a_part_of_a_server_on_another_volume_keeps_it_down(tmp_path: Path, what: str) -> None:
    """A tablespace, or a copy that the case names, lies where nobody wipes."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with image(tmp_path, "ext4", 16 * MIB) as scratch:
        (scratch.mount / "pg/pg_tblspc").mkdir(parents=True)
        more = f'[[copy]]\nstore = "clinic"\nkind = "dump"\npath = "{elsewhere}"\n' if what == "copy" else ""
        if what == "tablespace":
            (scratch.mount / "pg/pg_tblspc/16385").symlink_to(elsewhere)

        (ground,) = terrain.grounds(_case(tmp_path, scratch, more))

        assert (ground.grade, ground.why_not_higher) == ("L2", terrain.MIXED)
        assert elsewhere not in ground.folders
