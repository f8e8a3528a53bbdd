# Runbooks at work: start, each step by its risk, abort, locks, the kill switch.
package runbook.execute

import data.common.access
import data.common.outcome
import data.runbook.evidence

default may := []

may := data.roles.execute[access.action]

grants contains "role" if access.role_in(may)

grants contains "break_glass" if {
	access.breaking_glass
	"admin" in may
}

grants contains "on_call" if {
	access.action == "step.run"
	access.on_call
}

unproven := evidence.lacks if {
	access.thing.risk == "high"
	access.action in ["step.run", "step.complete"]
	not evidence.proven
}

denials contains code if some code in access.denials

denials contains outcome.lack(may) if grants == set()

denials contains "risk" if {
	names := data.risks[access.action][access.thing.risk]
	not access.breaking_glass
	not access.on_call
	not access.role_in(names)
}

denials contains code if some code in unproven

denials contains "kill_switch" if {
	input.context.kill_switch == true
	access.action in ["step.claim", "step.run"]
}

denials contains "tag" if {
	access.action == "step.claim"
	not access.thing.tags["allow-remediation"] == "true"
	access.thing.tags != {} # they are known
}

decision := outcome.decided(grants, denials)

default scope := {"allow": false}

scope := outcome.seen if {
	access.scope_ok
	grants != set()
}
