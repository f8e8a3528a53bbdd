"""Facts of access, published by the gateway: which credentials there are, and what it refused at the door.

No fact holds a secret, nor anything that a secret can be found from.
"""

from typing import ClassVar

from libs.common.contracts.fact import Fact


class TokenFact(Fact):
    """About one API token; its aggregate is the token's id. `owner` is whom it speaks for."""

    aggregate: ClassVar[str] = "token"
    token_id: str
    owner: str


class TokenCreated(TokenFact):
    """Somebody made a token for themselves. `made_with` is the token that they asked with, if it was one."""

    subject: ClassVar[str] = "access.token_created"
    name: str
    roles: list[str]
    tenants: list[str]
    scopes: list[str]
    expires_at: str
    made_with: str | None = None


class TokenRevoked(TokenFact):
    """It opens nothing any more. `because_of` is the token that it was made with, where that one was revoked."""

    subject: ClassVar[str] = "access.token_revoked"
    revoked_by: str
    because_of: str | None = None


class BreakGlassUsed(Fact):
    """The sealed account is in use until `until` (RFC 3339): told once an activation, not once a request."""

    subject: ClassVar[str] = "access.break_glass_used"
    aggregate: ClassVar[str] = "break_glass"
    activation_id: str
    actor: str
    tenants: list[str]
    rationale: str
    until: str


class FlagChanged(Fact):
    """A part of the product was switched: `state` is on, off or listed, which is on for `tenants` alone."""

    subject: ClassVar[str] = "access.flag_changed"
    aggregate: ClassVar[str] = "flag"
    flag: str
    state: str
    tenants: list[str]
    rationale: str
    changed_at: str


class EvidenceOpened(Fact):
    """`actor` was given a URL that reads an artefact without a credential until `expires_at` (RFC 3339).

    `index` is the leaf of the event that names it and that they may view; of a bundle that was made for them, which
    this fact names itself, that of its newest event. The URL itself stands nowhere.
    """

    subject: ClassVar[str] = "access.evidence_opened"
    aggregate: ClassVar[str] = "evidence_url"
    opening_id: str
    actor: str
    sha256: str
    kind: str
    index: int
    expires_at: str
    method: str
    decision_id: str
    policy_revision: str


class EvidenceHoldFact(Fact):
    """About what an incident's events name in the object store; the last of these in the log counts."""

    aggregate: ClassVar[str] = "evidence_hold"
    hold_id: str
    incident_id: str
    actor: str
    rationale: str
    decision_id: str
    policy_revision: str


class EvidenceHeld(EvidenceHoldFact):
    """No retention deletes any of it, until it is released."""

    subject: ClassVar[str] = "access.evidence_held"


class EvidenceReleased(EvidenceHoldFact):
    """It may be deleted again, once its retention is over."""

    subject: ClassVar[str] = "access.evidence_released"


class EventRedacted(Fact):
    """What the event at `index` of the log said was deleted for good, with what only it named, and why.

    The log itself says that it was, in a leaf (`redaction`) that proves nothing of what it said.
    """

    subject: ClassVar[str] = "access.event_redacted"
    aggregate: ClassVar[str] = "redaction"
    redaction_id: str
    index: int
    event_id: str
    actor: str
    rationale: str
    method: str
    decision_id: str
    policy_revision: str


class AccessDenied(Fact):
    """The gateway itself refused `actor` (`anonymous` where nobody proved who asks) an `action`.

    Told once an actor, action, reason and minute: repeating it floods nothing. `method` is the kind of credential.
    """

    subject: ClassVar[str] = "access.denied"
    aggregate: ClassVar[str] = "denial"
    denial_id: str
    actor: str
    action: str
    reason: str
    method: str
    decision_id: str | None = None
