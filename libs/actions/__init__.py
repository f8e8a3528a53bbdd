"""The action plug-in API and the built-in pack: an action declares its effect and can be cancelled."""

from libs.actions.api import (
    Action,
    ActionContext,
    ActionResult,
    Arguments,
    Effect,
    Lease,
    Outcome,
    action,
    outcome,
)
from libs.actions.egress import Egress
from libs.actions.errors import ActionError, ArgumentsInvalid, EffectRefused, UnknownAction
from libs.actions.invocation import invoke
from libs.actions.registry import Registry
from libs.actions.settings import ActionSettings
from libs.actions.tags import TagCheck, check_tags

__all__ = [
    "Action",
    "ActionContext",
    "ActionError",
    "ActionResult",
    "ActionSettings",
    "Arguments",
    "ArgumentsInvalid",
    "Effect",
    "EffectRefused",
    "Egress",
    "Lease",
    "Outcome",
    "Registry",
    "TagCheck",
    "UnknownAction",
    "action",
    "check_tags",
    "invoke",
    "outcome",
]
