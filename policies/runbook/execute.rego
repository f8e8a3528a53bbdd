# Runbooks at work: start, each step by its risk, abort, locks, the kill switch.
package runbook.execute

import data.common.access
import data.common.outcome
import data.runbook.evidence

default may := []

may := data.roles.execute[input.action]

changing if input.action in ["step.claim", "step.run"]

high if access.risk == "high"

grants contains "role" if access.role_in(may)

grants contains "break_glass" if {
	access.breaking_glass
	"admin" in may
}

grants contains "on_call" if {
	input.action == "step.run"
	access.on_call
}

refusals contains "risk" if {
	not access.breaking_glass
	not access.on_call
	names := data.risks[input.action][access.risk]
	not access.role_in(names)
}

refusals contains code if {
	high
	input.action in ["step.run", "step.complete"]
	not evidence.proven
	some code in evidence.lacks
}

refusals contains "kill_switch" if {
	changing
	input.context.kill_switch == true
}

refusals contains "tag" if {
	input.action == "step.claim"
	count(input.resource.tags) > 0
	object.get(input.resource.tags, "allow-remediation", "") != "true"
}

decision := outcome.allowed("runbook.execute", grants) if {
	access.clear
	count(grants) > 0
	count(refusals) == 0
} else := outcome.denied("runbook.execute", access.denials | refusals | outcome.ungranted(may, grants))

default scope := {"allow": false}

scope := outcome.seen if {
	access.scope_ok
	count(grants) > 0
}
