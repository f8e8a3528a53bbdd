"""Who publishes which fact, who listens, and why. The row comes first: publishing a fact not listed here raises.

Wiring reads this table, provisioning makes JetStream's consumers from it, `docs/choreography.md` is rendered from it,
and tests compare it with the server's own consumers and with the traffic of a scenario.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from libs.common.contracts import access, alert, approval, denial, execution, incident, runbook
from libs.common.contracts.fact import Fact

SERVICES: Final = ("gateway", "incident", "catalog", "executor", "approvals", "timeline")
EXPORTER: Final = "exporter"
"""Copies the log to where it is kept; reads of the database what it copies, with a role of its own."""
IDENTITIES: Final = (*SERVICES, "worker", EXPORTER)
"""Who signs in to the bus, each with a key of its own."""
ADMIN: Final = "admin"
"""Who provisions, and looks in from outside. May ask everybody everything, and what else there is."""

INGRESS: Final = "INGRESS"
EVENTS: Final = "EVENTS"
DLQ: Final = "DLQ"
ADVISORY: Final = "ADVISORY"

STREAMS: Final[Mapping[str, tuple[str, ...]]] = {
    INGRESS: ("alert.*",),
    EVENTS: ("incident.*", "runbook.*", "approval.*", "access.*"),
    DLQ: ("dlq.>",),
    ADVISORY: ("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>",),
}


class UnlistedFact(RuntimeError):
    """A service tried to publish what the choreography does not give to it: add the row first."""


@dataclass(frozen=True, slots=True)
class Row:
    """One fact: its payload class, its sole publisher, the services that act on it, and the reason it exists.

    The timeline hears everything on EVENTS and is therefore not repeated in `consumers`.
    """

    fact: type[Fact]
    publisher: str
    consumers: tuple[str, ...]
    why: str

    @property
    def subject(self) -> str:
        """The subject on EVENTS."""
        return self.fact.subject


@dataclass(frozen=True, slots=True)
class Intake:
    """What outsiders post on INGRESS: not yet a fact."""

    subject: str
    consumers: tuple[str, ...]
    why: str


INTAKES: Final = (
    Intake(alert.SUBJECT_EVENT, ("incident",), "alerts in our own body or as a structured CloudEvent"),
    Intake(alert.SUBJECT_ALERTMANAGER, ("incident",), "Alertmanager's webhook, version 4"),
)

ROWS: Final = (
    Row(incident.IncidentCreated, "incident", ("catalog", "executor"), "find a runbook; know that the alert fires"),
    Row(incident.AlertLinked, "incident", ("executor",), "the alert fires again: what requires it may run"),
    Row(incident.AlertResolved, "incident", ("executor",), "verifies executions; holds back what requires the alert"),
    Row(incident.IncidentStatusChanged, "incident", (), "the audit trail of the lifecycle"),
    Row(incident.SeverityChanged, "incident", (), "who judged it otherwise, and why"),
    Row(incident.OwnerChanged, "incident", (), "who is responsible"),
    Row(incident.RunbookLinked, "incident", (), "what people found to belong to it"),
    Row(incident.RemediationFailed, "incident", (), "people look for it; not a status"),
    Row(runbook.RunbookPublished, "catalog", (), "provenance: who made which content public"),
    Row(runbook.RunbookMatched, "catalog", ("executor",), "the executor plans it"),
    Row(execution.ExecutionPlanned, "executor", ("incident",), "what exactly would run, by hash; may open an incident"),
    Row(execution.ExecutionBlocked, "executor", ("approvals",), "someone has to act: an approval is asked for"),
    Row(execution.ExecutionUnblocked, "executor", (), "someone did"),
    Row(execution.ExecutionStarted, "executor", ("incident",), "the incident is mitigating"),
    Row(execution.StepCompleted, "executor", (), "an effect took place"),
    Row(execution.StepFailed, "executor", (), "an effect did not take place, or is tried again"),
    Row(execution.StepSkipped, "executor", (), "a condition left a step out"),
    Row(execution.StepUnknown, "executor", (), "nobody knows whether an effect took place"),
    Row(execution.StepDecided, "executor", (), "a person said what became of it, or how it goes on"),
    Row(execution.StepOutlived, "executor", (), "whether what an ended execution left under way could be stopped"),
    Row(execution.ExecutionPaused, "executor", (), "who holds it, and why"),
    Row(execution.ExecutionResumed, "executor", (), "who lets it go on"),
    Row(execution.ExecutionSignalled, "executor", (), "who told it of which event, and why"),
    Row(execution.ExecutionRollingBack, "executor", (), "what was changed is being taken back, and what for"),
    Row(execution.ExecutionTerminated, "executor", (), "who ended it by force, and what could not be stopped"),
    Row(
        execution.ExecutionCompleted,
        "executor",
        ("incident", "approvals"),
        "the incident is monitored; nobody is asked",
    ),
    Row(execution.ExecutionFailed, "executor", ("incident", "approvals"), "it did not help: flagged; nobody is asked"),
    Row(
        execution.ExecutionAborted, "executor", ("incident", "approvals"), "the incident is flagged: a person ended it"
    ),
    Row(execution.LockBroken, "executor", (), "who took a resource from whom, and why"),
    Row(execution.KillSwitchChanged, "executor", (), "who held back mutations, when and why"),
    Row(execution.BreakerOpened, "executor", (), "a runbook fails again and again on one resource: a person looks"),
    Row(execution.BreakerReset, "executor", (), "who let it change that resource again, and why"),
    Row(approval.ApprovalRequested, "approvals", (), "a person is asked, until when, about which plan and action"),
    Row(approval.ApprovalVoted, "approvals", (), "one of several who have to agree has, and why"),
    Row(approval.ApprovalVoteWithdrawn, "approvals", (), "who took their yes back while it was open, and why"),
    Row(approval.ApprovalReminded, "approvals", (), "whoever may decide is told again that somebody waits"),
    Row(approval.ApprovalEscalated, "approvals", (), "the next level may decide too from now on"),
    Row(approval.ApprovalGranted, "approvals", ("executor",), "the step may be carried out, once"),
    Row(approval.ApprovalRejected, "approvals", ("executor",), "the step fails: a person said no"),
    Row(approval.ApprovalExpired, "approvals", ("executor",), "the step fails: nobody said yes in time"),
    Row(approval.ApprovalRevoked, "approvals", (), "who took a grant back; the executor had it first, by request"),
    Row(approval.ApprovalWithdrawn, "approvals", (), "nobody is asked any more, though nobody decided"),
    Row(access.TokenCreated, "gateway", (), "who made which key for themselves, and what it may open until when"),
    Row(access.TokenRevoked, "gateway", (), "which key opens nothing any more, and who said so"),
    Row(access.BreakGlassUsed, "gateway", (), "who broke the seal, and why"),
    Row(access.FlagChanged, "gateway", (), "who switched which part of the product, for whom, and why"),
    Row(access.EvidenceOpened, "gateway", (), "who could read which evidence, and until when"),
    Row(
        access.EvidenceHeld, "gateway", (), "whose evidence is not to be deleted, and who said so; the timeline does it"
    ),
    Row(access.EvidenceReleased, "gateway", (), "whose evidence may be deleted again, and who said so"),
    Row(access.EventRedacted, "gateway", (), "what is not to be read any more, who said so, and why"),
    Row(denial.IncidentActionDenied, "incident", (), "who wanted to change an incident and may not"),
    Row(denial.DraftDenied, "catalog", (), "who wanted to write or publish a runbook and may not"),
    Row(denial.ExecutionDenied, "executor", (), "who wanted to start or steer an execution and may not"),
    Row(denial.DecisionDenied, "approvals", (), "who wanted to decide and may not"),
    Row(access.AccessDenied, "gateway", (), "who knocked at a door that stayed shut"),
)


@dataclass(frozen=True, slots=True)
class Ask:
    """Which questions and commands one process may put to a service, and why: `rpc.<asked>.<verb>`, `*` for all."""

    asker: str
    asked: str
    verbs: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Note:
    """A word on core NATS that may be lost without harm: its subject, its sole sender, and who listens."""

    subject: str
    sender: str
    listeners: tuple[str, ...]
    why: str


_ALL: Final = ("*",)

ASKS: Final = (
    Ask("gateway", "incident", _ALL, "requests from outside, in the caller's name"),
    Ask("gateway", "catalog", _ALL, "requests from outside, in the caller's name"),
    Ask("gateway", "executor", _ALL, "requests from outside, in the caller's name"),
    Ask("gateway", "approvals", _ALL, "requests from outside, in the caller's name"),
    Ask("gateway", "timeline", _ALL, "requests from outside, in the caller's name"),
    Ask("executor", "catalog", ("get_version",), "the content of a runbook, to plan it and to go on with it"),
    Ask("executor", "incident", ("get",), "what the alert said, which a plan is filled in with"),
    Ask("approvals", "executor", ("revoke_approval",), "the executor holds the copy of a grant that counts"),
    Ask("worker", "timeline", ("leaves", "list"), "evidence.bundle keeps what the log holds of an incident"),
)

NOTES: Final = (
    Note(
        "timeline.position",
        "timeline",
        (*(service for service in SERVICES if service != "timeline"), EXPORTER),
        "how far the log has come: an outbox lets its rows go, and what is new is copied",
    ),
)

BY_SUBJECT: Final[Mapping[str, Row]] = {row.subject: row for row in ROWS}


def consumers() -> dict[tuple[str, str], tuple[str, ...]]:
    """Filter subjects by (stream, durable): one durable a service and stream, named after the service."""
    wanted: dict[tuple[str, str], list[str]] = {}
    for intake in INTAKES:
        for service in intake.consumers:
            wanted.setdefault((INGRESS, service), []).append(intake.subject)
    for row in ROWS:
        for service in row.consumers:
            wanted.setdefault((EVENTS, service), []).append(row.subject)
    wanted[EVENTS, "timeline"] = list(STREAMS[EVENTS])
    return {key: tuple(sorted(subjects)) for key, subjects in wanted.items()}


def check_publisher(service: str, subjects: Iterable[str]) -> None:
    """Refuse facts that the table does not give to `service`.

    Raises:
        UnlistedFact: naming the fact and its owner.
    """
    for subject in subjects:
        row = BY_SUBJECT.get(subject)
        if row is None:
            raise UnlistedFact(f"{subject} has no row in choreography.py")
        if row.publisher != service:
            raise UnlistedFact(f"{subject} is published by {row.publisher}, not by {service}")
