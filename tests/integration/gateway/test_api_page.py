"""Every request in docs/api.md is sent as it stands there, and answered as it says."""

import hashlib
import re
from pathlib import Path
from typing import Final

import httpx

from libs.common.artefacts import Artefacts
from libs.common.objectstore import ObjectStore
from tests.integration.gateway.fakes import FakeServices

PAGE: Final = Path(__file__).parents[3] / "docs" / "api.md"
SNIPPET: Final = re.compile(
    r"^```http (\d+)\n(\w+) (\S+)\n(?:Content-Type: (\S+)\n\n)?(.*?)^```$", re.MULTILINE | re.DOTALL
)
ENDED: Final = {"execution_id": "0192f0c1-0000-7000-8000-00000000000e", "state": "completed", "items": []}
EMPTY: Final = {
    "sha256": hashlib.sha256(b"").hexdigest(), "kind": "output", "length": 0, "index": 7, "deleted_at": None,
    "incident_id": "0192f0c1-0000-7000-8000-00000000000a", "environment": "", "clearance": 0,
    "envelope": "e" * 64, "size": 8, "leaves": 7, "absent": 0, "vkeys": [],
    "event_id": "e-7", "type": "incident.created", "new": True, "decision_id": "d-1", "policy_revision": "r-1",
}  # fmt: skip


async def test_every_request_on_the_page_is_answered_as_it_says(
    http: httpx.AsyncClient, services: FakeServices, store: ObjectStore
) -> None:
    await services.answer("*.*", ENDED | EMPTY)
    await Artefacts(store).keep("default", "output", b"")
    snippets = SNIPPET.findall(PAGE.read_text())

    for status, method, path, kind, body in snippets:
        headers = {"Content-Type": kind or "application/json"} if body else {}
        answer = await http.request(method, path, content=body.encode() or None, headers=headers)
        assert answer.status_code == int(status), (method, path, answer.text)
    assert len(snippets) == PAGE.read_text().count("```http ") > 20


async def test_every_path_that_the_page_names_exists(http: httpx.AsyncClient) -> None:
    documented = (await http.get("/openapi.json")).json()["paths"]
    patterns = [re.sub(r"\{\w+\}", r"[^/?]+", template) for template in documented]

    for path in re.findall(r"`(?:GET|POST)? ?(/[a-z][^`?=]*)", PAGE.read_text()):
        known = path == "/openapi.json" or any(re.fullmatch(pattern, path) for pattern in patterns)
        assert known, path
