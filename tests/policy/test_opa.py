"""The decision table through the HTTP client: a server that speaks OPA's API, and a real OPA where there is one.

`RR_OPA_URL` names a real one, started with the bundle in `policies/`: `opa run --server --bundle policies`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from libs.common.policy.bundle import PolicyBundle, folder
from libs.common.policy.engines.embedded import EmbeddedRego
from libs.common.policy.engines.opa import OpaHttp
from libs.common.policy.seam import Seam
from libs.common.policy.verdicts import verdict
from tests.policy.opa import OpaServer, serving
from tests.policy.table import NOW, cases, listings, raws

BUNDLE = PolicyBundle.read(folder())
REAL = os.environ.get("RR_OPA_URL", "")
PATIENT = httpx.Timeout(30.0)
"""A busy machine is no OPA that is gone."""


def _reachable() -> bool:
    try:
        return bool(REAL) and httpx.get(f"{REAL}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def server() -> Iterator[OpaServer]:
    with serving(OpaServer(EmbeddedRego(BUNDLE))) as found:
        yield found


@pytest.fixture(params=["a server that speaks its API", "a real OPA"])
async def engine(request: pytest.FixtureRequest, server: OpaServer) -> AsyncIterator[OpaHttp]:
    real = request.param == "a real OPA"
    if real and not _reachable():
        pytest.skip("no OPA: RR_OPA_URL names none that answers")
    found = OpaHttp(REAL if real else server.url, timeout=PATIENT)
    yield found
    await found.close()


async def test_everybody_may_do_what_the_table_says_over_http_too(engine: OpaHttp) -> None:
    seam = Seam(engine, clock=lambda: NOW)

    wrong = {case.name: case.faults(await seam.decide(*case.question)) for case in cases()}

    assert {name: faults for name, faults in wrong.items() if faults} == {}
    assert engine.revision == BUNDLE.revision


async def test_lists_show_what_the_table_says_over_http_too(engine: OpaHttp) -> None:
    seam = Seam(engine, clock=lambda: NOW)

    seen = {each.name: await seam.scope(each.actor, each.action, each.tenant) for each in listings()}

    assert seen == {each.name: each.sees for each in listings()}


async def test_inputs_that_no_caller_makes_are_judged_over_http_too(engine: OpaHttp) -> None:
    wrong = []
    for raw in raws():
        value = (await engine.evaluate(raw.entrypoint, raw.document)).value
        found = verdict(value, raw.package, raw.document)
        if found.allow is not raw.allow or sorted(reason.code for reason in found.reasons) != sorted(raw.codes):
            wrong.append((raw.name, value))

    assert wrong == []
