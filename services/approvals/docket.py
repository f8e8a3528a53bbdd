"""What one execution asked for, and what its facts make of it: pure, so that any order of facts can be tried."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from pydantic import ValidationError

from libs.common.contracts.approval import approval_id
from libs.common.contracts.envelope import Envelope
from libs.common.contracts.execution import ExecutionBlocked
from libs.common.contracts.fact import describe
from libs.common.errors import InvalidInput
from libs.runbook import forms
from services.approvals.model import Approval, Told, requested, withdrawn

MAX_PROMPT: Final = 8000
MAX_SECONDS: Final = 366 * 86_400.0
MAX_TIMES: Final = 10
REMIND: Final = (0.5, 0.9)
"""When those who may decide are reminded of a question that does not say it, as parts of its time."""
UNREMINDED_SECONDS: Final = 60.0
"""Who is asked for a shorter time than this is not reminded, unless the question says so."""


@dataclass(frozen=True, slots=True)
class Known:
    """A question that was asked before, in whatever state it is now."""

    approval_id: str
    step_run_id: str
    asked_version: int


@dataclass(slots=True)
class Docket:
    """One execution, locked: whether it has ended, every question it asked, and those that are open.

    `story` grows by one for each fact to tell; `open` holds what is still to be decided.
    """

    ended: bool
    known: dict[str, Known] = field(default_factory=dict)
    open: dict[str, Approval] = field(default_factory=dict)
    story: list[Told] = field(default_factory=list)

    def ask(self, approval: Approval, *, origin: int = 0) -> None:
        """Ask, unless it was asked before, the execution has ended, or the same step asked something newer.

        An older open question of the same step is about bytes that will not run any more: it is withdrawn.
        """
        same_step = [item for item in self.known.values() if item.step_run_id == approval.step_run_id]
        newer = any(item.asked_version >= approval.asked_version for item in same_step)
        if self.ended or approval.approval_id in self.known or newer:
            return
        for item in same_step:
            if item.approval_id in self.open:
                self._withdraw_superseded(item.approval_id, now=approval.requested_at, origin=origin)
        self.known[approval.approval_id] = Known(approval.approval_id, approval.step_run_id, approval.asked_version)
        self.open[approval.approval_id] = approval
        self.story.append(requested(approval, origin=origin))

    def end(self, *, now: datetime, origin: int = 0) -> None:
        """The execution ended: nobody is asked any more, now or later."""
        self.ended = True
        for approval in [self.open[key] for key in sorted(self.open)]:
            self.story.append(withdrawn(approval, "execution_ended", now=now, origin=origin))
        self.open.clear()

    def _withdraw_superseded(self, key: str, *, now: datetime, origin: int) -> None:
        self.story.append(withdrawn(self.open.pop(key), "superseded", now=now, origin=origin))


def question(fact: ExecutionBlocked, envelope: Envelope, *, now: datetime, default_seconds: float) -> Approval:
    """What `fact` asks a person.

    Raises:
        InvalidInput: it does not say what exactly is to be approved, or who asks; such a question has no answer.
    """
    of = fact.approval_of or "action"
    wanted = ["step_run_id", "plan_hash", "requester", *(["action_hash"] if of == "action" else [])]
    missing = [name for name in wanted if not getattr(fact, name)]
    if missing:
        raise InvalidInput(f"runbook.blocked asks for an approval and lacks: {', '.join(missing)}")
    try:
        forms.read(fact.form or {})
    except (ValidationError, TypeError, AttributeError) as error:
        told = describe(error) if isinstance(error, ValidationError) else str(error)
        raise InvalidInput(f"runbook.blocked names a form that cannot be filled in: {told}") from None
    seconds = default_seconds if fact.expires_seconds is None else min(MAX_SECONDS, max(0.0, fact.expires_seconds))
    action_hash = "" if of == "plan" else fact.action_hash or ""
    step_run_id, plan_hash = fact.step_run_id or "", fact.plan_hash or ""
    return Approval(
        tenant=envelope.tenant,
        approval_id=approval_id(
            tenant=envelope.tenant,
            execution_id=fact.execution_id,
            step_run_id=step_run_id,
            plan_hash=plan_hash,
            action_hash=action_hash,
        ),
        execution_id=fact.execution_id,
        step_run_id=step_run_id,
        plan_hash=plan_hash,
        action_hash=action_hash,
        incident_id=fact.incident_id,
        runbook_id=fact.runbook_id,
        step=fact.step,
        of=of,
        action=fact.action or "",
        resource_id=_text(fact.resource_id or ""),
        risk=fact.risk or "high",
        prompt=_text(fact.prompt or fact.detail),
        requester=fact.requester or "",
        approvers=tuple(fact.approvers or ()),
        asked_version=envelope.aggregate_version,
        correlation=envelope.correlation,
        traceparent=envelope.traceparent,
        requested_at=now,
        expires_at=now + timedelta(seconds=seconds),
        groups=tuple(fact.groups or ()),
        quorum=max(1, fact.quorum or 1),
        reminders=_reminders(fact, seconds),
        escalation=tuple(level for level in (fact.escalation or ())[:MAX_TIMES] if level.after_seconds < seconds),
        form=fact.form or {},
        arguments=fact.arguments or {},
        environment=envelope.marking.environment,
        clearance=envelope.marking.clearance,
    )


def _reminders(fact: ExecutionBlocked, seconds: float) -> tuple[float, ...]:
    """After how many seconds it is reminded; never when it is over anyway."""
    asked = fact.remind_after_seconds
    if asked is None:
        asked = [seconds * part for part in REMIND] if seconds >= UNREMINDED_SECONDS else []
    return tuple(sorted(after for after in asked[:MAX_TIMES] if 0 < after < seconds))


def _text(text: str) -> str:
    """As it can be stored: what outsiders wrote may have come into it."""
    return text.replace("\x00", "\ufffd")[:MAX_PROMPT]
