# Incidents: create, view, assign, escalate, each transition, severity, close.
package incident.authz

import data.common.access
import data.common.outcome

closing if input.action == "incident.close"

closing if {
	input.action == "incident.transition"
	input.context.to == "closed"
}

default mitigated := false

mitigated := input.context.mitigated

default may := []

may := data.roles.incident["incident.close"] if closing

may := data.roles.incident[input.action] if not closing

grants contains "role" if access.role_in(may)

grants contains "break_glass" if {
	access.breaking_glass
	"admin" in may
}

# Whoever is on call for it leads it, whatever they may do elsewhere; closing it is the operators'.
grants contains "on_call" if {
	access.on_call
	input.action in ["incident.assign", "incident.escalate", "incident.transition"]
	not closing
}

refusals contains "rationale" if {
	input.action == "incident.severity"
	input.actor.kind != "service"
	access.rationale != true
}

refusals contains "rationale" if {
	closing
	input.actor.kind != "service"
	mitigated != true
	access.rationale != true
}

decision := outcome.allowed("incident.authz", grants) if {
	access.clear
	count(grants) > 0
	count(refusals) == 0
} else := outcome.denied("incident.authz", access.denials | refusals | outcome.ungranted(may, grants))

default scope := {"allow": false}

scope := outcome.seen if {
	access.scope_ok
	count(grants) > 0
}
