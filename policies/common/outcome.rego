# What a package answers: allowed by every grant, or denied by every reason.
package common.outcome

import data.common.access

# Of another tenant's thing nothing more is told.
told(denials) := {"tenant"} if "tenant" in denials

told(denials) := denials if not "tenant" in denials

params["scope"] := {"action": input.action}

params["environment"] := {"environment": access.environment}

params["clearance"] := {"required": access.required_clearance}

params["risk"] := {"risk": access.risk, "roles": concat(", ", data.risks[input.action][access.risk])}

params["group"] := {"groups": concat(", ", input.resource.groups)}

default obligations := []

obligations := [{"type": "audit", "params": {"level": "break_glass"}}] if access.breaking_glass

allowed(name, grants) := {
	"allow": true,
	"reasons": [reason |
		some code in grants
		reason := {"code": code, "effect": "allow", "rule": concat(".", [name, code]), "params": {}}
	],
	"obligations": obligations,
}

denied(name, denials) := {
	"allow": false,
	"reasons": [reason |
		some code in told(denials)
		reason := {
			"code": code,
			"effect": "deny",
			"rule": concat(".", [name, code]),
			"params": object.get(params, code, {}),
		}
	],
	"obligations": [],
}

# No row of the table, no role: `may` are the roles that the table gives an action.
ungranted(may, _) := {"unknown_action"} if count(may) == 0

ungranted(may, grants) := {"role"} if {
	count(may) > 0
	count(grants) == 0
}

ungranted(_, grants) := set() if count(grants) > 0

# What lists show of a kind: as many rows as `view` allows, by the same attributes.
seen := {
	"allow": true,
	"tenant_ids": input.actor.tenant_ids,
	"environments": object.get(input.actor, "environments", []),
	"max_clearance": object.get(input.actor, "clearance", 0),
}
