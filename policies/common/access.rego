# Who may act where: what every package asks before its own rules.
#
# Empty attributes are left out of the input: without a demand nothing is demanded, without a right nothing is had.
package common.access

default required_clearance := 0

required_clearance := input.resource.required_clearance

default environment := ""

environment := input.resource.environment

tenant_ok if {
	input.actor.tenant_ids == input.resource.tenant_ids # as it mostly is; the others cost more to find out
	count(input.resource.tenant_ids) > 0
} else if {
	input.actor.tenant_ids == ["*"]
	count(input.resource.tenant_ids) > 0
} else if {
	count(input.resource.tenant_ids) > 0
	every tenant in input.resource.tenant_ids {
		tenant != "*"
		tenant in input.actor.tenant_ids
	}
}

scope_ok if {
	input.actor.auth.scopes == ["*"]
} else if {
	input.action in input.actor.auth.scopes
} else if {
	some scope in input.actor.auth.scopes
	endswith(scope, ".*")
	startswith(input.action, trim_suffix(scope, "*"))
}

environment_ok if {
	environment == ""
} else if {
	input.actor.environments == ["*"]
} else if {
	environment in input.actor.environments
}

clearance_ok if {
	required_clearance == 0
} else if {
	is_number(input.actor.clearance)
	input.actor.clearance >= required_clearance
}

# A person who calls themselves `system` is not one.
role_in(names) if {
	some role in input.actor.roles
	role in names
	role != "system"
} else if {
	input.actor.kind == "service"
	"system" in input.actor.roles
	"system" in names
}

# Whoever breaks the glass may do what an administrator may, where they are.
breaking_glass if {
	input.actor.auth.method == "break_glass"
	"break_glass" in input.actor.roles
}

on_call if {
	input.actor.kind == "person"
	some rotation in input.resource.rotations
	rotation in input.actor.on_call
}

person if input.actor.kind == "person"

looking if endswith(input.action, ".view")

looking if input.action in ["execution.preview", "policy.simulate", "policy.simulate_other", "timeline.export"]

default rationale := false

rationale := input.context.rationale_present

default risk := ""

risk := input.resource.risk

# In an emergency what is changed is at least said why.
unexplained if {
	breaking_glass
	not looking
	rationale != true
}

# Nothing that every package asks for is lacking.
clear if {
	input.v == 1
	tenant_ok
	scope_ok
	environment_ok
	clearance_ok
	not unexplained
}

denials contains "input" if not input.v == 1

denials contains "tenant" if not tenant_ok

denials contains "scope" if not scope_ok

denials contains "environment" if not environment_ok

denials contains "clearance" if not clearance_ok

denials contains "rationale" if unexplained
