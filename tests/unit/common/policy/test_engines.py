"""OPA over HTTP, two engines beside each other, and which of them the settings ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from libs.common.policy.bundle import folder
from libs.common.policy.engines import embedded
from libs.common.policy.engines.base import EngineFailed
from libs.common.policy.engines.embedded import EmbeddedRego
from libs.common.policy.engines.opa import MAX_ANSWER_BYTES, OpaHttp
from libs.common.policy.engines.shadow import MAX_WAITING, Shadow
from libs.common.policy.inputs import document
from libs.common.policy.model import Context
from libs.common.policy.seam import Seam
from libs.common.policy.settings import PolicySettings, from_settings
from tests.policy.opa import OpaServer, serving
from tests.unit.common.policy.questions import BUNDLE, INCIDENT, VERA, Scripted, allowing, denying

Opa = Callable[..., OpaHttp]
PATIENT = httpx.Timeout(30.0)
"""A busy machine is no OPA that is gone."""
DECISION = "incident/authz/decision"
ASKED = document(VERA, "incident.view", INCIDENT, Context(), now=1)


@pytest.fixture
def server() -> Iterator[OpaServer]:
    with serving(OpaServer(EmbeddedRego(BUNDLE))) as found:
        yield found


@pytest.fixture
async def opa(server: OpaServer) -> AsyncIterator[Opa]:
    made: list[OpaHttp] = []

    def make(url: str = "", **more: Any) -> OpaHttp:
        made.append(OpaHttp(url or server.url, **{"timeout": PATIENT, **more}))
        return made[-1]

    yield make
    for engine in made:
        await engine.close()


def _shadows(outcome: str) -> float:
    return REGISTRY.get_sample_value("ranger_policy_shadow_total", {"outcome": outcome}) or 0.0


async def test_opa_is_asked_at_a_constant_path_with_the_input_alone(server: OpaServer, opa: Opa) -> None:
    engine = opa()

    found = await engine.evaluate(DECISION, ASKED)

    assert found.value["allow"] is True
    assert found.revision == engine.revision == BUNDLE.revision
    assert server.asked == [("/v1/data/incident/authz/decision", {"input": ASKED})]


@pytest.mark.parametrize("version", ["1.4.0", "v1.4.2", "1.10.0-dev", "2.0.0"])
async def test_opa_of_a_version_that_is_new_enough_is_believed(server: OpaServer, opa: Opa, version: str) -> None:
    server.version = version

    assert (await opa().evaluate(DECISION, ASKED)).value["allow"] is True


@pytest.mark.parametrize("version", ["1.3.9", "v0.70.0", "0.99", "", "latest", "1"])
async def test_opa_that_is_too_old_or_does_not_say_is_not(server: OpaServer, opa: Opa, version: str) -> None:
    server.version = version

    with pytest.raises(EngineFailed, match="older"):
        await opa().evaluate(DECISION, ASKED)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b'{"provenance": {"version": "1.4.0"}}'),
        (200, b'{"result": {"allow": true}}'),
        (200, b"not json"),
        (200, b"[]"),
        (200, b"\xff\xfe"),
        (200, b"x" * (MAX_ANSWER_BYTES + 1)),
        (204, b""),
        (302, b"{}"),
        (404, b"{}"),
        (500, b'{"result": {"allow": true}, "provenance": {"version": "1.4.0"}}'),
    ],
)
async def test_an_answer_without_a_result_or_any_other_than_200_allows_nothing(
    server: OpaServer, opa: Opa, status: int, body: bytes
) -> None:
    server.status, server.body = status, body
    seam = Seam(opa())

    found = await seam.decide(VERA, "incident.view", INCIDENT)

    assert (found.allow, found.reason, found.engine) == (False, "engine", "opa")


async def test_an_opa_that_is_slow_or_gone_allows_nothing(server: OpaServer, opa: Opa) -> None:
    server.delay = 30.0
    engine = opa(timeout=httpx.Timeout(30.0, read=0.05))

    with pytest.raises(EngineFailed, match="did not answer: ReadTimeout"):
        await engine.evaluate(DECISION, ASKED)
    with pytest.raises(EngineFailed, match="did not answer: ConnectError"):
        await opa("http://127.0.0.1:1").evaluate(DECISION, ASKED)


async def test_proxies_of_the_environment_do_not_hear_the_questions(opa: Opa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    assert (await opa().evaluate(DECISION, ASKED)).value["allow"] is True


@pytest.mark.parametrize(
    ("second", "outcome"),
    [
        (allowing(), "same"),
        (denying("role"), "different"),
        (allowing("on_call"), "different"),
        ({**allowing(), "obligations": [{"type": "audit", "params": {}}]}, "different"),
        (EngineFailed("gone"), "failed"),
    ],
)
async def test_of_two_engines_the_first_answers_and_differences_are_counted(second: Any, outcome: str) -> None:
    shadow = Shadow(Scripted(allowing(), name="embedded"), Scripted(second, name="opa"))
    before = _shadows(outcome)

    found = await Seam(shadow).decide(VERA, "incident.view", INCIDENT)
    await shadow.settled()

    assert (found.allow, found.engine) == (True, "embedded")
    assert _shadows(outcome) == before + 1


async def test_the_order_of_reasons_is_no_difference() -> None:
    shadow = Shadow(Scripted(denying("role", "tenant")), Scripted(denying("tenant", "role")))
    before = _shadows("same")

    await shadow.evaluate(DECISION, ASKED)
    await shadow.settled()

    assert _shadows("same") == before + 1


async def test_a_first_engine_that_fails_denies_whatever_the_second_says() -> None:
    shadow = Shadow(Scripted(EngineFailed("gone")), Scripted(allowing()))

    assert not (await Seam(shadow).decide(VERA, "incident.view", INCIDENT)).allow
    await shadow.settled()


async def test_a_second_engine_that_lags_is_left_out_and_that_is_counted() -> None:
    shadow = Shadow(Scripted(allowing()), Scripted(allowing()))
    before = _shadows("skipped")

    for _ in range(MAX_WAITING + 3):  # the comparisons have no turn yet
        await shadow.evaluate(DECISION, ASKED)
    await shadow.close()

    assert _shadows("skipped") == before + 3


async def test_two_engines_on_the_same_bundle_agree(opa: Opa) -> None:
    shadow = Shadow(EmbeddedRego(BUNDLE), opa())
    before = _shadows("same"), _shadows("different")

    for action in ("incident.view", "incident.assign", "incident.severity"):
        await shadow.evaluate(DECISION, document(VERA, action, INCIDENT, Context(), now=1))
    await shadow.close()

    assert (_shadows("same"), _shadows("different")) == (before[0] + 3, before[1])


def test_the_embedded_engine_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RR_POLICY_ENGINE", raising=False)
    monkeypatch.delenv("RR_OPA_URL", raising=False)

    engine = from_settings()

    assert (engine.name, engine.revision) == ("embedded", BUNDLE.revision)


@pytest.mark.parametrize(("wanted", "kind"), [("opa", OpaHttp), ("shadow", Shadow)])
async def test_the_settings_name_another(monkeypatch: pytest.MonkeyPatch, wanted: str, kind: type) -> None:
    monkeypatch.setenv("RR_POLICY_ENGINE", wanted)
    monkeypatch.setenv("RR_OPA_URL", "http://opa:8181/")

    engine = from_settings()

    assert isinstance(engine, kind)
    await engine.close()


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"RR_POLICY_ENGINE": "casbin"}, "RR_POLICY_ENGINE"),
        ({"RR_POLICY_ENGINE": "opa"}, "needs RR_OPA_URL"),
        ({"RR_POLICY_ENGINE": "shadow", "RR_OPA_URL": ""}, "needs RR_OPA_URL"),
        *(
            ({"RR_POLICY_ENGINE": "opa", "RR_OPA_URL": url}, "RR_OPA_URL")
            for url in (
                "opa:8181", "ftp://opa", "http://", "http://opa/v1/data", "http://me:secret@opa", "http://opa?x=1",
                "http://opa#x", "http://opa:99999", "http://o pa", "file:///etc/passwd", "//opa",
            )
        ),
        ({"RR_POLICY_DIR": "/nonexistent"}, "cannot be read"),
    ],
)  # fmt: skip
def test_a_setting_that_is_wrong_ends_the_start_and_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], told: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit, match=told) as ended:
        from_settings()

    assert "secret" not in str(ended.value)


def test_policies_of_ones_own_are_taken_from_their_folder(tmp_path: Path) -> None:
    own = PolicySettings(policy_dir=str(_copied(tmp_path)))

    assert from_settings(own).revision == BUNDLE.revision


def _copied(room: Path) -> Path:
    for path in folder().rglob("*"):
        if path.is_file():
            target = room / path.relative_to(folder())
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return room


def test_a_machine_that_lacks_what_the_engine_links_against_is_told_so_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(embedded.ctypes, "CDLL", missing)
    assert from_settings().revision == BUNDLE.revision  # it could be loaded all the same

    monkeypatch.setattr(embedded.importlib, "import_module", lambda _name: missing(embedded.LINKED))
    with pytest.raises(
        SystemExit, match=r"policies: the embedded engine cannot be loaded .*apt-get install libatomic1"
    ):
        from_settings()
