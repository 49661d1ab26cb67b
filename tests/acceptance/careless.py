"""`cenotaph`, with its erasing replaced by what people do who believe that deleting destroys.

A database gets DELETE; a file in a folder is copied beside itself and unlinked; a lone file is unlinked
without overwriting, and this eraser says so. Tests run this program in place of the command.
"""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import cenotaph.stores
from cenotaph.cli.main import main
from cenotaph.scope import Selection
from cenotaph.store import Class, Collection, Erasure, Grade, Partition, PartitionSeal, Progress, Reclamation


class Careless:
    """`store.Eraser` that says it reached L2."""

    def __init__(self, url: str, selection: Selection) -> None:
        self._url, self._selection = url, selection
        self._kind, _, path = url.partition(":")
        self._path = Path(path)
        self._lone = self._path.is_file()
        with_names = cenotaph.stores.open_reader(url, selection)
        self._tables = {c.ordinal: c.name for c in with_names.collections()}
        with_names.close()

    def erase(self, partition: Partition, sealed: PartitionSeal, progress: Progress) -> Erasure:
        reader = cenotaph.stores.open_reader(self._url, self._selection)
        sealed.check(reader.batches(partition))
        reader.close()
        progress.begin({})
        if self._kind == "sqlite":
            self._delete(self._tables[partition.collection])
        else:
            self._copy_and_unlink(json.loads(partition.bounds))
        return Erasure(sealed.records, Class.AS_SEALED, 0, 0)

    def _delete(self, table: str) -> None:
        held = sorted(s for hold in self._selection.holds for s in hold.subjects or ())
        where = (
            f" WHERE id_number NOT IN ({','.join('?' * len(held))})" if table == "quarantine_stays" else ""
        )
        db = sqlite3.connect(self._path)
        db.execute("PRAGMA secure_delete = OFF")
        db.execute(f'DELETE FROM "{table}"{where}', held if where else [])
        db.commit()
        db.close()

    def _copy_and_unlink(self, bounds: dict[str, object]) -> None:
        folder = (self._path.parent if self._lone else self._path) / _decoded(bounds["folder"])
        for name, *_ in bounds["files"]:  # type: ignore[attr-defined]  # a list, as the files store writes it
            file = folder / _decoded(name)
            if not self._lone:
                shutil.copyfile(file, file.with_name(file.name + ".bak"))
            file.unlink()

    def reclaim(self, collections: Sequence[Collection]) -> Reclamation:
        if self._lone and self._kind == "files":
            return Reclamation(Grade.L1, "its bytes were not overwritten", 0, 0)
        return Reclamation(Grade.L2, "", 0, 0)

    def close(self) -> None:
        pass


def open_careless(url: str, selection: Selection, *_: object) -> Careless:
    return Careless(url, selection)


def _decoded(name: object) -> str:
    return base64.b64decode(str(name)).decode()


if __name__ == "__main__":
    import careless  # as a module, so that child processes find the eraser under its name

    cenotaph.stores.open_eraser = careless.open_careless  # type: ignore[assignment]
    main()
