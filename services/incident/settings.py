"""The incident service's settings."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import orjson
from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from libs.common.contracts.incident import Severity
from libs.common.settings import ProcessSettings
from services.incident.sla import MINUTES, Sla

_LONGEST: Final = 60 * 24 * 366


def _completed(value: Any) -> Any:
    """What the variable leaves out is as by default."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise ValueError("must be a JSON object of severity to minutes") from None
    return {**MINUTES, **value} if isinstance(value, Mapping) else value


SlaMinutes = Annotated[dict[Severity, Annotated[int, Field(ge=1, le=_LONGEST)]], NoDecode, BeforeValidator(_completed)]


class IncidentSettings(ProcessSettings):
    """As every process, how often the open incidents are counted, and how long each severity may last."""

    incident_census_seconds: float = Field(default=5.0, gt=0, description="how often open incidents are counted")
    sla_minutes: SlaMinutes = Field(
        default=dict(MINUTES), description='minutes until the deadline by severity, as JSON: {"critical": 60}'
    )

    @property
    def sla(self) -> Sla:
        """The deadlines that the minutes make."""
        return Sla(self.sla_minutes)
