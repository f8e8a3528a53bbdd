"""Each request becomes one question to one service, in the caller's name; answers and refusals pass through."""

import re
from typing import Any, Final

import httpx
import orjson
import pytest

from libs.common import deadletter_desk as desk
from libs.common.errors import Conflict, Denied, InvalidInput, NotFound, RangerError, TooLarge, Unavailable
from libs.common.rpc import Question
from services.approvals import commands as approvals
from services.catalog import commands as catalog
from services.executor import commands as executor
from services.executor.guards import questions as guards
from services.incident import commands as incident
from services.timeline import handlers as timeline
from services.timeline import proving
from tests.integration.gateway.fakes import FakeServices

RUNBOOK = "schema: runbook/v1\nname: storage-latency\n"
INCIDENT: Final = "0192f0c1-0000-7000-8000-00000000000a"
EXECUTION: Final = "0192f0c1-0000-7000-8000-00000000000e"
APPROVAL: Final = "0192f0c1-0000-7000-8000-0000000000aa"
LINKED: Final[dict[str, Any]] = {"token": "x.y", "rationale": "seen and agreed"}
GRANT: Final = {"rationale": "seen", "plan_hash": "sha256:p", "action_hash": "", "channel": "cli"}
QUESTIONS: Final[list[tuple[str, str, Any, str, dict[str, Any]]]] = [
    ("GET", "/incidents", None, "incident.list", {}),
    ("GET", "/incidents?status=new&limit=5", None, "incident.list", {"status": "new", "limit": 5}),
    (
        *("GET", "/incidents?severity=high&q=slow", None, "incident.list"),
        {"severity": "high", "q": "slow"},
    ),
    (
        *("POST", "/incidents", {"title": "slow", "severity": "high", "tags": ["p"]}, "incident.create"),
        {"title": "slow", "severity": "high", "tags": ["p"]},
    ),
    (
        *("POST", f"/incidents/{INCIDENT}/severity", {"severity": "low", "rationale": "better"}, "incident.severity"),
        {"incident_id": INCIDENT, "severity": "low", "rationale": "better"},
    ),
    (
        *("POST", f"/incidents/{INCIDENT}/owner", {"owner": None}, "incident.owner"),
        {"incident_id": INCIDENT, "owner": None},
    ),
    (
        *("POST", f"/incidents/{INCIDENT}/runbooks", {"runbook_id": "r-1"}, "incident.link_runbook"),
        {"incident_id": INCIDENT, "runbook_id": "r-1"},
    ),
    (
        *(
            "POST",
            f"/incidents/{INCIDENT}/transition",
            {"trigger": "close", "rationale": "fixed"},
            "incident.transition",
        ),
        {"incident_id": INCIDENT, "trigger": "close", "rationale": "fixed"},
    ),
    ("POST", "/runbooks", {"source": RUNBOOK}, "catalog.publish", {"source": RUNBOOK}),
    ("POST", "/runbooks?draft=true", {"source": RUNBOOK}, "catalog.draft", {"source": RUNBOOK}),
    ("GET", "/runbooks/r-1/draft", None, "catalog.get_draft", {"runbook_id": "r-1"}),
    (
        *("POST", "/runbooks/r-1/publish", {"spec_hash": "a" * 64}, "catalog.publish"),
        {"runbook_id": "r-1", "spec_hash": "a" * 64},
    ),
    ("POST", "/runbooks/r-1/publish", None, "catalog.publish", {"runbook_id": "r-1"}),
    (
        *("POST", "/runbooks/r-1/execute", {}, "executor.execute"),
        {"runbook_id": "r-1", "inputs": {}},
    ),
    (
        *("POST", "/runbooks/r-1/execute", {"version": 2, "inputs": {"n": 1}, "open_incident": True}),
        "executor.execute",
        {"runbook_id": "r-1", "version": 2, "inputs": {"n": 1}, "open_incident": True},
    ),
    (
        *("POST", "/runbooks/r-1/execute", {"dry_run": True}, "executor.execute"),
        {"runbook_id": "r-1", "inputs": {}, "dry_run": True},
    ),
    (
        *("POST", "/runbooks/r-1/plan", {"inputs": {"n": 1}, "incident_id": INCIDENT}, "executor.plan"),
        {"runbook_id": "r-1", "inputs": {"n": 1}, "incident_id": INCIDENT},
    ),
    ("POST", "/runbooks/r-1/plan", None, "executor.plan", {"runbook_id": "r-1"}),
    ("POST", "/runbooks/lint", {"source": RUNBOOK}, "catalog.lint", {"source": RUNBOOK}),
    ("GET", "/runbooks?after=a&limit=2", None, "catalog.list", {"after": "a", "limit": 2}),
    ("GET", "/runbooks/r-1", None, "catalog.get_version", {"runbook_id": "r-1"}),
    (
        *("GET", "/runbooks/r-1?version=3&include_source=true", None, "catalog.get_version"),
        {"runbook_id": "r-1", "version": 3, "include_source": True},
    ),
    ("GET", f"/executions?incident_id={INCIDENT}", None, "executor.list", {"incident_id": INCIDENT}),
    (
        *("GET", f"/executions/{EXECUTION}/steps?within=fan/api&state=failed&limit=9", None, "executor.list_steps"),
        {"execution_id": EXECUTION, "within": "fan/api", "state": "failed", "limit": 9},
    ),
    (
        *("POST", f"/executions/{EXECUTION}/steps/restart-node/decide", {"decision": "failed", "rationale": "looked"}),
        "executor.decide_step",
        {"execution_id": EXECUTION, "step": "restart-node", "decision": "failed", "rationale": "looked"},
    ),
    (
        *("POST", f"/executions/{EXECUTION}/abort", {"rationale": "why"}, "executor.abort"),
        {"execution_id": EXECUTION, "rationale": "why"},
    ),
    (
        *("POST", f"/executions/{EXECUTION}/fail", {"rationale": "why"}, "executor.fail"),
        {"execution_id": EXECUTION, "rationale": "why"},
    ),
    (
        *("POST", f"/executions/{EXECUTION}/steps/look/complete"),
        {"outcome": "succeeded", "evidence_ref": "e", "approval_ids": [APPROVAL], "values": {"n": 1, "ok": True}},
        "executor.complete_step",
        {
            "execution_id": EXECUTION,
            "step": "look",
            "outcome": "succeeded",
            "evidence_ref": "e",
            "approval_ids": [APPROVAL],
            "values": {"n": 1, "ok": True},
        },
    ),
    *(
        (
            *("POST", f"/executions/{EXECUTION}/{verb}", {"rationale": "why"}, f"executor.{verb}"),
            {"execution_id": EXECUTION, "rationale": "why"},
        )
        for verb in ("pause", "resume", "rollback", "terminate", "retry")
    ),
    (
        *("POST", f"/executions/{EXECUTION}/retry", {"rationale": "why", "repeat_unknown": True}, "executor.retry"),
        {"execution_id": EXECUTION, "rationale": "why", "repeat_unknown": True},
    ),
    (
        *("POST", f"/executions/{EXECUTION}/signal", {"name": "out", "data": {"n": 1}, "rationale": "why"}),
        "executor.signal",
        {"execution_id": EXECUTION, "name": "out", "data": {"n": 1}, "rationale": "why"},
    ),
    (
        *("POST", f"/executions/{EXECUTION}/steps/fan/api/restart/skip", {"rationale": "why"}, "executor.skip_step"),
        {"execution_id": EXECUTION, "step": "fan/api/restart", "rationale": "why"},
    ),
    (
        *("POST", f"/executions/{EXECUTION}/steps/s/choose", {"choice": "retry", "rationale": "why"}),
        "executor.choose_step",
        {"execution_id": EXECUTION, "step": "s", "choice": "retry", "rationale": "why"},
    ),
    ("GET", "/approvals?state=requested&limit=9", None, "approvals.list", {"state": "requested", "limit": 9}),
    ("GET", f"/approvals/{APPROVAL}", None, "approvals.get", {"approval_id": APPROVAL}),
    ("GET", "/approvals?mine=true", None, "approvals.list", {"mine": True}),
    ("GET", f"/approvals/{APPROVAL}/link", None, "approvals.link", {"approval_id": APPROVAL}),
    ("GET", "/approvals/by-link?token=x.y", None, "approvals.follow_link", {"token": "x.y"}),
    (
        *("POST", "/approvals/by-link/grant", LINKED | {"values": {"n": 1}}, "approvals.grant_by_link"),
        LINKED | {"values": {"n": 1}},
    ),
    ("POST", "/approvals/by-link/reject", LINKED, "approvals.reject_by_link", LINKED),
    (
        *("POST", f"/approvals/{APPROVAL}/withdraw-vote", {"rationale": "not sure"}, "approvals.withdraw_vote"),
        {"approval_id": APPROVAL, "rationale": "not sure"},
    ),
    (
        *("POST", f"/approvals/{APPROVAL}/grant", GRANT, "approvals.grant"),
        {"approval_id": APPROVAL, **GRANT},
    ),
    (
        *("POST", f"/approvals/{APPROVAL}/reject", {"rationale": "nope"}, "approvals.reject"),
        {"approval_id": APPROVAL, "rationale": "nope"},
    ),
    (
        *("POST", f"/approvals/{APPROVAL}/revoke", {"rationale": "nope"}, "approvals.revoke"),
        {"approval_id": APPROVAL, "rationale": "nope"},
    ),
    (
        *("POST", "/locks/break", {"resource_id": "db:1", "rationale": "gone"}, "executor.break_lock"),
        {"resource_id": "db:1", "rationale": "gone"},
    ),
    (
        *("GET", "/locks?resource_id=db%3A1&limit=9", None, "executor.locks"),
        {"resource_id": "db:1", "limit": 9},
    ),
    ("GET", "/locks?key=eu", None, "executor.locks", {"key": "eu"}),
    ("GET", "/breakers?limit=9", None, "executor.breakers", {"limit": 9}),
    (
        "POST",
        "/breakers/reset",
        {"runbook_id": "mend", "resource_id": "db:1", "rationale": "mended"},
        "executor.reset_breaker",
        {"runbook_id": "mend", "resource_id": "db:1", "rationale": "mended"},
    ),
    ("GET", "/kill-switch", None, "executor.kill_switch_get", {}),
    (
        *("POST", "/kill-switch", {"engaged": True, "reason": "storm", "scope": "global"}, "executor.kill_switch_set"),
        {"engaged": True, "reason": "storm", "scope": "global"},
    ),
    (
        *("GET", f"/timeline?execution_id={EXECUTION}&after=4&limit=2", None, "timeline.list"),
        {"execution_id": EXECUTION, "after": 4, "limit": 2},
    ),
    (
        *("GET", f"/timeline?runbook_execution_id={EXECUTION}", None, "timeline.list"),
        {"execution_id": EXECUTION},
    ),
    (
        *("GET", "/timeline?runbook_id=r-1&actor=ada&type=runbook.*&text=resta*&order=newest", None, "timeline.list"),
        {"runbook_id": "r-1", "actor": "ada", "type": "runbook.*", "text": "resta*", "order": "newest"},
    ),
    (
        *("GET", "/timeline?since=2026-03-01T10:00:00%2B01:00&until=2026-03-02T00:00:00Z", None, "timeline.list"),
        {"since": "2026-03-01T10:00:00+01:00", "until": "2026-03-02T00:00:00+00:00"},
    ),
    ("GET", "/timeline/leaves?first=7", None, "timeline.leaves", {"first": 7}),
    ("GET", "/timeline/leaves/7/payload?offset=9", None, "timeline.payload", {"index": 7, "offset": 9}),
    ("GET", "/timeline/heads?kind=incident&id=x", None, "timeline.heads", {"kind": "incident", "id": "x"}),
    ("GET", "/timeline/state", None, "timeline.state", {}),
    ("GET", "/timeline/7/proof", None, "timeline.proof", {"index": 7}),
    ("GET", f"/timeline/{EXECUTION}/proof?size=9", None, "timeline.proof", {"event_id": EXECUTION, "size": 9}),
    ("GET", "/timeline/consistency?old=3&new=9", None, "timeline.consistency", {"old": 3, "new": 9}),
    ("GET", "/timeline/checkpoint", None, "timeline.checkpoint", {}),
    ("GET", "/dead-letters/incident/7", None, "incident.dlq_show", {"id": 7}),
    (
        *("POST", "/dead-letters/catalog/7/retry", {"rationale": "mended"}, "catalog.dlq_retry"),
        {"id": 7, "rationale": "mended"},
    ),
    (
        *("POST", "/dead-letters/executor/7/discard", {"rationale": "old"}, "executor.dlq_discard"),
        {"id": 7, "rationale": "old"},
    ),
]
MODELS: Final[dict[str, type[Question]]] = {
    "incident.list": incident.ListIncidents,
    "incident.create": incident.CreateIncident,
    "incident.severity": incident.ChangeSeverity,
    "incident.owner": incident.ChangeOwner,
    "incident.link_runbook": incident.LinkRunbook,
    "incident.transition": incident.TransitionIncident,
    "catalog.publish": catalog.Publish,
    "catalog.lint": catalog.Lint,
    "catalog.list": catalog.ListRunbooks,
    "catalog.get_version": catalog.GetVersion,
    "catalog.get_draft": catalog.GetDraft,
    "catalog.draft": catalog.SaveDraft,
    "executor.execute": executor.StartExecution,
    "executor.plan": executor.PlanRunbook,
    "executor.complete_step": executor.CompleteStep,
    "executor.fail": executor.FailExecution,
    "approvals.list": approvals.ListApprovals,
    "approvals.get": approvals.GetApproval,
    "approvals.grant": approvals.GrantApproval,
    "approvals.link": approvals.MakeLink,
    "approvals.follow_link": approvals.OpenLink,
    "approvals.grant_by_link": approvals.GrantByLink,
    "approvals.reject_by_link": approvals.RejectByLink,
    "approvals.withdraw_vote": approvals.WithdrawVote,
    "approvals.reject": approvals.RejectApproval,
    "approvals.revoke": approvals.RevokeApproval,
    "executor.list": executor.ListExecutions,
    "executor.decide_step": executor.DecideStep,
    "executor.list_steps": executor.ListSteps,
    "executor.abort": executor.AbortExecution,
    "executor.pause": executor.PauseExecution,
    "executor.resume": executor.ResumeExecution,
    "executor.rollback": executor.RollBackExecution,
    "executor.terminate": executor.TerminateExecution,
    "executor.retry": executor.RetryExecution,
    "executor.signal": executor.SignalExecution,
    "executor.skip_step": executor.SkipStep,
    "executor.choose_step": executor.ChooseForStep,
    "executor.break_lock": executor.BreakLock,
    "executor.locks": guards.GetLocks,
    "executor.breakers": guards.GetBreakers,
    "executor.reset_breaker": guards.ResetBreaker,
    "executor.kill_switch_get": executor.GetKillSwitch,
    "executor.kill_switch_set": executor.SetKillSwitch,
    "timeline.list": timeline.ListEntries,
    "timeline.leaves": timeline.Leaves,
    "timeline.payload": timeline.PayloadSlice,
    "timeline.heads": timeline.Heads,
    "timeline.proof": proving.Proof,
    "timeline.consistency": proving.Consistency,
    "timeline.checkpoint": proving.Checkpoint,
    "timeline.state": timeline.State,
    "incident.dlq_show": desk.ShowLetter,
    "catalog.dlq_retry": desk.RetryLetter,
    "executor.dlq_discard": desk.DiscardLetter,
}
STATUS: Final = {
    "catalog.publish": 201,
    "catalog.draft": 201,
    "incident.create": 201,
    "executor.execute": 202,
    "executor.retry": 202,
}
ELSEWHERE: Final = {
    "/evidence",
    "/evidence/{sha256}",
    "/evidence/{sha256}/url",
    "/evidence/events/{entry}/redact",
    "/evidence/incidents/{incident_id}/bundle",
    "/evidence/incidents/{incident_id}/hold",
    "/evidence/incidents/{incident_id}/release",
    "/timeline/cosignatures",
    "/timeline/export",
    "/webhooks/alertmanager",
    "/webhooks/events",
    "/webhooks/senders",
    "/flags",
    "/flags/{name}",
    "/policy/simulate",
    "/tokens",
    "/tokens/{token_id}/revoke",
    "/principals",
    "/principals/me",
    "/dead-letters",
    "/events",
    "/incidents/{incident_id}",
    "/executions/{execution_id}",
}


async def test_each_request_becomes_its_question(
    http: httpx.AsyncClient, services: FakeServices, subtests: pytest.Subtests
) -> None:
    content = {"id": "x", "nested": {"number": 1, "null": None}, "unicode": "…"}
    await services.answer("*.*", content)

    for method, path, body, verb, question in QUESTIONS:
        with subtests.test(method=method, path=path):
            answer = await http.request(method, path, json=body)

            assert answer.status_code == STATUS.get(verb, 200), answer.text
            assert answer.json() == content
            assert services.last.subject == f"rpc.{verb}"
            assert services.last.body == question
            MODELS[verb].model_validate(question)  # the service itself would understand it


async def test_every_verb_of_the_services_is_reachable() -> None:
    asked = {verb for *_, verb, _question in QUESTIONS}

    assert asked == set(MODELS)


async def test_every_documented_route_is_tried_here(http: httpx.AsyncClient) -> None:
    documented = (await http.get("/openapi.json")).json()["paths"]
    tried = [(method, path.partition("?")[0]) for method, path, *_ in QUESTIONS]

    for template, methods in documented.items():
        for method in methods:
            pattern = re.sub(r"\{\w+\}", "[^/]+", template.replace("{step}", ".+"))
            found = any(m == method.upper() and re.fullmatch(pattern, path) for m, path in tried)
            assert found or template in ELSEWHERE, (method, template)


async def test_a_runbook_may_be_sent_as_it_is(http: httpx.AsyncClient, services: FakeServices) -> None:
    await services.answer("catalog.publish", {"version": 1})

    for kind in ("application/yaml", "text/yaml; charset=utf-8", "application/x-yaml"):
        answer = await http.post("/runbooks", content=RUNBOOK, headers={"Content-Type": kind})

        assert answer.status_code == 201
        assert services.last.body == {"source": RUNBOOK}
    refused = [
        await http.post("/runbooks", content=RUNBOOK, headers={"Content-Type": "text/plain"}),
        await http.post("/runbooks", content=b"\xff", headers={"Content-Type": "text/yaml"}),
        await http.post("/runbooks", json={"source": RUNBOOK, "author": "root"}),
        await http.post("/runbooks", json=RUNBOOK),
    ]
    assert [answer.status_code for answer in refused] == [415, 422, 422, 422]


REFUSALS: Final[list[tuple[RangerError, int]]] = [
    (InvalidInput("limit: too many", fix="ask for fewer"), 422),
    (Denied("no", code="policy.role"), 403),
    (NotFound("There is no such execution."), 404),
    (Conflict("It is closed.", code="undefined_move", state="closed"), 409),
    (TooLarge("The answer is too long."), 413),
    (Unavailable("A server is not answering."), 503),
    (RangerError("This is a bug of ours.", trace="0" * 32), 500),
]


async def test_a_services_refusal_is_the_answer(
    http: httpx.AsyncClient, services: FakeServices, subtests: pytest.Subtests
) -> None:
    for error, status in REFUSALS:
        with subtests.test(status=status):
            answering = await services.answer("executor.get", error)
            answer = await http.get(f"/executions/{EXECUTION}")
            await answering.unsubscribe()

            assert answer.status_code == status
            assert answer.headers["content-type"] == "application/problem+json"
            problem = answer.json()
            assert (problem["code"], problem["detail"], problem["fix"]) == (error.reason_code, error.detail, error.fix)
            assert problem.get("data", {}) == dict(error.data)
            assert ("Retry-After" in answer.headers) == (status == 503)


async def test_silence_is_503_and_names_the_key_to_repeat_with(http: httpx.AsyncClient) -> None:
    answer = await http.post(
        f"/executions/{EXECUTION}/abort", json={"rationale": "why"}, headers={"Idempotency-Key": "k-1"}
    )

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert answer.headers["Idempotency-Key"] == "k-1"
    assert "executor" in answer.json()["detail"]


async def test_the_idempotency_key_is_the_request_key(http: httpx.AsyncClient, services: FakeServices) -> None:
    await services.answer("executor.abort", {"state": "aborted"})

    async def post(**headers: str) -> str:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await http.post(f"/executions/{EXECUTION}/abort", json={"rationale": "why"}, headers=named)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Idempotency-Key"] == services.last.request["request_key"]
        return str(services.last.request["request_key"])

    assert await post(Idempotency_Key="my-key") == "my-key"
    assert await post(Idempotency_Key="k" * 200) == "k" * 200
    assert await post() != await post()


async def test_a_malformed_idempotency_key_is_refused(http: httpx.AsyncClient, services: FakeServices) -> None:
    await services.answer("executor.abort", {"state": "aborted"})

    for malformed in ["", "k" * 201, "a b", "ü", "a\tb"]:
        headers = [(b"Idempotency-Key", malformed.encode("latin-1"))]
        answer = await http.post(f"/executions/{EXECUTION}/abort", json={"rationale": "why"}, headers=headers)

        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key"), malformed
    assert services.asked == []


async def test_what_cannot_be_read_never_reaches_a_service(
    http: httpx.AsyncClient, services: FakeServices, subtests: pytest.Subtests
) -> None:
    await services.answer("*.*", {})
    json_type = {"Content-Type": "application/json"}
    cases: list[tuple[str, str, bytes, int]] = [
        ("POST", "/kill-switch", b"", 422),
        ("POST", "/kill-switch", b"{", 422),
        ("POST", "/kill-switch", b"null", 422),
        ("POST", "/kill-switch", b"[" * 50_000, 422),
        ("POST", "/kill-switch", b'{"engaged": NaN, "reason": "x"}', 422),
        ("POST", "/kill-switch", b'{"engaged": true}', 422),
        ("POST", "/kill-switch", b'{"engaged": true, "reason": "x", "scope": "galaxy"}', 422),
        ("POST", "/kill-switch", b'{"engaged": true, "reason": "x", "sope": "tenant"}', 422),
        ("POST", f"/executions/{EXECUTION}/steps/s/decide", b'{"decision": "maybe", "rationale": "x"}', 422),
        ("GET", "/incidents?limit=many", b"", 422),
        ("GET", "/incidents?statsu=new", b"", 422),
        ("GET", "/runbooks/r1?version=x", b"", 422),
        ("GET", "/dead-letters/gateway/1", b"", 404),
        ("GET", "/dead-letters/incident/0", b"", 404),
        ("GET", "/dead-letters/incident/x", b"", 404),
        ("GET", "/incidents/" + "i" * 129, b"", 404),
    ]
    for method, path, content, status in cases:
        with subtests.test(path=path, content=content[:40]):
            answer = await http.request(method, path, content=content, headers=json_type)

            assert answer.status_code == status, answer.text
            assert answer.headers["content-type"] == "application/problem+json"
    assert services.asked == []


async def test_dead_letters_of_all_services_are_one_list_and_a_silent_service_is_named(
    http: httpx.AsyncClient, services: FakeServices
) -> None:
    await services.answer("incident.dlq_list", {"items": [{"id": 1, "reason": "not JSON"}]})
    await services.answer("catalog.dlq_list", {"items": [{"id": 1, "reason": "x"}]})

    answer = await http.get("/dead-letters?state=open&limit=9")

    assert answer.status_code == 200
    assert [(item["service"], item["id"]) for item in answer.json()["items"]] == [("catalog", 1), ("incident", 1)]
    assert list(answer.json()["unanswered"]) == ["approvals", "executor"]
    assert {orjson.dumps(asked.body) for asked in services.asked} == {b'{"state":"open","limit":9}'}


async def test_dead_letters_of_one_service_ask_only_it(http: httpx.AsyncClient, services: FakeServices) -> None:
    await services.answer("*.dlq_list", {"items": []})

    assert (await http.get("/dead-letters?service=incident")).json() == {"items": [], "unanswered": {}}

    assert [asked.subject for asked in services.asked] == ["rpc.incident.dlq_list"]
    assert (await http.get("/dead-letters?service=nobody")).status_code == 404


async def test_who_may_not_see_dead_letters_is_told_so(http: httpx.AsyncClient, services: FakeServices) -> None:
    await services.answer("*.dlq_list", Denied("vera may not dead_letter.view", code="policy.role"))

    answer = await http.get("/dead-letters")

    assert (answer.status_code, answer.json()["code"]) == (403, "policy.role")
