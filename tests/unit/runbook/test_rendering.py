"""A rendered action is bytes: equal scope, equal bytes, equal hash; anything unclear halts the step."""

from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from libs.runbook.advance import advance
from libs.runbook.canonical import MAX_INTEGER, OutsideProfile, canonical
from libs.runbook.durations import milliseconds
from libs.runbook.facts import Started, StepSucceeded
from libs.runbook.frame import Frame
from libs.runbook.planning import make_plan
from libs.runbook.rendering import RenderRefused, render_action, scope_of
from libs.runbook.spec import Runbook
from tests.unit.runbook.samples import occasion, runbook

REROUTE = {
    "id": "reroute",
    "with": {"url": "${{ inputs.target }}/reroute", "json": {"from": "${{ inputs.shard }}"}},
    "resource": "ingest/${{ inputs.shard }}",
    "target": {"tags": {"url": "${{ inputs.target }}/tags"}},
    "timeout": "10s",
}
INPUTS = {"target": {"from": "${{ alert.annotations.target }}"}, "shard": {"from": "${{ alert.labels.shard }}"}}
SPEC = runbook(REROUTE, inputs=INPUTS)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(max_codepoint=0xD7FF)), inner),
    max_leaves=20,
)


def scope(spec: Runbook, frame: Frame | None = None, **facts: Any) -> dict[str, Any]:
    plan = make_plan(spec, {}, occasion(**facts))
    return scope_of(plan.inputs, occasion(**facts), frame or Frame())


def test_a_step_is_rendered_from_inputs() -> None:
    action = render_action(SPEC, "reroute", scope(SPEC))

    assert action.arguments == {"url": "http://127.0.0.1:9/reroute", "json": {"from": "shard-1"}}
    assert (action.resource, action.tags_url) == ("ingest/shard-1", "http://127.0.0.1:9/tags")
    assert action.timeout_seconds == 10.0


def test_equal_scopes_give_equal_bytes_and_other_scopes_other_hashes() -> None:
    first, again = (render_action(SPEC, "reroute", scope(SPEC)) for _ in range(2))
    other = render_action(SPEC, "reroute", scope(SPEC, labels={"shard": "shard-9"}))

    assert first == again
    assert first.action_hash != other.action_hash


def test_what_is_hashed_holds_everything_that_is_carried_out() -> None:
    changes: list[dict[str, Any]] = [
        {"action": "shell.run"},
        {"effect": "keyed"},
        {"resource": "other"},
        {"timeout": "11s"},
        {"target": {"tags": {"url": "http://elsewhere/tags"}}},
        {"with": {}},
    ]
    specs = [SPEC, *[runbook({**REROUTE, **change}, inputs=INPUTS) for change in changes]]

    assert len({render_action(spec, "reroute", scope(spec)).action_hash for spec in specs}) == len(specs)


def test_outputs_of_earlier_steps_are_in_scope_once_they_succeeded() -> None:
    spec = runbook({"id": "probe"}, {"id": "act", "with": {"host": "${{ steps.probe.outputs.host }}"}})
    started, _ = advance(spec, Frame(), [Started()])
    done, _ = advance(spec, started, [StepSucceeded("probe", 1, {"host": "h1"})])

    assert render_action(spec, "act", scope(spec, done)).arguments == {"host": "h1"}
    with pytest.raises(RenderRefused, match=r"act: steps.probe.outputs.host: nothing at steps.probe"):
        render_action(spec, "act", scope(spec, started))


@pytest.mark.parametrize(
    ("output", "says"), [(1.5, "floats are not hashed"), (2**60, "integers must lie"), ("x" * 300_000, "bytes long")]
)
def test_an_output_that_cannot_be_hashed_halts_the_step(output: Any, says: str) -> None:
    spec = runbook({"id": "probe"}, {"id": "act", "with": {"x": "${{ steps.probe.outputs.x }}"}})
    frame, _ = advance(spec, Frame(), [Started(), StepSucceeded("probe", 1, {"x": output})])

    with pytest.raises(RenderRefused, match=says):
        render_action(spec, "act", scope(spec, frame))


@pytest.mark.parametrize("value", ["", "a\x00b", "x" * 513, 7])
def test_a_lock_key_is_text_of_reasonable_length(value: Any) -> None:
    spec = runbook({"id": "a", "resource": "${{ inputs.key }}"})

    with pytest.raises(RenderRefused, match="resource "):
        render_action(spec, "a", {"inputs": {"key": value}})


@given(JSON)
def test_canonical_bytes_are_those_of_rfc_8785(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    ("value", "path"), [({"a": [1.0]}, "a[0]"), ({"a": {1: 2}}, "a"), ({"a": b"x"}, "a"), ({"a": 2**53}, "a")]
)
def test_what_is_outside_the_profile_is_named(value: Any, path: str) -> None:
    with pytest.raises(OutsideProfile) as outside:
        canonical(value)

    assert outside.value.path == path


def test_a_value_nested_without_end_is_outside_the_profile() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(OutsideProfile, match="nested deeper than 64"):
        canonical(endless)


@pytest.mark.parametrize(("text", "value"), [("500ms", 500), ("60s", 60_000), ("10m", 600_000), ("1h", 3_600_000)])
def test_durations_are_a_number_and_a_unit(text: str, value: int) -> None:
    assert milliseconds(text) == value


@pytest.mark.parametrize("text", ["", "0s", "1", "s", "1.5s", "-1s", "1 s", "1d", "01s", "169h", "1s\n", "\u0661s"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be a whole number|longer than seven days"):
        milliseconds(text)


def test_a_frame_with_other_outputs_is_another_frame() -> None:
    frame, _ = advance(SPEC, Frame(), [Started()])
    (run,) = frame.step_runs

    assert replace(frame, step_runs=(replace(run, outputs={"x": 1}),)) != frame


def test_a_check_and_a_notification_are_rendered_as_actions() -> None:
    spec = runbook(
        {"id": "look", "type": "check", "action": "http.request", "with": {"url": "x"}, "expect": "outputs.ok == true"},
        {
            "id": "tell",
            "type": "notify",
            "channel": "ops",
            "message": "${{ inputs.shard }} is slow",
            "severity": "low",
        },
        inputs=INPUTS,
    )

    look, tell = (render_action(spec, path, scope(spec)) for path in ("look", "tell"))

    assert (look.action, look.arguments, look.effect) == ("http.request", {"url": "x"}, "read")
    assert tell.arguments == {"channel": "ops", "message": "shard-1 is slow", "severity": "low"}
    assert (tell.action, tell.effect, tell.resource, tell.tags_url) == ("notify.send", "idempotent", None, None)


def test_what_a_person_is_asked_to_do_by_hand_has_a_hash_of_its_own() -> None:
    step = {"id": "a", "type": "manual", "instructions": "Look at ${{ inputs.shard }}", "form": {"n": {}}}
    changes: list[dict[str, Any]] = [{}, {"form": {}}, {"evidence": "required"}, {"instructions": "Look away"}]
    specs = [runbook({**step, **change}, inputs=INPUTS) for change in changes]

    actions = [render_action(spec, "a", scope(spec)) for spec in specs]

    assert (actions[0].action, actions[0].arguments["instructions"]) == ("manual", "Look at shard-1")
    assert len({action.action_hash for action in actions}) == len(specs)


@pytest.mark.parametrize(
    "step",
    [
        {"type": "wait", "for": "1s"},
        {"type": "approval", "prompt": "Go on?"},
        {"type": "check", "expect": "inputs.shard == 'x'"},
    ],
)
def test_what_nobody_carries_out_has_no_bytes(step: dict[str, Any]) -> None:
    with pytest.raises(RenderRefused, match="a: has nothing to carry out"):
        render_action(runbook({"id": "a", **step}, inputs=INPUTS), "a", {"inputs": {}})
