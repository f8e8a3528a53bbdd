"""What a credential proves, and how one that proves nothing is refused."""

import time
from dataclasses import dataclass
from typing import Final, Literal

from libs.common.errors import Unauthenticated
from libs.common.policy import Principal

Kind = Literal["static", "token", "jwt", "break_glass", "sender"]
ANONYMOUS: Final = "anonymous"
FOREVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Proof:
    """Whom a credential speaks for, until when (Unix seconds), and the id under which it is known.

    `base` is what the credential itself says; `principal` is that with what the directory knows today. `key` is empty
    where a credential has no id.
    """

    kind: Kind
    principal: Principal
    base: Principal
    key: str = ""
    until: float = FOREVER

    def over(self) -> bool:
        """Whether its time is up."""
        return time.time() >= self.until


class Rejected(Unauthenticated):
    """A credential that opens nothing. `reason` is counted and told as a fact; `principal` is whom it would speak for.

    Where nothing was proven, every answer is the same: it does not tell an unknown credential from a wrong one.
    """

    def __init__(
        self,
        reason: str,
        detail: str = "Nobody knows this credential.",
        *,
        fix: str = "Ask an administrator for a valid one.",
        principal: Principal | None = None,
    ) -> None:
        super().__init__(detail, fix=fix)
        self.reason = reason
        self.principal = principal
