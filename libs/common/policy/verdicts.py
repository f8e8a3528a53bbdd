"""What an engine gave, read as strictly as if a stranger had sent it: whatever is not exactly right allows nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from libs.common.policy.engines.base import EngineFailed
from libs.common.policy.inputs import Document
from libs.common.policy.model import ALL, NOTHING, Effect, Obligation, Reason, Scope
from libs.common.policy.reasons import known, particulars, weighed


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision as the policy gave it; with at least one reason, all of its own effect, the weightiest first."""

    allow: bool
    reasons: tuple[Reason, ...]
    obligations: tuple[Obligation, ...]


def verdict(found: Any, package: str, asked: Document) -> Verdict:
    """What a `decision` of a package says of what it was asked: codes, which become reasons here.

    Those of an allowance stand in another field than those of a denial, so that neither passes for the other.

    Raises:
        EngineFailed: it is not one.
    """
    allow = found.get("allow") if isinstance(found, dict) else None
    if allow is True:
        codes, due = _parts(found, "grants", "obligations")
        return Verdict(allow, _reasons(codes, "allow", package, {}), tuple(_obligation(each) for each in due))
    if allow is False:
        codes, roles = _parts(found, "denials", "roles")
        return Verdict(allow, _reasons(codes, "deny", package, particulars(asked, _texts(roles))), ())
    raise EngineFailed("a decision is not one")


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


def _parts(found: Mapping[str, Any], needed: str, other: str) -> tuple[list[Any], list[Any]]:
    """The list that has to be there, and the one that may be."""
    if found.keys() - {other} != {"allow", needed}:
        raise EngineFailed("a decision has other fields than it should")
    codes, more = found[needed], found.get(other, [])
    if not codes or not isinstance(codes, list) or not isinstance(more, list):
        raise EngineFailed("a decision has no reason, or something else than lists")
    return codes, more


def _reasons(
    codes: list[Any], effect: Effect, package: str, params: Mapping[str, Mapping[str, str | int | bool]]
) -> tuple[Reason, ...]:
    if not all(known(effect, code) for code in codes):
        raise EngineFailed("a reason is not in the catalogue, or speaks against its decision")
    return weighed(Reason(code, effect, f"{package}.{code}", params.get(code, {})) for code in codes)


def _obligation(found: Any) -> Obligation:
    name, params = _fields(found, "type", "params")
    return Obligation(str(name), _params(params))


def _params(found: Any) -> Mapping[str, str | int | bool]:
    if not isinstance(found, dict) or not all(isinstance(value, str | int | bool) for value in found.values()):
        raise EngineFailed("parameters are not plain values")
    return found


def _names(found: Any) -> frozenset[str]:
    if not isinstance(found, list):
        raise EngineFailed("a scope does not name what it covers")
    return frozenset(_texts(found))


def _texts(found: list[Any]) -> list[str]:
    if not all(isinstance(name, str) for name in found):
        raise EngineFailed("names are not text")
    return found


def _fields(found: Any, *names: str) -> tuple[Any, ...]:
    if not isinstance(found, dict) or set(found) != set(names):
        raise EngineFailed("an answer has other fields than it should")
    return tuple(found[name] for name in names)
