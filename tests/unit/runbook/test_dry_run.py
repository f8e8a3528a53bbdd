"""A runbook as its dry run follows it: reads stand, changes are only tried on, what depends on them is left out."""

from typing import Any

from libs.runbook.advance import advance
from libs.runbook.dry_run import SIMULATE, dry, mark
from libs.runbook.effects import Effect, Finish, RequestApproval, RunAction, SetTimer
from libs.runbook.facts import Started, StepSucceeded
from libs.runbook.frame import Frame
from libs.runbook.spec import Runbook

LOOK = {
    "id": "look", "type": "check", "action": "http.request", "with": {"url": "http://t/"},
    "expect": "outputs.status == 200",
}  # fmt: skip
MOVE = {
    "id": "move", "type": "action", "action": "http.request", "with": {"url": "http://t/${{ steps.look.outputs.to }}"},
    "effect": "unsafe", "resource": "shard", "irreversible": True, "requires_firing": True, "on_failure": "ask",
}  # fmt: skip


def spec(*steps: dict[str, Any], **more: Any) -> Runbook:
    head = {"apiVersion": "ranger/v1", "id": "mend", "name": "Mend", "risk": "high", "mode": "approve"}
    verify = {"verify": {"alert": "resolved", "within": "60s"}, "on_failed": "rollback"}
    return Runbook.model_validate({**head, **verify, **more, "steps": list(steps)})


def marks(runbook: Runbook) -> dict[str, str]:
    return {name: mark(place.step) for name, place in dry(runbook).graph.places.items()}


def carried_through(runbook: Runbook) -> tuple[Frame, list[Effect]]:
    """Every action answers; what is asked for on the way."""
    followed, seen = dry(runbook), list[Effect]()
    frame, effects = advance(followed, Frame(), [Started()])
    while waiting := [effect for effect in effects if isinstance(effect, RunAction)]:
        seen += effects
        outputs = {"status": 200, "to": "b"}
        frame, effects = advance(followed, frame, [StepSucceeded(e.path, e.visit, outputs) for e in waiting])
    return frame, [*seen, *effects]


def test_reads_are_carried_out_and_all_that_changes_asks_or_waits_is_simulated() -> None:
    found = marks(
        spec(
            LOOK,
            {"id": "ask", "type": "approval", "prompt": "All of it?"},
            MOVE,
            {"id": "tell", "type": "notify", "channel": "log", "message": "moved"},
            {"id": "soak", "type": "wait", "for": "30m"},
            {"id": "hand", "type": "manual", "instructions": "Look"},
            {"id": "hear", "type": "wait", "event": "deployed", "timeout": "10m"},
        )
    )

    assert found.pop("look") == "carried_out"
    assert set(found.values()) == {"simulated"}


def test_nobody_is_asked_nothing_waits_nothing_is_verified_and_it_completes() -> None:
    frame, effects = carried_through(
        spec(
            {"id": "ask", "type": "approval", "prompt": "All of it?"},
            {"id": "soak", "type": "wait", "for": "30m"},
            LOOK,
            MOVE,
            {"id": "hand", "type": "manual", "instructions": "Look", "evidence": "required"},
        )
    )

    assert not [effect for effect in effects if isinstance(effect, RequestApproval)]
    assert {effect.kind for effect in effects if isinstance(effect, SetTimer)} == {"deadline"}
    assert [effect.state for effect in effects if isinstance(effect, Finish)] == ["completed"]
    assert [run.state for run in frame.step_runs] == ["succeeded"] * 5


def test_a_simulated_mutation_is_tried_with_its_own_arguments_and_its_condition() -> None:
    step = dry(spec(LOOK, {**MOVE, "when": "inputs.deep"}, inputs={"deep": {"type": "boolean"}})).step("move")

    assert (step.action_name, step.effect_name, step.when) == (SIMULATE, "read", "inputs.deep")
    tried = step.model_dump(by_alias=True)["with"]
    assert (tried["action"], tried["effect"], tried["with"]) == ("http.request", "unsafe", MOVE["with"])
    assert tried["texts"] == {"resource": "shard"}
    assert not dry(spec(LOOK, MOVE)).needs_approval("move")


def test_what_needs_an_answer_that_was_only_simulated_says_so_and_so_does_what_needs_that() -> None:
    runbook = spec(
        LOOK,
        MOVE,
        {**LOOK, "id": "after", "when": "steps.move.outputs.ok"},
        {**LOOK, "id": "later", "with": {"url": "http://t/${{ steps.after.outputs.x }}"}},
        {**LOOK, "id": "free"},
    )

    assert marks(runbook) | {"move": "simulated"} == {
        "look": "carried_out", "move": "simulated", "after": "not_simulated", "later": "not_simulated",
        "free": "carried_out",
    }  # fmt: skip
    assert "what move would answer" in dry(runbook).step("after").description
    frame, _ = carried_through(runbook)
    assert {run.path: run.state for run in frame.step_runs}["after"] == "skipped"
    assert frame.state == "completed"


def test_a_decision_without_its_answer_ends_there() -> None:
    fork = {"id": "fork", "type": "decision", "branches": [{"when": "steps.move.outputs.ok", "goto": "a"}],
            "otherwise": "b"}  # fmt: skip
    runbook = spec(LOOK, MOVE, fork, {**LOOK, "id": "a", "on_success": "end"}, {**LOOK, "id": "b"})

    frame, _ = carried_through(runbook)

    assert [(run.path, run.state) for run in frame.step_runs][-1] == ("fork", "skipped")
    assert frame.state == "completed"


def test_branches_and_loops_are_gone_through_with_what_is_in_them() -> None:
    fan = {"id": "fan", "type": "parallel", "branches": {"a": [{**LOOK, "id": "a1"}, {**MOVE, "id": "a2"}],
           "b": [{"id": "b1", "type": "wait", "for": "5m"}]}}  # fmt: skip
    loop = {"id": "loop", "type": "loop", "over": ["x", "y"], "steps": [{**MOVE, "id": "each-one"}]}

    frame, effects = carried_through(spec(LOOK, fan, loop))

    assert frame.state == "completed"
    ran = [effect.path for effect in effects if isinstance(effect, RunAction)]
    assert sorted(ran) == ["fan/a/a1", "fan/a/a2", "fan/b/b1", "look", "loop/0/each-one", "loop/1/each-one"]


def test_a_step_that_verifies_is_left_out() -> None:
    runbook = spec(LOOK, MOVE, {**LOOK, "id": "good"}, verify={"checks": ["good"]})

    assert marks(runbook)["good"] == "not_simulated"
