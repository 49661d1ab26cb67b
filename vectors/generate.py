"""Makes every file of this folder anew: `python vectors/generate.py`, or `make vectors`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import make_draw
import make_formats
import make_proof
import make_record
import make_seal
import make_statements
import make_verdicts

FOLDER = Path(__file__).parent
MAKERS = (make_draw, make_formats, make_record, make_seal, make_statements, make_verdicts)


def made() -> dict[str, bytes]:
    """The bytes of each file by its path in this folder."""
    files = {f"{m.__name__.removeprefix('make_')}.json": _json(m.vectors()) for m in MAKERS}
    files |= {f"proof/{name}.json": _json(scenario) for name, scenario in make_proof.scenarios().items()}
    return files | {f"proof/{name}": text.encode() for name, text in make_proof.trust_files().items()}


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files that were made, and remove scenarios that are made no longer."""
    for path in (folder / "proof").glob("*"):
        if f"proof/{path.name}" not in files:
            path.unlink()
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


if __name__ == "__main__":
    write(FOLDER, made())
