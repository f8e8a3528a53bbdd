"""Alerts and incidents: one incident a problem, however often it is reported.

Owns: `problem`, `incident`, `alert`, `execution`, `incident_runbook`.
Consumes: INGRESS (`alert.event`, `alert.alertmanager`) and, from EVENTS, `runbook.planned`, `runbook.started`,
`runbook.completed`, `runbook.failed` and `runbook.aborted`, each through its durable `incident`.
Publishes: `incident.created`, `incident.alert_linked`, `incident.alert_resolved`, `incident.status_changed`,
`incident.severity_changed`, `incident.owner_changed`, `incident.runbook_linked`, `incident.remediation_failed`.
Answers: `rpc.incident.get`, `list`, `create`, `transition`, `severity`, `owner`, `link_runbook`, and the dead letters'
four verbs.

Promises: a problem (tenant, fingerprint) has at most one incident that is not closed; an alert is (tenant, fingerprint,
startsAt), so repeats, copies from a second Alertmanager and late duplicates publish nothing; an alert that has ended
does not fire again, in whichever order its reports arrive; an execution opens at most one incident, whose id is derived
from its own, and its facts take effect there even when they come before it; facts of an incident have versions 1, 2,
3… without gaps; only `lifecycle.py` makes a status; a severity changes with a rationale, and the deadline with it;
whatever happened was committed together with its facts.
"""
