"""What is signed with an installation's own secret: made here, and known again here.

Two secrets may be live: the first signs, and both are good. To change them, put the new one in front, and take the old
one away when the last thing that it signed is over.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

MIN_SECRET: Final = 16


@dataclass(frozen=True, slots=True)
class Sealer:
    """Signs texts for one purpose, which `domain` names: what is signed for one is good for no other."""

    domain: bytes
    secrets: Sequence[str]

    @classmethod
    def of(cls, domain: bytes, text: str, *, what: str) -> Self:
        """From a setting: one secret, or two with a comma between; none at all signs nothing.

        Raises:
            ValueError: there are more, or one is too short to be one; the text does not show them.
        """
        secrets = [part.strip() for part in text.split(",") if part.strip()]
        if len(secrets) > 2:
            raise ValueError(f"at most two {what} secrets are live: the new one, and the one before it")
        if any(len(secret) < MIN_SECRET for secret in secrets):
            raise ValueError(f"a {what} secret has at least {MIN_SECRET} characters")
        return cls(domain, tuple(secrets))

    def __repr__(self) -> str:
        return f"Sealer({self.domain!r}, {len(self.secrets)} secrets)"

    def __bool__(self) -> bool:
        return bool(self.secrets)

    def sign(self, text: str) -> str:
        """The signature, in letters, digits, `-` and `_`."""
        return self._signature(self.secrets[0], text)

    def signed(self, text: str, signature: str) -> bool:
        """Whether one of the secrets has signed this text; takes as long whether or not it has."""
        given = signature.encode(errors="replace")
        found = [hmac.compare_digest(self._signature(secret, text).encode(), given) for secret in self.secrets]
        return any(found)

    def _signature(self, secret: str, text: str) -> str:
        return encoded(hmac.new(secret.encode(), self.domain + text.encode(errors="replace"), hashlib.sha256).digest())


def encoded(data: bytes) -> str:
    """As base64 for URLs, without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
