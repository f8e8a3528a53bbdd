"""Scenarios: the world answers as they say, well where they say nothing; what was expected and did not come is told."""

from pathlib import Path
from textwrap import dedent, indent

import pytest

from libs.runbook.loader import load
from libs.runbook.problems import RunbookInvalid
from libs.runbook.simulation.rehearsal import Rehearsal, read_scenarios, rehearse
from libs.runbook.spec import Runbook
from tests.unit.runbook.samples import text

RUNBOOKS = Path(__file__).parents[3] / "runbooks"
FILES = sorted((RUNBOOKS / "tests").glob("*.yaml"))

RECOVERY = """\
- id: health-check
  type: check
  action: http.request
  expect: outputs.status == 200
  on_success: notify-ok
  on_failure: restart-service
- id: restart-service
  type: action
  action: http.request
  with: {method: POST, url: "https://example.org/restart"}
  effect: keyed
  resource: api
  retry: {attempts: 2, delay: 10s}
  on_success: end
  on_failure: page
- id: page
  type: notify
  channel: on-call
  message: It did not restart
  severity: critical
  on_success: end
- id: notify-ok
  type: notify
  channel: ops
  message: All is well
"""
VERIFY = "verify: {alert: resolved, within: 60s}\n"
ALERT = "alert: {name: api_down, severity: high}\n"


def spec(steps: str = RECOVERY, extra: str = VERIFY) -> Runbook:
    return load(text(steps, extra)).spec


def told(scenario: str, found: Runbook | None = None) -> Rehearsal:
    """One scenario, played: its lines stand under its name."""
    source = "scenarios:\n  - name: It\n" + indent(dedent(scenario), "    ")
    [rehearsal] = rehearse(found or spec(), read_scenarios(source))
    return rehearsal


def states(rehearsal: Rehearsal) -> dict[str, str]:
    return {path: step["state"] for path, step in rehearsal.steps.items()}


def refused(source: str, found: Runbook | None = None) -> list[str]:
    with pytest.raises(RunbookInvalid) as error:
        rehearse(found or spec(), read_scenarios(source))
    return [str(problem) for problem in error.value.problems]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_a_shipped_runbook_promises_holds(file: Path) -> None:
    found = load((RUNBOOKS / file.name).read_bytes()).spec

    rehearsals = rehearse(found, read_scenarios(file.read_bytes()))

    assert [str(problem) for rehearsal in rehearsals for problem in rehearsal.problems] == []


def test_every_shipped_runbook_has_scenarios() -> None:
    assert {file.name for file in RUNBOOKS.glob("*.yaml")} == {file.name for file in FILES}


def test_what_is_not_mentioned_goes_well() -> None:
    rehearsal = told("")

    assert (rehearsal.state, rehearsal.reason, rehearsal.verified) == ("completed", "alert_resolved", True)
    assert states(rehearsal) == {"health-check": "succeeded", "notify-ok": "succeeded"}
    assert rehearsal.notifications == ({"channel": "ops", "message": "All is well"},)


def test_failures_are_simulated_as_authors_of_other_systems_know_it() -> None:
    rehearsal = told("simulate_failures: [health-check, restart-service]")

    assert states(rehearsal) == {"health-check": "failed", "restart-service": "failed", "page": "succeeded"}
    assert rehearsal.steps["restart-service"]["error_code"] == "simulated_failure"
    assert [sent["channel"] for sent in rehearsal.notifications] == ["on-call"]


def test_results_are_taken_one_an_attempt_and_the_last_one_stays() -> None:
    rehearsal = told("""\
        results:
          health-check: {outputs: {status: 503}}
          restart-service: [{is: fails, retryable: true, takes: 3s}, {is: times_out}]
    """)

    assert rehearsal.steps["restart-service"]["attempts"] == 2
    assert rehearsal.steps["restart-service"]["error_code"] == "timeout"
    assert rehearsal.seconds == 3 + 10 + 30


@pytest.mark.parametrize(
    ("result", "effect", "state", "attempts"),
    [
        ("succeeds", "keyed", "succeeded", 1),
        ("fails", "keyed", "failed", 1),
        ("{is: fails, retryable: true}", "keyed", "failed", 2),
        ("times_out", "keyed", "failed", 2),
        ("[dies_before, succeeds]", "keyed", "succeeded", 2),
        ("[dies_after, succeeds]", "keyed", "succeeded", 2),
        ("{is: fails, harmless: true}", "unsafe", "failed", 1),
        ("fails", "unsafe", "succeeded", 1),  # nobody knows; a person finds that it took effect
        ("times_out", "unsafe", "succeeded", 1),
        ("dies_before", "unsafe", "failed", 1),
        ("dies_after", "unsafe", "succeeded", 1),
        ("lock_held", "keyed", "cancelled", 1),
        ("{is: lock_held, takes: 5m}", "keyed", "succeeded", 1),
    ],
)
def test_an_attempt_can_go_in_every_way(result: str, effect: str, state: str, attempts: int) -> None:
    steps = RECOVERY.replace("keyed", effect)
    if effect == "unsafe":
        steps = steps.replace("  retry: {attempts: 2, delay: 10s}\n", "")

    rehearsal = told(
        f"results:\n  health-check: {{outputs: {{status: 503}}}}\n  restart-service: {result}\n", spec(steps)
    )

    assert (states(rehearsal)["restart-service"], rehearsal.steps["restart-service"]["attempts"]) == (state, attempts)


APPROVALS = """\
- {id: agree, type: approval, prompt: Go on?, expires: 10m}
- id: pull
  type: manual
  instructions: Pull it
  form: {volts: {type: integer}, side: {one_of: [left, right]}}
  evidence: required
  timeout: 20m
  approval: {prompt: Sure?}
"""


@pytest.mark.parametrize(
    ("answers", "seen", "seconds"),
    [
        ("{}", {"agree": "succeeded", "pull": "succeeded"}, 0),
        ("{agree: {is: granted, in: 5m}}", {"agree": "succeeded", "pull": "succeeded"}, 300),
        ("{agree: {is: granted, in: 10m}}", {"agree": "failed"}, 600),
        ("{agree: rejected}", {"agree": "failed"}, 0),
        ("{agree: nobody}", {"agree": "failed"}, 600),
        ("{pull: [granted, failed]}", {"agree": "succeeded", "pull": "failed"}, 0),
        ("{pull: [granted, nobody]}", {"agree": "succeeded", "pull": "failed"}, 1200),
        ("{pull: [granted, {is: done, values: {volts: 5, side: left}, evidence: photo}]}",
         {"agree": "succeeded", "pull": "succeeded"}, 0),
        ("{agree: revoked}", {"agree": "succeeded", "pull": "cancelled"}, 0),
    ],
)  # fmt: skip
def test_people_answer_as_the_scenario_says(answers: str, seen: dict[str, str], seconds: float) -> None:
    rehearsal = told(f"answers: {answers}", spec(APPROVALS, ""))

    assert [str(problem) for problem in rehearsal.problems] == []
    assert (states(rehearsal), rehearsal.seconds) == (seen, seconds)


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ("{agree: done}", "3:15: scenarios[0].answers.agree: 'done' is no answer to an approval: "),
        ("{pull: [granted, granted]}", "3:15: scenarios[0].answers.pull: 'granted' is no answer to a manual step: "),
        ("{pull: [granted, {is: done, values: {volts: many}, evidence: x}]}",
         "3:15: scenarios[0].answers.pull: values.side: is missing; give it; values.volts: must be of type integer"),
    ],
)  # fmt: skip
def test_an_answer_that_does_not_fit_is_told_with_its_line(answers: str, says: str) -> None:
    [problem] = told(f"answers: {answers}", spec(APPROVALS, "")).problems

    assert str(problem).startswith(says)


PROBED = """\
- id: restart
  type: action
  action: http.request
  effect: unsafe
  resource: api
  probe: {action: http.request, took_effect: outputs.restarted == true}
"""


@pytest.mark.parametrize(
    ("results", "state", "code"),
    [
        ("{restart: dies_after}", "succeeded", ""),
        ("{restart: dies_before}", "failed", "no_effect"),
        ("{restart: times_out, restart?: {outputs: {restarted: true}}}", "succeeded", ""),
        ("{restart: times_out, restart?: {outputs: {restarted: false}}}", "failed", "no_effect"),
        ("{restart: dies_before, restart?: fails}", "failed", "unknown"),  # then a person finds out
    ],
)
def test_a_probe_finds_out_what_nobody_knows(results: str, state: str, code: str) -> None:
    rehearsal = told(f"results: {results}", spec(PROBED))

    assert [str(problem) for problem in rehearsal.problems] == []
    assert (states(rehearsal)["restart"], rehearsal.steps["restart"]["error_code"]) == (state, code)


def test_a_step_can_wait_for_the_alerts_end() -> None:
    waiting = spec(PROBED.replace("  probe", "  verify: {alert: resolved, within: 1m}\n  probe"), "")

    assert told("", waiting).state == "completed"
    assert told("alert: {name: api_down, ends: 5m}", waiting).steps["restart"]["error_code"] == "verification_failed"


def test_a_choice_must_be_said_and_is_followed() -> None:
    asking = spec(RECOVERY.replace("on_failure: page", "on_failure: ask").partition("- id: page")[0] + "".join(
        RECOVERY.partition("- id: notify-ok")[1:]
    ))  # fmt: skip
    failing = "results:\n  health-check: {outputs: {status: 503}}\n  restart-service: [fails, succeeds]\n"

    [unsaid] = told(failing, asking).problems
    again = told(failing + "answers: {restart-service: {is: retry, in: 1m}}", asking)
    left_out = told(failing + "answers: {restart-service: skip}", asking)
    aborted = told(failing + "answers: {restart-service: abort}", asking)

    assert "on_failure: ask needs an answer: retry, skip, abort or nobody" in str(unsaid)
    assert (states(again)["restart-service"], again.seconds) == ("succeeded", 60)
    assert states(left_out)["restart-service"] == "skipped"
    assert aborted.state == "aborted"


def test_the_alert_ends_when_the_scenario_says() -> None:
    failing = "results: {health-check: {outputs: {status: 503}}}\n"

    never = told(failing + "alert: {name: api_down, ends: never}")
    late = told(failing + "alert: {name: api_down, ends: {after: restart-service, in: 70s}}")
    before = told(failing + "alert: {name: api_down}\nresults: {health-check: {takes: 5s}}".partition("\n")[0]
                  + "\nevents: [{at: 1s, alert: ends}]")  # fmt: skip

    assert (never.state, never.reason, never.seconds) == ("failed", "verification_failed", 60)
    assert (late.reason, late.seconds) == ("verification_failed", 60)
    assert before.reason == "alert_resolved"


def test_things_happen_by_themselves() -> None:
    waiting = spec("- {id: a-while, type: wait, for: 10m}\n- {id: go, type: wait, event: go, timeout: 5m}\n", "")

    signalled = told("events: [{at: 11m, signal: go, data: {n: 1}}]\nanswers: {go: nobody}", waiting)
    aborted = told("events: [{at: 2m, abort: a drill}]", waiting)
    paused = told("events: [{at: 1m, pause: wait}, {at: 1h, resume: go on}]", waiting)

    assert (signalled.state, signalled.seconds, signalled.steps["go"]["outputs"]) == ("completed", 660, {"n": 1})
    assert (aborted.state, aborted.seconds) == ("aborted", 120)
    assert (paused.state, paused.seconds, paused.reason) == ("failed", 3600, "deadline_exceeded")


COMPOSITE = """\
- id: fan
  type: parallel
  join: any
  branches:
    api: [{id: api, type: action, action: http.request, effect: read}]
    cache: [{id: cache, type: action, action: http.request, effect: read}]
- id: each
  type: loop
  over: [a, b, c]
  failures: collect
  on_failure: continue
  steps: [{id: drain, type: action, action: http.request, with: {host: "${{ each.item }}"}, effect: read}]
- id: how-bad
  type: decision
  branches: [{when: steps.fan.outputs.failed > 0, goto: page}]
  otherwise: end
- {id: page, type: notify, channel: ops, message: It is bad}
"""


def test_branches_iterations_and_decisions_are_played() -> None:
    rehearsal = told(
        """\
        results: {api: fails, cache: {takes: 5s}, each/0/drain: fails, each/2/drain: fails}
        expect:
          state: completed
          steps:
            fan: succeeded
            fan/api/api: failed
            fan/cache/cache: succeeded
            each: failed
            each/0/drain: failed
            each/1/drain: succeeded
            each/2/drain: failed
            how-bad: succeeded
            page: succeeded
          sent: {each/1/drain: {host: b}}
          notifications: [{channel: ops, message: It is bad}]
        """,
        spec(COMPOSITE, ""),
    )

    assert [str(problem) for problem in rehearsal.problems] == []


def test_a_missing_label_is_found() -> None:
    reading = spec(extra=VERIFY + "inputs: {host: {from: '${{ alert.labels.host }}'}}\n")

    [problem] = told("alert: {name: api_down, labels: {shard: a}}", reading).problems

    assert str(problem).startswith("2:5: scenarios[0].inputs.host: is missing: ")
    assert told("", reading).passed


def test_a_condition_over_an_answer_that_is_not_said_is_no_guess() -> None:
    judging = spec(
        "- {id: look, type: action, action: http.request, effect: read}\n"
        "- {id: tell, type: notify, channel: ops, message: hello, when: steps.look.outputs.n > 1}\n",
        "",
    )

    [problem] = told("", judging).problems

    assert str(problem) == (
        "2:5: scenarios[0].results.look: `steps.look.outputs.n > 1` needs what look answered: say it under results"
    )
    assert told("results: {look: {outputs: {n: 1}}}", judging).steps["tell"]["state"] == "skipped"


def test_numbers_with_a_fraction_can_be_answered() -> None:
    judging = spec("- {id: load, type: check, action: http.request, expect: outputs.load < 0.9}\n", "")

    assert told("results: {load: {outputs: {load: 0.87}}}", judging).state == "completed"
    assert told("results: {load: {outputs: {load: 0.93}}}", judging).state == "failed"


def test_what_did_not_come_as_expected_is_told_with_its_line() -> None:
    rehearsal = told("""\
        results: {health-check: {outputs: {status: 503}}, restart-service: fails}
        expect:
          state: failed
          reason: done
          steps: {health-check: succeeded, notify-ok: succeeded}
          errors: {restart-service: timeout}
          outputs: {health-check: {status: 200}}
          sent: {notify-ok: {}}
          attempts: {restart-service: 3}
          asked: [restart-service]
          notifications: [{channel: ops}, {channel: x}]
          verified: false
          within: 1s
    """)

    check = "check_failed: expected outputs.status == 200"
    assert [str(problem) for problem in rehearsal.problems] == [
        "5:7: scenarios[0].expect.state: is completed (alert_resolved), not failed",
        "6:7: scenarios[0].expect.reason: is alert_resolved, not done",
        "7:7: scenarios[0].expect.steps: there were more: restart-service: failed, page: succeeded",
        f"7:15: scenarios[0].expect.steps.health-check: is failed ({check}), not succeeded",
        "7:40: scenarios[0].expect.steps.notify-ok: was not reached",
        "8:16: scenarios[0].expect.errors.restart-service: is failed, not timeout",
        "9:32: scenarios[0].expect.outputs.health-check.status: is 503, not 200",
        "10:14: scenarios[0].expect.sent.notify-ok: was not carried out",
        "11:18: scenarios[0].expect.attempts.restart-service: is 1, not 3",
        "12:7: scenarios[0].expect.asked: is nobody",
        '13:23: scenarios[0].expect.notifications[0]: channel is "on-call"',
        "13:39: scenarios[0].expect.notifications[1]: was not sent",
        "14:7: scenarios[0].expect.verified: is true",
    ]


def test_what_is_said_above_counts_for_all_and_ones_own_word_comes_first() -> None:
    source = dedent("""\
        runbook: sample
        alert: {name: api_down}
        results: {health-check: {outputs: {status: 503}}}
        scenarios:
          - {name: One, expect: {steps: {health-check: failed, restart-service: succeeded}}}
          - name: Two
            results: {restart-service: fails}
            expect: {steps: {health-check: failed, restart-service: failed, page: succeeded}}
          - name: Three
            results: {health-check: {outputs: {status: 200}}}
            expect: {steps: {health-check: succeeded, notify-ok: succeeded}}
    """)

    assert [rehearsal.passed for rehearsal in rehearse(spec(), read_scenarios(source))] == [True, True, True]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("- a\n", "1:1: a file of scenarios is a mapping: scenarios, and what is said for all of them"),
        ("scenarios: []\n", "1:1: scenarios: is empty; write at least one, or leave it out"),
        ("runbook: other\nscenarios: [{name: It}]\n", "1:1: runbook: is other; this runbook is sample"),
        ("scenarios: [{name: It, resluts: {}}]\n", "1:24: scenarios[0].resluts: unknown key; did you mean results?"),
        ("scenarios: [{name: It, results: {reboot: fails}}]\n",
         "1:34: scenarios[0].results.reboot: 'reboot' is no step of sample; its steps are health-check, "),
        ("scenarios: [{name: It, simulate_failures: [reboot]}]\n", "1:44: scenarios[0].simulate_failures[0]: 'reboot'"),
        ("scenarios: [{name: It, events: [{at: 5m}]}]\n", "1:33: scenarios[0].events[0]: say one thing that happens: "),
        ("scenarios: [{name: It, results: {page: explodes}}]\n", "1:34: scenarios[0].results.page: must be 'succ"),
    ],
)  # fmt: skip
def test_a_file_that_says_nonsense_is_refused_with_its_line(source: str, says: str) -> None:
    assert refused(source)[0].startswith(says)


def test_the_same_scenario_is_the_same_story() -> None:
    scenario = "results: {health-check: {outputs: {status: 503}}, restart-service: [times_out, succeeds]}"

    assert told(scenario) == told(scenario)
    assert told(scenario).to_json() == told(scenario).to_json()
