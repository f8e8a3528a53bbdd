"""The one catalogue of what policies answer: each code with its words and how to put it right.

403 bodies, simulations, the command line and lists take their words from here. A code's place is its weight: of several
reasons the one that stands first here is the decision's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from libs.common.policy.inputs import Document
from libs.common.policy.model import Decision, Effect, Reason


class Wording(NamedTuple):
    """What is said of a code, and what helps; `{name}` stands for a parameter of the reason."""

    text: str
    fix: str


DENIED: Final[Mapping[str, Wording]] = {
    "engine": Wording(
        "Policy could not be asked, and without an answer nothing is allowed.",
        "Try again; if it stays, look for `policy_engine_failed` in the logs.",
    ),
    "input": Wording(
        "What was asked is not in a form that policies judge.",
        "Use ids and names as the product gave them, without control characters.",
    ),
    "unknown_action": Wording(
        "The action is not in the policy.",
        "Add the action to the policy before using it.",
    ),
    "tenant": Wording(
        "The thing belongs to another tenant.",
        "Ask with a token of its tenant.",
    ),
    "scope": Wording(
        "The credential may not be used for {action}.",
        "Use a token whose scopes hold the action.",
    ),
    "role": Wording(
        "No role of yours allows this.",
        "Ask an administrator for the role that the action needs.",
    ),
    "person": Wording(
        "Only a person may do this.",
        "Sign in as yourself; no service answers what it has asked.",
    ),
    "environment": Wording(
        "The thing belongs to the environment {environment}, which is not one of yours.",
        "Ask an administrator for the right to that environment.",
    ),
    "clearance": Wording(
        "The thing takes clearance {required}.",
        "Ask someone who is cleared for it, or an administrator to clear you.",
    ),
    "risk": Wording(
        "With {risk} risk this takes a role of its own.",
        "Ask someone with one of the roles: {roles}.",
    ),
    "group": Wording(
        "Those who may decide this are named, and you are not among them.",
        "Ask one of the groups that it names: {groups}.",
    ),
    "four_eyes": Wording(
        "Nobody approves what they have asked for.",
        "Let someone else decide.",
    ),
    "rationale": Wording(
        "This takes a reason.",
        "Say why: send a rationale.",
    ),
    "kill_switch": Wording(
        "The kill switch is engaged.",
        "Release it when changes may be made again: `rangerctl kill-switch off`.",
    ),
    "tag": Wording(
        "The target does not carry `allow-remediation: true`.",
        "Let the target's owner set the tag, if it may be changed.",
    ),
    "approval_missing": Wording(
        "High risk takes an approval, and none was named.",
        "Have it approved, and name the approval.",
    ),
    "approval_state": Wording(
        "An approval that was named is not granted.",
        "Wait for the decision, or ask again.",
    ),
    "approval_expired": Wording(
        "An approval that was named has expired.",
        "Ask for a new approval.",
    ),
    "approval_own": Wording(
        "An approval that was named was given by who had asked for it.",
        "Let someone else approve.",
    ),
    "approval_other": Wording(
        "An approval that was named is for another incident, tenant, execution, step, plan or action.",
        "Name the approval of this very step; after a change of plan, ask again.",
    ),
}
ALLOWED: Final[Mapping[str, Wording]] = {
    "role": Wording("A role of yours allows this.", ""),
    "on_call": Wording("You are on call for it.", ""),
    "break_glass": Wording("Allowed in an emergency; this use is recorded as one.", ""),
}
REASONS: Final[Mapping[str, Wording]] = {**ALLOWED, **DENIED}
_WEIGHT: Final = {
    **{("deny", code): place for place, code in enumerate(DENIED)},
    **{("allow", code): place for place, code in enumerate(ALLOWED)},
}


def known(effect: Effect, code: object) -> bool:
    """Whether the catalogue has it."""
    return isinstance(code, str) and (effect, code) in _WEIGHT


def particulars(asked: Document, roles: Sequence[str]) -> Mapping[str, Mapping[str, str | int | bool]]:
    """What the wording of a denial needs, by its code: what was asked says it, but for the roles that a risk takes."""
    thing = asked.get("resource", {})
    found: dict[str, Mapping[str, str | int | bool]] = {
        "scope": {"action": asked.get("action", "")},
        "environment": {"environment": thing.get("environment", "")},
        "clearance": {"required": thing.get("required_clearance", 0)},
    }
    if roles:
        found["risk"] = {"risk": thing.get("risk", ""), "roles": ", ".join(roles)}
    if "groups" in thing:
        found["group"] = {"groups": ", ".join(thing["groups"])}
    return found


def weighed(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """By weight; engines give them in orders of their own."""
    return tuple(sorted(reasons, key=lambda reason: (_WEIGHT[reason.effect, reason.code], reason.rule)))


def worded(reason: Reason) -> Wording:
    """What to tell people; a parameter that is not there is left empty."""
    found = (ALLOWED if reason.effect == "allow" else DENIED)[reason.code]
    params: defaultdict[str, str] = defaultdict(str, {name: str(value) for name, value in reason.params.items()})
    return Wording(found.text.format_map(params), found.fix.format_map(params))


def explained(decision: Decision) -> dict[str, Any]:
    """A decision for people: as it goes over the wire, each reason with its wording."""
    told = [{**reason.to_wire(), **worded(reason)._asdict()} for reason in decision.reasons]
    return {**decision.to_wire(), "reasons": told}
