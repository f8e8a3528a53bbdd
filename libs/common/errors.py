"""Errors that cross a process: typed, with a code, a status and a line that says what to do.

    RangerError
    ├── Refusal                      the request cannot be carried out as it stands; nothing changed
    │   ├── InvalidInput      422    malformed or out of bounds
    │   ├── Unauthenticated   401    no or unknown credential
    │   ├── Denied            403    policy says no
    │   ├── NotFound          404    missing, or not visible: the same answer
    │   ├── Conflict          409    the state does not allow it, or a request key was reused
    │   └── TooLarge          413    over a documented limit
    ├── Misconfigured         500    the installation does not let its own parts do this; asking again does not help
    └── Unavailable           503    a dependency did not answer; the same request key may be retried

Expected refusals are answers, not incidents: they are neither logged as errors nor counted as failures.
Whatever is not a `RangerError` is a bug: it is logged with its trace id and answered as `internal` without detail.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class RangerError(Exception):
    """Base of errors that an RPC or HTTP answer carries; `detail` is for people and holds no secret."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, fix: str = "", code: str | None = None, **data: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fix = fix
        self.reason_code = code or self.code
        self.data: Mapping[str, Any] = data

    def to_wire(self) -> dict[str, Any]:
        """The error as JSON-ready data; `from_wire` makes the same class again."""
        return {
            "kind": self.code,
            "code": self.reason_code,
            "status": self.status,
            "title": self.title,
            "detail": self.detail,
            "fix": self.fix,
            "data": dict(self.data),
        }


class Refusal(RangerError):
    """An expected no; nothing was changed."""

    code = "refused"
    status = 400
    title = "Refused"


class InvalidInput(Refusal):
    """Malformed or out of bounds."""

    code = "invalid"
    status = 422
    title = "Invalid input"


class Unauthenticated(Refusal):
    """No credential, or one that nobody knows."""

    code = "unauthenticated"
    status = 401
    title = "Not authenticated"


class Denied(Refusal):
    """Policy says no."""

    code = "denied"
    status = 403
    title = "Denied by policy"


class NotFound(Refusal):
    """Missing or invisible; callers cannot tell which."""

    code = "not_found"
    status = 404
    title = "Not found"


class Conflict(Refusal):
    """The state of the thing does not allow it."""

    code = "conflict"
    status = 409
    title = "Conflict"


class TooLarge(Refusal):
    """Over a documented limit."""

    code = "too_large"
    status = 413
    title = "Too large"


class Misconfigured(RangerError):
    """The installation stands in its own way, and nothing was changed; whoever runs it has to mend that."""

    code = "misconfigured"
    status = 500
    title = "Misconfigured"


class Unavailable(RangerError):
    """A dependency did not answer in time; whether the request took effect is unknown until it is repeated."""

    code = "unavailable"
    status = 503
    title = "Temporarily unavailable"


_KINDS: dict[str, type[RangerError]] = {
    cls.code: cls
    for cls in (
        *(RangerError, Refusal, InvalidInput, Unauthenticated, Denied, NotFound, Conflict, TooLarge),
        *(Misconfigured, Unavailable),
    )
}


def from_wire(wire: Mapping[str, Any]) -> RangerError:
    """The error that `to_wire` described; an unknown kind becomes a plain `RangerError`."""
    cls = _KINDS.get(str(wire.get("kind")), RangerError)
    return cls(
        str(wire.get("detail", "")),
        fix=str(wire.get("fix", "")),
        code=str(wire.get("code", cls.code)),
        **dict(wire.get("data", {})),
    )
