"""How fast a table of PostgreSQL is read from its pages, digested and sealed, beside COPY BINARY of it.

    python bench/postgres_pages.py [ROWS] [TURNS]

Starts a private server with checksums, fills the table of `postgres.py`, and takes it in turns: psql's COPY
TO in binary, to nowhere; the store's reader by COPY, and from pages; with digests and chunks; partitions as a
child process seals them; and the whole stage `seal`, with two of them at work, both ways. The best of each
counts. The table is in the memory of the system, and the server's. Both ways give the same digests, which is
looked at before anything is measured.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from cenotaph import kernel
from cenotaph.annex import Annex
from cenotaph.records import Digester
from cenotaph.scope import EVERYTHING
from cenotaph.sealing import Target
from cenotaph.store import Reader, Surroundings
from cenotaph.stores.postgres import open_reader

if __name__ != "__mp_main__":  # children import this file, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    import postgres

    import postgres_server

KEY = bytes(64)


def main(rows: int, turns: int) -> None:
    if postgres_server.binaries() is None:
        print("no PostgreSQL server is installed: apt-get install postgresql")
        return
    server = postgres_server.start(initdb=["--data-checksums"], shared_buffers="512MB")
    try:
        name = server.database(
            postgres.TABLE.format(rows), "ALTER TABLE tests ADD PRIMARY KEY (id)", "VACUUM FREEZE ANALYZE"
        )
        with tempfile.TemporaryDirectory() as folder:
            made = steps(server.url(name), str(server.data), Path(folder))
            best = postgres.measured(made, turns, server.process.pid)
    finally:
        server.stop()
    print(f"{kernel.described()}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    peer = best["COPY BINARY, psql"]
    for what, (seconds, serving, reading) in best.items():
        busy, work = serving + reading, peer[1] + peer[2]
        print(
            f"{what:28} {rows / seconds / 1e6:6.2f} M rows/s  {peer[0] / seconds:5.2f} of COPY;"
            f"  {busy / rows * 1e9:6.0f} ns of processors a row, {work / busy:5.2f} of COPY"
        )


def steps(url: str, data: str, folder: Path) -> dict[str, Callable[[], object]]:
    """What is measured, by its name."""
    around = {"COPY": Surroundings(data_dir=data), "pages": Surroundings(data_dir=data, pages=True)}
    made = {"COPY BINARY, psql": postgres.copied(url, "tests")}
    digests = {}
    for way, where in around.items():
        reader = open_reader(url, EVERYTHING, where)
        digests[way] = np.sort(np.concatenate([one.view("V32")[:, 0] for one in _digests(reader)]))
        made |= {f"{what}, {way}": step for what, step in _steps(reader, url, where, folder / way).items()}
    assert (digests["COPY"] == digests["pages"]).all()
    said = f'data_dir = "{data}"\nread = "pages"\n'
    made["cenotaph seal, COPY"] = postgres.surveyed(url, folder / "by-copy").seal
    made["cenotaph seal, pages"] = postgres.surveyed(url, folder / "by-pages", said).seal
    return made


def _digests(reader: Reader) -> list[np.ndarray[tuple[int, int], np.dtype[np.uint8]]]:
    table = next(one for one in reader.collections() if one.name == "public.tests")
    return [
        Digester(KEY).digests(batch)[0]
        for partition in reader.partitions(table)
        for batch in reader.batches(partition)
    ]


def _steps(reader: Reader, url: str, around: Surroundings, folder: Path) -> dict[str, Callable[[], object]]:
    table = next(one for one in reader.collections() if one.name == "public.tests")
    partitions = reader.partitions(table)
    needles = ((1, "id"), (5, "phone"))
    target = Target(open_reader, url, EVERYTHING, "store", table.name, table.ordinal, table.order, needles, 1)
    target, annex = replace(target, around=around), Annex(folder, "ab" * 32)

    return postgres.reading(reader, target, partitions, annex)


if __name__ == "__main__":
    sizes = [int(word) for word in sys.argv[1:]]
    main(sizes[0] if sizes else 2_000_000, sizes[1] if sizes[1:] else 5)
