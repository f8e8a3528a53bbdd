"""Scenarios as authors write them: the occasion, what the world answers, and what must come of it.

    scenarios:
      - name: The standby takes over
        alert: {name: api_down, severity: high, labels: {host: web-1}, ends: {after: restart, in: 20s}}
        results: {probe: {outputs: {status: 503}}, restart: [times_out, succeeds]}
        answers: {agree: granted, look: {is: done, values: {verdict: good}, in: 5m}}
        simulate_failures: [notify-ok]
        events: [{at: 2m, abort: it was a drill}]
        expect: {state: completed, steps: {probe: failed, restart: succeeded}, verified: true}

A list of results is one an attempt, the last one for all that follow; a list of answers one a question, and then nobody
answers. Keys of `results` and `answers` are ids of steps, or paths (`each/3/drain`), which come first.
`alert`, `inputs`, `results` and `answers` above the list count for every scenario that does not say otherwise.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictStr, StringConstraints, model_validator

from libs.runbook.elements import Duration, Element, ErrorCode, InputValue, Line, Severity, Slug, Text

Ending: TypeAlias = Literal["succeeds", "fails", "times_out", "dies_before", "dies_after", "lock_held"]
AnswerKind: TypeAlias = Literal[
    "granted", "rejected", "revoked", "done", "failed", "succeeded", "abort", "retry", "skip", "comes", "nobody"
]
StepPath: TypeAlias = Annotated[StrictStr, StringConstraints(min_length=1, max_length=400)]
HAPPENINGS = ("alert", "abort", "fail", "pause", "resume", "rollback", "signal")


def _as_is(data: Any) -> Any:
    return {"is": data} if isinstance(data, str) else data


def _as_list(data: Any) -> Any:
    return data if isinstance(data, list) else [data]


def _some(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """Counted after the items are sound, so that a faulty only one is not also reported as none."""
    if not items:
        raise ValueError("is empty; write at least one, or leave it out")
    return items


class Result(Element):
    """How one attempt goes. `harmless`: a failure that certainly changed nothing. `takes`: how long it lasts."""

    how: Ending = Field(default="succeeds", alias="is")
    outputs: dict[str, Any] | None = None
    code: ErrorCode = "failed"
    message: Text = "it failed"
    retryable: StrictBool = False
    harmless: StrictBool = False
    takes: Duration | None = None


class Answer(Element):
    """What a person says, `in` some time after being asked, or an event that comes."""

    how: AnswerKind = Field(alias="is")
    delay: Duration | None = Field(default=None, alias="in")
    values: dict[str, InputValue] = Field(default={})
    evidence: Text = ""
    data: dict[str, Any] = Field(default={})


Results: TypeAlias = Annotated[
    tuple[Annotated[Result, BeforeValidator(_as_is)], ...], BeforeValidator(_as_list), AfterValidator(_some)
]
Answers: TypeAlias = Annotated[
    tuple[Annotated[Answer, BeforeValidator(_as_is)], ...], BeforeValidator(_as_list), AfterValidator(_some)
]


def _as_end(data: Any) -> Any:
    if data == "never":
        return {"never": True}
    return {"in": data} if isinstance(data, str) else data


class AlertEnd(Element):
    """When the alert ends: some time after a step has succeeded, or after the beginning; or never."""

    after: StepPath | None = None
    delay: Duration | None = Field(default=None, alias="in")
    never: StrictBool = False


class Alert(Element):
    """The alert of the occasion; it ends after the last step if `ends` does not say when."""

    name: Line
    severity: Severity = "high"
    labels: dict[str, str] = Field(default={})
    annotations: dict[str, str] = Field(default={})
    ends: Annotated[AlertEnd, BeforeValidator(_as_end)] | None = None


class Event(Element):
    """One thing that happens by itself, some time after the beginning."""

    at: Duration
    alert: Literal["ends", "fires"] | None = None
    abort: Line | None = None
    fail: Line | None = None
    pause: Line | None = None
    resume: Line | None = None
    rollback: Line | None = None
    signal: Slug | None = None
    data: dict[str, Any] = Field(default={})

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if sum(getattr(self, key) is not None for key in HAPPENINGS) != 1:
            raise ValueError(f"say one thing that happens: {', '.join(HAPPENINGS)}")
        return self


class Notification(Element):
    """A message that must have been handed over."""

    channel: Line | None = None
    message: Text | None = None
    severity: Severity | None = None


class Expected(Element):
    """What must come of it; what is not named may be as it likes.

    `steps` are all that were reached, in their order; `errors`, `outputs`, `sent` (arguments of the last attempt) and
    `attempts` are looked at for the steps that they name; `notifications` are all, in their order, as far as they say.
    """

    state: Literal["completed", "failed", "aborted", "hangs"] | None = None
    reason: StrictStr | None = None
    steps: dict[StepPath, StrictStr] | None = None
    errors: dict[StepPath, StrictStr] = Field(default={})
    outputs: dict[StepPath, dict[str, Any]] = Field(default={})
    sent: dict[StepPath, dict[str, Any]] = Field(default={})
    attempts: dict[StepPath, int] = Field(default={})
    asked: tuple[StepPath, ...] | None = None
    notifications: tuple[Notification, ...] | None = None
    verified: StrictBool | None = None
    within: Duration | None = None


class Shared(Element):
    """What a scenario says of its world."""

    alert: Alert | None = None
    inputs: dict[str, InputValue] = Field(default={})
    results: dict[StepPath, Results] = Field(default={})
    answers: dict[StepPath, Answers] = Field(default={})


class Scenario(Shared):
    """One story, and how it must end."""

    name: Line
    started_by: Literal["alert", "person"] = "alert"
    simulate_failures: tuple[StepPath, ...] = ()
    events: tuple[Event, ...] = ()
    begins: StrictStr | None = None
    expect: Expected = Expected()

    def with_shared(self, shared: Shared) -> Self:
        """The scenario with what the file says for all; its own words come first."""
        merged: Mapping[str, Any] = {
            "alert": self.alert or shared.alert,
            **{key: {**getattr(shared, key), **getattr(self, key)} for key in ("inputs", "results", "answers")},
        }
        return self.model_copy(update=merged)


class ScenarioFile(Shared):
    """A file of scenarios. `runbook` is the id of the runbook that they are for, if it says so."""

    runbook: Slug | None = None
    scenarios: Annotated[tuple[Scenario, ...], AfterValidator(_some), Field(max_length=500)]
