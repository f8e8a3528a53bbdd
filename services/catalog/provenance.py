"""A published version as an artefact: its text, what it says, and how it came to be public."""

from typing import Final

from libs.common.artefacts import document
from libs.common.clock import rfc3339
from libs.common.policy import Decision, Principal
from services.catalog.model import Published

FORMAT: Final = "rr.spec/1"


def provenance(version: Published, principal: Principal, decision: Decision) -> bytes:
    """Who wrote it, who published it when and with which kind of credential, and which policies allowed it."""
    header = version.header
    return document(
        FORMAT,
        {
            "tenant_id": header.tenant,
            "runbook_id": header.runbook_id,
            "version": header.version,
            "spec_hash": header.spec_hash,
            "name": header.name,
            "risk": header.risk,
            "mode": header.mode,
            "tags": list(header.tags),
            "author": header.author,
            "published_by": header.published_by,
            "published_at": rfc3339(header.published_at),
            "method": principal.method,
            "roles": sorted(principal.roles),
            "decision_id": decision.decision_id,
            "policy_engine": decision.engine,
            "policy_revision": decision.revision,
            "source": version.source,
            "spec": dict(version.spec),
        },
    )
