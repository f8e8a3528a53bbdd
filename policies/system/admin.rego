# The installation: alerts, dead letters, tokens, principals, webhooks, flags, simulation.
package system.admin

import data.common.access
import data.common.outcome

default may := []

may := data.roles.system[access.action]

grants contains "role" if access.role_in(may)

grants contains "break_glass" if {
	access.breaking_glass
	"admin" in may
}

denials contains code if some code in access.denials

denials contains outcome.lack(may) if grants == set()

decision := outcome.decided(grants, denials)

default scope := {"allow": false}

scope := outcome.seen if {
	access.scope_ok
	grants != set()
}
