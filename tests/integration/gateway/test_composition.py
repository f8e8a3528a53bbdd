"""What the gateway puts together by itself: an incident from several services, and an answer that is waited for."""

import asyncio
from typing import Any, Final

import httpx
import orjson
import pytest
from nats.aio.msg import Msg

from libs.common.bus import round_trip
from libs.common.errors import Denied, NotFound, Unavailable
from services.gateway import incidents
from tests.integration.gateway.fakes import FakeServices

INCIDENT: Final = "0192f0c1-0000-7000-8000-00000000000a"
EXECUTION: Final = "0192f0c1-0000-7000-8000-00000000000e"
PROVEN: Final = {"provenance_hash": "ab" * 32, "n": 2, "index": 3}
WHOLE: Final = {"incident_id": INCIDENT, "title": "slow", "alerts": [{"name": "a"}], "executions": [{"state": "old"}]}


async def known(services: FakeServices) -> None:
    await services.answer("incident.get", WHOLE)
    await services.answer("executor.list", {"items": [{"state": "running"}], "next": None})
    await services.answer("timeline.list", {"entries": [{"index": 3}], "next": 3})
    await services.answer("timeline.provenance", PROVEN)


async def test_an_incident_is_shown_with_its_executions_approvals_and_timeline(
    http: httpx.AsyncClient, services: FakeServices
) -> None:
    await known(services)
    await services.answer("approvals.list", {"items": [{"approval_id": "p"}], "next": None})

    answer = await http.get(f"/incidents/{INCIDENT}")

    assert answer.status_code == 200
    assert answer.json() == {
        **WHOLE,
        "executions": [{"state": "running"}],
        "approvals": [{"approval_id": "p"}],
        "timeline": [{"index": 3}],
        "timeline_next": 3,
        "unanswered": {},
        "provenance_hash": "ab" * 32,
        "provenance": {"n": 2, "index": 3},
    }
    assert {orjson.dumps(a.body) for a in services.asked if a.subject.endswith(".list")} == {
        orjson.dumps({"incident_id": INCIDENT, "limit": incidents.PART})
    }


@pytest.mark.parametrize("refusal", [None, Denied("not you"), Unavailable("its server is away")])
async def test_a_part_that_is_not_answered_is_named_and_the_rest_is_shown(
    http: httpx.AsyncClient, services: FakeServices, refusal: Denied | Unavailable | None
) -> None:
    await known(services)
    if refusal is not None:
        await services.answer("approvals.list", refusal)

    answer = (await http.get(f"/incidents/{INCIDENT}")).json()

    assert (answer["approvals"], answer["timeline"]) == ([], [{"index": 3}])
    assert list(answer["unanswered"]) == ["approvals"]
    assert answer["unanswered"]["approvals"] == (refusal.detail if refusal else answer["unanswered"]["approvals"])


async def test_a_part_that_never_answers_is_not_waited_for_long(
    http: httpx.AsyncClient, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incidents, "PART_SECONDS", 0.1)
    await known(services)

    async def ignore(_message: Msg) -> None:
        return

    await services.client.subscribe("rpc.approvals.list", cb=ignore)
    await round_trip(services.client)

    assert list((await http.get(f"/incidents/{INCIDENT}")).json()["unanswered"]) == ["approvals"]


async def test_an_execution_is_shown_with_its_provenance(http: httpx.AsyncClient, services: FakeServices) -> None:
    await services.answer("executor.get", {"execution_id": EXECUTION, "state": "running"})
    await services.answer("timeline.provenance", PROVEN)

    answer = (await http.get(f"/executions/{EXECUTION}")).json()

    assert (answer["provenance_hash"], answer["provenance"]) == ("ab" * 32, {"n": 2, "index": 3})
    asked = [asked.body for asked in services.asked if asked.subject == "rpc.timeline.provenance"]
    assert asked == [{"kind": "execution", "id": EXECUTION}]


@pytest.mark.parametrize("refusal", [None, Denied("not you"), NotFound("not yet")])
async def test_without_the_log_everything_else_is_shown_and_why_the_provenance_is_not(
    http: httpx.AsyncClient, services: FakeServices, refusal: Denied | NotFound | None
) -> None:
    await services.answer("incident.get", WHOLE)
    await services.answer("executor.get", {"execution_id": EXECUTION, "state": "running"})
    if refusal is not None:
        await services.answer("timeline.provenance", refusal)
    reason = refusal.detail if refusal else "timeline did not answer (NoRespondersError)."

    for path in (f"/incidents/{INCIDENT}", f"/executions/{EXECUTION}"):
        answer = await http.get(path)
        assert answer.status_code == 200
        assert answer.json()["provenance_hash"] is None
        assert answer.json()["provenance"] == {"missing": reason}


async def test_without_the_execution_there_is_nothing_to_show(http: httpx.AsyncClient, services: FakeServices) -> None:
    await services.answer("executor.get", NotFound("There is no such execution."))
    await services.answer("timeline.provenance", PROVEN)

    assert (await http.get(f"/executions/{EXECUTION}")).status_code == 404


async def test_without_the_incident_there_is_nothing_to_show(http: httpx.AsyncClient, services: FakeServices) -> None:
    await services.answer("*.list", {"items": [], "entries": [], "next": None})
    await services.answer("incident.get", NotFound("There is no such incident."))

    assert (await http.get(f"/incidents/{INCIDENT}")).status_code == 404


class Executor:
    """Answers `execute` with a pending execution and `get` with one state after the other; None is no answer."""

    def __init__(self, states: list[str | None]) -> None:
        self.states = states
        self.looks = 0

    async def serve(self, services: FakeServices) -> None:
        await services.answer("executor.execute", {"execution_id": EXECUTION, "state": "pending"})
        await services.client.subscribe("rpc.executor.get", cb=self._get)
        await round_trip(services.client)

    async def _get(self, message: Msg) -> None:
        self.looks += 1
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        reply: dict[str, Any] = {"ok": {"execution_id": EXECUTION, "state": state}}
        if state is None:
            reply = {"error": Unavailable("away").to_wire()}
        await message.respond(orjson.dumps(reply))


@pytest.mark.parametrize("state", ["completed", "failed", "aborted", "blocked"])
async def test_waiting_ends_as_soon_as_the_execution_rests(
    http: httpx.AsyncClient, services: FakeServices, state: str
) -> None:
    executor = Executor(["pending", "running", None, "running", state])
    await executor.serve(services)

    answer = await http.post("/runbooks/r-1/execute?wait=60", json={})

    assert (answer.status_code, answer.json()["state"]) == (200, state)
    assert executor.looks == 5


async def test_when_the_time_is_over_the_answer_is_how_it_stands(
    http: httpx.AsyncClient, services: FakeServices
) -> None:
    executor = Executor(["running"])
    await executor.serve(services)

    answer = await http.post("/runbooks/r-1/execute?wait=0.5", json={})

    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    assert 1 < executor.looks < 8


async def test_without_waiting_the_answer_is_at_once(http: httpx.AsyncClient, services: FakeServices) -> None:
    executor = Executor(["running"])
    await executor.serve(services)

    answers = await asyncio.gather(*(http.post(f"/runbooks/r-1/execute{q}", json={}) for q in ("", "?wait=0")))

    assert [(answer.status_code, answer.json()["state"]) for answer in answers] == [(202, "pending")] * 2
    assert executor.looks == 0
    assert (await http.post("/runbooks/r-1/execute?wait=61", json={})).status_code == 422


async def test_a_body_that_may_be_left_out_is_checked_when_it_is_there(
    http: httpx.AsyncClient, services: FakeServices
) -> None:
    await services.answer("catalog.publish", {"version": 1})

    assert (await http.post("/runbooks/r-1/publish")).status_code == 201
    assert (await http.post("/runbooks/r-1/publish", json={})).status_code == 201
    assert (await http.post("/runbooks/r-1/publish", json={"source": "other"})).status_code == 422


async def test_texts_that_no_database_stores_are_refused(http: httpx.AsyncClient, services: FakeServices) -> None:
    await services.answer("*.*", {})

    refused = [
        await http.get("/incidents", params={"q": "a\0b"}),
        await http.post("/incidents", json={"title": "a\0b", "severity": "low"}),
        await http.post("/runbooks/r-1/execute", json={"inputs": {"deep": "\0"}}),
        await http.post("/runbooks/r-1/execute", json={"inputs": {"a\0": "x"}}),
        await http.post("/runbooks/r-1/execute", json={"inputs": {"n": 2**63}}),
    ]

    assert [answer.status_code for answer in refused] == [422] * 5
    assert services.asked == []
