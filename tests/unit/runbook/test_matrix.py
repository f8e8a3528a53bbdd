"""The fault matrix: every path is walked once, each ends, and an author sees what nobody handles."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings

from libs.runbook.loader import load
from libs.runbook.simulation.choices import Choices
from libs.runbook.simulation.faults import KINDS, ROLLBACK, VERIFICATION, Fault, rows
from libs.runbook.simulation.matrix import Matrix, PathEnd, explore
from libs.runbook.spec import Runbook
from tests.unit.runbook.generated import any_runbooks
from tests.unit.runbook.samples import text

RUNBOOKS = sorted((Path(__file__).parents[3] / "runbooks").glob("*.yaml"))
VERIFY = "verify: {alert: resolved, within: 60s}\n"


def walked(steps: str, extra: str = "", *, limit: int = 2_000) -> Matrix:
    return explore(load(text(steps, extra)).spec, limit=limit)


def ends(matrix: Matrix) -> dict[str, str]:
    """How it ends, by fault."""
    return {f"{step} {kind}": f"{end.state} {end.code}".strip() for (step, kind), end in matrix.cells.items()}


def causes(matrix: Matrix) -> list[str]:
    return [end.cause for end in matrix.bad]


@pytest.mark.parametrize("file", RUNBOOKS, ids=lambda file: file.stem)
def test_every_path_of_a_shipped_runbook_ends(file: Path) -> None:
    matrix = explore(load(file.read_bytes()).spec, limit=500)

    assert (matrix.hanging, matrix.violations) == ([], [])
    assert matrix.coverage.percent >= 90


def test_an_action_meets_everything_that_can_go_wrong() -> None:
    step = "- {id: a, type: action, action: http.request, effect: keyed, resource: r, retry: {attempts: 2}}\n"
    matrix = walked(step, VERIFY)

    assert ends(matrix) == {
        "a fails": "failed failed",
        "a times out": "failed timeout",
        "a dies before": "completed",
        "a dies after": "completed",
        "a lock lost": "failed lease_lost",
        f"{VERIFICATION} times out": "failed",
    }
    assert [end.reason for end in matrix.bad] == [
        "step_failed",
        "step_failed",
        "deadline_exceeded",
        "verification_failed",
    ]
    assert matrix.coverage.percent == 100


def test_of_what_may_do_harm_a_person_says_what_became_of_it() -> None:
    step = "- {id: a, type: action, action: http.request, effect: unsafe, resource: r}\n"
    matrix = walked(step, VERIFY)

    decided = {kind: end.decided for (step, kind), end in matrix.cells.items() if step == "a"}
    assert decided == {
        "fails": False,
        "times out": True,
        "dies before": True,
        "dies after": True,
        "lock lost": True,
    }
    assert ends(matrix)["a dies before"] == "failed unknown"
    assert ends(matrix)["a dies after"] == "completed"
    assert causes(matrix)[-1] == "a: times out, a did not take effect"
    assert matrix.violations == []


def test_a_probe_tells_the_truth() -> None:
    probe = "probe: {action: http.request, took_effect: outputs.done == true}"
    matrix = walked(f"- {{id: a, type: action, action: http.request, effect: unsafe, resource: r, {probe}}}\n", VERIFY)

    assert ends(matrix)["a dies before"] == "failed no_effect"
    assert ends(matrix)["a dies after"] == "completed"
    assert "a: times out, a did not take effect" in causes(matrix)
    assert not any(end.decided for end in matrix.ends)
    assert matrix.violations == []


def test_a_step_that_waits_for_the_alerts_end_may_wait_in_vain() -> None:
    step = (
        "{id: a, type: action, action: http.request, effect: keyed, resource: r, verify: {alert: resolved, within: 1m}}"
    )

    assert "after a the alert goes on" in causes(walked(f"- {step}\n"))


def test_people_say_no_or_nothing() -> None:
    steps = """\
        - {id: agree, type: approval, prompt: Go on?}
        - {id: pull, type: manual, instructions: Pull, timeout: 5m, approval: {prompt: Sure?}}
        - {id: come, type: wait, event: go, timeout: 5m}
    """

    assert ends(walked(steps)) == {
        "agree rejected": "failed approval_rejected",
        "agree expired": "failed approval_expired",
        "pull rejected": "failed approval_rejected",
        "pull expired": "failed approval_expired",
        "pull fails": "failed failed_by_person",
        "pull times out": "failed timeout",
        "come times out": "failed timeout",
    }


def test_what_is_handled_is_not_bad_and_who_is_told_is_seen() -> None:
    steps = """\
        - {id: a, type: action, action: http.request, effect: read, on_failure: page, on_success: end}
        - {id: page, type: notify, channel: ops, message: It failed}
    """
    matrix = walked(steps)

    assert matrix.cells["a", "fails"].told == ("page",)
    assert matrix.cells["a", "fails"].state == "completed"
    assert causes(matrix) == [
        "a: fails, page: fails",
        "a: fails, page: times out",
        "a: times out, page: fails",
        "a: times out, page: times out",
    ]


def test_who_is_told_of_every_failure_is_seen() -> None:
    matrix = walked("- {id: a, type: action, action: http.request, effect: read}\n", "escalation: {channels: [ops]}\n")

    assert {end.told for end in matrix.bad} == {("escalate:0",)}
    assert (matrix.hanging, matrix.violations) == ([], [])


def test_conditions_go_both_ways_and_do_not_change_their_mind() -> None:
    steps = """\
        - {id: a, type: notify, channel: ops, message: one, when: inputs.dry}
        - {id: b, type: notify, channel: ops, message: two, when: inputs.dry}
        - {id: c, type: check, action: http.request, expect: outputs.n == 1}
        - {id: d, type: check, action: http.request, expect: outputs.n == 1}
    """
    matrix = walked(steps, "inputs: {dry: {type: boolean}}\n")

    without = [" and ".join(end.deviations) for end in matrix.ends if not end.faults]
    assert sorted(without) == [
        "",
        "expect of c does not hold",
        "expect of d does not hold",
        "when of a is false",
        "when of a is false and expect of c does not hold",
        "when of a is false and expect of d does not hold",
    ]


def test_what_reads_a_step_that_was_left_out_is_found() -> None:
    steps = """\
        - {id: look, type: action, action: http.request, effect: read, on_failure: continue}
        - {id: tell, type: notify, channel: ops, message: "${{ steps.look.outputs.n }} seen"}
    """
    matrix = walked(steps)

    assert causes(matrix)[:2] == ["look: fails", "look: times out"]
    assert {end.at: end.code for end in matrix.bad[:2]} == {"tell": "render_refused"}


def test_a_decision_takes_every_branch() -> None:
    steps = """\
        - {id: load, type: action, action: http.request, effect: read, capture: {n: outputs.n}}
        - id: how-bad
          type: decision
          branches: [{when: steps.load.outputs.n > 90, goto: all}, {when: steps.load.outputs.n > 70, goto: some}]
          otherwise: fail
        - {id: all, type: notify, channel: ops, message: all, on_success: end}
        - {id: some, type: notify, channel: ops, message: some}
    """
    matrix = walked(steps)

    assert matrix.coverage.missed == ()
    assert "branch to all of how-bad does not hold, branch to some of how-bad does not hold" in causes(matrix)


COMPOSITE = """\
- id: fan
  type: parallel
  branches:
    api: [{id: api, type: action, action: http.request, effect: idempotent, resource: api, on_failure: ask}]
    cache: [{id: cache, type: action, action: http.request, effect: read, on_failure: continue}]
- id: each
  type: loop
  over: ${{ inputs.hosts }}
  concurrency: 2
  on_failure: continue
  steps: [{id: drain, type: action, action: http.request, effect: read, with: {host: "${{ each.item }}"}}]
"""


def test_branches_and_iterations_are_walked_too() -> None:
    matrix = walked(COMPOSITE.replace("${{ inputs.hosts }}", "[a, b, c, d]"), VERIFY)

    assert (matrix.hanging, matrix.violations, matrix.left[1]) == ([], [], 0)
    assert ends(matrix)["drain fails"] == "completed"
    assert matrix.cells["api", "fails"].decided
    assert "api: fails, fan/api/api, asked: abort" in causes(matrix)
    drained = Counter(fault for end in matrix.ends for fault in end.faults if len(end.faults) == 1)
    assert drained[Fault("drain", "fails")] == 2, "the first iteration and the second stand for all"


def test_what_is_taken_back_can_go_wrong_as_well() -> None:
    step = (
        "- {id: a, type: action, action: http.request, effect: keyed, resource: r, rollback: {action: http.request}}\n"
    )
    matrix = walked(step, VERIFY + "on_failed: rollback\n")

    assert ends(matrix)[f"{ROLLBACK} fails"] == "failed"
    assert matrix.cells[ROLLBACK, "fails"].decided
    assert (matrix.hanging, matrix.violations) == ([], [])


def test_paths_beyond_the_limit_are_counted_not_walked() -> None:
    steps = "".join(f"- {{id: s{n}, type: action, action: http.request, effect: read}}\n" for n in range(6))
    whole, part = walked(steps), walked(steps, limit=40)

    assert part.walked == {0: 1, 1: 24, 2: 15}
    assert part.left[2] >= sum(whole.walked.values()) - 40 - part.left[1]
    assert sum(whole.left.values()) == 0


def test_every_path_is_walked_once() -> None:
    steps = "".join(f"- {{id: s{n}, type: action, action: http.request, effect: read}}\n" for n in range(4))

    seen = Counter(end.deviations for end in walked(steps).ends)

    assert set(seen.values()) == {1}
    # Two end it at once; with two others it goes on: the same step may be hit again, or one of those after it.
    assert len(seen) == 1 + 4 * 4 + 2 * 4 * (4 + 3 + 2 + 1)


def test_every_row_of_the_matrix_is_reached() -> None:
    matrix = walked(COMPOSITE.replace("${{ inputs.hosts }}", "[a, b]"), VERIFY)

    wanted = {(step_id, kind) for step_id, kinds in rows(matrix.spec) for kind in kinds}
    assert wanted == matrix.cells.keys()
    assert {kind for _, kind in wanted} <= set(KINDS)


def test_it_is_told_as_json() -> None:
    matrix = walked("- {id: a, type: action, action: http.request, effect: read}\n")

    told = matrix.to_json()

    assert told["paths"] == {"0": 1, "1": 4, "2": 8}
    assert told["steps"][0]["faults"]["fails"] == {
        "cause": ["a: fails"],
        "faults": [{"step": "a", "kind": "fails"}],
        "state": "failed",
        "reason": "step_failed",
        "at": "a",
        "error_code": "failed",
        "person_decides": False,
        "told": [],
    }
    assert (told["hanging"], told["violations"], told["not_walked"]) == ([], [], {})


def test_the_choices_of_a_path_lead_to_its_neighbours() -> None:
    choices = Choices((1,))
    fault = choices.fault([Fault("a", "fails"), Fault("a", "times out")])
    way = choices.way("b", ["holds", "does not hold"])

    assert (fault, way) == (Fault("a", "fails"), "holds")
    assert list(choices.others()) == [(1, 1, (1, 1))]
    assert choices.deviations == ("a: fails",)
    assert list(Choices(()).others()) == []


def test_bad_ends_are_named_by_their_smallest_causes() -> None:
    def end(*deviations: str, state: str = "failed") -> PathEnd:
        return PathEnd(deviations, (), (), state, "", "", "", decided=False, told=())

    matrix = Matrix(load(text()).spec, [end("a", "b"), end("a"), end("b", "c"), end("c", state="completed")])

    assert causes(matrix) == ["a", "b, c"]


@given(any_runbooks())
@settings(max_examples=25, deadline=None)
def test_whatever_goes_wrong_in_whatever_runbook_it_ends(spec: Runbook) -> None:
    matrix = explore(spec, limit=20)

    assert [end.cause for end in matrix.hanging] == []
    assert matrix.violations == []
