"""What the log refuses.

TlogError
├── ProfileError   bytes or values outside the canonical profile
├── LeafError      a leaf that breaks the rules of its kind; `reason` is fixed text, fit for a reject leaf
├── FormatError    a note, key, checkpoint, proof, tile, bundle or export that is not in its format's one spelling
├── SignatureError a signed note without the signature that is asked for, or with one that does not hold
├── ProofError     a proof that does not prove what it is said to
└── BrokenLog      a stored log that does not verify; names the entry and the reason
    └── Unexplained    a payload is gone, and no redaction says so: none yet, where a log is read while it grows
"""


class TlogError(ValueError):
    """Root of this package's refusals."""


class ProfileError(TlogError):
    """A value or its bytes lie outside the canonical profile."""


class LeafError(TlogError):
    """A leaf would break a rule of its kind.

    `reason` depends on the input alone, so that the reject leaf written for it is the same on every replay.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class FormatError(TlogError):
    """Text or bytes are not in the one spelling that their format allows; says what, and where."""


class SignatureError(TlogError):
    """A note lacks the signature that is asked for, or bears one that does not hold."""


class ProofError(TlogError):
    """A proof does not prove what it is said to prove, or is asked for something that cannot be proven."""


class BrokenLog(TlogError):
    """The first thing in a stored log that does not hold.

    `index`, `event_id`, `event_type` and `sequence` (a stream sequence) are None where the finding has none,
    as for a wrong size.
    """

    def __init__(
        self,
        reason: str,
        *,
        index: int | None = None,
        event_id: str | None = None,
        event_type: str | None = None,
        sequence: int | None = None,
    ) -> None:
        self.reason = reason
        self.index = index
        self.event_id = event_id
        self.event_type = event_type
        self.sequence = sequence
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        if self.index is None:
            return self.reason
        details = []
        if self.event_id is not None:
            details.append(f"event {self.event_id}")
        if self.event_type is not None:
            details.append(self.event_type)
        if self.sequence is not None:
            details.append(f"stream sequence {self.sequence}")
        where = f" ({', '.join(details)})" if details else ""
        return f"leaf {self.index}{where}: {self.reason}"


class Unexplained(BrokenLog):
    """A payload or its salt is missing, and no leaf that was read says that it was redacted."""
