"""What a time-stamp token says, and whether the authority that it names really said it (spec/time.md).

The one file that imports `rfc3161_client`: an extra, since most verdicts need no time stamp.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from datetime import timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from rfc3161_client import TimeStampResponse, VerificationError, VerifierBuilder, decode_timestamp_response

from cenotaph_proof.errors import FormatError, SignatureError
from cenotaph_proof.stamp import MAX_TOKEN
from cenotaph_proof.trust import Authority

HOPS = 10  # certificates between a signer and its root
# What `cryptography` raises of bytes that are no certificate: a name of a type that names do not have is a
# TypeError, one of a type that nobody has a KeyError.
_MALFORMED = (ValueError, TypeError, KeyError, x509.InvalidVersion)


def check_answer(token: bytes, note: bytes) -> None:
    """Check that an answer is a granted token over this note; whose it is, a trust file must say.

    Raises: FormatError that says why it is none.
    """
    _check_imprint(_read(token), note)


def check(
    token: bytes, note: bytes, authorities: Sequence[Authority], not_before: int
) -> tuple[str, int] | None:
    """The authority that attests a note and the time by which it existed; None where nobody believed does.

    `not_before` is the newest time in the note, less the clock skew. Raises: FormatError, SignatureError
    when a token is malformed, or names an authority that it is not a token of (spec/time.md, rule 6).
    """
    response = _read(token)
    issuer, above = _issuer(response)
    for authority in authorities:
        held = _certificates(authority)
        if not _leads_to(issuer, above, {c.subject for c in held}):
            continue
        _check_signature(response, authority, held)  # (6a), (6b)
        _check_imprint(response, note)  # (6c)
        time = _latest(response)
        if time < not_before:  # (6d)
            raise SignatureError(f"{authority.name} dates a time stamp before what it stamps")
        return authority.name, time
    return None


def _read(token: bytes) -> TimeStampResponse:
    """A granted token, whose DER is written the one way. Raises: FormatError."""
    if len(token) > MAX_TOKEN:
        raise FormatError(f"a time-stamp token has {len(token)} bytes; at most {MAX_TOKEN} are read")
    try:
        response = decode_timestamp_response(token)
        again = response.as_bytes()
        if response.status == 0:
            _latest(response)
    except (*_MALFORMED, OverflowError):
        raise FormatError(
            "a time-stamp token is no TimeStampResp in DER",
            hint="where the authority adds its chain in another order, ask it for a token without the chain",
        ) from None
    if again != token:
        raise FormatError("a time-stamp token is not written the one way")
    if response.status != 0:
        raise FormatError(f"a time-stamping authority answered with status {response.status}, not granted")
    return response


def _issuer(response: TimeStampResponse) -> tuple[x509.Name, dict[x509.Name, x509.Name]]:
    """Who issued the certificate of the one signer, and who issued whom among what the token carries."""
    try:
        signers = [signer.issuer for signer in response.signed_data.signer_infos]
        carried = [x509.load_der_x509_certificate(c) for c in response.signed_data.certificates]
        above = {c.subject: c.issuer for c in carried}
    except _MALFORMED:
        raise FormatError("a time-stamp token carries what is no certificate") from None
    if len(signers) != 1:
        raise FormatError(f"a time-stamp token has {len(signers)} signers, not one")
    return signers[0], above


def _leads_to(issuer: x509.Name, above: Mapping[x509.Name, x509.Name], held: Set[x509.Name]) -> bool:
    """Whether a name is one of those held, or issued by one of them as the carried certificates say."""
    for _ in range(HOPS):
        if issuer in held:
            return True
        if issuer not in above:
            return False
        issuer = above[issuer]
    return False


def _certificates(authority: Authority) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(authority.certificate)
    except ValueError:
        raise FormatError(f"the certificates of authority {authority.name} are not PEM") from None


def _check_signature(
    response: TimeStampResponse, authority: Authority, held: Sequence[x509.Certificate]
) -> None:
    signer = next(iter(response.signed_data.signer_infos))
    roots = [c for c in held if c.issuer == c.subject]
    own = [c for c in held if (c.issuer, c.serial_number) == (signer.issuer, signer.serial_number)]
    builder = VerifierBuilder(
        roots=roots,
        intermediates=[c for c in held if c not in roots],
        tsa_certificate=own[0] if own else None,
    )
    # The imprint is compared apart from the signature, in `_check_imprint`: here it is its own.
    try:
        builder.build().verify(response, response.tst_info.message_imprint.message)
    except (VerificationError, UnsupportedAlgorithm, x509.DuplicateExtension, *_MALFORMED):
        raise SignatureError(
            f"a time-stamp token that names {authority.name} does not verify: its signature, "
            "the certificates that it leads to, or what they are for"
        ) from None


def _check_imprint(response: TimeStampResponse, note: bytes) -> None:
    imprint = response.tst_info.message_imprint
    digest = _DIGESTS.get(imprint.hash_algorithm.dotted_string)
    if digest is None:
        raise FormatError("a time-stamp token is over another digest than SHA-256, SHA-384 or SHA-512")
    if digest(note).digest() != imprint.message:
        raise SignatureError("a time-stamp token is over other bytes than its checkpoint")


def _latest(response: TimeStampResponse) -> int:
    """The latest time that the token allows: its own plus its accuracy, rounded up (RFC 3161, 2.4.2)."""
    about = response.tst_info.accuracy
    at = response.tst_info.gen_time
    if about is not None:
        at += timedelta(
            seconds=about.seconds or 0, milliseconds=about.millis or 0, microseconds=about.micros or 0
        )
    return int(at.timestamp()) + (1 if at.microsecond else 0)


_DIGESTS = {
    "2.16.840.1.101.3.4.2.1": hashlib.sha256,
    "2.16.840.1.101.3.4.2.2": hashlib.sha384,
    "2.16.840.1.101.3.4.2.3": hashlib.sha512,
}
