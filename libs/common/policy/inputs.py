"""The question as a policy sees it: a closed schema of ids, enumerations, integers and booleans.

What is empty (`""`, `[]`, `{}`, `0`, `false`, null) is left out: without a demand nothing is demanded, without a right
nothing is had. What policies read most stands first: the embedded engine looks a name up from the front, one by one,
and each that it passes costs most of a microsecond.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, get_args

import orjson

from libs.common.policy.actions import KINDS
from libs.common.policy.model import (
    CLEARANCES,
    Approval,
    Binding,
    Context,
    Kind,
    Method,
    Principal,
    Resource,
)

VERSION: Final = 1
MAX_TEXT: Final = 512
MAX_ITEMS: Final = 1000
RISKS: Final = ("low", "medium", "high")
SEVERITIES: Final = ("", "low", "medium", "high", "critical")
Document = Mapping[str, Any]
_KINDS: Final = get_args(Kind)
_METHODS: Final = get_args(Method)


class InputRefused(ValueError):
    """Something is outside the schema; the text names the attribute, never its value."""


def document(actor: Principal, action: str, resource: Resource, context: Context, *, now: int) -> Document:
    """The input. `now`, in Unix seconds, is in it only where something can have expired.

    Raises:
        InputRefused: a value is not what the schema says.
    """
    circumstances = _context(context)
    asked = {
        "action": _text("action", action),
        "actor": _actor(actor),
        "resource": _resource(resource),
        "context": circumstances,
        "v": VERSION,
        "now": _number("now", now) if "approvals" in circumstances else 0,
    }
    return _filled(asked)


def canonical(found: Document) -> str:
    """The one text of a document: what engines are given and what a cache is keyed by.

    Characters stand for themselves: the embedded engine takes escapes of its own for others than JSON's.
    """
    return orjson.dumps(found, option=orjson.OPT_SORT_KEYS).decode()


def key(revision: str, entrypoint: str, found: Document, *, epoch: int, version: int) -> bytes:
    """What a decision may be used again for: the same question, policies, rights and thing; the time is not in it."""
    timeless = {name: value for name, value in found.items() if name != "now"}
    parts = (revision, entrypoint, canonical(timeless), str(epoch), str(version))
    return hashlib.sha256("\x00".join(parts).encode()).digest()


def _actor(actor: Principal) -> dict[str, Any]:
    return _filled(
        {
            "roles": _names("actor.roles", actor.roles),
            "kind": _one_of("actor.kind", actor.kind, _KINDS),
            "auth": _filled(
                {
                    "scopes": _names("actor.auth.scopes", actor.scopes),
                    "method": _one_of("actor.auth.method", actor.method, _METHODS),
                    "mfa": _flag("actor.auth.mfa", actor.mfa),
                }
            ),
            "tenant_ids": _names("actor.tenant_ids", actor.tenants),
            "environments": _names("actor.environments", actor.environments),
            "clearance": _clearance("actor.clearance", actor.clearance),
            "on_call": _names("actor.on_call", actor.on_call),
            "groups": _names("actor.groups", actor.groups),
            "id": _text("actor.id", actor.actor),
        }
    )


def _resource(resource: Resource) -> dict[str, Any]:
    return _filled(
        {
            "tenant_ids": _names("resource.tenant_ids", {resource.tenant} - {""}),
            "environment": _text("resource.environment", resource.environment),
            "required_clearance": _clearance("resource.required_clearance", resource.clearance),
            "risk": _one_of("resource.risk", resource.risk, RISKS),
            "rotations": _names("resource.rotations", resource.rotations),
            "tags": _tags(resource.tags),
            "groups": _names("resource.groups", resource.groups),
            "requester_id": _text("resource.requester_id", resource.requester),
            "type": _one_of("resource.type", resource.kind, KINDS),
            "id": _text("resource.id", resource.id),
            "severity": _one_of("resource.severity", resource.severity, SEVERITIES),
            "status": _text("resource.status", resource.status),
        }
    )


def _context(context: Context) -> dict[str, Any]:
    if len(context.approvals) > MAX_ITEMS:
        raise InputRefused("context.approvals")
    return _filled(
        {
            "to": _text("context.to", context.to),
            "mitigated": _flag("context.mitigated", context.mitigated),
            "rationale_present": _flag("context.rationale_present", context.rationale_present),
            "kill_switch": _flag("context.kill_switch", context.kill_switch),
            "binding": _bound("context.binding", context.binding) if context.binding else None,
            "approvals": [_approval(approval) for approval in context.approvals],
        }
    )


def _bound(where: str, found: Binding | Approval) -> dict[str, Any]:
    names = ("execution_id", "step_run_id", "plan_hash", "incident_id", "action_hash")
    return _filled({name: _text(f"{where}.{name}", getattr(found, name)) for name in names})


def _approval(approval: Approval) -> dict[str, Any]:
    where = "context.approvals"
    return _filled(
        {
            "state": _text(where, approval.state),
            "expires_at": _number(where, approval.expires_at),
            "approver_id": _text(where, approval.approver),
            "requester_id": _text(where, approval.requester),
            "tenant_ids": _names(where, {approval.tenant} - {""}),
            **_bound(where, approval),
            "id": _text(where, approval.id),
        }
    )


def _filled(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value or name == "v"}


def _text(where: str, value: object) -> str:
    """A name or an id: printable, and too short to be a story."""
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise InputRefused(where)
    return value


def _one_of(where: str, value: object, allowed: Iterable[str]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise InputRefused(where)
    return value


def _names(where: str, values: Iterable[object]) -> list[str]:
    found = sorted(_text(where, value) for value in values)
    if len(found) > MAX_ITEMS:
        raise InputRefused(where)
    return found


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    if len(tags) > MAX_ITEMS:
        raise InputRefused("resource.tags")
    return {_text("resource.tags", name): _text("resource.tags", value) for name, value in tags.items()}


def _flag(where: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InputRefused(where)
    return value


def _number(where: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise InputRefused(where)
    return value


def _clearance(where: str, value: object) -> int:
    if isinstance(value, bool) or value not in CLEARANCES:
        raise InputRefused(where)
    return _number(where, value)
