"""Why a grant does not stand for what it is to be used for: a pure judgement, with a code for each answer.

    approval_expired       nobody decided in time, or it was not used in time
    approval_used          an approval is for one time
    approval_revoked       it was taken back
    approval_rejected      a person said no
    approval_other_plan    the plan is not the one that was approved
    approval_other_action  the action is not the one that was approved
    approval_other_step    it is for another execution, or another step or visit of this one
    approval_own           whoever asked has granted it
    approval_missing       none is known here

A grant that is void is called so before what it is for is looked at: nothing would make it good.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, TypeAlias, cast

import asyncpg

from libs.runbook.facts import Denial

Code: TypeAlias = Literal[
    "approval_expired",
    "approval_used",
    "approval_revoked",
    "approval_rejected",
    "approval_other_plan",
    "approval_other_action",
    "approval_other_step",
    "approval_own",
    "approval_missing",
]

BEGIN_AGAIN: Final = "Begin the runbook again: it asks anew, about what would run then."
NAME_ITS_OWN: Final = "Name the approval of this very step; `rangerctl approval list --execution` shows it."
ASKED_AGAIN: Final = "It is asked again about what would run now: look at that, and decide it."
_VOID: Final[Mapping[str, Code]] = {
    "expired": "approval_expired",
    "revoked": "approval_revoked",
    "rejected": "approval_rejected",
}
_SHOWN: Final = 12
"""Characters of a hash in a sentence; whoever needs it whole finds it in the data."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What would be done under a grant: which visit of which step, by hash, and who asked for it."""

    execution_id: str
    step_run_id: str
    plan_hash: str
    action_hash: str
    requester: str


@dataclass(frozen=True, slots=True)
class Grant:
    """An approval as the executor knows it. `actor` granted it, or ended it; `over`: its time has passed."""

    approval_id: str
    execution_id: str
    step_run_id: str
    plan_hash: str
    action_hash: str
    state: str
    actor: str
    over: bool

    @classmethod
    def of(cls, row: asyncpg.Record) -> Self:
        """A row of `approval`, with `over` by the database's clock. What was revoked unheard names no step."""
        return cls(
            approval_id=str(row["approval_id"]),
            execution_id=str(row["execution_id"] or ""),
            step_run_id=str(row["step_run_id"] or ""),
            plan_hash=row["plan_hash"],
            action_hash=row["action_hash"],
            state=row["state"],
            actor=row["actor"],
            over=row["over"],
        )


@dataclass(frozen=True, slots=True)
class Fault:
    """A grant that does not stand: the code for programs, the sentence and what to do for people."""

    code: Code
    sentence: str
    fix: str = BEGIN_AGAIN
    grant: Grant | None = None

    @property
    def text(self) -> str:
        """All of it, for a fact."""
        return f"{self.sentence} {self.fix}"

    @property
    def why(self) -> Denial:
        """The code as the engine knows it."""
        return cast("Denial", self.code.removeprefix("approval_"))

    def told(self, wanted: Wanted) -> dict[str, Any]:
        """Both ends, whole, for programs."""
        present = {"plan_hash": wanted.plan_hash, "action_hash": wanted.action_hash}
        if self.grant is None:
            return {"present": present}
        approved = {"plan_hash": self.grant.plan_hash, "action_hash": self.grant.action_hash}
        return {"approval_id": self.grant.approval_id, "approved": approved, "present": present}


def fault(grant: Grant, wanted: Wanted) -> Fault | None:
    """Why the grant may not be used for that; None when it may."""
    code = _code(grant, wanted)
    return None if code is None else Fault(code, _sentence(code, grant, wanted), grant=grant)


def closest_fault(known: Iterable[Grant], wanted: Wanted) -> Fault:
    """Why none of these, of which none stands, may be used: said of the one that comes closest."""
    ranked = sorted(known, key=lambda grant: (-_closeness(grant, wanted), grant.approval_id))
    for grant in ranked:
        found = fault(grant, wanted)
        if found is not None:
            return found
    return Fault("approval_missing", "No approval of this step, for this plan and action, is known here.")


def _code(grant: Grant, wanted: Wanted) -> Code | None:
    if grant.state in _VOID:
        return _VOID[grant.state]
    checks: tuple[tuple[bool, Code], ...] = (
        (grant.state == "used", "approval_used"),
        (grant.over, "approval_expired"),
        (
            (grant.execution_id, grant.step_run_id) != (wanted.execution_id, wanted.step_run_id),
            "approval_other_step",
        ),
        (grant.plan_hash != wanted.plan_hash, "approval_other_plan"),
        (grant.action_hash != wanted.action_hash, "approval_other_action"),
        (grant.actor == wanted.requester, "approval_own"),
    )
    return next((code for holds, code in checks if holds), None)


def _closeness(grant: Grant, wanted: Wanted) -> int:
    same = (
        grant.step_run_id == wanted.step_run_id,
        grant.plan_hash == wanted.plan_hash,
        grant.action_hash == wanted.action_hash,
    )
    return sum(same)


def _sentence(code: Code, grant: Grant, wanted: Wanted) -> str:
    says = {
        "approval_expired": "has expired: it was not decided, or not used, in time.",
        "approval_used": "was used already, and an approval is for one time.",
        "approval_revoked": f"was revoked by {grant.actor}.",
        "approval_rejected": f"was rejected by {grant.actor}.",
        "approval_other_plan": f"is for another plan: {_ends(grant.plan_hash, wanted.plan_hash)}.",
        "approval_other_action": f"is for another action: {_ends(grant.action_hash, wanted.action_hash)}.",
        "approval_other_step": "is for another execution or step.",
        "approval_own": f"was granted by {grant.actor}, who asked for it: that takes two people.",
    }
    return f"Approval {grant.approval_id} {says[code]}"


def _ends(approved: str, present: str) -> str:
    return f"approved was {approved[:_SHOWN] or 'none'}, present is {present[:_SHOWN] or 'none'}"
