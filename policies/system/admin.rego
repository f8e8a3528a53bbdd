# The installation: alerts, dead letters, tokens, principals, webhooks, flags, simulation.
package system.admin

import data.common.access
import data.common.outcome

default may := []

may := data.roles.system[input.action]

grants contains "role" if access.role_in(may)

grants contains "break_glass" if {
	access.breaking_glass
	"admin" in may
}

decision := outcome.allowed("system.admin", grants) if {
	access.clear
	count(grants) > 0
} else := outcome.denied("system.admin", access.denials | outcome.ungranted(may, grants))

default scope := {"allow": false}

scope := outcome.seen if {
	access.scope_ok
	count(grants) > 0
}
