"""Until when an incident of each severity is to be resolved, counted from when it was opened or reopened."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from libs.common.contracts.incident import Severity

MINUTES: Final[Mapping[Severity, int]] = MappingProxyType({"critical": 60, "high": 240, "medium": 1440, "low": 4320})


@dataclass(frozen=True, slots=True)
class Sla:
    """Minutes by severity, all four of them."""

    minutes: Mapping[Severity, int] = field(default_factory=lambda: MINUTES)

    def deadline(self, severity: Severity, opened_at: datetime) -> datetime:
        """When an incident of this severity, opened then, is late; it may have passed already."""
        return opened_at + timedelta(minutes=self.minutes[severity])
