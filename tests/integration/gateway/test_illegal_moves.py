"""What the lifecycles do not have is refused over HTTP by the services themselves: 409, and both ends by name.

The tables here are written by hand, as people were promised them; they are compared with the lifecycles' own, so that
neither drifts alone.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from libs.runbook.frame import TERMINAL
from services.incident import lifecycle
from tests.integration.gateway.conftest import VIEWER, bearer
from tests.integration.gateway.process import GatewayProcess
from tests.support.servers import StackEnv

STATES: Final = ("new", "acknowledged", "mitigating", "monitoring", "resolved", "closed")
LEADS: Final = {
    "acknowledge": "acknowledged",
    "mitigate": "mitigating",
    "monitor": "monitoring",
    "resolve": "resolved",
    "close": "closed",
    "reopen": "acknowledged",
}
LEGAL: Final = {
    ("new", "acknowledge"),
    ("new", "mitigate"),
    ("new", "resolve"),
    ("acknowledged", "mitigate"),
    ("acknowledged", "resolve"),
    ("mitigating", "monitor"),
    ("mitigating", "resolve"),
    ("monitoring", "mitigate"),
    ("monitoring", "resolve"),
    ("resolved", "close"),
    ("resolved", "reopen"),
}
ILLEGAL: Final = {(state, trigger) for state in STATES for trigger in LEADS} - LEGAL
WAYS: Final = {
    "new": (),
    "acknowledged": ("acknowledge",),
    "mitigating": ("acknowledge", "mitigate"),
    "monitoring": ("acknowledge", "mitigate", "monitor"),
    "resolved": ("acknowledge", "mitigate", "monitor", "resolve"),
    "closed": ("acknowledge", "mitigate", "monitor", "resolve", "close"),
}
UNEXPLAINED: Final = {"new": ["resolved"], "acknowledged": ["resolved"]}
"""Where these moves need a reason in words, for nothing was mitigated."""
FACTS_ONLY: Final = ("execution_started", "execution_completed", "alert_ended", "alert_refired")

STEPS: Final = ("known", "broken", "hand", "agree", "soak", "hear", "stuck", "call", "last")
STANDS: Final = {
    "hand": ("waiting", "person"),
    "agree": ("waiting", "approval"),
    "soak": ("waiting", "wait"),
    "hear": ("waiting", "event"),
    "stuck": ("waiting", "choice"),
    "call": ("ready", ""),
    "last": ("waiting", "person"),
}
"""Where an execution is brought to, and what its step is then. No worker runs: an action stays ready."""
BY_HAND: Final = {"hand", "last"}
RUNBOOK: Final = """
apiVersion: ranger/v1
id: every-standing
name: Every standing
risk: low
mode: auto
inputs:
  at: {one_of: [hand, agree, soak, hear, stuck, call, last]}
steps:
  - {id: known, type: check, expect: inputs.at != ""}
  - {id: broken, type: check, expect: inputs.at == "", on_failure: continue}
  - {id: hand, type: manual, when: inputs.at == "hand", instructions: Do it}
  - {id: agree, type: approval, when: inputs.at == "agree", prompt: Shall it go on?}
  - {id: soak, type: wait, when: inputs.at == "soak", for: 30m}
  - {id: hear, type: wait, when: inputs.at == "hear", event: deployed, timeout: 30m}
  - {id: stuck, type: check, when: inputs.at == "stuck", expect: inputs.at == "", on_failure: ask}
  - id: call
    type: action
    when: inputs.at == "call"
    action: http.request
    with: {url: "http://127.0.0.1:9/"}
    effect: read
  - {id: last, type: manual, instructions: Look at it once more}
"""


WHY: Final = {"rationale": "as the table says"}
COMMANDS: Final[Mapping[str, tuple[str, dict[str, Any], str]]] = {
    "abort": ("abort", WHY, "aborted"),
    "fail": ("fail", WHY, "failed"),
    "pause": ("pause", WHY, "paused"),
    "resume": ("resume", WHY, "running"),
    "retry": ("retry", WHY, "running"),
    "rollback": ("rollback", WHY, "failed"),
    "terminate": ("terminate", WHY, "aborted"),
    "signal": ("signal", {"name": "deployed", **WHY}, "deployed"),
    "skip": ("steps/{step}/skip", WHY, "skipped"),
    "choose retry": ("steps/{step}/choose", {"choice": "retry", **WHY}, "retry"),
    "choose skip": ("steps/{step}/choose", {"choice": "skip", **WHY}, "skip"),
    "choose abort": ("steps/{step}/choose", {"choice": "abort", **WHY}, "abort"),
}
"""What a person may command of an execution, or of the step where it stands: path, body, and where it leads."""
CHOICES: Final = {"choose retry", "choose skip", "choose abort"}
EVERYWHERE_ALIVE: Final = {"abort", "fail", "rollback", "terminate"}
ALLOWED: Final[Mapping[str, set[str]]] = {
    **{at: {*EVERYWHERE_ALIVE, "pause", "skip"} for at in ("hand", "soak", "call", "last")},
    "agree": {*EVERYWHERE_ALIVE, "pause"},
    "hear": {*EVERYWHERE_ALIVE, "pause", "skip", "signal"},
    "stuck": {*EVERYWHERE_ALIVE, "pause", "skip", *CHOICES},
    "paused": {*EVERYWHERE_ALIVE, "resume", "skip"},
    "failed": {"retry"},
    "aborted": {"retry"},
    "completed": set(),
}
"""What is carried out where; everything else is refused."""
ENDED: Final = ("failed", "aborted", "completed")


@asynccontextmanager
async def running(env: StackEnv, folder: Path, *names: str) -> AsyncIterator[None]:
    """These services as processes, ready."""
    processes = [await GatewayProcess.start(env.service(name), folder, f"services.{name}") for name in names]
    try:
        await asyncio.gather(*(process.until_ready() for process in processes))
        yield
    finally:
        await asyncio.gather(*(process.stop() for process in processes))


async def done(http: httpx.AsyncClient, path: str, status: int = 200, **body: Any) -> dict[str, Any]:
    """The answer to a request that is carried out."""
    answer = await http.post(path, json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def refused(http: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    """The problem that a request is refused with: 409, whose text names both ends that its data has."""
    answer = await http.post(path, json=body)
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json"), answer.text
    data = problem["data"]
    here = data.get("status") or data["state"]
    assert here in problem["detail"]
    assert data["target"] in problem["detail"]
    assert problem["fix"]
    return problem


def test_the_table_of_illegal_moves_of_an_incident_is_the_lifecycle_s() -> None:
    table: set[tuple[str, str]] = {(state, name) for state in lifecycle.STATUSES for name in lifecycle.BY_PEOPLE}

    assert lifecycle.STATUSES == STATES
    assert {name: lifecycle.TARGET[name] for name in lifecycle.BY_PEOPLE} == LEADS
    assert {(state, name) for state, name in table if name not in lifecycle.TABLE[state]} == ILLEGAL  # type: ignore[index]
    assert lifecycle.BY_FACTS == FACTS_ONLY
    assert {target for target in STATES if target not in LEADS.values()} == {"new"}  # nobody's trigger leads there


def test_every_pair_of_states_that_is_no_move_is_asked_for() -> None:
    moves = {(state, LEADS[trigger]) for state, trigger in LEGAL}
    asked = {(state, LEADS[trigger]) for state, trigger in ILLEGAL}

    assert asked | moves == {(state, target) for state in STATES for target in STATES if target != "new"}
    assert len(ILLEGAL) == len(STATES) * len(LEADS) - len(LEGAL) == 25


async def test_every_illegal_move_of_an_incident_is_409_and_names_both_ends(
    http: httpx.AsyncClient, stack_env: StackEnv, tmp_path: Path
) -> None:
    async with running(stack_env, tmp_path, "incident"):
        asked = [await _try_all(http, state) for state in STATES]

    assert set().union(*asked) == ILLEGAL


async def _try_all(http: httpx.AsyncClient, state: str) -> set[tuple[str, str]]:
    """Bring an incident into a state, and ask it for every move that it does not have; returns what was asked."""
    opened = await done(http, "/incidents", 201, title=f"an incident that is {state}", severity="high")
    here = f"/incidents/{opened['incident_id']}"
    for trigger in WAYS[state]:
        await done(http, f"{here}/transition", trigger=trigger, rationale="on its way")
    before = (await http.get(here)).json()
    assert (before["status"], before["version"]) == (state, 1 + len(WAYS[state]))

    asked = [trigger for at, trigger in sorted(ILLEGAL) if at == state]
    for trigger in asked:
        problem = await refused(http, f"{here}/transition", trigger=trigger, rationale="against the table")
        assert problem["code"] == "undefined_move"
        possible = [name for name in LEADS if (state, name) in LEGAL]
        ends = {"status": state, "trigger": trigger, "target": LEADS[trigger], "possible": possible}
        assert problem["data"] == ends
    for target in UNEXPLAINED.get(state, ()):
        problem = await refused(http, f"{here}/transition", trigger="resolve")
        assert problem["code"] == "rationale_missing"
        assert problem["data"] == {"status": state, "trigger": "resolve", "target": target}
    for trigger in FACTS_ONLY:
        answer = await http.post(f"{here}/transition", json={"trigger": trigger, "rationale": "as if it were a fact"})
        assert answer.status_code == 422, answer.text

    after = (await http.get(here)).json()
    assert _but_parts(after) == _but_parts(before)
    return {(state, trigger) for trigger in asked}


def _but_parts(shown: Mapping[str, Any]) -> dict[str, Any]:
    """An incident without what other services, which do not run here, would tell of it."""
    return {key: value for key, value in shown.items() if key != "unanswered"}


@pytest.fixture
async def executions(
    http: httpx.AsyncClient, stack_env: StackEnv, tmp_path: Path
) -> AsyncIterator[dict[str, dict[str, Any]]]:
    """One execution for each standing of a step, as it is shown when it stands there."""
    async with running(stack_env, tmp_path, "catalog", "executor"):
        await done(http, "/runbooks", 201, source=RUNBOOK)
        found = {}
        for at in STANDS:
            begun = await done(http, "/runbooks/every-standing/execute", 202, inputs={"at": at})
            found[at] = (await http.get(f"/executions/{begun['execution_id']}")).json()
        yield found


async def test_a_step_is_completed_or_decided_only_where_it_waits_for_that(
    http: httpx.AsyncClient, executions: dict[str, dict[str, Any]]
) -> None:
    for at, before in executions.items():
        expected = _standings(at)
        for step in STEPS:
            legal = step == at and step in BY_HAND
            await _refuse_step(http, before, step, expected[step], complete=not legal)

        here = f"/executions/{before['execution_id']}"
        unheard = await http.post(f"{here}/steps/nowhere/complete", json={"outcome": "failed"})
        assert (unheard.status_code, unheard.json()["code"]) == (404, "step_not_found")
        assert (await http.get(here)).json() == before


async def test_an_execution_that_has_ended_is_neither_ended_again_nor_gone_on_with(
    http: httpx.AsyncClient, executions: dict[str, dict[str, Any]]
) -> None:
    ends: dict[str, tuple[str, str, dict[str, Any]]] = {
        "completed": ("last", "steps/last/complete", {"outcome": "succeeded"}),
        "failed": ("agree", "fail", {"rationale": "it does not help"}),
        "aborted": ("hand", "abort", {"rationale": "by hand instead"}),
    }
    assert ends.keys() == TERMINAL

    for state, (at, verb, body) in ends.items():
        here = f"/executions/{executions[at]['execution_id']}"
        assert (await done(http, f"{here}/{verb}", **body))["state"] == state
        before = (await http.get(here)).json()
        for trigger, target in (("abort", "aborted"), ("fail", "failed")):
            problem = await refused(http, f"{here}/{trigger}", rationale="too late")
            assert problem["code"] == "execution_ended"
            assert problem["data"] == {"state": state, "trigger": trigger, "target": target}
        ended = "succeeded" if state == "completed" else "cancelled"
        for step, standing in {**_standings(at), at: (ended, "")}.items():
            await _refuse_step(http, before, step, standing, complete=True)
        assert (await http.get(here)).json() == before


def _standings(at: str) -> dict[str, tuple[str, str]]:
    """What each step is, and waits for, in an execution that was brought to `at`."""
    stop = STEPS.index(at)
    found = dict.fromkeys(STEPS[:stop], ("skipped", "")) | dict.fromkeys(STEPS[stop + 1 :], ("not_reached", ""))
    return {**found, "known": ("succeeded", ""), "broken": ("failed", ""), at: STANDS[at]}


async def _refuse_step(
    http: httpx.AsyncClient, execution: dict[str, Any], step: str, standing: tuple[str, str], *, complete: bool
) -> None:
    """Every decision, and if so every completion, is refused with the state that the step is in."""
    here = f"/executions/{execution['execution_id']}/steps/{step}"
    asked = [("decide", "step_not_unknown", "decision", target) for target in ("succeeded", "failed", "abort")]
    if complete:
        asked += [("complete", "step_not_manual", "outcome", target) for target in ("succeeded", "failed")]
    for verb, code, name, target in asked:
        problem = await refused(http, f"{here}/{verb}", **{name: target}, rationale="against the table")
        state, waiting_for = standing
        ends = {"step": step, "state": state, "waiting_for": waiting_for, "trigger": verb, "target": target}
        assert (problem["code"], problem["data"]) == (code, ends)


def _refused_as(standing: str, command: str) -> str:
    """The code that a command is refused with where the table does not have it."""
    if command == "retry":
        return "not_retryable"
    if standing in ENDED:
        return "execution_ended"
    if command in CHOICES:
        return "step_not_asking"
    return {
        "pause": "already_paused",
        "resume": "not_paused",
        "signal": "signal_unheard",
        "skip": "step_not_skippable",
    }[command]


def test_every_pair_of_a_standing_and_a_command_is_in_the_table() -> None:
    assert set(ALLOWED) == {*STANDS, "paused", *TERMINAL}
    assert {command for allowed in ALLOWED.values() for command in allowed} == set(COMMANDS)
    assert len(ALLOWED) * len(COMMANDS) == 132


async def test_every_command_is_carried_out_where_the_table_has_it_and_refused_everywhere_else(
    http: httpx.AsyncClient, stack_env: StackEnv, tmp_path: Path
) -> None:
    async with running(stack_env, tmp_path, "catalog", "executor"):
        await done(http, "/runbooks", 201, source=RUNBOOK)
        carried_out = set()
        for standing, allowed in ALLOWED.items():
            here, step = await _brought_to(http, standing)
            before = (await http.get(here)).json()
            for command in sorted(COMMANDS.keys() - allowed):
                await _refuse(http, here, step, standing, command)
            assert (await http.get(here)).json() == before
            for command in sorted(allowed):
                there, step = await _brought_to(http, standing)
                verb, body, _ = COMMANDS[command]
                path = f"{there}/{verb.format(step=step)}"
                await done(http, path, 202 if command == "retry" else 200, **body)
                assert (await http.get(there)).json() != before
                carried_out.add((standing, command))

    assert carried_out == {(standing, command) for standing, allowed in ALLOWED.items() for command in allowed}


async def test_who_may_only_look_commands_nothing(
    http: httpx.AsyncClient, executions: dict[str, dict[str, Any]]
) -> None:
    for at, before in executions.items():
        here = f"/executions/{before['execution_id']}"
        for command, (verb, body, _) in COMMANDS.items():
            answer = await http.post(f"{here}/{verb.format(step=at)}", json=body, headers=bearer(VIEWER))
            assert (answer.status_code, answer.json()["code"]) == (403, "policy.role"), (at, command)
        assert (await http.get(here)).json() == before


async def _brought_to(http: httpx.AsyncClient, standing: str) -> tuple[str, str]:
    """A new execution that stands there, and its step."""
    at = {"paused": "call", "completed": "last", "failed": "hand", "aborted": "hand"}.get(standing, standing)
    begun = await done(http, "/runbooks/every-standing/execute", 202, inputs={"at": at})
    here = f"/executions/{begun['execution_id']}"
    ways: dict[str, tuple[str, dict[str, Any]]] = {
        "paused": ("pause", WHY),
        "failed": ("fail", WHY),
        "aborted": ("abort", WHY),
        "completed": ("steps/last/complete", {"outcome": "succeeded"}),
    }
    if standing in ways:
        verb, body = ways[standing]
        await done(http, f"{here}/{verb}", **body)
    return here, at


async def _refuse(http: httpx.AsyncClient, here: str, step: str, standing: str, command: str) -> None:
    verb, body, target = COMMANDS[command]
    problem = await refused(http, f"{here}/{verb.format(step=step)}", **body)
    told = (problem["code"], problem["data"]["target"], problem["data"]["trigger"])
    assert told == (_refused_as(standing, command), target, command.partition(" ")[0]), (standing, command)
