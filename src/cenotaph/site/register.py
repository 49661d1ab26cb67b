"""The register: who announced, destroyed, gave up or went silent, from a list of operators' public places.

Each place is checked as any reader would check it, with the trust file that the list gives it. The newest
checkpoint of every history that a place ever showed is kept, by the log's origin, and also when the place
leaves the list: a log that later tells something else, here or elsewhere, has two histories, and the proof of
it stays. Whoever wants to forget begins a register in an empty folder.
"""

from __future__ import annotations

import json
import posixpath
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

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


Why: TypeAlias = Literal["forked", "shrank", "replaced"]


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
    why: Why
    before: int
    after: int
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one operator's place: its rows when it was seen last, and the newest checkpoint of
    every history that it ever showed, the one shown last at the end."""

    name: str
    at: str
    seen: int | None = None
    problem: str = ""  # why it was not seen this time
    heads: tuple[str, ...] = ()
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
    listed_places = {operator.at for operator in register.operators}
    gone = [replace(k, rows=(), problem=GONE) for at, k in before.items() if at not in listed_places]
    numbers = count(
        1 + max((_ordinal(n) for k in before.values() for s in k.splits for n in s.files), default=0)
    )
    found: list[Known] = []
    for operator in register.operators:
        known = replace(before.get(operator.at, Known(operator.name, operator.at)), name=operator.name)
        others = [
            k for k in (*found, *(before[at] for at in before.keys() & listed_places)) if k.at != operator.at
        ]
        found.append(visit(operator, _trust(operator), known, register, now, numbers, others, gone))
    found = _merged(found)
    told = [*found, *(k for k in gone if k.splits)]
    files = {name: to / name for known in told for split in known.splits for name in split.files}
    new = {name: data for known in found for name, data in known.kept.items()}
    _check_kept(set(files) - set(new), to)
    state = _to_json([*found, *gone])
    folder.write(to, OF, {**files, **new, STATE: state, **pages(register, told, now)})
    return told


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
    numbers: Iterator[int],
    others: Sequence[Known] = (),
    gone: Sequence[Known] = (),
) -> Known:
    """Look at one place. Whatever is wrong there is part of what is known afterwards.

    `others` are places of the list, `gone` those that were in it once: one log may be seen at several.
    Evidence is numbered from `numbers`.
    """
    try:
        seen = looking.look(looking.place(operator.at, register.base, register.timeout))
        rows = tuple(_row(b, seen.own, held, register.silent, now) for b in seen.cases)
    except CallError as error:
        return replace(known, problem=error.message, kept={})
    except ProofError as error:
        return replace(known, problem=_step(error), kept={})
    try:
        histories = _Histories(looking.operator_of(seen, held), seen, known, others, gone)
    except ProofError as error:
        return replace(known, problem=_step(error), kept={})
    told = histories.told()
    splits = [
        Split(now, why, _head(before).size, histories.size, _names(seen, next(numbers)))
        for why, before in told
    ]
    evidence = [_kept(split, before, seen) for split, (_, before) in zip(splits, told, strict=True)]
    return replace(
        known,
        seen=now,
        problem="",
        heads=histories.remembered(),
        trusted=held is not None,
        rows=rows,
        splits=(*known.splits, *splits),
        kept={name: data for files in evidence for name, data in files.items()},
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


class _Histories:
    """What a place shows of a log, held against what was seen of it before, by the operator's own signatures.

    `known` is this place, `others` are places of the list, `gone` those that were in it once.
    """

    def __init__(
        self,
        operator: PublicKey,
        seen: looking.Seen,
        known: Known,
        others: Sequence[Known],
        gone: Sequence[Known],
    ) -> None:
        self._known, self._note = known, seen.checkpoint.decode()
        self._now = history.shown(operator, [seen.checkpoint], seen.entries)
        self._mine, self._theirs, self._left = (
            {h: _fits(operator, h, self._now) for k in places for h in k.heads if _is_of(operator, h)}
            for places in ([known], others, gone)
        )

    @property
    def size(self) -> int:
        """How many entries the log has now."""
        return self._now.size

    def told(self) -> list[tuple[Why, str]]:
        """What is to be told of this place that was not told before, each with the checkpoint seen before."""
        replaced = [self._known.heads[-1]] if self._known.heads and not self._mine else []
        told: list[tuple[Why, list[str]]] = [
            ("replaced", replaced),
            ("forked", self._forked()),
            ("shrank", self._longer()),
        ]
        return [(why, head) for why, heads in told for head in heads]

    def remembered(self) -> tuple[str, ...]:
        """The heads to hold against what this place shows later: never less than was seen already."""
        if self._is_less():
            return self._known.heads
        return (*(h for h in self._known.heads if self._mine.get(h) != "one history"), self._note)

    def _is_less(self) -> bool:
        return "one history" not in self._mine.values() and "open" in self._mine.values()

    def _forked(self) -> list[str]:
        found = {**self._mine, **self._left, **self._theirs}
        heads = [head for head, fits in found.items() if fits == "forked"][:1]
        before = [s for s in self._known.splits if s.why == "forked"]
        if "one history" in self._mine.values() and before:
            return []
        if self._is_less() and any(
            (s.before, s.after) == (_head(h).size, self.size) for s in before for h in heads
        ):
            return []
        return heads

    def _longer(self) -> list[str]:
        """A place that shows less than another is an older copy of it. One that shows less than itself, or
        comes where another one went, takes something back."""
        held = self._mine or self._left
        if {"one history", "forked"} & set(held.values()) or not held:
            return []
        head = max(held, key=lambda h: _head(h).size)
        told = any((s.why, s.before) == ("shrank", _head(head).size) for s in self._known.splits)
        return [] if told else [head]


def _is_of(operator: PublicKey, head: str) -> bool:
    return _head(head).origin == note.log_origin(operator)


def _fits(operator: PublicKey, head: str, now: history.Shown) -> Literal["one history", "open", "forked"]:
    """Whether a head that was seen before is in what is shown now, beyond it, or of another history."""
    try:
        return history.compare_shown(history.shown(operator, [head.encode()]), now).outcome
    except SplitError:
        return "forked"


def _head(checkpoint: str) -> note.Checkpoint:
    return note.Checkpoint.parse(note.parse_note(checkpoint.encode()).body)


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
    heads = tuple(item["heads"])
    return Known(**{**item, "rows": rows, "splits": splits, "heads": heads})


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
