"""The errors of the proof layer. Each finishes the sentence: what does not hold, where, and what to do next.

No message quotes payloads, secrets or persons; organisations, roles and key ids may be named.
"""

from __future__ import annotations


class ProofError(Exception):
    """Something that a verifier refuses.

    `step` names the numbered step of a specification page that failed ("verify 4"), where there is
    one; `hint` says what the reader can do next.
    """

    def __init__(self, message: str, *, step: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.step = step
        self.hint = hint


class FormatError(ProofError):
    """The bytes are not what this library would have written."""


class KeyFileError(ProofError):
    """A key file cannot be used as it lies on the disk: missing, readable by others, already there."""


class ServeError(ProofError):
    """A server cannot be started as it was asked to."""


class CallError(ProofError):
    """A server could not be called, or did not answer as it should. `transient`: another try may help."""

    def __init__(self, message: str, *, transient: bool, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.transient = transient


class SignatureError(ProofError):
    """A signature does not verify, or is not by the key it is said to be by."""


class SealedError(ProofError):
    """A sealed message does not open with this key and this purpose."""


class ThresholdError(ProofError):
    """Too few of the required organisations signed."""


class OrderError(ProofError):
    """Statements do not follow each other as the specification demands."""


class TreeError(ProofError):
    """A Merkle proof does not lead to the root it is said to lead to."""


class LogError(ProofError):
    """The log, or a checkpoint of it, is not what it must be."""


class HistoryError(LogError):
    """A log witness has seen another history of the log than the one it was shown."""


class SplitError(LogError):
    """The operator signed two histories of one log, and what two readers hold proves it."""


class WitnessError(ProofError):
    """A log witness refuses to cosign. `status` is the HTTP status of C2SP tlog-witness.

    `size` is the tree size that the witness last cosigned, given with status 409.
    """

    def __init__(
        self, message: str, *, status: int, size: int | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.size = size


class PaperError(ProofError):
    """A certificate on paper cannot be made, or read, with what is installed here."""
