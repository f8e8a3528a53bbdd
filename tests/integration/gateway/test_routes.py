"""Every route that is described: closed without a token, a problem for an unknown id, never a bug whatever is asked."""

import asyncio
import contextlib
import re
from collections import Counter
from typing import Any, Final

import httpx
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from libs.common.errors import NotFound
from tests.integration.gateway.conftest import OPERATOR, bearer
from tests.integration.gateway.fakes import FakeServices

NAMES: Final = {"runbook_id": "no-such-runbook", "step": "no-such-step", "service": "incident", "number": "1"}
UNKNOWN: Final = "0192f0c1-0000-7000-8000-0000000000ff"
MALFORMED: Final = ("x", "0", UNKNOWN.upper(), f"{UNKNOWN}0", "-")
ENDLESS: Final = "/events"
EXAMPLES: Final = 4
CHECKS: Final = [not_a_server_error, content_type_conformance, status_code_conformance]


async def operations(http: httpx.AsyncClient) -> list[tuple[str, str, dict[str, Any]]]:
    paths = (await http.get("/openapi.json")).json()["paths"]
    return [(method.upper(), path, described) for path, item in paths.items() for method, described in item.items()]


def filled(template: str, ids: str = UNKNOWN) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: NAMES.get(found[1], ids), template)


def body_for(path: str) -> Any:
    """A body that the gateway understands, for the changes to one thing."""
    if path.startswith("/flags/"):
        return {"state": "on", "rationale": "why not"}
    return {
        "transition": {"trigger": "close"},
        "severity": {"severity": "low", "rationale": "better"},
        "owner": {"owner": "olga"},
        "runbooks": {"runbook_id": "r-1"},
        "execute": {},
        "plan": {},
        "complete": {"outcome": "succeeded"},
        "choose": {"choice": "retry", "rationale": "mended"},
        "signal": {"name": "deployed", "rationale": "it is out"},
        "decide": {"decision": "failed", "rationale": "looked"},
        "grant": {"rationale": "seen", "plan_hash": "p"},
        "publish": None,
        "bundle": {},
    }.get(path.rpartition("/")[2], {"rationale": "why not"})


async def test_without_a_token_every_route_is_401(http: httpx.AsyncClient) -> None:
    found = await operations(http)
    async with httpx.AsyncClient(base_url=http.base_url) as stranger:
        for method, path, _ in [*found, ("GET", "/openapi.json", {})]:
            answer = await stranger.request(method, filled(path))

            assert answer.status_code == 401, (method, path)
            assert answer.headers["content-type"] == "application/problem+json"
    assert len(found) > 35


async def test_an_unknown_id_is_a_404_problem_on_every_route(http: httpx.AsyncClient, services: FakeServices) -> None:
    await services.answer("*.*", NotFound("There is no such thing."))

    for method, path, _ in await operations(http):
        if "{" not in path:
            continue
        answer = await http.request(method, filled(path), json=body_for(path) if method == "POST" else None)
        assert answer.status_code == 404, (method, path, answer.text)
        problem = answer.json()
        assert (answer.headers["content-type"], problem["code"]) == ("application/problem+json", "not_found")
        assert problem["trace_id"] == answer.headers["Trace-Id"]


async def test_what_can_be_no_id_is_an_unknown_one(http: httpx.AsyncClient, services: FakeServices) -> None:
    await services.answer("*.*", {})

    for method, path, _ in await operations(http):
        for malformed in MALFORMED:
            if re.search(r"\{(incident|execution|approval)_id\}", path):
                target = filled(path, malformed)
                answer = await http.request(method, target, json=body_for(path) if method == "POST" else None)
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), (method, target)
    assert services.asked == []


async def test_every_operation_is_described_whole(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()

    assert document["security"] == [{"token": []}]
    references = set(re.findall(r'"\$ref":"#/components/schemas/([^"]+)"', httpx.Response(200, json=document).text))
    assert references <= set(document["components"]["schemas"])
    for path, item in document["paths"].items():
        for method, operation in item.items():
            described = operation["responses"]
            assert operation["description"], path
            assert {"401", "403", "404", "422", "503", "default"} <= set(described), path
            if method == "post":
                assert {"409", "413", "415"} <= set(described), path
                assert "Idempotency-Key" in {parameter["name"] for parameter in operation["parameters"]}
            for status, answer in described.items():
                if status == "default" or int(status) >= 400:
                    assert answer["content"]["application/problem+json"]["schema"]["$ref"].endswith("/Problem")


async def test_whatever_the_description_allows_or_does_not_is_never_answered_with_a_bug(
    http: httpx.AsyncClient, services: FakeServices
) -> None:
    thing = {"execution_id": UNKNOWN, "state": "completed", "items": [], "entries": [], "next": None}
    artefact = {"sha256": "a" * 64, "kind": "output", "length": 1, "index": 0, "deleted_at": None}
    marked = {"environment": "", "clearance": 0, "incident_id": UNKNOWN}
    made = {"envelope": "e" * 64, "size": 8, "leaves": 7, "absent": 0, "vkeys": []}
    redacted = {"event_id": "e-7", "type": "x.y", "new": True, "decision_id": "d-1", "policy_revision": "r-1"}
    exported = {"first": 0, "end": 0, "whole": False, "explained": 0, "head": "", "closing": ""}
    await services.answer("*.*", thing | artefact | marked | made | redacted | exported)
    document = (await http.get("/openapi.json")).json()
    del document["paths"][ENDLESS]

    asked = await asyncio.to_thread(fuzz, document, str(http.base_url))

    assert set(asked) == {f"{method} {path}" for method, path, _ in await operations(http) if path != ENDLESS}
    assert sum(asked.values()) > 2 * len(asked)


def fuzz(document: dict[str, Any], base_url: str) -> Counter[str]:
    """Ask every operation `EXAMPLES` times what its description allows, then what it does not; count what each got.

    The number is fixed, so that a busy machine asks no less.
    """
    asked = Counter[str]()
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        for result in schemathesis.openapi.from_dict(document).get_all_operations():
            operation = result.ok()

            @settings(max_examples=EXAMPLES, database=None, deadline=None, suppress_health_check=list(HealthCheck))
            @given(operation.as_strategy(mode))
            def ask(case: Case) -> None:
                asked[case.operation.label] += 1
                answer = case.call(base_url=base_url, headers=bearer(OPERATOR), timeout=30)
                case.validate_response(answer, checks=CHECKS)

            with contextlib.suppress(Unsatisfiable):  # nothing is forbidden to an operation without parameters
                ask()
    return asked
