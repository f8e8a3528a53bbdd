"""What the services' answers look like, for the description alone: they pass through unchanged and are not checked.

Each says the fields that callers may rely on; a service may add more. In a page, `next` is the `after` of the page
behind it, and null at the end.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """Base: fields that are not named here may be there too."""

    model_config = ConfigDict(extra="allow")


class Incident(Answer):
    """An incident in brief."""

    incident_id: str
    title: str
    severity: str
    status: str
    owner: str | None
    tags: list[str] | None
    sla_deadline: str | None
    opened_at: str


class Incidents(Answer):
    """Incidents, newest first."""

    items: list[Incident]
    next: str | None


class Provenance(Answer):
    """Where a chain ends in the log: its newest leaf's number in the chain, and index; or `missing`, the reason."""

    n: int | None = None
    index: int | None = None
    missing: str | None = None


class Composed(Incident):
    """An incident with what other services know of it; who did not answer is named in `unanswered`, with the reason.

    `provenance_hash` is the hash of the newest leaf of its chain in the log; null with the reason in `provenance`.
    """

    alerts: list[dict[str, Any]]
    executions: list[dict[str, Any]]
    approvals: list[dict[str, Any]]
    timeline: list[dict[str, Any]]
    timeline_next: int | None
    unanswered: dict[str, str]
    provenance_hash: str | None
    provenance: Provenance


class Runbook(Answer):
    """A version of a runbook, without its text; null where there is only a draft."""

    runbook_id: str
    version: int | None
    spec_hash: str
    name: str
    risk: str
    tags: list[str]


class Runbooks(Answer):
    """The newest version of each runbook, in the order of ids."""

    runbooks: list[Runbook]
    next: str | None


class Stored(Answer):
    """A published version, or a stored draft."""

    runbook_id: str
    spec_hash: str


class Plan(Answer):
    """What executing a runbook would do: hashes, inputs, steps, locks with their holders, approvals, guards, policy.

    `hindrances` says in words what stands in its way: `kind` is refused, fails, skips or waits. A text in a step's
    `values` that depends on what earlier steps answer is shown as it is written; `known_after` names those steps.
    """

    runbook_id: str
    runbook_version: int
    spec_hash: str
    plan_hash: str
    inputs: dict[str, Any]
    incident_id: str
    alert: dict[str, Any] | None
    policy: dict[str, Any]
    kill_switch: dict[str, Any]
    steps: list[dict[str, Any]]
    locks: list[dict[str, Any]]
    approvals: list[dict[str, Any]]
    guards: list[dict[str, Any]]
    hindrances: list[dict[str, Any]]


class Execution(Answer):
    """An execution: `state` is pending, running, blocked, failed, aborted or completed."""

    execution_id: str
    state: str


class Commanded(Execution):
    """How an execution stands after a command; what the command met is there by name."""

    phase: str | None
    blocked_reason: str | None
    paused: bool


class Retried(Answer):
    """The new execution, the one that it goes on with, where it begins, and what is carried over."""

    execution_id: str
    retry_of: str
    retry_from: str
    carried: list[str]


class Executions(Answer):
    """Executions, newest first."""

    items: list[Execution]
    next: str | None


class ExecutionWhole(Execution):
    """An execution with the steps of its outermost sequence and those under way inside them, and their attempts.

    `parts` of a step that holds others says how far they are; `GET /executions/{id}/steps` lists all of them.
    `waits_for` says what somebody, or a guard, holds it with: a place in a queue, a lock, a budget, a cool-down or a
    breaker, since and until when, and in words. `provenance_hash` is the hash of the newest leaf of its chain in the
    log; null with the reason in `provenance`.
    """

    phase: str | None
    blocked_reason: str | None
    steps: list[dict[str, Any]]
    waits_for: list[dict[str, Any]]
    provenance_hash: str | None
    provenance: Provenance


class Steps(Answer):
    """Steps by path, each before what is inside it; `next` is the `after` of the next page."""

    items: list[dict[str, Any]]
    next: str | None


class Switches(Answer):
    """The kill switches that concern the caller."""

    items: list[dict[str, Any]]


class Locks(Answer):
    """Locks with holder and waiters, concurrency keys with holders and queue, and changes that a guard holds."""

    locks: list[dict[str, Any]]
    places: list[dict[str, Any]]
    held: list[dict[str, Any]]


class Breakers(Answer):
    """Breakers: `state` is open or closed."""

    items: list[dict[str, Any]]


class Accepted(Answer):
    """Where an alert is stored."""

    accepted: int
    stream: str
    seq: int


class Token(Answer):
    """An API token without its secret: `state` is live, expired or revoked."""

    token_id: str
    name: str
    state: str
    owner: str
    tenants: list[str]
    roles: list[str]
    scopes: list[str]
    created_at: str
    expires_at: str
    last_used_at: str | None
    made_with: str | None
    revoked_at: str | None
    revoked_by: str | None


class NewToken(Token):
    """A token with its secret, which nobody is shown again."""

    token: str


class RevokedToken(Token):
    """A token that is over; `ended` are those that this has ended, itself and what was made with it."""

    ended: list[str]


class Tokens(Answer):
    """API tokens, newest first."""

    items: list[Token]
    next: str | None


class Senders(Answer):
    """Who may send alerts."""

    items: list[dict[str, Any]]


class Me(Answer):
    """The caller: `method` is the kind of credential, `tenant` the one that it acts for in this request."""

    actor: str
    tenant: str
    tenants: list[str]
    roles: list[str]
    scopes: list[str]
    environments: list[str]
    clearance: int
    groups: list[str]
    on_call: list[str]
    method: str
    kind: str
    mfa: bool
    token_id: str | None
    expires_at: str | None


class Principals(Answer):
    """What the directory says of each person; null where it says nothing."""

    items: list[dict[str, Any]]


class Flag(Answer):
    """A part of the product, and whether the caller's tenant has it."""

    name: str
    about: str
    enabled: bool


class Flags(Answer):
    """Every flag."""

    items: list[Flag]


class Simulated(Answer):
    """One decision a question, in their order: `allow`, `reasons` with text and fix, and `obligations`."""

    decisions: list[dict[str, Any]]
