"""Why a change waits: what holds it, until when, and what a person reads about it."""

from dataclasses import dataclass
from datetime import datetime

from libs.runbook.frame import HoldReason


@dataclass(frozen=True, slots=True)
class Hold:
    """A change that a guard turned away. It is looked at again at `until`, or when somebody lets go of it."""

    reason: HoldReason
    until: datetime
    detail: str
