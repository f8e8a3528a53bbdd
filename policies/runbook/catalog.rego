# Runbooks as texts: draft, view, publish, match.
package runbook.catalog

import data.common.access
import data.common.outcome

default may := []

may := data.roles.catalog[access.action]

grants contains "role" if access.role_in(may)

grants contains "break_glass" if {
	access.breaking_glass
	"admin" in may
}

denials contains code if some code in access.denials

denials contains outcome.lack(may) if grants == set()

# What may do harm is published by who answers for it.
denials contains "risk" if {
	names := data.risks[access.action][access.thing.risk]
	not access.breaking_glass
	not access.role_in(names)
}

decision := outcome.decided(grants, denials)

default scope := {"allow": false}

scope := outcome.seen if {
	access.scope_ok
	grants != set()
}
