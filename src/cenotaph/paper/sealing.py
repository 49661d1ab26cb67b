"""Sealing a PDF: PAdES B-LTA by pyHanko, the one file here that imports it.

The seal is a field without a picture, outside the page: PDF/A forbids it to be hidden, PDF/UA wants what is
seen to be tagged, and a picture of a seal proves nothing. Nothing is fetched but time stamps.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import logging
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cenotaph import authority
from cenotaph.errors import UsageError
from cenotaph_proof.errors import PaperError, ProofError
from cenotaph_proof.network.address import Address

if TYPE_CHECKING:
    from pyhanko.sign import signers
    from pyhanko_certvalidator import ValidationContext

FIELD = "Seal"
TOKEN_LIMIT = 1 << 20  # bytes
_KINDS = {"certificate": "CERTIFICATE", "list": "X509 CRL"}


@dataclass(frozen=True, slots=True)
class Identity:
    """A sealing key and its certificate (PEM); certificates and revocation lists up to the roots; the address
    of an authority that stamps the time."""

    key: Path
    certificate: Path
    chain: Path | None = None
    tsa: str | None = None


def seal(pdf: bytes, identity: Identity) -> bytes:
    """The PDF with a seal added: the bytes that were given, and after them the seal.

    B-LTA where there is an authority for time, else B-B.

    Raises: UsageError when the identity does not serve; PaperError when pyHanko is not installed.
    """
    if importlib.util.find_spec("pyhanko") is None:
        raise PaperError("sealing takes pyHanko", hint="run: pip install 'cenotaph[certificate]'")
    from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
    from pyhanko.pdf_utils.misc import PdfError
    from pyhanko.sign import fields, signers
    from pyhanko.sign.general import SigningError
    from pyhanko_certvalidator.errors import PathError, ValidationError

    signer, context = _signer(identity), _context(identity)
    stamper = _stamper(Address.parse(identity.tsa)) if identity.tsa is not None else None
    metadata = signers.PdfSignatureMetadata(
        field_name=FIELD,
        md_algorithm="sha256",
        subfilter=fields.SigSeedSubFilter.PADES,
        certify=True,
        docmdp_permissions=fields.MDPPerm.NO_CHANGES,
        validation_context=context if stamper is not None else None,
        embed_validation_info=stamper is not None,
        use_pades_lta=stamper is not None,
    )
    unseen = fields.InvisSigSettings(box_out_of_bounds=True)
    field = fields.SigFieldSpec(FIELD, invis_sig_settings=unseen, empty_field_appearance=False)
    maker = signers.PdfSigner(metadata, signer=signer, timestamper=stamper, new_field_spec=field)
    try:
        with _quiet():
            sink = maker.sign_pdf(IncrementalPdfFileWriter(io.BytesIO(pdf)))
    except (PathError, ValidationError, SigningError) as error:
        raise UsageError(
            f"the seal cannot be made: {error}",
            hint="the chain file must lead from both the sealing and the time-stamping certificate to a root",
        ) from None
    except (PdfError, OSError) as error:
        raise UsageError(f"the seal cannot be made ({type(error).__name__}): {error}") from None
    return bytes(sink.getbuffer())


@contextmanager
def _quiet() -> Iterator[None]:
    """pyHanko warns of what is meant here: that nothing is fetched."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _signer(identity: Identity) -> signers.SimpleSigner:
    from pyhanko.keys import load_private_key_from_pemder
    from pyhanko.sign.signers import SimpleSigner
    from pyhanko_certvalidator.registry import SimpleCertificateStore

    if identity.key.exists() and stat.S_IMODE(identity.key.stat().st_mode) & 0o077:
        raise UsageError(
            f"the sealing key {identity.key} can be read by others", hint=f"run: chmod 600 {identity.key}"
        )
    try:
        key = load_private_key_from_pemder(str(identity.key), passphrase=None)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"the sealing key {identity.key} cannot be used ({type(error).__name__})",
            hint="it is an unencrypted private key in PEM; for a key in a token see docs/operate/README.md",
        ) from None
    certificates = _read(identity.certificate, "certificate")
    if not certificates:
        raise UsageError(f"{identity.certificate} holds no certificate in PEM")
    store: Any = SimpleCertificateStore  # pyHanko leaves it untyped
    held = store.from_certs([*certificates, *_chain(identity, "certificate")])
    return SimpleSigner(signing_cert=certificates[0], signing_key=key, cert_registry=held)


def _context(identity: Identity) -> ValidationContext:
    from pyhanko_certvalidator import ValidationContext

    held = [*_chain(identity, "certificate"), *_read(identity.certificate, "certificate")]
    return ValidationContext(
        trust_roots=[c for c in held if c.self_issued],
        other_certs=held,
        crls=_chain(identity, "list"),
        allow_fetching=False,
        revocation_mode="soft-fail",
    )


def _chain(identity: Identity, kind: str) -> list[Any]:
    return _read(identity.chain, kind) if identity.chain is not None else []


def _read(path: Path, kind: str) -> list[Any]:
    """The certificates, or the revocation lists, of a PEM file."""
    from asn1crypto import crl, pem, x509

    classes = {"certificate": x509.Certificate, "list": crl.CertificateList}
    try:
        blocks = list(pem.unarmor(path.read_bytes(), multiple=True))
        return [classes[kind].load(der, strict=True) for name, _, der in blocks if name == _KINDS[kind]]
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as PEM ({type(error).__name__})") from None


def _stamper(address: Address) -> Any:
    """What pyHanko asks for time stamps."""
    from asn1crypto import tsp
    from pyhanko.sign.timestamps import TimeStamper

    place = dataclasses.replace(address, prefix=address.prefix.rstrip("/") or "/")

    class Stamper(TimeStamper):
        async def async_request_tsa_response(self, req: Any) -> Any:
            try:
                reply = authority.ask(place, req.dump(), TOKEN_LIMIT)
            except ProofError as error:
                raise UsageError(f"the time-stamping authority: {error.message}", hint=error.hint) from None
            if reply.status != 200 or reply.kind != authority.REPLY:
                raise UsageError(
                    f"the time-stamping authority {place.host} does not answer with a time stamp"
                )
            return tsp.TimeStampResp.load(reply.body)

    made: Any = Stamper
    return made()
