"""A problem (one fingerprint of one tenant) and how reports of its alerts are folded into it, in order.

    report    alert unknown                       alert fires      alert has ended
    firing    opens an incident, or is linked     is counted       changes nothing
    resolved  its end is remembered               it ends          changes nothing

An alert is its start: a second Alertmanager's copy and a repeat are the same alert, a new start is another one.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Literal

from msgspec.structs import replace

from libs.common.clock import rfc3339
from libs.common.contracts.alert import Alert
from libs.common.contracts.incident import AlertLinked, AlertResolved, IncidentFact
from libs.common.contracts.marking import ROTATION_LABELS, Marking, first_name
from libs.common.ids import derived_id
from services.incident.lifecycle import INITIAL
from services.incident.model import AlertState, Incident, Opening, Told, followed, told
from services.incident.openings import created
from services.incident.sla import Sla

Outcome = Literal["opened", "linked", "repeated", "ended", "early_end", "late"]
NewId = Callable[[], str]
ALL_ENDED = "every alert of it has ended"


class Problem:
    """What is known of a problem, held by whoever has its lock; what changes is collected until it is stored."""

    def __init__(
        self, tenant: str, fingerprint: str, incidents: Iterable[Incident] = (), alerts: Iterable[AlertState] = ()
    ) -> None:
        self.tenant = tenant
        self.fingerprint = fingerprint
        self.incidents = {incident.incident_id: incident for incident in incidents}
        self.alerts = {alert.starts_at: alert for alert in alerts}
        self.openings: dict[str, Opening] = {}
        self.changed_alerts: set[datetime] = set()
        self.story: list[Told] = []

    @property
    def open(self) -> Incident | None:
        """The incident that is not closed."""
        return next((incident for incident in self.incidents.values() if incident.open), None)

    @property
    def changed_incidents(self) -> list[Incident]:
        """Incidents of which something was told, as they are now."""
        return [self.incidents[i] for i in dict.fromkeys(t.incident.incident_id for t in self.story)]

    def report(self, alert: Alert, *, now: datetime, new_id: NewId, sla: Sla, origin: int = 0) -> Outcome:
        """Fold one report into the problem; `origin` is the number of its message in the batch."""
        known = self.alerts.get(alert.starts_at)
        if known is not None and not known.firing:
            return "late"
        if alert.status == "resolved":
            return self._remember(alert, now) if known is None else self._end(known, alert, now, origin)
        if known is not None:
            return self._count(known, now)
        if self.open is None:
            return self._open(alert, now, new_id(), sla, origin)
        return self._link(self.open, alert, now, origin)

    def _open(self, alert: Alert, now: datetime, incident_id: str, sla: Sla, origin: int) -> Outcome:
        incident = Incident(
            tenant=self.tenant,
            incident_id=incident_id,
            fingerprint=self.fingerprint,
            severity=alert.severity,
            status=INITIAL,
            version=0,
            firing=1,
            opened_at=now,
            updated_at=now,
            sla_deadline=sla.deadline(alert.severity, now),
            marking=Marking.of_labels(alert.labels),
            rotation=first_name(alert.labels, ROTATION_LABELS),
        )
        opening = Opening(
            title=alert.title or alert.name,
            created_at=now,
            by="alert",
            alert_name=alert.name,
            labels=alert.labels,
            annotations=alert.annotations,
        )
        state = self._state(alert, now, firing=True, incident_id=incident_id)
        self.openings[incident_id] = opening
        self._keep(state)
        self._tell(incident, created(incident, opening, alert_id=state.alert_id), now, origin)
        return "opened"

    def _link(self, incident: Incident, alert: Alert, now: datetime, origin: int) -> Outcome:
        state = self._state(alert, now, firing=True, incident_id=incident.incident_id)
        self._keep(state)
        fact = AlertLinked(
            incident_id=incident.incident_id, alert_id=state.alert_id, starts_at=rfc3339(alert.starts_at)
        )
        linked = self._tell(replace(incident, firing=incident.firing + 1), fact, now, origin)
        self._follow(followed(linked, "alert_refired", now=now, origin=origin))
        return "linked"

    def _end(self, known: AlertState, alert: Alert, now: datetime, origin: int) -> Outcome:
        ended = replace(known, firing=False, ends_at=alert.ends_at or now, last_seen=now)
        self._keep(ended)
        incident = self.incidents[known.incident_id]
        incident = replace(incident, firing=incident.firing - 1)
        fact = AlertResolved(
            incident_id=incident.incident_id,
            alert_id=known.alert_id,
            ends_at=rfc3339(alert.ends_at or now),
            still_firing=incident.firing,
        )
        incident = self._tell(incident, fact, now, origin)
        self._follow(followed(incident, "alert_ended", now=now, rationale=ALL_ENDED, origin=origin))
        return "ended"

    def _count(self, known: AlertState, now: datetime) -> Outcome:
        self._keep(replace(known, occurrences=known.occurrences + 1, last_seen=now))
        return "repeated"

    def _remember(self, alert: Alert, now: datetime) -> Outcome:
        state = self._state(alert, now, firing=False, incident_id="")
        self._keep(replace(state, ends_at=alert.ends_at or now))
        return "early_end"

    def _state(self, alert: Alert, now: datetime, *, firing: bool, incident_id: str) -> AlertState:
        return AlertState(
            alert_id=derived_id("alert", self.tenant, self.fingerprint, rfc3339(alert.starts_at)),
            tenant=self.tenant,
            fingerprint=self.fingerprint,
            starts_at=alert.starts_at,
            name=alert.name,
            severity=alert.severity,
            firing=firing,
            incident_id=incident_id,
            occurrences=1,
            last_seen=now,
        )

    def _keep(self, state: AlertState) -> None:
        self.alerts[state.starts_at] = state
        self.changed_alerts.add(state.starts_at)

    def _tell(self, incident: Incident, fact: IncidentFact, now: datetime, origin: int) -> Incident:
        return self._follow(told(incident, fact, now=now, origin=origin)) or incident

    def _follow(self, step: Told | None) -> Incident | None:
        if step is None:
            return None
        self.story.append(step)
        self.incidents[step.incident.incident_id] = step.incident
        return step.incident
