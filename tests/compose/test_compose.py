"""The compose installation, for real: what docs/deploy.md says is done word by word, and an alert is remediated on it.

`make compose-test` runs this; the tests are one story and run in order.
"""

import json
import os
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from runbook_ranger.cli.client import Address, Client
from runbook_ranger.demo.story import Story
from tests.compose.bases import make_bases
from tests.compose.engine import Unavailable, engine
from tests.compose.installation import LABEL, PAGE, Installation, commands, installation
from tests.support.eventually import eventually

pytestmark = [pytest.mark.compose, pytest.mark.xdist_group("compose"), pytest.mark.timeout(900)]

SERVICES = ("gateway", "incident", "catalog", "executor", "approvals", "timeline")
UP = "/api/v1/query?query=up%20==%201"
TOLD = re.compile(r"traces service\.name=(?P<name>\S+) spans=\d+ trace_ids=(?P<traces>[0-9a-f,]+)")
KILL = 'import os; [os.kill(int(p), 9) for p in os.listdir("/proc") if p.isdigit() and int(p) not in (1, os.getpid())]'


@pytest.fixture(scope="module")
def place() -> Iterator[Installation]:
    if os.environ.get("RR_COMPOSE_TEST") != "1":
        pytest.skip("takes minutes and a Docker engine: `make compose-test` runs it")
    with tempfile.TemporaryDirectory(prefix="ranger-compose-") as folder:
        try:
            with engine(Path(folder) / "engine") as running:
                if running.ours:
                    make_bases(running, Path(folder))
                with installation(running, Path(folder) / "ranger") as made:
                    yield made
        except Unavailable as reason:
            pytest.skip(f"the compose file was NOT run: {reason}")


def test_the_file_holds_to_the_schema_of_compose_with_its_profile_too(place: Installation) -> None:
    services = set(place.compose("--profile", "observability", "config", "--services").split())

    assert {"gateway", "worker", "otel-collector", "prometheus"} <= services


def test_it_starts_as_the_page_says(place: Installation) -> None:
    place.follow("Start")

    assert len(place.containers("worker")) == 2


async def test_every_container_becomes_healthy(place: Installation) -> None:
    await eventually(lambda: not place.unwell(), timeout=90, interval=0.5)


def test_containers_have_no_rights_that_they_do_not_need(place: Installation) -> None:
    for shown in place.inspect(*place.containers()):
        if "target" in shown["Name"]:
            continue
        host = shown["HostConfig"]
        assert shown["Config"]["User"].split(":")[0] not in {"", "0", "root"}, shown["Name"]
        assert host["ReadonlyRootfs"], shown["Name"]
        assert host["CapDrop"] == ["ALL"], shown["Name"]
        assert "no-new-privileges:true" in host["SecurityOpt"], shown["Name"]
        assert host["Memory"] > 0, shown["Name"]
        assert host["NanoCpus"] > 0, shown["Name"]
        assert host["PidsLimit"] > 0, shown["Name"]


def test_only_the_gateway_is_published_and_only_on_loopback(place: Installation) -> None:
    published = {
        shown["Config"]["Labels"]["com.docker.compose.service"]: binding["HostIp"]
        for shown in place.inspect(*place.containers())
        for bindings in (shown["NetworkSettings"]["Ports"] or {}).values()
        for binding in bindings or ()
    }

    assert published == {"gateway": "127.0.0.1", "target": "127.0.0.1"}


def test_no_secret_shows_in_what_the_engine_tells(place: Installation) -> None:
    told = place.engine.docker("inspect", *place.containers()) + place.engine.docker(
        "history", "--no-trunc", "runbook-ranger:compose-test"
    )

    secrets = {file.name: file.read_text().strip() for file in (place.folder / "deploy" / "secrets").iterdir()}
    assert [name for name, secret in secrets.items() if len(secret) > len("{}") and secret in told] == []


def test_an_alert_becomes_a_verified_action(place: Installation) -> None:
    told: list[str] = []
    with place.gateway() as api, place.target() as target:
        story = Story(api, target, told.append, gateway_url="http://gateway:8080")
        outcome = story.run()
        story.show_timeline()
        with Client(Address(str(api.base_url).rstrip("/"), place.secret("operator_token"))) as client:
            story.verify_log(client)

    assert outcome.good, told


def test_people_look_as_the_page_says(place: Installation) -> None:
    states, answers = place.follow("Look")

    assert "executor" in states
    assert '"status":"ready"' in states
    assert "closed" in answers
    assert "verified" in answers.lower()


async def test_a_killed_service_and_a_killed_worker_come_back_and_the_work_goes_on(place: Installation) -> None:
    victims = [*place.containers("incident"), place.containers("worker")[0]]
    with place.gateway() as api, place.target() as target:
        _set_latency(target, "primary", 5)
        for victim in victims:
            # Detached: the container may end with its process before the one that killed it has.
            place.engine.docker("exec", "--detach", victim, "python", "-c", KILL)
        _set_latency(target, "standby", 900)

        await eventually(lambda: _restarts(place, victims) == [1, 1], timeout=60, interval=0.3)
        await eventually(lambda: len(_approved_and_completed(api)) == 2, timeout=120, interval=0.3)
        await eventually(lambda: not place.unwell(), timeout=60, interval=0.5)

        effects = target.get("/ledger").json()["totals"]["effects"]
        assert effects == {"/reroute": 2, "/cache/warm": 2}


async def test_every_process_is_measured_and_one_trace_crosses_them(place: Installation) -> None:
    place.follow("Measure and trace")
    await eventually(lambda: not place.unwell(), timeout=90, interval=0.5)
    await eventually(lambda: _measured(place) == dict.fromkeys(SERVICES, 1) | {"worker": 2}, timeout=90, interval=1)

    with place.gateway() as api, place.target() as target:
        _set_latency(target, "standby", 5)
        _set_latency(target, "primary", 900)
        await eventually(lambda: len(_approved_and_completed(api)) == 3, timeout=120, interval=0.3)

    await eventually(
        lambda: _widest_trace(place) >= {"gateway", "incident", "executor", "worker", "timeline"}, timeout=30
    )


async def test_workers_are_added_and_each_has_a_name_of_its_own(place: Installation) -> None:
    place.follow("More workers")

    await eventually(lambda: not place.unwell(), timeout=60, interval=0.5)
    reports = [
        place.engine.docker("exec", worker, "python", "-m", "libs.common.healthcheck")
        for worker in place.containers("worker")
    ]
    assert len(set(reports)) == 3


async def test_new_tokens_are_taken_as_the_page_says(place: Installation) -> None:
    place.follow("Secrets")

    await eventually(lambda: not place.unwell(), timeout=60, interval=0.5)


async def test_what_was_backed_up_comes_back(place: Installation) -> None:
    place.follow("Back up")

    await eventually(lambda: not place.unwell(), timeout=90, interval=0.5)
    with place.gateway() as api:
        assert len(_completed(api)) == 3
    assert "verified" in place.follow("Look")[-1].lower()


async def test_an_upgrade_keeps_what_there_is(place: Installation) -> None:
    place.follow("Upgrade")

    await eventually(lambda: not place.unwell(), timeout=90, interval=0.5)
    with place.gateway() as api:
        assert len(_completed(api)) == 3


def test_nothing_is_left_after_the_end(place: Installation) -> None:
    place.follow("Stop")

    assert place.left() == []


def test_our_engine_is_there_again_with_its_networks_once_it_was_started_again(place: Installation) -> None:
    if not place.engine.ours:
        pytest.skip("the engine is somebody else's")
    network = place.engine.docker("network", "create", "--label", f"{LABEL}={place.project}", place.project).strip()

    place.engine.restart()

    assert place.attached() == []
    assert place.engine.docker("network", "rm", network).strip() == network
    assert place.left() == []


def test_every_command_of_the_page_was_carried_out(place: Installation) -> None:
    assert place.done == set(commands(PAGE.read_text()))


def _set_latency(target: httpx.Client, shard: str, ms: int) -> None:
    target.post("/latency", json={"shard": shard, "ms": ms}).raise_for_status()


def _restarts(place: Installation, ids: list[str]) -> list[int]:
    return [shown["RestartCount"] for shown in place.inspect(*ids)]


def _measured(place: Installation) -> Counter[str]:
    """How many processes of each service Prometheus has just asked and been answered by."""
    answer = place.compose("exec", "-T", "prometheus", "wget", "-q", "-O", "-", f"http://127.0.0.1:9090{UP}")
    return Counter(sample["metric"]["service"] for sample in json.loads(answer)["data"]["result"])


def _widest_trace(place: Installation) -> set[str]:
    """The services of that trace, among those that reached the collector, which crosses most of them."""
    traces: defaultdict[str, set[str]] = defaultdict(set)
    for found in TOLD.finditer(place.compose("logs", "--no-color", "otel-collector")):
        for trace in found["traces"].split(","):
            traces[trace].add(found["name"])
    return max(traces.values(), key=len, default=set())


def _completed(api: httpx.Client) -> list[dict[str, Any]]:
    answer = api.get("/executions")
    items: list[dict[str, Any]] = answer.json().get("items", []) if answer.is_success else []
    return [item for item in items if item["state"] == "completed"]


def _approved_and_completed(api: httpx.Client) -> list[dict[str, Any]]:
    """Say yes to whatever is asked, and see what has completed."""
    asked = api.get("/approvals", params={"state": "requested"})
    for request in asked.json()["items"] if asked.is_success else ():
        answer = {"rationale": "a drill"} | {name: request[name] for name in ("plan_hash", "action_hash")}
        api.post(f"/approvals/{request['approval_id']}/grant", json=answer)
    return _completed(api)
