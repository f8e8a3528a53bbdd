# What a package answers: allowed by every grant if nothing denies it, else denied by all that does.
#
# Codes alone; the words, and most of what they need, are the product's.
package common.outcome

import data.common.access

decided(grants, denials) := {"allow": true, "grants": grants} if {
	denials == set()
	not access.breaking_glass
} else := {"allow": true, "grants": grants, "obligations": [audit("break_glass")]} if {
	denials == set()
} else := {"allow": false, "denials": denials & {"tenant"}} if {
	denials.tenant # of another tenant's thing nothing more is told
} else := {"allow": false, "denials": denials, "roles": data.risks[access.action][access.thing.risk]} if {
	denials.risk
} else := {"allow": false, "denials": denials}

audit(level) := {"type": "audit", "params": {"level": level}}

# What whoever has no grant lacks: no row of the table, no role. `may` are the roles that the table gives an action.
lack(may) := "unknown_action" if {
	may == []
} else := "role"

# What lists show of a kind: as many rows as `view` allows, by the same attributes.
seen := {
	"allow": true,
	"tenant_ids": access.actor.tenant_ids,
	"environments": object.get(access.actor, "environments", []),
	"max_clearance": object.get(access.actor, "clearance", 0),
}
