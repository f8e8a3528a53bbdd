"""Why a command on an incident is refused.

Conflict
├── UndefinedMove      the lifecycle has no such move from here
├── RationaleMissing   the move needs a reason in words
├── IncidentClosed     a closed incident is not judged any more
└── TooManyRunbooks    as many as an incident may have are linked already
NotFound
└── NoSuchIncident     there is none, or the caller may not see it: the same answer
"""

from libs.common.errors import Conflict, NotFound


class UndefinedMove(Conflict):
    """The lifecycle table has no row for this state and trigger; nothing changed."""

    def __init__(self, status: str, trigger: str, target: str, possible: list[str]) -> None:
        leads = f"From {status} lead: {', '.join(possible)}." if possible else f"Nothing leads out of {status}."
        super().__init__(
            f"An incident cannot go from {status} to {target} ({trigger}).",
            fix=leads,
            code="undefined_move",
            status=status,
            trigger=trigger,
            target=target,
            possible=possible,
        )


class RationaleMissing(Conflict):
    """Resolving or closing what was never mitigated says why."""

    def __init__(self, status: str, trigger: str, target: str) -> None:
        super().__init__(
            f"Going from {status} to {target} ({trigger}) without mitigation needs a rationale.",
            fix="Repeat the request with a rationale, and a new idempotency key.",
            code="rationale_missing",
            status=status,
            trigger=trigger,
            target=target,
        )


class IncidentClosed(Conflict):
    """Closed is history."""

    def __init__(self, incident_id: str) -> None:
        super().__init__(
            f"Incident {incident_id} is closed and does not change any more.",
            fix="Open a new incident where there is something left to do.",
            code="incident_closed",
        )


class TooManyRunbooks(Conflict):
    """A limit that keeps answers small."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The incident has {limit} runbooks linked, which is the limit.",
            fix="Execute one of them, or open an incident for what is another problem.",
            code="too_many_runbooks",
            limit=limit,
        )


class NoSuchIncident(NotFound):
    """Missing or invisible."""

    def __init__(self, incident_id: str) -> None:
        super().__init__(f"There is no incident {incident_id}.", fix="`rangerctl incident list` shows what there is.")
