"""The commands that reach over the network: `witness serve`, `inbox serve`, `fetch`, `send`."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cenotaph_proof.errors import FormatError, KeyFileError, ServeError
from cenotaph_proof.keys import SecretKey
from cenotaph_proof.network.address import Address
from cenotaph_proof.note import witness_note_keys

if TYPE_CHECKING:
    from cenotaph_proof.network.sending import Inbox
    from cenotaph_proof.network.serving import Place

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

WORDS = {("witness", "serve"), ("inbox", "serve")}  # commands of two words
WITNESS_PORT, INBOX_PORT = "127.0.0.1:8420", "127.0.0.1:8421"


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

    inbox = commands.add_parser("inbox serve", help="let parties fetch a case and send what they sign")
    inbox.add_argument("--case", required=True, type=Path, metavar="DIR")
    inbox.add_argument("--at", metavar="URL", help="the address that parties call, where it is not --listen")
    _add_place(inbox, INBOX_PORT)
    inbox.set_defaults(run=_inbox_serve)

    fetch = commands.add_parser("fetch", help="bring a copy of a case up to date from an operator's inbox")
    fetch.add_argument("--from", dest="address", required=True, type=_address, metavar="URL")
    fetch.add_argument("--to", required=True, type=Path, metavar="DIR", help="a folder of its own")
    _add_party(fetch)
    fetch.set_defaults(run=_fetch)

    send = commands.add_parser("send", help="send signed statements to an operator's inbox")
    send.add_argument(
        "--to", dest="address", type=_address, metavar="URL", help="else where --case came from"
    )
    send.add_argument("--case", type=Path, metavar="DIR", help="a fetched copy: all that you signed in it")
    send.add_argument("file", nargs="*", type=Path, help="an envelope; what lies beside it goes along")
    _add_party(send)
    send.set_defaults(run=_send)


def _add_party(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--key", required=True, type=Path, metavar="FILE", help="your secret key")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="authority of the inbox's certificate (PEM)")


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
    from cenotaph_proof.network.serving import Place

    host, port = Place.parse(options.listen)
    return Place(host, port, options.tls_cert, options.tls_key, options.behind_proxy)


def _witness_serve(options: argparse.Namespace) -> int:
    from cenotaph_proof.network.serving import serve  # not at the top: a verifier needs no event loop
    from cenotaph_proof.network.witness_service import Operators, WitnessService

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

    def start(address: str) -> WitnessService:
        _print({"listening": address, "vkeys": vkeys})
        return service

    serve(_place(options), start)
    return 0


def _inbox_serve(options: argparse.Namespace) -> int:
    from cenotaph_proof.network.inbox import InboxService
    from cenotaph_proof.network.serving import serve

    place = _place(options)
    if options.at is None and (place.behind_proxy or place.host in ("0.0.0.0", "::")):  # noqa: S104 - compared
        raise ServeError("parties sign the address that they call", hint="name it: --at https://HOST/PREFIX/")

    def start(address: str) -> InboxService:
        called = Address.parse(options.at or address)
        _print({"listening": address, "at": str(called)})
        return InboxService(options.case, called)

    serve(place, start)
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from cenotaph_proof.network.sending import fetch

    fetched = fetch(_inbox(options, options.address), options.key, options.to)
    learned = {"statements": fetched.statements, "new": fetched.new, "files": fetched.files}
    _print({"stage": "fetch", "case": str(options.to), **learned})
    return 0


def _send(options: argparse.Namespace) -> int:
    from cenotaph_proof.network.sending import fetched_from, send, unsent

    address = options.address or (fetched_from(options.case) if options.case else None)
    if address is None:
        raise KeyFileError(
            "there is no inbox to send to", hint="give --to URL, or --case DIR of a fetched copy"
        )
    inbox = _inbox(options, address)
    files = [*options.file, *(unsent(options.case, inbox.key) if options.case else ())]
    _print({"stage": "send", "sent": [{"file": file.name, "state": send(inbox, file)} for file in files]})
    return 0


def _inbox(options: argparse.Namespace, address: Address) -> Inbox:
    from cenotaph_proof.network.sending import Inbox

    return Inbox(address, SecretKey.load(options.key), lambda: int(time.time()), options.ca)


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except FormatError as error:
        raise argparse.ArgumentTypeError(error.message) from None


def _print(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False), flush=True)
