# Approvals as evidence: granted, not expired, by someone else, for this very incident, tenant, step, plan and action.
package runbook.evidence

import data.common.access

granted(approval) if approval.state == "granted"

standing(approval) if approval.expires_at > input.now

independent(approval) if {
	by := approval.approver_id
	not by == ""
	not by == approval.requester_id
}

# Where the execution belongs to no incident, and a step carries out no action, neither has one.
default place(_, _) := ""

place(thing, name) := thing[name]

bound(approval) if {
	wanted := input.context.binding
	not wanted.execution_id == ""
	not wanted.step_run_id == ""
	not wanted.plan_hash == ""
	approval.tenant_ids == access.thing.tenant_ids
	approval.execution_id == wanted.execution_id
	approval.step_run_id == wanted.step_run_id
	approval.plan_hash == wanted.plan_hash
	place(approval, "incident_id") == place(wanted, "incident_id")
	place(approval, "action_hash") == place(wanted, "action_hash")
}

proven if {
	some approval in input.context.approvals
	granted(approval)
	standing(approval)
	independent(approval)
	bound(approval)
}

default named := 0

named := count(input.context.approvals)

lacks contains "approval_missing" if named == 0

lacks contains "approval_state" if {
	some approval in input.context.approvals
	not granted(approval)
}

lacks contains "approval_expired" if {
	some approval in input.context.approvals
	not standing(approval)
}

lacks contains "approval_own" if {
	some approval in input.context.approvals
	not independent(approval)
}

lacks contains "approval_other" if {
	some approval in input.context.approvals
	not bound(approval)
}
