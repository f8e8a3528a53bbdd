# Runbooks as texts: draft, view, publish, match.
package runbook.catalog

import data.common.access
import data.common.outcome

default may := []

may := data.roles.catalog[input.action]

grants contains "role" if access.role_in(may)

grants contains "break_glass" if {
	access.breaking_glass
	"admin" in may
}

# What may do harm is published by who answers for it.
refusals contains "risk" if {
	not access.breaking_glass
	names := data.risks[input.action][access.risk]
	not access.role_in(names)
}

decision := outcome.allowed("runbook.catalog", grants) if {
	access.clear
	count(grants) > 0
	count(refusals) == 0
} else := outcome.denied("runbook.catalog", access.denials | refusals | outcome.ungranted(may, grants))

default scope := {"allow": false}

scope := outcome.seen if {
	access.scope_ok
	count(grants) > 0
}
