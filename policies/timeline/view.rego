# The log: view, export all of it, hold what it names, and redact what an event said.
package timeline.view

import data.common.access
import data.common.outcome

default may := []

may := data.roles.timeline[access.action]

grants contains "role" if access.role_in(may)

grants contains "break_glass" if {
	access.breaking_glass
	"admin" in may
}

denials contains code if some code in access.denials

denials contains outcome.lack(may) if grants == set()

# What is deleted for good takes a reason, whoever does it.
denials contains "rationale" if {
	access.action == "evidence.redact"
	not access.explained
}

decision := outcome.decided(grants, denials)

default scope := {"allow": false}

scope := outcome.seen if {
	access.scope_ok
	grants != set()
}
