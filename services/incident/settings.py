"""The incident service's settings."""

from pydantic import Field

from libs.common.settings import ProcessSettings


class IncidentSettings(ProcessSettings):
    """As every process, and how often the open incidents are counted."""

    incident_census_seconds: float = Field(default=5.0, gt=0, description="how often open incidents are counted")
