# Incidents: create, view, assign, escalate, each transition, severity, close.
package incident.authz

import data.common.access
import data.common.outcome

default closing := false

closing if access.action == "incident.close"

closing if {
	access.action == "incident.transition"
	input.context.to == "closed"
}

default may := []

may := data.roles.incident["incident.close"] if {
	closing
} else := data.roles.incident[access.action]

grants contains "role" if access.role_in(may)

grants contains "break_glass" if {
	access.breaking_glass
	"admin" in may
}

# Whoever is on call for it leads it, whatever they may do elsewhere; closing it is the operators'.
grants contains "on_call" if {
	access.on_call
	access.action in ["incident.assign", "incident.escalate", "incident.transition"]
	not closing
}

denials contains code if some code in access.denials

denials contains outcome.lack(may) if grants == set()

denials contains "rationale" if {
	access.action == "incident.severity"
	access.actor.kind != "service"
	not access.explained
}

denials contains "rationale" if {
	closing
	access.actor.kind != "service"
	not input.context.mitigated == true
	not access.explained
}

decision := outcome.decided(grants, denials)

default scope := {"allow": false}

scope := outcome.seen if {
	access.scope_ok
	grants != set()
}
