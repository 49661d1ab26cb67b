"""The proof layer: formats, keys, log, witness and verifier. Imports only `cryptography`."""
