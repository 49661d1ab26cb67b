"""What all commands share: the group, how errors end, and the options that many take."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import click

from cenotaph.cli import ui
from cenotaph.errors import CenotaphError, UsageError
from cenotaph_proof.errors import (
    FormatError,
    KeyFileError,
    OrderError,
    ProofError,
    SignatureError,
    ThresholdError,
)

F = TypeVar("F", bound=Callable[..., Any])
A_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
A_FOLDER = click.Path(path_type=Path, file_okay=False)
BLOCKED, USAGE, DOES_NOT_VERIFY, INTERRUPTED = 4, 2, 3, 130


def _code(error: Exception) -> int:
    if isinstance(error, CenotaphError):
        return error.exit_code
    if isinstance(error, OrderError | ThresholdError):
        return BLOCKED
    if isinstance(error, KeyFileError):
        return USAGE
    return DOES_NOT_VERIFY if isinstance(error, FormatError | SignatureError) else 1


class _Group(click.Group):
    """Commands in the order of a case, and every error of ours as a sentence with its exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (CenotaphError, ProofError) as error:
            ui.fail(error.message, error.hint)
            ctx.exit(_code(error))
        except OSError as error:
            ui.fail(f"{error.strerror or error} ({type(error).__name__})", None)
            ctx.exit(1)
        except KeyboardInterrupt:
            ui.fail("interrupted", "run the same command again: it goes on where it stopped")
            ctx.exit(INTERRUPTED)


def _tell_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from cenotaph import kernel

        click.echo(f"cenotaph, version {metadata.version('cenotaph')}\n{kernel.described()}")
        ctx.exit()


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_tell_version,
    help="Show the version, and what computes digests here, and exit.",
)
def cli() -> None:
    """Destroy personal data across an estate, and make it something that people who do not trust you
    can check.

    \b
    A case, in order, and who runs each command:
      operator  init keygen open            auditor   approve --charter  challenge  approve  probe
      operator  survey seal plan            notary    approve --charter  approve
      operator  destroy certify publish     anyone    cenotaph-verify
      any party testify, until the certificate
    """


def _case_folder(value: Path | None) -> Path:
    if value is not None:
        return value
    if "CENOTAPH_CASE" in os.environ:
        return Path(os.environ["CENOTAPH_CASE"])
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "case.toml").exists():
            return folder
    raise UsageError("there is no case.toml here or above", hint="run: cenotaph init, or pass --case DIR")


def with_case(function: F) -> F:
    """--case DIR and --json."""

    @click.option(
        "--case", "folder", type=click.Path(path_type=Path), metavar="DIR", help="the case directory"
    )
    @click.option("--json", "as_json", is_flag=True, help="end with one JSON object on stdout")
    @functools.wraps(function)
    def wrapped(folder: Path | None, as_json: bool, **options: Any) -> Any:
        return function(folder=_case_folder(folder), as_json=as_json, **options)

    return wrapped  # type: ignore[return-value]  # click's decorators keep the call signature


def key_option(who: str) -> Callable[[F], F]:
    return click.option(
        "--key", required=True, type=click.Path(path_type=Path), metavar="FILE", help=f"{who} key file"
    )


def store_option(function: F) -> F:
    return click.option(
        "--store", "addresses", multiple=True, metavar="NAME=URL", help="how you reach a store yourself"
    )(function)


@contextmanager
def usage() -> Iterator[None]:
    """What is malformed here was typed by the user: wrong usage, not a signature that fails."""
    try:
        yield
    except FormatError as error:
        raise UsageError(error.message, hint=error.hint) from None


def raw_option(function: F) -> F:
    return click.option(
        "--raw-command",
        default="",
        metavar="COMMAND",
        help="what gains the right to read a volume's device, such as 'sudo -n'",
    )(function)


def addresses_of(values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    if not all(name and url for name, _, url in pairs):
        raise UsageError("--store takes NAME=URL")
    return {name: url for name, _, url in pairs}


def endpoints_of(values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    pairs = [value.partition("=") for value in values]
    if not all(app and url for app, _, url in pairs):
        raise UsageError("--endpoint takes APP=URL")
    return tuple((app, url) for app, _, url in pairs)


def tell_unheard(desk: Any) -> None:
    """Which log witnesses did not cosign what this command logged."""
    for witness in desk.unheard:
        ui.warn(f"log witness {witness} did not cosign; the others were enough")
