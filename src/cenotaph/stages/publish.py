"""Publish: a static site of what was signed until now. Works after any statement.

Any web server, or a USB stick, serves the folder; nothing is loaded from elsewhere. The log goes first and
the front pages last, each file whole, so that a kill in between leaves a site whose links hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from cenotaph.desk import Desk
from cenotaph.errors import RefusedError
from cenotaph.site import folder, pages
from cenotaph.site.folder import Content
from cenotaph_proof import bundle as bundles
from cenotaph_proof import evidence, note
from cenotaph_proof.errors import FormatError

EVIDENCE = "evidence"  # of the case directory: what the operator means to show
CHECKOUT = Path(__file__).resolve().parents[3] / "web"


def publish(desk: Desk, to: Path) -> list[Path]:
    """Write the site into `to`, and take away what an earlier one had more. Returns its files.

    Raises: UsageError where `to` holds files of somebody else; RefusedError where it shows a longer log.
    """
    bundle = desk.bundle()
    case = bundles.replay(bundle)
    proof = bundles.write(bundle)
    shown = dict(evidence.published(case, desk.path / EVIDENCE))
    paper, page = desk.path / pages.PAPER, verifier()
    beside = pages.Beside(paper=paper.is_file(), verify=page is not None, evidence=tuple(shown))
    files: dict[str, Content] = dict(_log(desk.config.log_path()))
    files[pages.PROOF] = proof
    files |= {pages.evidence_path(digest): path for digest, path in shown.items()}
    if beside.paper:
        files[pages.PAPER] = paper
    if page is not None:
        files[pages.VERIFY] = page
    files |= pages.build(case, bundle, beside, len(proof))
    of = f"case {case.charter.case}"
    _check_longer(folder.read(to, of, "log/checkpoint"), files)
    return folder.write(to, of, files)


def verifier() -> bytes | None:
    """The page that checks a proof file in a browser: of the package, or of a checkout."""
    packed = resources.files("cenotaph.site").joinpath(pages.VERIFY)
    if packed.is_file():
        return packed.read_bytes()
    beside = CHECKOUT / pages.VERIFY
    return beside.read_bytes() if beside.is_file() else None


def _log(log: Path) -> Iterator[tuple[str, bytes]]:
    """The public part of the log, at its places (C2SP tlog-tiles): tiles first, the checkpoint last."""
    for part in ("tile", "cosigned", "stamps"):
        for path in sorted((log / part).rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                yield f"log/{path.relative_to(log).as_posix()}", path.read_bytes()
    yield "log/checkpoint", (log / "checkpoint").read_bytes()


def _check_longer(published: bytes | None, files: dict[str, Content]) -> None:
    """What was published once is not taken back: readers would see it as a rewritten history."""
    if published is None:
        return
    now = files["log/checkpoint"]
    assert isinstance(now, bytes)
    try:
        old, new = (note.Checkpoint.parse(note.parse_note(n).body) for n in (published, now))
    except FormatError:
        return  # somebody's scribble: it is written anew
    if old.size > new.size or (old.size == new.size and old.root != new.root):
        raise RefusedError(
            f"the site shows a log of {old.size} statements, and this one has {new.size}, or others",
            hint="was the log restored from an older copy? Bring back the newest",
        )
