"""The case file: `case.toml`, read strictly. No secrets and no personal data belong in it.

Unknown keys are errors that name the key. Paths are relative to the file that names them. Values
that may hold personal data (predicates, subject lists) are never quoted in an error.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from cenotaph import retired
from cenotaph.clock import window
from cenotaph.errors import UsageError
from cenotaph.scope import Hold, Predicate, Selection, parse_predicate
from cenotaph.store import GivenCopy, HeldBeside, Surroundings
from cenotaph_proof.errors import ProofError
from cenotaph_proof.keys import PublicKey
from cenotaph_proof.network.address import Address
from cenotaph_proof.statements import PlanStep, Role
from cenotaph_proof.testimony import MOST_APPS
from cenotaph_proof.trust import seconds, unique_parties

LIMIT = 1 << 20
PLACES = ("sqlite", "files")  # kinds of store that lie in a file or folder
SCHEMES = (*PLACES, "postgresql")
SHARED = (
    "views",
    "restart",
    "wal",
    "wal_archive",
    "statistics",
    "logs",
    "backups",
    "replicas",
    "free_space",
)
SUBJECT_LINES = 1_000_000

Grade = Literal["L1", "L2", "L3", "L4", "L5"]
_NOT_SHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def _shown(text: str) -> str:
    """What enters a statement, a page and a terminal: no controls, nothing that turns text around."""
    if _NOT_SHOWN.search(text):
        raise PydanticCustomError("not_shown", "control characters and direction marks do not belong here")
    return text


def _file_name(text: str) -> str:
    """The case's name becomes the name of its proof file."""
    if "/" in text or text.startswith((".", "-")) or len(text.encode()) > 200:
        raise PydanticCustomError(
            "file_name", "must be a plain file name of at most 200 bytes: it names the proof file"
        )
    return text


ShortText = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_shown)]
LongText = Annotated[str, Field(max_length=1000), AfterValidator(_shown)]
FileName = Annotated[ShortText, AfterValidator(_file_name)]
Several = Annotated[tuple[str, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class CaseTable(_Table):
    name: FileName
    operator: ShortText
    key: str
    log: str = "log"
    basis: LongText = ""
    contact: Annotated[LongText, Field(min_length=1)] | None = None
    notice: str = "0h"
    search: tuple[str, ...] = ()


class AppTable(_Table):
    name: ShortText
    purpose: LongText = ""
    stores: tuple[str, ...] = ()
    retire: bool = False  # it is to be switched off, which people see and an auditor looks at
    by: tuple[Role, ...] = ("notary",)
    endpoint: Several = Field(default=(), repr=False)
    port: Several = Field(default=(), repr=False)
    job: Several = Field(default=(), repr=False)
    host: ShortText | None = Field(default=None, repr=False)  # the machine that its jobs ran on
    role: Several = Field(default=(), repr=False)

    def targets(self) -> Iterator[retired.Target]:
        """What an auditor looks at. Raises: UsageError naming the app."""
        for address in self.endpoint:
            yield retired.target(self.name, "endpoint", address)
        for address in self.port:
            yield retired.target(self.name, "port", address)
        for address in self.job:
            yield retired.target(self.name, "job", address, self.host)


class ScopeTable(_Table):
    collections: tuple[str, ...] | None = None
    rows: str | None = Field(default=None, repr=False)
    subjects: str | None = None


class StoreTable(_Table):
    name: ShortText
    url: str = Field(repr=False)
    grade: Grade = "L2"
    scope: Literal["everything"] | ScopeTable = "everything"
    subject: dict[str, str] = {}
    shared: tuple[str, ...] = ()
    erase_url: str | None = Field(default=None, repr=False)
    owner: str | None = None
    publish_names: bool | None = None
    data_dir: str | None = Field(default=None, repr=False)
    read: Literal["copy", "pages"] = "copy"
    online_overwrite: bool = False
    retire_server: bool = False

    @property
    def kind(self) -> str:
        """The scheme of its address; of one given by reference, a server's: only those have secrets."""
        scheme = self.url.split(":", 1)[0]
        return "postgresql" if scheme in ("env", "file") else scheme

    @property
    def names_published(self) -> bool:
        """Whether names of collections may leave the record: databases yes, files no, unless told."""
        return self.kind not in ("files", "s3") if self.publish_names is None else self.publish_names

    @property
    def scope_kind(self) -> Literal["everything", "collections", "rows", "subjects"]:
        if self.scope == "everything":
            return "everything"
        assert isinstance(self.scope, ScopeTable)
        if self.scope.subjects is not None:
            return "subjects"
        return "rows" if self.scope.rows is not None else "collections"


class CopyTable(_Table):
    """A copy of a store that a server keeps, where nobody but its owner knows of it."""

    store: ShortText
    kind: Literal["dump", "base backup", "wal archive", "server log", "standby", "logical subscriber"]
    path: str | None = Field(default=None, repr=False)
    url: str | None = Field(default=None, repr=False)  # of a standby, or a logical subscriber
    renew: str | None = Field(default=None, repr=False)


class HoldTable(_Table):
    by: LongText
    reference: LongText = ""
    stores: tuple[str, ...] | None = None
    collections: tuple[str, ...] = ("*",)
    rows: str | None = Field(default=None, repr=False)
    subjects: str | None = None


class PartyTable(_Table):
    organisation: ShortText
    role: Literal["operator", "auditor", "notary", "owner", "log-witness"]
    key: str
    cosign: str | None = None  # how a log witness is asked: an address, or file: for a key in this process
    cosign_ca: str | None = None  # the authority behind its certificate, if not one of the system's


class VolumeTable(_Table):
    name: ShortText | None = None  # what statements call it; "disk 1" … by its place in the file if not told
    path: str = Field(repr=False)  # its mount point
    owner: ShortText
    quiesced: bool = False  # its owner declares that nobody else writes to it while the case acts
    kept: tuple[str, ...] = Field(
        default=(), repr=False
    )  # files and folders on it that stay, whatever they hold


class Challenge(_Table):
    bound: float = Field(default=0.01, gt=0, lt=1)
    confidence: float = Field(default=0.99, gt=0, lt=1)


class PolicyTable(_Table):
    approve: dict[Literal["auditor", "notary", "owner"], Annotated[int, Field(ge=0, le=100)]] = {
        "auditor": 1,
        "notary": 1,
    }
    witness: Annotated[int, Field(ge=0, le=100)] = 1
    challenge: Challenge = Challenge()
    clock_skew: str = "5m"
    approval_lasts: str = "90d"


class NamedTable(_Table):
    name: ShortText
    why: LongText = ""


class RecipientTable(NamedTable):
    confirm: bool = False  # somebody is to testify that their copy is gone
    by: tuple[Role, ...] = ("notary",)


class StepTable(_Table):
    says: Literal["key destroyed", "medium destroyed", "samples destroyed", "witnessed"]
    about: ShortText
    by: tuple[Role, ...] = ("notary",)


class LimitsTable(_Table):
    window: str | None = None
    bytes_per_second: Annotated[int, Field(gt=0)] | None = None
    lock_timeout: str = "30s"
    workers: Annotated[int, Field(ge=1, le=64)] = 2


class SealTable(_Table):
    """Whose seal the certificate in PDF bears: references to PEM files, and a time-stamping authority."""

    key: str
    certificate: str
    chain: str | None = None
    tsa: str | None = None


@dataclass(frozen=True, slots=True)
class NamedVolume:
    """A `[[volume]]` with its name in statements and absolute paths."""

    name: str
    path: Path = field(repr=False)
    owner: str
    quiesced: bool
    kept: tuple[Path, ...] = field(repr=False)


class CaseFile(_Table):
    """`case.toml` as it was read; `text` is its exact bytes, `base` its folder."""

    case: CaseTable
    app: tuple[AppTable, ...] = ()
    store: tuple[StoreTable, ...]
    copies: tuple[CopyTable, ...] = Field(default=(), alias="copy")
    hold: tuple[HoldTable, ...] = ()
    party: tuple[PartyTable, ...] = ()
    volume: tuple[VolumeTable, ...] = ()
    policy: PolicyTable = PolicyTable()
    recipient: tuple[RecipientTable, ...] = ()
    step: tuple[StepTable, ...] = ()
    kept: tuple[NamedTable, ...] = ()
    limits: LimitsTable = LimitsTable()
    seal: SealTable | None = None
    base: Path = Field(default=Path(), exclude=True)
    text: bytes = Field(default=b"", exclude=True, repr=False)

    @property
    def source(self) -> bytes:
        """What the charter fixes: `case.toml`, and the lists of subjects that it names, by digest.

        Without the lists, whoever lengthens a held list makes destroyed records look kept.

        Raises: UsageError when a list cannot be read.
        """
        lists = sorted({reference for reference in self._lists() if reference is not None})
        marks = [f"{name} {hashlib.sha256(self._list(name)).hexdigest()}\n" for name in lists]
        return self.text + b"\0" + "".join(marks).encode() if marks else self.text

    def find(self, name: str) -> StoreTable:
        for store in self.store:
            if store.name == name:
                return store
        raise UsageError(f"the case names no store {name}")

    def url(self, store: StoreTable, *, erase: bool = False) -> str:
        """The store's address with an absolute path, secrets resolved.

        Raises: UsageError where a reference leads nowhere, or to another kind of address.
        """
        text = resolve((store.erase_url if erase else None) or store.url, self.base)
        scheme, _, rest = text.partition(":")
        if scheme != store.kind:
            raise UsageError(f"store {store.name}: its address is not one of {store.kind}:")
        return f"{scheme}:{(self.base / rest).absolute()}" if scheme in PLACES else text

    def path(self, store: StoreTable) -> Path:
        """Where a store of files or a SQLite database lies, as an absolute path."""
        place = self.place(store)
        assert place is not None
        return place

    def place(self, store: StoreTable) -> Path | None:
        """As `path`; None for a store that a server keeps."""
        return Path(self.url(store).partition(":")[2]) if store.kind in PLACES else None

    def home(self, store: StoreTable) -> Path | None:
        """Where its bytes lie on this machine: its place, or the data directory of its server; None where
        the case does not say."""
        place = self.place(store)
        if place is None and store.data_dir is not None:
            return (self.base / store.data_dir).absolute()
        return place

    def places(self) -> tuple[Path, ...]:
        """Where the stores lie that no server keeps."""
        return tuple(place for place in map(self.place, self.store) if place is not None)

    def selection(self, store: StoreTable) -> Selection:
        """What of a store goes: its scope less the holds."""
        scope = store.scope if isinstance(store.scope, ScopeTable) else ScopeTable()
        return Selection(
            collections=scope.collections or ("*",),
            rows=_predicate(scope.rows, f"store {store.name}"),
            subjects=self._subjects(scope.subjects),
            subject_columns=store.subject,
            holds=tuple(self._hold(h) for h in self.hold if h.stores is None or store.name in h.stores),
        )

    def surroundings(self, store: StoreTable) -> Surroundings:
        """What the case says of a store beyond its address, with absolute paths.

        Raises: UsageError where a reference leads nowhere.
        """
        return Surroundings(
            data_dir=str(self.base / store.data_dir) if store.data_dir is not None else None,
            copies=tuple(
                GivenCopy(
                    copy.kind,
                    resolve(copy.url, self.base)
                    if copy.url is not None
                    else str((self.base / (copy.path or "")).absolute()),
                    str((self.base / copy.renew).absolute()) if copy.renew is not None else None,
                )
                for copy in self.copies
                if copy.store == store.name
            ),
            pages=store.read == "pages",
            online_overwrite=store.online_overwrite,
            retire_server=store.retire_server,
            held_beside=tuple(self._held_beside(store)),
            retired_with=self._retired_with(store),
        )

    def _retired_with(self, store: StoreTable) -> tuple[str, ...]:
        """Addresses of the stores that go with the server of this one."""
        if not store.retire_server:
            return ()
        return tuple(self.url(other) for other in self.store if self.home(other) == self.home(store))

    def _held_beside(self, store: StoreTable) -> Iterator[HeldBeside]:
        for other in self.store:
            held = any(h.stores is None or other.name in h.stores for h in self.hold)
            if held and other.name != store.name and other.kind not in PLACES:
                bases = (c.store == other.name and c.kind == "base backup" for c in self.copies)
                yield HeldBeside(self.url(other), any(bases))

    def volumes(self) -> tuple[NamedVolume, ...]:
        """The volumes that the case names, with what statements call them and absolute paths."""
        return tuple(
            NamedVolume(
                name=v.name or f"disk {number}",
                path=(self.base / v.path).absolute(),
                owner=v.owner,
                quiesced=v.quiesced,
                kept=tuple((self.base / k).absolute() for k in v.kept),
            )
            for number, v in enumerate(self.volume, 1)
        )

    def steps(self) -> tuple[PlanStep, ...]:
        """What people are to see: apps switched off, recipients' copies gone, and the steps named as such."""
        return (
            *(PlanStep("switched off", a.name, a.by) for a in self.app if a.retire),
            *(PlanStep("copy gone", r.name, r.by) for r in self.recipient if r.confirm),
            *(PlanStep(s.says, s.about, s.by) for s in self.step),
        )

    def targets(self) -> tuple[retired.Target, ...]:
        """What an auditor looks at of the apps that are to be switched off."""
        return tuple(found for app in self.app for found in app.targets())

    def parties(self) -> tuple[PublicKey, ...]:
        """The public keys of all parties. Raises: UsageError naming the party."""
        keys = tuple(self._party(p) for p in self.party)
        try:
            unique_parties(keys)
        except ProofError as error:
            raise UsageError(error.message) from None
        return keys

    def window(self) -> tuple[int, int] | None:
        """The daily hours in which anything may be destroyed. Raises: ValueError."""
        return window(self.limits.window) if self.limits.window is not None else None

    def operator_key(self) -> Path:
        return reference_path(self.case.key, self.base)

    def log_path(self) -> Path:
        return self.base / self.case.log

    def _party(self, party: PartyTable) -> PublicKey:
        try:
            key = PublicKey.load(self.base / party.key)
        except OSError:
            raise UsageError(
                f"the public key of {party.role} {party.organisation} cannot be read",
                hint=f"ask them for their key file and name it in [[party]] key (now: {party.key})",
            ) from None
        except ProofError as error:
            raise UsageError(f"the key of {party.organisation}: {error.message}", hint=error.hint) from None
        if (key.organisation, key.role) != (party.organisation, party.role):
            raise UsageError(
                f"the key file of {party.organisation} was made for {key.role} {key.organisation}"
            )
        return key

    def _hold(self, hold: HoldTable) -> Hold:
        rows = _predicate(hold.rows, f"the hold by {hold.by}")
        return Hold(hold.collections, rows, self._subjects(hold.subjects))

    def _subjects(self, reference: str | None) -> frozenset[str] | None:
        if reference is None:
            return None
        return subjects_of(self._list(reference))

    def _lists(self) -> Iterator[str | None]:
        """The lists of subjects that scopes and holds name."""
        yield from (store.scope.subjects for store in self.store if isinstance(store.scope, ScopeTable))
        yield from (hold.subjects for hold in self.hold)

    def _list(self, reference: str) -> bytes:
        try:
            return reference_path(reference, self.base).read_bytes()
        except OSError as error:
            raise UsageError(f"a list of subjects cannot be read: {error.strerror}") from None


def subjects_of(raw: bytes) -> frozenset[str]:
    """The subjects that a list names, one a line.

    Raises: UsageError where it is no text, or too long.
    """
    try:
        lines = raw.decode().splitlines()
    except UnicodeDecodeError:
        raise UsageError("a list of subjects is not UTF-8 text, one subject a line") from None
    if len(lines) > SUBJECT_LINES:
        raise UsageError(f"a list of subjects has more than {SUBJECT_LINES:,} lines")
    return frozenset(line.strip() for line in lines if line.strip())


def load(path: Path) -> CaseFile:
    """Read and check a case file. Raises: UsageError naming the key that is wrong."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", hint="run: cenotaph init, or pass --case DIR"
        ) from None
    if len(source) > LIMIT:
        raise UsageError(f"{path} is larger than 1 MiB")
    try:
        table = tomllib.loads(source.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from None
    try:
        case = CaseFile.model_validate({**table, "base": path.parent.absolute(), "text": source})
    except ValidationError as error:
        raise UsageError(f"{path}: {_first(error)}") from None
    _check(case)
    return case


def resolve(text: str, base: Path) -> str:
    """Follow a secret reference (`env:NAME`, `file:PATH`); anything else is returned as it is."""
    if text.startswith("env:"):
        name = text.removeprefix("env:")
        if name not in os.environ:
            raise UsageError(f"the case refers to the environment variable {name}, which is not set")
        return os.environ[name]
    if text.startswith("file:"):
        try:
            return reference_path(text, base).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise UsageError("a file that the case refers to is not there, or is not text") from None
    if text.startswith("cmd:"):
        raise UsageError("cmd: references are not followed in a case file", hint="use env: or file:")
    return text


def reference_path(reference: str, base: Path) -> Path:
    """The path of a `file:` reference. Raises: UsageError for any other kind."""
    if not reference.startswith("file:"):
        raise UsageError('keys and lists are named by reference, such as "file:keys/Bureau"')
    return base / reference.removeprefix("file:")


def _first(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"] if part != "function-after")
    what = "is not known" if first["type"] == "extra_forbidden" else first["msg"]
    return f"{where}: {what}"


def _predicate(text: str | None, where: str) -> Predicate | None:
    if text is None:
        return None
    try:
        return parse_predicate(text)
    except UsageError as error:
        raise UsageError(f"rows of {where}: {error.message}", hint=error.hint) from None


def _tells_password(url: str) -> bool:
    """Whether a server's address has a password in it, as libpq reads one."""
    if not url.startswith("postgresql:"):
        return False
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that are no address: the store refuses it
        return False
    return parts.password is not None or any(
        name in ("password", "sslpassword") for name, _ in parse_qsl(parts.query, keep_blank_values=True)
    )


def _check(case: CaseFile) -> None:
    names = [s.name for s in case.store]
    if len(set(names)) != len(names):
        raise UsageError("two [[store]] tables have the same name")
    if not names:
        raise UsageError("the case names no [[store]]")
    for store in case.store:
        if store.kind not in SCHEMES:
            raise UsageError(
                f"store {store.name}: this version knows the stores {', '.join(SCHEMES)}",
                hint='write url = "sqlite:PATH", "files:PATH" or "postgresql://USER@HOST/DATABASE"',
            )
        if any(map(_tells_password, (store.url, store.erase_url or ""))):
            raise UsageError(
                f"store {store.name}: a password stands in its url, and the case file is no place for one",
                hint='write url = "env:NAME" or "file:PATH", or leave it to PGPASSFILE',
            )
        unknown = set(store.shared) - set(SHARED)
        if unknown:
            raise UsageError(f"store {store.name}: shared action {min(unknown)} is not known")
    for app in case.app:
        missing = set(app.stores) - set(names)
        if missing:
            raise UsageError(f"app {app.name} names a store that the case does not have: {min(missing)}")
    for hold in case.hold:
        missing = set(hold.stores or ()) - set(names)
        if missing:
            raise UsageError(
                f"the hold by {hold.by} names a store that the case does not have: {min(missing)}"
            )
    _check_copies(case)
    _check_witnesses(case)
    _check_volumes(case)
    _check_steps(case)
    try:
        case.window()
    except ValueError as error:
        raise UsageError(f"limits.window: {error}") from None
    for key, text in (
        ("case.notice", case.case.notice),
        ("policy.clock_skew", case.policy.clock_skew),
        ("policy.approval_lasts", case.policy.approval_lasts),
        ("limits.lock_timeout", case.limits.lock_timeout),
    ):
        try:
            seconds(text, key)
        except ProofError as error:
            raise UsageError(error.message) from None
    _check_apart(case)


def _check_steps(case: CaseFile) -> None:
    """Every step is told once, and there is somebody to see it; what is looked at is to be switched off."""
    roles = {p.role for p in case.party} | {"operator"}
    told: set[tuple[str, str]] = set()
    for step in case.steps():
        what = f"{step.about}, {step.says}"
        if (step.says, step.about) in told:
            raise UsageError(f"the case has two steps that say the same: {what}")
        told.add((step.says, step.about))
        if not step.by or len(set(step.by)) != len(step.by):
            raise UsageError(f"by names nobody, or a role twice ({what})", hint='write by = ["notary"]')
        if set(step.by) - roles:
            raise UsageError(
                f"{min(set(step.by) - roles)} is to testify ({what}), and the case has no party of that role"
            )
    for app in case.app:
        if app.role:
            raise UsageError(
                f"app {app.name}: no store of this version can be asked for its roles",
                hint="leave role out; name its endpoint, port or job, or have it testified",
            )
        if not app.retire and (app.endpoint or app.port or app.job or app.host):
            raise UsageError(
                f"app {app.name} says what to look at, and not that it is to be switched off",
                hint="add: retire = true",
            )
    if len(case.targets()) > MOST_APPS:
        raise UsageError(f"the case has more than {MOST_APPS:,} endpoints, ports and jobs to look at")


def _check_copies(case: CaseFile) -> None:
    """What only a server has is said of servers alone, and every copy has a place of its kind."""
    kinds = {store.name: store.kind for store in case.store}
    for store in case.store:
        if store.kind in PLACES and (store.data_dir or store.online_overwrite or store.retire_server):
            raise UsageError(
                f"store {store.name}: data_dir, online_overwrite and retire_server are said of servers"
            )
        if store.read == "pages" and (store.kind in PLACES or store.data_dir is None):
            raise UsageError(
                f'store {store.name}: read = "pages" is said of a PostgreSQL server whose files are here',
                hint="say where they are: data_dir; or leave read out, and COPY reads the tables",
            )
    for store in case.store:
        if not store.retire_server:
            continue
        others = [s for s in case.store if s.data_dir == store.data_dir]
        if store.data_dir is None or store.scope != "everything" or not all(s.retire_server for s in others):
            raise UsageError(
                f"store {store.name}: a server goes with all that it has",
                hint='retire_server takes data_dir and scope = "everything", at every store of the server',
            )
    for copy in case.copies:
        if kinds.get(copy.store, PLACES[0]) in PLACES:
            raise UsageError(
                f"a [[copy]] names {copy.store}, which is no store of the case that a server keeps",
                hint="a copy of files or of a SQLite database is a [[store]] of its own",
            )
        is_server = copy.kind in ("standby", "logical subscriber")
        if is_server != (copy.url is not None) or (copy.url is None) == (copy.path is None):
            raise UsageError(
                f"[[copy]] of {copy.store}: a standby or a subscriber has a url, every other copy a path"
            )
        if copy.url is not None and _tells_password(copy.url):
            raise UsageError(
                f"[[copy]] of {copy.store}: a password stands in its url, which is no place for one",
                hint='write url = "env:NAME" or "file:PATH", or leave it to PGPASSFILE',
            )
        if copy.renew is not None and copy.kind not in ("dump", "base backup"):
            raise UsageError(f"[[copy]] of {copy.store}: only a dump or a base backup is made anew")


def _check_witnesses(case: CaseFile) -> None:
    """Cosignatures are asked of log witnesses alone, and over the network by TLS or on this machine."""
    for party in case.party:
        if party.role != "log-witness" and (party.cosign or party.cosign_ca):
            raise UsageError(f"cosign of {party.organisation}: only a log witness cosigns")
        if party.cosign is None or party.cosign.startswith(("file:", "env:")):
            continue
        try:
            Address.parse(party.cosign)
        except ProofError as error:
            raise UsageError(
                f"cosign of log witness {party.organisation}: {error.message}", hint=error.hint
            ) from None


def _check_volumes(case: CaseFile) -> None:
    """Every volume has its own name and place, and an owner who can approve what is done to it."""
    volumes = case.volumes()
    owners = {p.organisation for p in case.party if p.role == "owner"}
    if len({v.name for v in volumes}) != len(volumes) or len({v.path for v in volumes}) != len(volumes):
        raise UsageError("two [[volume]] tables have the same name or the same path")
    for store in case.store:
        for kept in (k for v in volumes for k in v.kept):
            place = case.home(store)
            if place is not None and (_within(place, kept) or _within(kept, place)):
                raise UsageError(f"store {store.name} and what a [[volume]] keeps lie in each other")
    taken = {v.name for v in volumes} & {s.name for s in case.store}
    if taken:
        raise UsageError(f"a [[volume]] and a [[store]] are both named {min(taken)}")
    for volume in volumes:
        if volume.owner not in owners:
            raise UsageError(
                f"{volume.name} is owned by {volume.owner}, which is no party of role owner",
                hint='add it: [[party]] organisation = "…", role = "owner", key = "keys/….pub"',
            )


def _check_apart(case: CaseFile) -> None:
    """No store inside another, and none that holds what the case itself needs."""
    places = {s.name: Path(os.path.realpath(case.path(s))) for s in case.store if s.kind in PLACES}
    for name, place in places.items():
        for what, path in _own(case):
            if _within(Path(os.path.realpath(path)), place):
                raise UsageError(
                    f"store {name} contains {what}", hint="keep the case outside what it destroys"
                )
        for other, beneath in places.items():
            if other != name and _within(beneath, place):
                raise UsageError(f"store {other} lies inside store {name}: name each place once")
    servers = [s.url for s in case.store if s.kind not in PLACES]
    if len(set(servers)) != len(servers):
        raise UsageError("two [[store]] tables have the same address: name each database once")
    for copy, place in _of_servers(case):
        for what, path in _own(case):
            if _within(Path(os.path.realpath(path)), place):
                raise UsageError(f"{copy} contains {what}", hint="keep the case outside what it destroys")
        for name, elsewhere in places.items():
            if _within(elsewhere, place) or _within(place, elsewhere):
                raise UsageError(f"{copy} and store {name} lie in each other: name each place once")


def _of_servers(case: CaseFile) -> Iterator[tuple[str, Path]]:
    """Where servers and their copies lie. Two stores of one server may name the same ones."""
    for store in case.store:
        if store.data_dir is not None:
            yield f"the server of store {store.name}", Path(os.path.realpath(case.base / store.data_dir))
    for copy in case.copies:
        if copy.path is not None:
            yield f"a copy of store {copy.store}", Path(os.path.realpath(case.base / copy.path))


def _own(case: CaseFile) -> Iterator[tuple[str, Path]]:
    """What the case lives from, and would lose if a store held it."""
    yield "the case directory", case.base
    yield "the log", case.log_path()
    yield "the operator's key", case.operator_key()
    if case.seal is not None:
        yield "the sealing key", reference_path(case.seal.key, case.base)
    for reference in case._lists():
        if reference is not None:
            yield "a list of subjects", reference_path(reference, case.base)
    for party in case.party:
        yield f"the key of {party.organisation}", case.base / party.key
        if party.cosign is not None and party.cosign.startswith("file:"):
            yield f"the key of {party.organisation}", reference_path(party.cosign, case.base)


def _within(path: Path, place: Path) -> bool:
    """Whether a path is a place or beneath it, by name or, as bind and other mounts have it, by inode."""
    if path.is_relative_to(place):
        return True
    try:
        return any(os.path.samefile(above, place) for above in (path, *path.parents) if above.exists())
    except OSError:  # the place is not there, or may not be looked at: its stage will say so
        return False
