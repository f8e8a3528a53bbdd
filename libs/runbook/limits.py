"""Limits across the executions of a runbook: how many at once, how often, how much they may change, and when to stop.

Only their shapes: who may pass is decided by the executor, under its locks. What `key` names is shared by every runbook
of the tenant that renders the same text there; without a key, a limit is the runbook's own.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, StrictInt

from libs.runbook.elements import Duration, Element, TemplateText

Policy: TypeAlias = Literal["queue", "reject", "replace"]


class Concurrency(Element):
    """At most `limit` executions with this key live at once; `policy` says what becomes of one more.

    `queue`: it waits, in the order of arrival. `reject`: it ends failed. `replace`: the oldest of the others is
    aborted, and whatever was queued before it.
    """

    key: TemplateText
    policy: Policy
    limit: Annotated[StrictInt, Field(ge=1, le=1000)] = 1


class RateLimit(Element):
    """At most so many executions within any `per`; one more ends failed, and says when it may run again."""

    executions: Annotated[StrictInt, Field(ge=1, le=10_000)]
    per: Duration
    key: TemplateText | None = None


class Budget(Element):
    """The blast radius: at most so many distinct resources are changed within any `window`; what would be one more
    waits.
    """

    resources: Annotated[StrictInt, Field(ge=1, le=10_000)]
    window: Duration
    key: TemplateText | None = None


class Breaker(Element):
    """After so many failed executions on one resource within `window`, this runbook changes it no more until a person
    lets it.
    """

    failures: Annotated[StrictInt, Field(ge=1, le=100)]
    window: Duration
