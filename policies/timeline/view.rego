# The log: view, export all of it, and hold what it names.
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

decision := outcome.allowed("timeline.view", grants) if {
	access.clear
	count(grants) > 0
} else := outcome.denied("timeline.view", access.denials | outcome.ungranted(may, grants))

default scope := {"allow": false}

scope := outcome.seen if {
	access.scope_ok
	count(grants) > 0
}
