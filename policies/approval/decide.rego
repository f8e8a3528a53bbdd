# Approvals: view, decide, revoke. People's alone, never one's own, and of those who are named where somebody is.
package approval.decide

import data.common.access
import data.common.outcome

default may := []

may := data.roles.approval[access.action]

deciding if access.action == "approval.decide"

named if {
	some group in access.thing.groups
	group in access.actor.groups
}

named if {
	some group in access.thing.groups
	group in access.actor.roles
}

grants contains "role" if access.role_in(may)

grants contains "break_glass" if {
	access.breaking_glass
	"admin" in may
}

denials contains code if some code in access.denials

denials contains outcome.lack(may) if grants == set()

denials contains "person" if {
	not access.person
	not access.looking
}

denials contains "four_eyes" if {
	deciding
	access.thing.requester_id == access.actor.id
}

denials contains "group" if {
	deciding
	access.thing.groups != []
	not named
}

decision := outcome.decided(grants, denials)

default scope := {"allow": false}

scope := outcome.seen if {
	access.scope_ok
	grants != set()
}
