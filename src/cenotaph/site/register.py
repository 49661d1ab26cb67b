"""The register: who announced, destroyed, gave up or went silent, from a list of operators' public places.

Each place is checked as any reader would check it, with the trust file that the list gives it. What was seen
last is kept: a log that later tells something else has two histories, and the proof of it stays.
"""

from __future__ import annotations

import json
import posixpath
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from cenotaph.errors import UsageError
from cenotaph.site import figures, folder, looking, render
from cenotaph.site.pages import FOLDERS
from cenotaph.site.render import Said
from cenotaph.site.telling import duration
from cenotaph_proof import bundle as bundles
from cenotaph_proof import history, note, trust, verify
from cenotaph_proof.bundle import Bundle
from cenotaph_proof.case import Case
from cenotaph_proof.errors import CallError, FormatError, ProofError, SplitError
from cenotaph_proof.facts import GRADES
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.statements import Certificate, Destruction
from cenotaph_proof.trust import Trust
from cenotaph_proof.words import LANGUAGES, Language

LIMIT = 1 << 20
STATE = "register.json"
FORMAT = "cenotaph-register/v1"
OF = "register"
SILENT, TIMEOUT = "90d", "60s"
GONE = "this place is no longer in the list; what was found there stays"

State = Literal[
    "announced",
    "under way",
    "verified",
    "unidentified",  # as verified, but nobody checked who holds the keys
    "abandoned",
    "silent",
    "not checked",  # parts of it are not at this place
    "does not verify",
]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True, slots=True)
class Listed:
    """One `[[operator]]` of the list."""

    name: str
    at: str
    trust: Path | None


@dataclass(frozen=True, slots=True)
class Register:
    """The list: its operators, and after how many seconds without a new statement a case is silent."""

    title: str
    silent: int
    timeout: int
    operators: tuple[Listed, ...]
    base: Path


@dataclass(frozen=True, slots=True)
class Row:
    """One case as it was seen last. Times are the witnesses', in seconds; grades by store name."""

    case: str
    name: str
    state: State
    why: str = ""  # the step and the reason where it does not verify
    apps: tuple[str, ...] = ()
    sealed: int | None = None
    destroyed: int | None = None
    grades: tuple[str, ...] = ()
    announced: int | None = None
    newest: int | None = None
    certified: int | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """Two histories of one log: when it was found, and how; how many entries each has, and the evidence."""

    found: int
    why: Literal["forked", "shrank", "replaced"]
    before: int
    after: int
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one operator's place: its rows and checkpoint when it was seen last."""

    name: str
    at: str
    seen: int | None = None
    problem: str = ""  # why it was not seen this time
    checkpoint: str = ""
    trusted: bool = False
    rows: tuple[Row, ...] = ()
    splits: tuple[Split, ...] = ()
    kept: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)  # new evidence


def run(listed: Path, to: Path, now: int) -> list[Known]:
    """Look at every operator of the list and write the register. Returns what is known of each.

    Raises: UsageError for a list, a trust file or a folder that is not what it must be. No operator's
    place, whatever it holds, does.
    """
    register = load(listed)
    before = _state(folder.read(to, OF, STATE))
    number = 1 + max((_ordinal(n) for k in before.values() for s in k.splits for n in s.files), default=0)
    found: list[Known] = []
    for operator in register.operators:
        known = before.get(operator.at, Known(operator.name, operator.at))
        others = [k.checkpoint for k in (*found, *before.values()) if k.checkpoint and k.at != operator.at]
        known = replace(known, name=operator.name)
        known = visit(operator, _trust(operator), known, register, now, number, others)
        number += bool(known.kept)
        found.append(known)
    listed_places = {operator.at for operator in register.operators}
    gone = [
        replace(k, rows=(), problem=GONE) for at, k in before.items() if at not in listed_places and k.splits
    ]
    found = [*_merged(found), *gone]
    files = {name: to / name for known in found for split in known.splits for name in split.files}
    new = {name: data for known in found for name, data in known.kept.items()}
    _check_kept(set(files) - set(new), to)
    folder.write(to, OF, {**files, **new, STATE: _to_json(found), **pages(register, found, now)})
    return found


def load(path: Path) -> Register:
    """Read the list. Raises: UsageError naming the key that is wrong."""
    try:
        data = path.read_bytes()
        table = tomllib.loads(data.decode()) if len(data) <= LIMIT else {}
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from None
    head = table.get("register", {})
    operators = table.get("operator", [])
    if not isinstance(head, dict) or not isinstance(operators, list) or not operators:
        raise UsageError(f"{path} names no operator", hint="add an [[operator]] with name, log and trust")
    _only(table, {"register", "operator"}, path.name)
    _only(head, {"title", "silent", "timeout"}, "[register]")
    try:
        silent, timeout = (
            trust.seconds(head.get(k, d), k) for k, d in (("silent", SILENT), ("timeout", TIMEOUT))
        )
    except FormatError as error:
        raise UsageError(f"[register] {error.message}") from None
    found = tuple(_operator(item, path.parent) for item in operators)
    if len({o.at for o in found}) != len(found):
        raise UsageError("the list names one log twice")
    return Register(_text(head.get("title", ""), "[register] title"), silent, timeout, found, path.parent)


def visit(
    operator: Listed,
    held: Trust | None,
    known: Known,
    register: Register,
    now: int,
    number: int,
    others: Sequence[str] = (),
) -> Known:
    """Look at one place. Whatever is wrong there is part of what is known afterwards.

    `others` are checkpoints that were seen at other places: one log may have several.
    """
    try:
        seen = looking.look(looking.place(operator.at, register.base, register.timeout))
        rows = tuple(_row(b, seen.own, held, register.silent, now) for b in seen.cases)
    except CallError as error:
        return replace(known, problem=error.message, kept={})
    except ProofError as error:
        return replace(known, problem=_step(error), kept={})
    try:
        operator_key = looking.operator_of(seen, held)
        told = history.shown(operator_key, [seen.checkpoint], seen.entries)
        split, follows = _split(known, seen, operator_key, told, now, number)
        before = known.checkpoint
        if split is None and all(s.why != "forked" for s in known.splits):
            split, before = _beside(others, seen, operator_key, told, now, number)
    except ProofError as error:
        return replace(known, problem=_step(error), kept={})
    return replace(
        known,
        seen=now,
        problem="",
        checkpoint=seen.checkpoint.decode() if follows else known.checkpoint,
        trusted=held is not None,
        rows=rows,
        splits=(*known.splits, split) if split else known.splits,
        kept=_kept(split, before, seen) if split else {},
    )


def _merged(found: Sequence[Known]) -> list[Known]:
    """A case that one place of a log shows whole is not listed as unchecked by another."""
    checked = {row.case for known in found for row in known.rows if row.state != "not checked"}
    return [
        replace(k, rows=tuple(r for r in k.rows if r.state != "not checked" or r.case not in checked))
        for k in found
    ]


def _trust(operator: Listed) -> Trust | None:
    if operator.trust is None:
        return None
    try:
        return trust.load(operator.trust)
    except FormatError as error:
        raise UsageError(f"the trust file of {operator.name}: {error.message}", hint=error.hint) from None
    except OSError as error:
        raise UsageError(f"the trust file of {operator.name} cannot be read: {error.strerror}") from None


# ── one case ─────────────────────────────────────────────────────────────────────────────────────


def _row(bundle: Bundle, own: str | None, held: Trust | None, silent: int, now: int) -> Row:
    """A case as any reader would check it."""
    try:
        case = verify.replay(bundle, held)
        if case.latest(Certificate) is not None:
            verify.check_certified(case)
    except ProofError as error:
        if _lacking(bundle, own, error):
            return Row(bundle.case, "", "not checked")
        return Row(bundle.case, "", "does not verify", _step(error))
    return replace(_told(bundle.case, case), state=_state_of(case, bundle, held, silent, now))


def _lacking(bundle: Bundle, own: str | None, error: ProofError) -> bool:
    """Whether a case may fail only for what is not at this place: it is no reproach then."""
    return bundle.case != own if own is not None else isinstance(error, FormatError)


def _told(case_id: str, case: Case) -> Row:
    stores = figures.stores(case)
    certificate = case.latest(Certificate)
    destroyed = [s.destroyed for s in stores if s.destroyed is not None]
    times = [case.cosigned_time(e.index) for e in case.entries]
    return Row(
        case=case_id,
        name=case.charter.name,
        state="announced",
        apps=tuple(a.name for a in case.charter.apps),
        sealed=figures.totals(case).records,
        destroyed=sum(destroyed) if destroyed else None,
        grades=tuple(sorted((s.grade for s in stores), key=GRADES.index)) if certificate else (),
        announced=times[0],
        newest=max((t for t in times if t is not None), default=None),
        certified=case.cosigned_time(certificate.index) if certificate else None,
    )


def _state_of(case: Case, bundle: Bundle, held: Trust | None, silent: int, now: int) -> State:
    if case.latest(Certificate) is not None:
        return "verified" if held is not None else "unidentified"
    last = case.entries[-1]
    newest = case.cosigned_time(last.index) or case.charter.created
    if now - newest > silent + case.charter.notice:
        return "abandoned" if looking.charter_after(bundle, last.index) else "silent"
    return "under way" if case.latest(Destruction) is not None else "announced"


def _step(error: ProofError) -> str:
    step = (error.step or "").removeprefix("verify ")
    return f"{step}: {error.message}" if step else error.message


# ── two histories ────────────────────────────────────────────────────────────────────────────────


def _split(
    known: Known, seen: looking.Seen, operator: PublicKey, told: history.Shown, now: int, number: int
) -> tuple[Split | None, bool]:
    """Whether the log tells something else than it told before, by the operator's own signatures; and whether
    later runs are to hold it against what it tells now: not against less than was seen already."""
    if not known.checkpoint:
        return None, True
    before = known.checkpoint.encode()
    old, new = (note.Checkpoint.parse(note.parse_note(n).body) for n in (before, seen.checkpoint))
    why: Literal["forked", "shrank", "replaced"]
    if old.origin != new.origin:
        why = "replaced"
    else:
        try:
            found = history.compare_shown(history.shown(operator, [before]), told)
        except SplitError:
            why = "forked"
        else:
            if found.outcome == "one history":
                return None, True
            why = "shrank"
            if any((s.why, s.before) == (why, old.size) for s in known.splits):
                return None, False
    return Split(now, why, old.size, new.size, _names(seen, number)), why != "shrank"


def _beside(
    others: Sequence[str],
    seen: looking.Seen,
    operator: PublicKey,
    told: history.Shown,
    now: int,
    number: int,
) -> tuple[Split | None, str]:
    """Whether another place of the same log tells another history; and the checkpoint that was seen there."""
    for other in others:
        old = note.Checkpoint.parse(note.parse_note(other.encode()).body)
        if old.origin != note.log_origin(operator):
            continue
        try:
            history.compare_shown(history.shown(operator, [other.encode()]), told)
        except SplitError:
            return Split(now, "forked", old.size, told.size, _names(seen, number)), other
    return None, ""


def _names(seen: looking.Seen, number: int) -> tuple[str, ...]:
    """The files of evidence."""
    names = (f"evidence/{number:04d}-before.txt", f"evidence/{number:04d}-after.txt")
    return names if seen.own is None else (*names, f"evidence/{number:04d}-after.cenotaph")


def _kept(split: Split, before: str, seen: looking.Seen) -> dict[str, bytes]:
    """The evidence: both checkpoints as they were signed, and the entries of the later one."""
    contents = [before.encode(), seen.checkpoint, bundles.write(seen.cases[0])]
    return dict(zip(split.files, contents, strict=False))


# ── what is kept from run to run ─────────────────────────────────────────────────────────────────


def _to_json(found: Sequence[Known]) -> bytes:
    operators = [{k: v for k, v in asdict(known).items() if k != "kept"} for known in found]
    return json.dumps({"format": FORMAT, "operators": operators}, ensure_ascii=False, indent=1).encode()


def _state(data: bytes | None) -> dict[str, Known]:
    """What was seen last, by place. Raises: UsageError; nothing that was seen is forgotten in silence."""
    if data is None:
        return {}
    try:
        value = json.loads(data)
        if value["format"] != FORMAT:
            raise ValueError(FORMAT)
        return {item["at"]: _known(item) for item in value["operators"]}
    except (ValueError, KeyError, TypeError):
        raise UsageError(
            f"{STATE} in the folder is not what a register keeps",
            hint="bring back the newest one, or begin a register in an empty folder",
        ) from None


def _known(item: Mapping[str, Any]) -> Known:
    rows = tuple(_listed_row(row) for row in item["rows"])
    splits = tuple(Split(**{**s, "files": tuple(s["files"])}) for s in item["splits"])
    return Known(**{**item, "rows": rows, "splits": splits})


def _listed_row(item: dict[str, Any]) -> Row:
    values: dict[str, Any] = {**item, **{name: tuple(item[name]) for name in ("apps", "grades")}}
    return Row(**values)


def _ordinal(name: str) -> int:
    return int(name.removeprefix("evidence/")[:4])


def _check_kept(names: set[str], to: Path) -> None:
    """The evidence of earlier runs is still there. Raises: UsageError."""
    missing = [name for name in sorted(names) if not (to / name).is_file()]
    if missing:
        raise UsageError(f"{missing[0]} is missing from {to}", hint="it is evidence: bring it back")


# ── the list ─────────────────────────────────────────────────────────────────────────────────────


def _operator(item: object, base: Path) -> Listed:
    if not isinstance(item, dict):
        raise UsageError("[[operator]] must be a table")
    _only(item, {"name", "log", "trust"}, "[[operator]]")
    if not item.get("name") or not item.get("log"):
        raise UsageError(
            "an [[operator]] has a name and a log", hint="log is the address, or folder, of its site"
        )
    held = item.get("trust")
    return Listed(
        name=_text(item["name"], "[[operator]] name"),
        at=_text(item["log"], "[[operator]] log"),
        trust=base / _text(held, "[[operator]] trust") if held is not None else None,
    )


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or len(value) > 1_000 or not value.isprintable():
        raise UsageError(f"{where} must be a line of text")
    return value


def _only(table: Mapping[str, Any], allowed: set[str], where: str) -> None:
    unknown = set(table) - allowed
    if unknown:
        raise UsageError(f"{where} has a key that is not known: {min(unknown)}")


# ── the page ─────────────────────────────────────────────────────────────────────────────────────


def pages(register: Register, found: Sequence[Known], now: int) -> dict[str, folder.Content]:
    """The register's page, in every language, the front page last."""
    counts: dict[str, int] = {}
    for row in (row for known in found for row in known.rows):
        counts[row.state] = counts.get(row.state, 0) + 1
    values = {
        "title": register.title,
        "silent": duration(register.silent),
        "now": now,
        "counts": {code(state): counts[state] for state in STATES if state in counts},
        "operators": [_view(known) for known in found],
        "state": STATE,
    }
    return {FOLDERS[language] + "index.html": _page(language, values) for language in reversed(LANGUAGES)}


def _page(language: Language, values: Mapping[str, Any]) -> bytes:
    at = FOLDERS[language] + "index.html"
    others = render.languages(at, {k: f"{path}index.html" for k, path in FOLDERS.items()})
    here = posixpath.dirname(at) or "."
    given = {**values, "languages": others, "link": lambda target: posixpath.relpath(target, here)}
    return render.page("register.html", Said(language), given)


def _view(known: Known) -> dict[str, Any]:
    rows = [{**asdict(row), "state": code(row.state), "grades": _grades(row)} for row in known.rows]
    return {
        **{k: getattr(known, k) for k in ("name", "seen", "problem", "trusted", "splits")},
        "site": known.at if known.at.startswith("https://") else None,
        "rows": sorted(rows, key=lambda row: -(row["newest"] or 0)),
    }


def _grades(row: Row) -> list[tuple[str, int]]:
    return [(grade, row.grades.count(grade)) for grade in dict.fromkeys(row.grades)]


def code(state: State) -> str:
    """A state as the code of its words has it."""
    return state.replace(" ", "-")


# ── what the command tells ───────────────────────────────────────────────────────────────────────


def summary(found: Sequence[Known], to: Path) -> dict[str, Any]:
    """The register for scripts: states of cases by operator, and what was not reached."""
    return {
        "stage": "register",
        "page": str(to / "index.html"),
        "operators": [
            {
                "name": known.name,
                "problem": known.problem or None,
                "splits": len(known.splits),
                "cases": [{"case": row.case, "name": row.name, "state": row.state} for row in known.rows],
            }
            for known in found
        ],
    }


def lines(found: Sequence[Known]) -> list[str]:
    """The register for a terminal, a line a case."""
    return [
        f"{known.name}: {render.shown(row.name) or row.case[:16]}: {row.state}"
        + (f" ({row.why})" if row.why else "")
        for known in found
        for row in known.rows
    ] + [f"{known.name}: two histories ({s.why})" for known in found for s in known.splits]
