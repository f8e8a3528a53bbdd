# Who may act where: what every package asks before its own rules.
#
# Empty attributes are left out of the input: without a demand nothing is demanded, without a right nothing is had.
package common.access

actor := input.actor

action := input.action

thing := input.resource

tenant_ok if {
	its := thing.tenant_ids
	its[0] # there is one
	among(its, actor.tenant_ids)
}

among(its, mine) if {
	its == mine # as it mostly is; the others cost more to find out
} else if {
	mine == ["*"]
} else if {
	every tenant in its {
		tenant != "*"
		tenant in mine
	}
}

scope_ok if {
	actor.auth.scopes == ["*"]
} else if {
	action in actor.auth.scopes
} else if {
	some scope in actor.auth.scopes
	endswith(scope, ".*")
	startswith(action, trim_suffix(scope, "*"))
}

within(environment) if {
	actor.environments == ["*"]
} else if {
	environment in actor.environments
}

cleared(needed) if {
	needed == 0
} else if {
	mine := actor.clearance
	is_number(mine)
	mine >= needed
}

role_in(names) if {
	some role in actor.roles
	role in names
	not pretended(role)
}

# A person who calls themselves `system` is not one.
pretended("system") if not actor.kind == "service"

# Decided either way, as only what is defined is remembered, and this is asked for again and again.
default breaking_glass := false

# Whoever breaks the glass may do what an administrator may, where they are.
breaking_glass if {
	actor.auth.method == "break_glass"
	"break_glass" in actor.roles
}

on_call if {
	in_rotation
	person
}

in_rotation if {
	some rotation in thing.rotations
	rotation in actor.on_call
}

person if actor.kind == "person"

looking if endswith(action, ".view")

looking if action in ["execution.preview", "policy.simulate", "policy.simulate_other", "timeline.export"]

explained if input.context.rationale_present == true

denials contains "input" if not input.v == 1

denials contains "tenant" if not tenant_ok

denials contains "scope" if not scope_ok

denials contains "environment" if {
	environment := thing.environment
	not environment == ""
	not within(environment)
}

denials contains "clearance" if {
	needed := thing.required_clearance
	not cleared(needed)
}

# In an emergency what is changed is at least said why.
denials contains "rationale" if {
	breaking_glass
	not looking
	not explained
}
