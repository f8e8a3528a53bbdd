"""The life of one attempt of an action. The life of an execution is `libs/runbook/advance.py`.

ready ──claim──► running ──settle──► succeeded
  │                 │  └───────────► failed          certainly no success, or a lease lost that may repeat
  │                 └──────────────► unknown ──────► succeeded | failed   by late result or person
  └─withdraw, refuse► cancelled | failed             nothing was done
"""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

ActionState: TypeAlias = Literal["ready", "running", "succeeded", "failed", "unknown", "cancelled"]
Trigger: TypeAlias = Literal["claim", "refuse", "withdraw", "succeed", "fail", "lose", "doubt"]

TRANSITIONS: Final[Mapping[ActionState, Mapping[Trigger, ActionState]]] = {
    "ready": {"claim": "running", "refuse": "failed", "withdraw": "cancelled"},
    "running": {
        "succeed": "succeeded",
        "fail": "failed",
        "lose": "failed",
        "doubt": "unknown",
        "withdraw": "cancelled",
    },
    "unknown": {"succeed": "succeeded", "fail": "failed"},
    "succeeded": {},
    "failed": {},
    "cancelled": {},
}
TERMINAL: Final = frozenset(state for state, moves in TRANSITIONS.items() if not moves)


class ImpossibleMove(RuntimeError):
    """An action was asked to make a move that its life does not have."""


def after(state: ActionState, trigger: Trigger) -> ActionState:
    """The state that `trigger` leads to.

    Raises:
        ImpossibleMove: naming both ends.
    """
    found = TRANSITIONS[state].get(trigger)
    if found is None:
        raise ImpossibleMove(f"an action that is {state} cannot {trigger}")
    return found
