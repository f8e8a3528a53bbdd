"""The text of an API token, `rr_<id>_<secret>`: the id finds it, the secret proves it, and only a hash is kept.

The secret is 256 random bits, so a plain SHA-256 of it gives nothing away. Scanners for secrets find
`rr_[0-9a-f]{32}_[0-9a-f]{64}`.
"""

import hashlib
import hmac
import re
import secrets
import uuid
from dataclasses import dataclass
from typing import Final, Self

from libs.common.ids import new_id

PREFIX: Final = "rr_"
_FORM: Final = re.compile(r"rr_([0-9a-f]{32})_([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Presented:
    """A token as somebody sends it, taken apart. Its representation does not show the secret."""

    token_id: str
    digest: bytes

    @classmethod
    def read(cls, text: str) -> Self | None:
        """The parts of a token; None when it has not the form of one."""
        found = _FORM.fullmatch(text)
        if found is None:
            return None
        return cls(str(uuid.UUID(hex=found[1])), digest_of(found[2]))

    def proves(self, digest: bytes) -> bool:
        """Whether the secret is the one that was hashed; how long that takes says nothing."""
        return hmac.compare_digest(self.digest, digest)


def mint() -> tuple[str, str, bytes]:
    """(id, the whole token, the hash of its secret): the token is shown once and kept nowhere."""
    token_id, secret = new_id(), secrets.token_hex(32)
    return token_id, f"{PREFIX}{uuid.UUID(token_id).hex}_{secret}", digest_of(secret)


def digest_of(secret: str) -> bytes:
    """What is kept instead of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
