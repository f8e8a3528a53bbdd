"""Nothing is reached without a token, however its path is spelt, and nothing tells what the token is."""

import asyncio
from collections.abc import Iterable
from typing import Any

import httpx
import orjson
import pytest

from tests.integration.gateway.conftest import OPERATOR, bearer
from tests.integration.gateway.fakes import FakeServices

INCIDENT = "0192f0c1-0000-7000-8000-00000000000a"
PATHS = [
    *("/", "/openapi.json", "/docs", "/redoc", "/nothing", "/incidents", "/incidents/i1", "/runbooks", "/runbooks/r1"),
    *("/executions", "/executions/e1", "/kill-switch", "/timeline?incident_id=i1", "/timeline/leaves"),
    *("/timeline/heads", "/timeline/state", "/dead-letters", "/dead-letters/incident/1", "/healthz", "/metrics"),
]
DISGUISES = [
    *(
        "/incidents/",
        "/incidents.json",
        "/incidents;x",
        "/incidents;/",
        "//incidents",
        "/./incidents",
        "/x/../incidents",
    ),
    *("/incidents%2f", "/%69ncidents", "/incidents%00", "/incidents%3fx", "/incidents/%2e%2e/incidents"),
    *(
        "/incidents/..;/incidents",
        "/webhooks/../incidents",
        "/openapi.json/../incidents",
        "/incidents%5c",
        "/INCIDENTS",
    ),
    *("http://elsewhere/incidents", "/openapi.json/incidents", "/incidents#x", "/incidents/i1%2ftransition"),
]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]
BAD = [
    [],
    [("Authorization", "")],
    [("Authorization", OPERATOR)],
    [("Authorization", "Bearer")],
    [("Authorization", "Bearer ")],
    [("Authorization", "Bearer unknown-token-of-nobody")],
    [("Authorization", f"Basic {OPERATOR}")],
    [("Authorization", f"Bearer {OPERATOR}x")],
    [("Authorization", f"Bearer {OPERATOR[:-1]}")],
    [("Authorization", f"Bearer {OPERATOR.upper()}")],
    [("Authorization", "Bearer " + "x" * 10_000)],
    [("Authorization", f"Bearer {OPERATOR}"), ("Authorization", "Bearer other")],
    [("Cookie", f"token={OPERATOR}"), ("X-Api-Key", OPERATOR), ("X-Forwarded-User", "olga")],
]


async def raw(base_url: str, method: str, target: str, headers: Iterable[tuple[str, str]]) -> tuple[int, str]:
    """One request exactly as spelt: no client tidies the target up."""
    host, port = base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close", "Content-Length: 0"]
    lines += [f"{name}: {value}" for name, value in headers]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    answer = (await asyncio.wait_for(reader.read(), 10)).decode()
    writer.close()
    return int(answer.split()[1]), answer


async def test_every_path_and_method_asks_for_the_token_first(base_url: str, services: FakeServices) -> None:
    await services.answer("*.*", {"secret": "behind the door"})

    for target in [*PATHS, *DISGUISES]:
        for method in METHODS:
            status, answer = await raw(base_url, method, target, [])
            assert status == 401, (method, target, status)
            assert "behind the door" not in answer

    assert services.asked == []


async def test_only_one_whole_known_bearer_token_opens(base_url: str, services: FakeServices) -> None:
    await services.answer("*.*", {"items": []})

    for headers in BAD:
        status, answer = await raw(base_url, "GET", "/incidents", headers)
        assert status == 401, headers
        assert "WWW-Authenticate: Bearer" in answer or "www-authenticate: Bearer" in answer
    assert services.asked == []
    assert (await raw(base_url, "GET", "/incidents", [("authorization", f"bearer {OPERATOR}")]))[0] == 200
    assert (await raw(base_url, "GET", f"/incidents?access_token={OPERATOR}", []))[0] == 401


async def test_with_a_token_each_disguise_is_nothing(base_url: str, services: FakeServices) -> None:
    await services.answer("*.*", {"items": []})
    headers = [("Authorization", f"Bearer {OPERATOR}")]

    for target in DISGUISES:
        assert (await raw(base_url, "GET", target, headers))[0] == 404, target

    assert services.asked == []


async def test_a_method_cannot_be_overridden(base_url: str, services: FakeServices) -> None:
    await services.answer("*.*", {"items": []})
    token = ("Authorization", f"Bearer {OPERATOR}")
    overrides = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")

    for name in overrides:
        status, _ = await raw(base_url, "GET", "/kill-switch?_method=POST", [token, (name, "POST")])
        assert status == 200
        assert services.last.subject == "rpc.executor.kill_switch_get"
    status, answer = await raw(base_url, "DELETE", "/incidents", [token])
    assert status == 405
    assert "method_not_allowed" in answer


async def test_the_answer_to_a_refusal_is_a_problem_with_a_trace(http: httpx.AsyncClient) -> None:
    answer = await http.get("/incidents", headers={"Authorization": "Bearer nobody-knows-this-one"})

    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    problem = answer.json()
    assert problem["code"] == "unauthenticated"
    assert problem["fix"]
    assert "nobody-knows" not in answer.text


async def test_every_answer_has_the_security_headers_and_none_allows_another_origin(
    http: httpx.AsyncClient, services: FakeServices
) -> None:
    await services.answer("incident.list", {"items": []})
    origin = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "GET"}
    answers = [
        await http.get("/incidents", headers=origin),
        await http.get("/nothing", headers=origin),
        await http.options("/incidents", headers=origin),
        await http.get("/incidents", headers=origin | {"Authorization": ""}),
    ]

    assert [answer.status_code for answer in answers] == [200, 404, 405, 401]
    for answer in answers:
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "max-age" in answer.headers["Strict-Transport-Security"]
        assert answer.headers["Cache-Control"] == "no-store"
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "server" not in answer.headers


async def test_every_route_that_is_documented_wants_the_token(http: httpx.AsyncClient) -> None:
    documented = (await http.get("/openapi.json")).json()
    async with httpx.AsyncClient(base_url=http.base_url) as stranger:
        for path, methods in documented["paths"].items():
            for method in methods:
                answer = await stranger.request(method, path.replace("{", "").replace("}", ""))
                assert answer.status_code == 401, (method, path)
    assert len(documented["paths"]) > 15


@pytest.mark.parametrize("name", ["docs", "redoc"])
async def test_there_are_no_documentation_pages(http: httpx.AsyncClient, name: str) -> None:
    assert (await http.get(f"/{name}")).status_code == 404


async def test_an_identity_in_the_body_or_the_query_is_never_believed(
    http: httpx.AsyncClient, services: FakeServices
) -> None:
    await services.answer("incident.transition", {"status": "acknowledged"})
    body: dict[str, Any] = {"trigger": "acknowledge", "actor": "root", "tenant": "victim"}

    refused = await http.post(f"/incidents/{INCIDENT}/transition", json=body)
    asked = await http.post(f"/incidents/{INCIDENT}/transition?actor=root", json={"trigger": "acknowledge"})

    assert refused.status_code == 422
    assert asked.status_code == 200
    assert services.last.request["principal"] == {"actor": "olga", "tenants": ["default"], "roles": ["admin"]}
    assert services.last.request["tenant"] == "default"
    assert OPERATOR not in orjson.dumps(services.last.request).decode()
    assert bearer(OPERATOR)["Authorization"] not in str(services.last.headers)
