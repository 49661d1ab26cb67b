"""The commands that reach over the network: `witness serve`, `inbox serve`, `fetch`, `send`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from cenotaph_proof.errors import KeyFileError
from cenotaph_proof.keys import SecretKey
from cenotaph_proof.note import witness_note_keys

if TYPE_CHECKING:
    from cenotaph_proof.serving import Place

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

WORDS = {("witness", "serve"), ("inbox", "serve")}  # commands of two words
WITNESS_PORT = "127.0.0.1:8420"


def joined(arguments: list[str]) -> list[str]:
    """The arguments, with a command of two words as one: argparse knows commands of one word alone."""
    return [" ".join(arguments[:2]), *arguments[2:]] if tuple(arguments[:2]) in WORDS else arguments


def add_commands(commands: Commands) -> None:
    """Add the parsers of these commands."""
    witness = commands.add_parser("witness serve", help="cosign checkpoints of operators' logs, over HTTP")
    witness.add_argument("--key", required=True, type=Path, metavar="FILE", help="the witness's secret key")
    witness.add_argument(
        "--state",
        required=True,
        type=Path,
        metavar="FILE",
        help="what was cosigned; never delete or restore it",
    )
    witness.add_argument(
        "--operator", action="append", default=[], type=Path, metavar="FILE.pub", help="whose log to watch"
    )
    witness.add_argument(
        "--operators", type=Path, metavar="DIR", help="the same, all *.pub of a folder, looked at anew"
    )
    _add_place(witness, WITNESS_PORT)
    witness.set_defaults(run=_witness_serve)


def _add_place(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--listen", default=default, metavar="HOST:PORT", help="port 0: any (default: %(default)s)"
    )
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain (PEM)")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its key (PEM)")
    parser.add_argument(
        "--behind-proxy", action="store_true", help="listen in clear: a proxy in front has TLS"
    )


def _place(options: argparse.Namespace) -> Place:
    from cenotaph_proof.serving import Place

    host, port = Place.parse(options.listen)
    return Place(host, port, options.tls_cert, options.tls_key, options.behind_proxy)


def _witness_serve(options: argparse.Namespace) -> int:
    from cenotaph_proof.serving import serve  # not at the top: a verifier needs no event loop
    from cenotaph_proof.witness_service import Operators, WitnessService

    key = SecretKey.load(options.key)
    if key.role != "log-witness":
        raise KeyFileError(
            f"{options.key.name} is the key of a {key.role}, not of a log witness",
            hint="make one: cenotaph-proof keygen --role log-witness",
        )
    if not options.operator and options.operators is None:
        raise KeyFileError(
            "no operator is named whose log to watch", hint="give --operator FILE.pub, or --operators DIR"
        )
    service = WitnessService(options.state, key, Operators(options.operator, options.operators))
    vkeys = [k.to_text() for k in witness_note_keys(key.public)]
    serve(service, _place(options), lambda address: _started(address, vkeys=vkeys))
    return 0


def _started(address: str, **more: object) -> None:
    print(json.dumps({"listening": address, **more}, ensure_ascii=False), flush=True)
