"""Makes proof files that the vectors have not: a program of its own, since it changes what makes the vectors.

python made_proofs.py hostile FILE      every text that a statement lets its signer choose is an attack
python made_proofs.py large FILE COUNT  a log of so many statements
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from cenotaph_proof import bundle, statements

VECTORS = Path(__file__).resolve().parents[2] / "vectors"
MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'&amp;{who}${7}"
TURNS = "\u202e\u2066gnp.\u200f"
# Names that rules compare are attacks from the beginning on, in the text of the scripts; others when signed.
SCRIPTS = ("make_seal", "make_volumes", "make_people", "make_proof")
NAMED = ("health", "hotline", "retired", "vector city", "health code", "Vector Host", "Vector Bureau")
FIXED = {"name", "stores", "store", "shared", "volume", "app", "organisation", "operator", "owner"}
FIXED |= {"about", "origin", "place", "encoding", "kind", "lane", "limits", "actions"}


def hostile() -> bytes:
    """A whole case on a volume whose signers attack whoever reads it. It verifies: such names are allowed."""
    *_, made = [_attacked(name) for name in SCRIPTS]
    signed = made.sign
    made.sign = lambda body, cites, key: signed(attacking(body), cites, key)
    asked = {"charter": lambda body: dataclasses.replace(body, contact="write to")}
    proof: bytes = made.Ceremony(made.Lie(volume=True, bodies=asked)).proof()
    return proof


def _attacked(name: str) -> ModuleType:
    source = (VECTORS / f"{name}.py").read_text("utf-8")
    for word in NAMED:
        source = source.replace(f'"{word}"', repr(f"{word} {MARKUP}"))
    module = sys.modules[name] = ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
    return module


def attacking(value: Any, annotation: Any = None) -> Any:
    """The value with an attack in every name and line that its signer may choose."""
    if isinstance(value, statements.Certificate):
        return value  # it follows from the others
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = get_type_hints(type(value), include_extras=True)
        free = {name: hint if name not in FIXED else None for name, hint in hints.items()}
        return dataclasses.replace(value, **{n: attacking(getattr(value, n), free[n]) for n in free})
    if isinstance(value, tuple):
        return tuple(attacking(item, annotation) for item in value)
    words = isinstance(value, str) and "_Text" in str(annotation)
    return f"{value} {MARKUP} {TURNS}" if words else value


def large(count: int) -> bytes:
    """A case with so many testimonies that its log has `count` statements."""
    sys.path.insert(0, str(VECTORS))
    import make_people
    import make_proof

    small = make_proof.Ceremony(make_proof.Lie(people=True))
    certificate = bundle.replay(small._bundle()).require(statements.Certificate).body(statements.Certificate)
    again = make_people.TOLD[-1]
    more = [(f"more {n}", *again[1:]) for n in range(count - len(small.entries))]
    make_people.TOLD = (*make_people.TOLD, *more)
    return make_proof.Ceremony(make_proof.Lie(people=True), certificate).proof()


if __name__ == "__main__":
    what, file, *more = sys.argv[1:]
    Path(file).write_bytes(large(int(more[0])) if what == "large" else hostile())
