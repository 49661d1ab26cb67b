"""Time-stamping authorities for tests: `openssl ts` with a certificate of its own, asked here or by HTTP.

Its clock is the machine's: a token is always dated now.
"""

from __future__ import annotations

import datetime
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

QUERY, REPLY = "application/timestamp-query", "application/timestamp-reply"
DAY = datetime.timedelta(days=1)
_CONFIG = """
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
default_policy = 1.3.6.1.4.1.99999.1
digests = sha256, sha384, sha512
accuracy = secs:1, millisecs:500
ordering = yes
ess_cert_id_alg = sha256
signer_digest = sha256
{more}
"""


class TimeStampAuthority:
    """An authority in `folder`: a root, a signer under it (`whole_chain`: both go into each token)."""

    def __init__(self, folder: Path, name: str, *, days: int = 30, whole_chain: bool = False) -> None:
        folder.mkdir(parents=True)
        self.folder, self.name = folder, name
        root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self.root = _certificate(f"{name} root", root_key, None, root_key, days)
        self.certificate = _certificate(f"{name} signer", key, self.root, root_key, days)
        self.root_file, self.signer_file = folder / "root.pem", folder / "tsa.pem"
        self.root_file.write_bytes(_pem(self.root))
        self.signer_file.write_bytes(_pem(self.certificate))
        (folder / "chain.pem").write_bytes(_pem(self.certificate) + _pem(self.root))
        (folder / "tsa.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        (folder / "serial").write_text("01\n")
        more = f"certs = {folder}/chain.pem" if whole_chain else ""
        (folder / "ts.cnf").write_text(_CONFIG.format(folder=folder, more=more))

    def reply(self, query: bytes) -> bytes:
        """The DER of a TimeStampResp to the DER of a TimeStampReq, whether granted or not."""
        asked, answer = self.folder / "query.tsq", self.folder / "reply.tsr"
        asked.write_bytes(query)
        run = ["openssl", "ts", "-reply", "-config", self.folder / "ts.cnf"]
        subprocess.run([*run, "-queryfile", asked, "-out", answer], check=True, capture_output=True)
        return answer.read_bytes()

    @contextmanager
    def serve(self) -> Iterator[str]:
        """The authority as an HTTP server on loopback while the block runs; gives its address."""
        server = HTTPServer(("127.0.0.1", 0), _handler(self))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/tsr"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _handler(authority: TimeStampAuthority) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.headers.get("content-type") == QUERY
            query = self.rfile.read(int(self.headers.get("content-length", "0")))
            answer = authority.reply(query) if asked else b"not a time-stamp query"
            self.send_response(200 if asked else 415)
            self.send_header("content-type", REPLY if asked else "text/plain")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: a test's output is its own."""

    return Handler


def _certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    days: int,
) -> x509.Certificate:
    """A root where there is no issuer, else a certificate that may only sign time stamps."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + days * DAY)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(_usage(ca=issuer is None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    if issuer is not None:  # RFC 3161, section 2.3: critical, and the only purpose
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), True)
    return builder.sign(issuer_key, hashes.SHA256())


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
