"""The prototype's one event, about 600 bytes as JSON."""

from __future__ import annotations

import time
import uuid
from typing import Final

import msgspec

STEPS: Final = 5
_TENANT: Final = "0199d2c4-7b1e-7c3a-9f00-0000000000aa"


def _labels() -> dict[str, str]:
    return {"service": "checkout", "region": "eu-west-1", "cluster": "prod-3"}


def _payload() -> dict[str, str | float]:
    return {"status": "ok", "duration_ms": 12.5, "output": "restarted 3 pods"}


class Event(msgspec.Struct):
    """Something that happened to an execution, or the alert before it."""

    event_id: str
    type: str
    occurred_at: float
    source: str
    incident_id: str
    execution_id: str
    step_index: int
    schema_version: int = 1
    tenant_id: str = _TENANT
    attempt: int = 1
    actor: str = "system"
    correlation_id: str = ""
    severity: str = "high"
    labels: dict[str, str] = msgspec.field(default_factory=_labels)
    payload: dict[str, str | float] = msgspec.field(default_factory=_payload)


encode: Final = msgspec.json.Encoder(order="deterministic").encode
decode: Final = msgspec.json.Decoder(Event).decode


def fresh_id() -> str:
    """A random UUID."""
    return str(uuid.uuid4())


def event(kind: str, incident_id: str, execution_id: str, step: int, source: str) -> Event:
    """An event of now."""
    return Event(
        event_id=fresh_id(),
        type=kind,
        occurred_at=time.time(),
        source=source,
        incident_id=incident_id,
        execution_id=execution_id,
        step_index=step,
    )
