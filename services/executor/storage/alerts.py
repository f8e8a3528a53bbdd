"""Whether the alerts of incidents fire, as the executor last heard."""

from collections.abc import Iterable, Mapping
from typing import Final

from libs.common.database import Tx
from services.executor.storage.columns import columns

_SET_ALERTS: Final = """
INSERT INTO alert_state (tenant_id, incident_id, firing, version)
SELECT * FROM unnest($1::text[], $2::text[], $3::boolean[], $4::bigint[]) AS t(tenant_id, incident_id, firing, version)
ORDER BY tenant_id, incident_id
ON CONFLICT (tenant_id, incident_id) DO UPDATE SET firing = EXCLUDED.firing, version = EXCLUDED.version
  WHERE alert_state.version < EXCLUDED.version
"""


async def set_alerts(tx: Tx, states: Mapping[tuple[str, str], tuple[bool, int]]) -> None:
    """Remember whether the alerts of (tenant, incident) fire; an older version changes nothing."""
    rows = [(tenant, incident, firing, version) for (tenant, incident), (firing, version) in sorted(states.items())]
    if rows:
        await tx.execute(_SET_ALERTS, *columns(rows))


async def alerts_fire(tx: Tx, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], bool]:
    """Whether the alerts of (tenant, incident) pairs fire, where that is known; a change waits for this transaction."""
    wanted = sorted(set(pairs))
    if not wanted:
        return {}
    rows = await tx.fetch(
        "SELECT tenant_id, incident_id, firing FROM alert_state"
        " JOIN unnest($1::text[], $2::text[]) AS t(tenant_id, incident_id) USING (tenant_id, incident_id)"
        " ORDER BY tenant_id, incident_id FOR SHARE OF alert_state",
        *columns(wanted),
    )
    return {(row["tenant_id"], row["incident_id"]): row["firing"] for row in rows}
