# Approvals: view, decide, revoke. People's alone, never one's own, and of those who are named where somebody is.
package approval.decide

import data.common.access
import data.common.outcome

default may := []

may := data.roles.approval[input.action]

deciding if input.action == "approval.decide"

named if {
	some group in input.resource.groups
	group in input.actor.groups
}

named if {
	some group in input.resource.groups
	group in input.actor.roles
}

grants contains "role" if access.role_in(may)

grants contains "break_glass" if {
	access.breaking_glass
	"admin" in may
}

refusals contains "person" if {
	not access.looking
	not access.person
}

refusals contains "four_eyes" if {
	deciding
	input.resource.requester_id == input.actor.id
}

refusals contains "group" if {
	deciding
	count(input.resource.groups) > 0
	not named
}

decision := outcome.allowed("approval.decide", grants) if {
	access.clear
	count(grants) > 0
	count(refusals) == 0
} else := outcome.denied("approval.decide", access.denials | refusals | outcome.ungranted(may, grants))

default scope := {"allow": false}

scope := outcome.seen if {
	access.scope_ok
	count(grants) > 0
}
