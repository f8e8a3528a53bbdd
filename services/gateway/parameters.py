"""What callers may say: bases of query parameters and bodies, and the types that many of them share.

Bounds here keep nonsense from the services; what a value means, and any tighter bound, is theirs.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Path
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

UUID: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
INDEX: Final = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
"""An event by its index in the log rather than by its id."""

Id = Annotated[str, Path(min_length=1, max_length=128)]
"""A name in a path. One that nothing can have is an unknown one: 404, not 422 (`problems.on_validation`)."""
StepPath = Annotated[str, Path(min_length=1, max_length=500)]
"""A step's path, such as `reroute` or `fan/api/restart`."""
Uuid = Annotated[str, Path(pattern=UUID, json_schema_extra={"format": "uuid"})]
UuidText = Annotated[str, Field(pattern=UUID, json_schema_extra={"format": "uuid"})]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Text = Annotated[str, StringConstraints(max_length=512)]
Rationale = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
Scalar = (
    Annotated[str, Field(strict=True, max_length=65536)]
    | Annotated[bool, Field(strict=True)]
    | Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
)
Hash = Annotated[str, StringConstraints(max_length=128)]
Limit = Annotated[int, Field(ge=1, le=500, description="at most so many; a service may allow fewer, and says so")]
Index = Annotated[int, Field(ge=-1, le=2**62)]
Types = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9_.]{0,128}\*?$", min_length=1),
    Field(description="a type of event, such as `runbook.started`, or the beginning of some: `runbook.*`"),
]


def _moment(given: Any) -> Any:
    if not isinstance(given, str) or _MOMENT.fullmatch(given) is None:
        raise ValueError("must be a moment with an offset, such as 2026-03-01T10:00:00Z")
    return given


_MOMENT: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_moment),
    Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(9000, 1, 1, tzinfo=UTC)),
]


class Parameters(BaseModel):
    """Base of query parameters and of bodies: unknown names are refused, so that a misspelt one is not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, given: Any) -> Any:
        """No database stores U+0000 in a text, so it is refused here, at whatever depth it stands."""
        if _has_nul(given):
            raise ValueError("texts must not contain U+0000")
        return given

    def given(self) -> dict[str, Any]:
        """What the caller gave; the service knows the defaults."""
        return self.model_dump(exclude_none=True)


class Why(Parameters):
    """Why; it stands in the timeline."""

    rationale: Rationale


def _has_nul(value: Any) -> bool:
    match value:
        case str():
            return "\0" in value
        case Mapping():
            return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
        case list():
            return any(map(_has_nul, value))
        case _:
            return False
