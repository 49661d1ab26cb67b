"""A sealing key for tests, its certificate, and a small authority that vouches for it."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


class SealingKeys:
    """In `folder`: seal.key, seal.pem, and the root of the authority that signed it in root.pem."""

    def __init__(self, folder: Path, name: str = "Big Data Bureau") -> None:
        folder.mkdir(parents=True)
        self.key, self.certificate = folder / "seal.key", folder / "seal.pem"
        self.root, self.chain = folder / "root.pem", folder / "chain.pem"
        root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self.key.touch(mode=0o600)
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.certificate.write_bytes(_certificate(name, key, "Seal Authority", root))
        self.root.write_bytes(_certificate("Seal Authority", root, "Seal Authority", root))
        self.chain.write_bytes(self.root.read_bytes())

    def believe(self, root: bytes) -> None:
        """Add a root to the chain file: that of the authority which stamps the time."""
        self.chain.write_bytes(self.chain.read_bytes() + root)


def _certificate(
    subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey
) -> bytes:
    now, root = datetime.datetime.now(datetime.UTC), subject == issuer
    usage = dict.fromkeys(
        ("key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
    )
    usage |= {"digital_signature": not root, "content_commitment": not root}
    usage |= {"key_cert_sign": root, "crl_sign": root}
    made = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + 30 * DAY)
        .add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
        .sign(by, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, text)])
