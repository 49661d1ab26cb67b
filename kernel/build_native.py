"""The extension that setuptools builds: what Python sees of the C in `c/`."""

from __future__ import annotations

import re
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
SOURCES = (
    "sha256",
    "records",
    "chunks",
    "blake2b",
    "needles",
    "copy",
    "hexadecimal",
    "magics",
    "masks",
    "numbers",
    "pages",
    "pieces",
    "shapes",
    "distinct",
    "familiar",
    "parquet",
    "windows",
)
FLAGS = [
    "-std=c99",
    "-O3",
    "-Wall",
    "-Wextra",
    "-Wno-psabi",
    "-fvisibility=hidden",
]  # psabi: nothing of ours passes vectors


def declarations() -> str:
    """The functions called from outside, and the structures they take, as the header has them."""
    header = re.sub(r"/\*.*?\*/", "", (HERE / "c" / "kernel.h").read_text("ascii"), flags=re.DOTALL)
    structures = re.findall(
        r"^typedef struct \{[^}]*\} (?:column|numbers|windows|attribute|page_column);", header, re.MULTILINE
    )
    functions = re.findall(r"^(?:int|int64_t|size_t|void) cenotaph_[^;]*;", header, re.MULTILINE)
    return "\n".join([*structures, *functions])


native = FFI()
native.cdef(declarations())
native.set_source(
    "cenotaph_kernel._native",
    '#include "kernel.h"',
    sources=[f"c/{name}.c" for name in SOURCES],
    include_dirs=[str(HERE / "c")],
    extra_compile_args=FLAGS,
    depends=[str(path.relative_to(HERE)) for path in (HERE / "c").glob("*.h")],
)
