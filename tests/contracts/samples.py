"""One fact of each kind, always the same, with every field filled in."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from libs.common.contracts.choreography import ROWS
from libs.common.contracts.envelope import Envelope, Ref
from libs.common.contracts.fact import Fact

FACTS: tuple[type[Fact], ...] = tuple(row.fact for row in ROWS)
PUBLISHERS = {row.subject: row.publisher for row in ROWS}


def sample(fact: type[Fact]) -> Fact:
    """A fact whose fields say their own names."""
    hints = get_type_hints(fact)
    return fact.model_validate({name: _value(name, hints[name]) for name in fact.model_fields})


def envelope(fact: type[Fact]) -> Envelope:
    """An envelope around it, with every attribute."""
    return Envelope(
        id="0198c0de-0000-7000-8000-000000000001",
        type=fact.subject,
        source=f"/svc/{PUBLISHERS[fact.subject]}",
        time="2026-03-01T09:59:50.000000Z",
        aggregate_type=fact.aggregate,
        aggregate_id="0198c0de-0000-7000-8000-000000000002",
        aggregate_version=3,
        tenant="acme",
        tenants=("acme", "beta"),
        actor="ada",
        correlation="0198c0de-0000-7000-8000-000000000003",
        causation="0198c0de-0000-7000-8000-000000000004",
        incident_id="0198c0de-0000-7000-8000-000000000005",
        execution_id="0198c0de-0000-7000-8000-000000000006",
        runbook_id="restart-storage",
        schema=fact.schema_name(),
        refs=(Ref("evidence", "a" * 64, 12),),
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        salt=bytes(range(32)),
    )


def _value(name: str, kind: Any) -> Any:
    if get_origin(kind) in {Union, types.UnionType}:
        kind = next(choice for choice in get_args(kind) if choice is not type(None))
    if get_origin(kind) is Literal:
        return get_args(kind)[0]
    if get_origin(kind) is list and get_args(kind)[0] is not str:
        return [_value(name, get_args(kind)[0])]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        inner = get_type_hints(kind)
        return {field: _value(field, inner[field]) for field in kind.model_fields}
    if get_origin(kind) is list:
        return [f"{name} 1", f"{name} 2"]
    if get_origin(kind) is dict:
        return {"service": "evidence", "zone": "a"}
    return {str: f"{name} é", int: 7, float: 7.5, bool: True}[kind]
