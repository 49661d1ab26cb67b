"""The proof layer: formats, keys, log, witness and verifier. Imports only `cryptography`."""

__version__ = "0.1.0"
