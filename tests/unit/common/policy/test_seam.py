"""The seam: whatever goes wrong is a denial with a code, and an answer is used again only where that cannot hurt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from libs.common import policy
from libs.common.errors import Denied
from libs.common.policy.actions import ACTIONS
from libs.common.policy.again import MAX_KEPT, TTL_MS, Kept
from libs.common.policy.engines.base import EngineFailed
from libs.common.policy.engines.embedded import EmbeddedRego
from libs.common.policy.model import NOTHING, Approval, Context, Principal, Resource, Scope
from libs.common.policy.reasons import DENIED
from libs.common.policy.seam import Question, Seam
from tests.unit.common.policy.questions import ADA, BUNDLE, INCIDENT, OLGA, VERA, Scripted, allowing, denying

SYSTEM = Principal.system("executor")
ACTION = Resource("action", "a-1", "acme")
GRANT = Approval("ap", "granted", "i", "e", "s", "p", "a", "acme", "rita", "paul", 2_000_000_000)


class Clock:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _denials(action: str, reason: str) -> float:
    return REGISTRY.get_sample_value("ranger_policy_denials_total", {"action": action, "reason": reason}) or 0.0


async def test_a_failed_engine_is_asked_anew_the_next_time() -> None:
    engine = Scripted(EngineFailed("gone"))
    seam = Seam(engine)
    assert not (await seam.decide(VERA, "incident.view", INCIDENT)).allow

    engine.value = allowing()

    assert (await seam.decide(VERA, "incident.view", INCIDENT)).allow


@pytest.mark.parametrize(
    ("who", "action", "thing", "code"),
    [
        (ADA, "incident.delete", INCIDENT, "unknown_action"),
        (ADA, "", INCIDENT, "unknown_action"),
        (ADA, "incident.view", Resource("lock", "1", "acme"), "input"),
        (ADA, "incident.view", Resource("incident", "a\nb", "acme"), "input"),
        (ADA, "incident.view", Resource("incident", "x" * 513, "acme"), "input"),
        (replace(ADA, clearance=4), "incident.view", INCIDENT, "input"),
        (replace(ADA, clearance=True), "incident.view", INCIDENT, "input"),
        (replace(ADA, kind="god"), "incident.view", INCIDENT, "input"),  # type: ignore[arg-type]
        (replace(ADA, method="guess"), "incident.view", INCIDENT, "input"),  # type: ignore[arg-type]
        (replace(ADA, mfa=1), "incident.view", INCIDENT, "input"),  # type: ignore[arg-type]
        (ADA, "incident.view", replace(INCIDENT, clearance=-1), "input"),
        (ADA, "incident.view", replace(INCIDENT, severity="awful"), "input"),
        (ADA, "incident.view", replace(INCIDENT, tags={"a": 1}), "input"),  # type: ignore[dict-item]
    ],
)
async def test_a_question_outside_the_schema_is_denied_without_asking(
    who: Principal, action: str, thing: Resource, code: str
) -> None:
    engine = Scripted(allowing())

    found = await Seam(engine).decide(who, action, thing)

    assert (found.allow, found.reason, engine.asked) == (False, code, [])


@pytest.fixture
def asked() -> Iterator[Scripted]:
    """The engine that the process asks."""
    engine = Scripted(allowing())
    policy.use(engine)
    yield engine
    policy._seams.clear()


async def test_a_refusal_carries_the_code_the_words_what_helps_and_every_reason(asked: Scripted) -> None:
    asked.value = denying("role", "clearance")
    before = _denials("incident.assign", "role")

    with pytest.raises(Denied) as refused:
        await policy.require(VERA, "incident.assign", INCIDENT)

    error = refused.value
    assert error.reason_code == "policy.role"
    assert error.detail == f"vera may not incident.assign: {DENIED['role'].text}"
    assert error.fix == DENIED["role"].fix
    assert [reason["code"] for reason in error.data["reasons"]] == ["role", "clearance"]
    assert error.data["decision_id"]
    assert _denials("incident.assign", "role") == before + 1


async def test_require_gives_the_decision_that_allowed_it(asked: Scripted) -> None:
    found = await policy.require(OLGA, "incident.assign", INCIDENT)

    assert found.allow
    assert (found.engine, found.revision, found.ttl_ms, found.simulated) == (asked.name, "r-1", 0, False)


async def test_many_are_answered_in_the_order_of_their_questions() -> None:
    seam = Seam(EmbeddedRego(BUNDLE))
    things = [Resource("incident", str(number), "acme" if number % 3 else "beta") for number in range(50)]

    found = await seam.decide_many([Question(VERA, "incident.view", thing) for thing in things])

    assert [decision.allow for decision in found] == [bool(number % 3) for number in range(50)]


@pytest.mark.parametrize(
    ("who", "action", "thing", "context"),
    [
        (VERA, "incident.view", INCIDENT, Context()),
        (SYSTEM, "step.claim", ACTION, Context()),
        (SYSTEM, "step.claim", replace(ACTION, risk="medium"), Context()),
        (OLGA, "step.run", ACTION, Context()),
        (SYSTEM, "execution.plan", Resource("execution", "e", "acme"), Context()),
    ],
)
async def test_looking_and_what_services_do_over_and_over_is_answered_once_for_a_moment(
    who: Principal, action: str, thing: Resource, context: Context
) -> None:
    engine, clock = Scripted(allowing()), Clock()
    seam = Seam(engine, monotonic=clock)

    first = await seam.decide(who, action, thing, context)
    clock.now += 4.0
    second = await seam.decide(who, action, thing, context)
    assert len(engine.asked) == 1
    assert (first.ttl_ms, second.ttl_ms, second.decision_id) == (TTL_MS, 1000, first.decision_id)

    clock.now += 1.0
    await seam.decide(who, action, thing, context)
    assert len(engine.asked) == 2


@pytest.mark.parametrize(
    ("who", "action", "thing", "context"),
    [
        (OLGA, "incident.assign", INCIDENT, Context()),
        (OLGA, "runbook.publish", Resource("runbook", "r", "acme"), Context()),
        (SYSTEM, "step.claim", replace(ACTION, risk="high"), Context()),
        (SYSTEM, "step.claim", ACTION, Context(kill_switch=True)),
        (OLGA, "step.run", ACTION, Context(approvals=(GRANT,))),
        (VERA, "approval.view", Resource("approval", "a", "acme"), Context()),
        (VERA, "kill_switch.view", Resource("kill_switch", "t", "acme"), Context()),
        (ADA, "kill_switch.set", Resource("kill_switch", "t", "acme"), Context()),
        (VERA, "runbook.view", Resource("runbook", "r", "acme", risk="high"), Context()),
    ],
)
async def test_commands_high_risk_approvals_and_the_kill_switch_are_decided_anew_each_time(
    who: Principal, action: str, thing: Resource, context: Context
) -> None:
    engine = Scripted(allowing())
    seam = Seam(engine, monotonic=Clock())

    answers = [await seam.decide(who, action, thing, context) for _ in range(3)]

    assert len(engine.asked) == 3
    assert [answer.ttl_ms for answer in answers] == [0, 0, 0]


@pytest.mark.parametrize(
    ("who", "thing", "revision"),
    [
        (replace(VERA, epoch=1), INCIDENT, "r-1"),
        (replace(VERA, on_call=frozenset({"storage"})), INCIDENT, "r-1"),
        (VERA, replace(INCIDENT, version=1), "r-1"),
        (VERA, replace(INCIDENT, tags={"a": "b"}), "r-1"),
        (VERA, replace(INCIDENT, id="i-2"), "r-1"),
        (VERA, INCIDENT, "r-2"),
    ],
)
async def test_an_answer_is_for_these_rights_this_thing_and_these_policies_alone(
    who: Principal, thing: Resource, revision: str
) -> None:
    engine = Scripted(allowing())
    seam = Seam(engine, monotonic=Clock())
    await seam.decide(VERA, "incident.view", INCIDENT)

    engine.revision = revision
    await seam.decide(who, "incident.view", thing)

    assert len(engine.asked) == 2


async def test_a_simulation_is_the_same_question_and_neither_uses_nor_leaves_an_answer() -> None:
    engine = Scripted(allowing())
    seam = Seam(engine, monotonic=Clock())

    simulated = await seam.decide(VERA, "incident.view", INCIDENT, simulated=True)
    asked = await seam.decide(VERA, "incident.view", INCIDENT)
    again = await seam.decide(VERA, "incident.view", INCIDENT, simulated=True)

    assert [found.simulated for found in (simulated, asked, again)] == [True, False, True]
    assert engine.asked[0] == engine.asked[1] == engine.asked[2]


def test_so_many_answers_are_kept_and_no_more() -> None:
    kept: Kept[int] = Kept(Clock())
    for number in range(MAX_KEPT + 10):
        kept.put(str(number).encode(), number)

    assert kept.get(b"9") is None
    assert kept.get(b"10") == (10, TTL_MS)
    assert len(kept._found) == MAX_KEPT


async def test_a_list_shows_nothing_where_policy_fails_or_gives_no_scope() -> None:
    shown = {"allow": True, "tenant_ids": ["acme"], "environments": ["*"], "max_clearance": 1}
    wrong = [{"allow": 1}, {"max_clearance": "3"}, {"max_clearance": True}, {"tenant_ids": "acme"}, {"tenant_ids": [1]}]
    broken: list[Any] = [EngineFailed("gone"), None, {"allow": True}, *({**shown, **each} for each in wrong)]

    found = [await Seam(Scripted(value)).scope(VERA, "incident.view", "acme") for value in broken]

    assert found == [NOTHING] * len(broken)
    assert await Seam(Scripted(shown)).scope(VERA, "incident.view", "acme") == Scope(
        allow=True, tenants=frozenset({"acme"}), environments=frozenset({"*"}), max_clearance=1
    )
    assert await Seam(Scripted(shown)).scope(VERA, "incident.create", "acme") == NOTHING
    assert await Seam(Scripted(shown)).scope(VERA, "incident.view", "a\nb") == NOTHING


async def test_others_get_their_turn_while_many_are_decided() -> None:
    seam = Seam(EmbeddedRego(BUNDLE))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(others())
    await seam.decide_many([Question(OLGA, "incident.assign", INCIDENT)] * 64)
    running.cancel()

    assert turns >= 4


def test_every_action_has_one_package_and_every_package_an_action() -> None:
    assert {action.package for action in ACTIONS.values()} == {
        "incident.authz", "runbook.catalog", "runbook.execute", "approval.decide", "timeline.view", "system.admin",
    }  # fmt: skip
