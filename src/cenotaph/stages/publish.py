"""Publish: a static page of what was signed until now. Works after any statement.

Any web server, or a USB stick, serves the folder. Nothing is loaded from elsewhere, nothing runs.
"""

from __future__ import annotations

import datetime
import html
import shutil
from collections.abc import Iterator
from pathlib import Path

from cenotaph.desk import Desk
from cenotaph.durable import write_file
from cenotaph_proof import bundle as bundles
from cenotaph_proof.case import Case
from cenotaph_proof.casebook import Entry
from cenotaph_proof.statements import (
    Approval,
    Certificate,
    Challenge,
    Destruction,
    Inventory,
    Plan,
    Probe,
    Seal,
)

STYLE = """
:root { color-scheme: light dark; --line: #8886 }
body { font: 1rem/1.6 system-ui, sans-serif; max-width: 54rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-weight: 600 } table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line) }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums } code { overflow-wrap: anywhere }
.scroll { overflow-x: auto } @media print { body { margin: 0 } }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def publish(desk: Desk, to: Path) -> list[Path]:
    """Write the site into `to`: the page, the proof file, the statements, the log. Returns its files."""
    case = desk.case()
    to.mkdir(parents=True, exist_ok=True)
    proof = to / f"{desk.config.case.name}.cenotaph"
    write_file(proof, bundles.write(desk.bundle()), mode=0o644)
    statements = to / "statements"
    statements.mkdir(exist_ok=True)
    for entry in case.entries:
        source = desk.statement_path(entry)
        write_file(statements / source.name, source.read_bytes(), mode=0o644)
    _copy_log(desk.config.log_path(), to / "log")
    page = to / "index.html"
    write_file(page, "\n".join(_page(case, proof.name, desk)).encode(), mode=0o644)
    return sorted(p for p in to.rglob("*") if p.is_file())


def _copy_log(log: Path, to: Path) -> None:
    """The public part of the log: checkpoint, tiles, entries, cosigned checkpoints."""
    for name in ("checkpoint", "tile", "cosigned"):
        source = log / name
        if source.is_dir():
            shutil.copytree(source, to / name, dirs_exist_ok=True)
        elif source.exists():
            to.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, to / name)


def _page(case: Case, proof: str, desk: Desk) -> Iterator[str]:
    charter = case.charter
    title = _text(f"{charter.name}: destruction of personal data by {charter.operator}")
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    yield f"<title>{title}</title><style>{STYLE}</style></head><body><main>"
    yield f"<h1>{title}</h1>"
    yield f"<p>{_text(_standing(case))}</p>"
    yield "<h2>What went</h2>" if case.latest(Certificate) else "<h2>What is to go</h2>"
    yield from _apps(case)
    yield from _stores(case)
    if charter.holds:
        yield "<h2>What is held</h2><ul>"
        yield from (f"<li>{_text(h.by)}: {_text(h.reference)}</li>" for h in charter.holds)
        yield "</ul>"
    yield "<h2>What was signed</h2>"
    yield from _timeline(case, desk)
    yield "<h2>Check it yourself</h2>"
    yield f'<p>Take <a href="{_text(proof)}">the proof file</a>, '
    yield "and a trust file from somebody you believe. Then: "
    yield f"<code>cenotaph-verify {_text(proof)} --trust TRUST.toml</code></p>"
    yield "</main></body></html>"


def _standing(case: Case) -> str:
    last = case.latest(Certificate)
    if last is not None:
        body = last.body(Certificate)
        return f"Certified: {body.destroyed:,} of {body.sealed:,} sealed records destroyed."
    return f"Under way: the newest statement is the {case.entries[-1].statement.kind}."


def _apps(case: Case) -> Iterator[str]:
    if not case.charter.apps:
        return
    yield '<div class="scroll"><table><tr><th>App</th><th>Purpose</th><th>Stores</th></tr>'
    for app in case.charter.apps:
        yield _row(app.name, app.purpose, ", ".join(app.stores))
    yield "</table></div>"


def _stores(case: Case) -> Iterator[str]:
    certificate = case.latest(Certificate)
    reached = {s.name: s.reached for s in certificate.body(Certificate).stores} if certificate else {}
    sealed = case.latest(Seal)
    counts = {s.name: s.records for s in sealed.body(Seal).stores} if sealed else {}
    yield '<div class="scroll"><table><tr><th>Store</th><th>Kind</th><th>Asked</th><th>Reached</th>'
    yield '<th class="n">Records sealed</th></tr>'
    for store in case.charter.stores:
        number = f"{counts[store.name]:,}" if store.name in counts else "–"
        yield f"<tr><td>{_text(store.name)}</td><td>{_text(store.kind)}</td><td>{store.grade}</td>"
        yield f'<td>{reached.get(store.name, "–")}</td><td class="n">{number}</td></tr>'
    yield "</table></div>"


def _timeline(case: Case, desk: Desk) -> Iterator[str]:
    yield '<div class="scroll"><table><tr><th class="n">No.</th><th>Seen by the witnesses</th>'
    yield "<th>By</th><th>What</th></tr>"
    for entry in case.entries:
        name = desk.statement_path(entry).name
        yield f'<tr><td class="n"><a href="statements/{name}">{entry.index + 1}</a></td>'
        yield f"<td>{_when(case.cosigned_time(entry.index))}</td>"
        yield f"<td>{_text(entry.signer.organisation)}, {entry.signer.role}</td>"
        yield f"<td>{_text(_said(entry))}</td></tr>"
    yield "</table></div>"


def _said(entry: Entry) -> str:
    """One statement in words."""
    body = entry.statement.body
    if isinstance(body, Approval):
        return f"{'approves' if body.decision == 'approve' else 'withdraws approval of'} the {body.of}"
    if isinstance(body, Inventory):
        collections = sum(len(s.collections) for s in body.stores)
        return f"inventory of {len(body.stores)} stores, {collections} collections"
    if isinstance(body, Seal):
        return f"seals {body.records:,} records"
    if isinstance(body, Plan):
        return f"plan {body.number}: destroy {body.records:,} records"
    if isinstance(body, Challenge):
        matched = sum(s.matched for s in body.stores)
        outside = f"{body.found} of {body.brought} outside records found"
        return f"challenge: {matched} drawn chunks matched, {outside}: {body.decision}"
    if isinstance(body, Destruction):
        records = sum(c.records for s in body.stores for c in s.collections)
        return f"batch {body.number}: {records:,} records destroyed"
    if isinstance(body, Probe):
        residue = sum(s.residue + s.strangers for s in body.stores)
        return f"probe: {residue} values found outside what is kept: {body.decision}"
    return entry.statement.kind


def _row(*cells: str) -> str:
    return "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in cells) + "</tr>"


def _when(time: int | None) -> str:
    if time is None:
        return "not yet"
    return datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _text(text: str) -> str:
    return html.escape(text, quote=True)
