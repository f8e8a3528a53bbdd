# The log: view, export all of it, hold what it names, and redact what an event said.
package timeline.view

import data.common.access
import data.common.outcome

default may := []

may := data.roles.timeline[input.action]

grants contains "role" if access.role_in(may)

grants contains "break_glass" if {
	access.breaking_glass
	"admin" in may
}

# What is deleted for good takes a reason, whoever does it.
refusals contains "rationale" if {
	input.action == "evidence.redact"
	access.rationale != true
}

decision := outcome.allowed("timeline.view", grants) if {
	access.clear
	count(grants) > 0
	count(refusals) == 0
} else := outcome.denied("timeline.view", access.denials | refusals | outcome.ungranted(may, grants))

default scope := {"allow": false}

scope := outcome.seen if {
	access.scope_ok
	count(grants) > 0
}
