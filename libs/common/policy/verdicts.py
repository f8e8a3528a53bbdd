"""What an engine gave, read as strictly as if a stranger had sent it: whatever is not exactly right allows nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from libs.common.policy.engines.base import EngineFailed
from libs.common.policy.model import ALL, NOTHING, Obligation, Reason, Scope
from libs.common.policy.reasons import known, weighed


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision as the policy gave it; with at least one reason, all of its own effect, the weightiest first."""

    allow: bool
    reasons: tuple[Reason, ...]
    obligations: tuple[Obligation, ...]


def verdict(found: Any) -> Verdict:
    """What a `decision` says.

    Raises:
        EngineFailed: it is not one.
    """
    allow, reasons, obligations = _fields(found, "allow", "reasons", "obligations")
    if not isinstance(allow, bool) or not isinstance(reasons, list) or not isinstance(obligations, list):
        raise EngineFailed("a decision is not one")
    read = [_reason(reason, "allow" if allow else "deny") for reason in reasons]
    if not read:
        raise EngineFailed("a decision has no reason")
    return Verdict(allow, weighed(read), tuple(_obligation(obligation) for obligation in obligations))


def seen(found: Any) -> Scope:
    """What a `scope` says.

    Raises:
        EngineFailed: it is not one.
    """
    if found == {"allow": False}:
        return NOTHING
    allow, tenants, environments, clearance = _fields(found, "allow", "tenant_ids", "environments", "max_clearance")
    if allow is not True or isinstance(clearance, bool) or not isinstance(clearance, int):
        raise EngineFailed("a scope is not one")
    names = _names(tenants)
    named = names if names == ALL else names - ALL  # every tenant, alone; among others it means nothing
    return Scope(allow=True, tenants=named, environments=_names(environments), max_clearance=clearance)


def _reason(found: Any, effect: str) -> Reason:
    code, said, rule, params = _fields(found, "code", "effect", "rule", "params")
    reason = Reason(str(code), said, str(rule), _params(params))
    if said != effect or not known(reason):
        raise EngineFailed("a reason is not in the catalogue, or speaks against its decision")
    return reason


def _obligation(found: Any) -> Obligation:
    name, params = _fields(found, "type", "params")
    return Obligation(str(name), _params(params))


def _params(found: Any) -> Mapping[str, str | int | bool]:
    if not isinstance(found, dict) or not all(isinstance(value, str | int | bool) for value in found.values()):
        raise EngineFailed("parameters are not plain values")
    return found


def _names(found: Any) -> frozenset[str]:
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise EngineFailed("a scope does not name what it covers")
    return frozenset(found)


def _fields(found: Any, *names: str) -> tuple[Any, ...]:
    if not isinstance(found, dict) or set(found) != set(names):
        raise EngineFailed("an answer has other fields than it should")
    return tuple(found[name] for name in names)
