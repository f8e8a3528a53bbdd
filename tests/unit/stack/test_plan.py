"""The standard plan: who runs, with what, and what is replaced by the environment."""

import hashlib
import json
import stat

import pytest

from runbook_ranger.stack import first_token
from runbook_ranger.stack.layout import Layout
from runbook_ranger.stack.plan import standard
from runbook_ranger.stack.processes import ProcessSpec
from runbook_ranger.stack.roles import database_of, role_password, service_url, with_database


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RR_NATS_URL", "RR_POSTGRES_URL", "RR_REDIS_URL", "RR_ROLE_SECRET", "RR_TOKENS", "RR_PROCESS_ENV"):
        monkeypatch.delenv(name, raising=False)


def spec(layout: Layout, name: str) -> ProcessSpec:
    return next(one for one in standard(layout, workers=3).services if one.name == name)


def test_all_services_and_the_workers_run(layout: Layout) -> None:
    plan = standard(layout, workers=3)

    assert [one.name for one in plan.services] == [
        *("timeline", "incident", "catalog", "approvals", "executor", "gateway"),
        *("worker-1", "worker-2", "worker-3"),
    ]
    assert [server.name for server in plan.servers] == ["nats", "valkey", "postgres"]


def test_the_gateway_stops_first_and_the_workers_next(layout: Layout) -> None:
    stages = {one.name: one.stage for one in standard(layout).services}

    assert stages["gateway"] < stages["worker-1"] < stages["executor"]


def test_a_worker_works_in_the_executor_s_role(layout: Layout) -> None:
    worker = spec(layout, "worker-2")

    assert worker.module == "services.executor.worker"
    assert "//rr_executor:" in worker.env["RR_POSTGRES_URL"]
    assert worker.env["RR_INSTANCE"] == "worker-2"


def test_a_server_that_the_environment_names_is_not_started(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RR_POSTGRES_URL", "postgresql://admin:pw@db.example:5432/ranger")
    monkeypatch.setenv("RR_ROLE_SECRET", "secret")

    plan = standard(layout)

    assert [server.name for server in plan.servers] == ["nats", "valkey"]
    url = next(one for one in plan.services if one.name == "incident").env["RR_POSTGRES_URL"]
    assert url == f"postgresql://rr_incident:{role_password('secret', 'rr_incident')}@db.example:5432/ranger"


def test_only_the_gateway_sees_tokens_and_the_operator_s_is_among_them(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RR_TOKENS", '{"given": {"actor": "ann", "tenants": ["default"], "roles": ["viewer"]}}')

    tokens = json.loads(spec(layout, "gateway").env["RR_TOKENS"])
    digest = hashlib.sha256(first_token.kept(layout).encode()).hexdigest()

    assert tokens[f"sha256:{digest}"] == {"actor": "operator", "tenants": ["*"], "roles": ["admin"], "clearance": 3}
    assert tokens["given"]["actor"] == "ann"
    assert [one.name for one in standard(layout).services if "RR_TOKENS" in one.env] == ["gateway"]


def test_settings_reach_every_process_and_particular_ones_reach_one(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RR_LEASE_SECONDS", "2")
    monkeypatch.setenv("RR_PROCESS_ENV", '{"worker-1": {"RR_CRASH_AT": "after_claim"}}')

    services = {one.name: one.env for one in standard(layout).services}

    assert {env["RR_LEASE_SECONDS"] for env in services.values()} == {"2"}
    assert [name for name, env in services.items() if "RR_CRASH_AT" in env] == ["worker-1"]
    assert not any("RR_PROCESS_ENV" in env or "RR_ROLE_SECRET" in env for env in services.values())


def test_a_plan_shows_no_secret_when_it_is_printed(layout: Layout) -> None:
    shown = repr(spec(layout, "gateway"))

    assert len(first_token.kept(layout)) > 30
    assert first_token.kept(layout) not in shown


def test_the_first_administrators_token_stands_in_one_private_file(layout: Layout) -> None:
    former = layout.root / "secrets" / "operator-token"
    former.write_text("kept-by-an-earlier-version-of-this-stack")

    gateway = spec(layout, "gateway")
    token = first_token.kept(layout)

    assert token == "kept-by-an-earlier-version-of-this-stack"
    assert not former.exists()
    assert stat.S_IMODE(layout.client.stat().st_mode) == 0o600
    assert token not in str(gateway.env)
    assert [path.name for path in layout.root.rglob("*") if path.is_file() and token in path.read_text()] == [
        layout.client.name
    ]
    spec(layout, "gateway")
    assert first_token.kept(layout) == token


def test_urls_of_unix_sockets_survive_a_change_of_role_and_database() -> None:
    admin = "postgresql://postgres:pw@/ranger?host=/run/s&port=5432"

    assert database_of(admin) == "ranger"
    assert with_database(admin, "postgres") == "postgresql://postgres:pw@/postgres?host=/run/s&port=5432"
    assert service_url(admin, "catalog", "s") == (
        f"postgresql://rr_catalog:{role_password('s', 'rr_catalog')}@/ranger?host=/run/s&port=5432"
    )


def test_the_store_and_its_keys_are_for_those_who_keep_things_there(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"RR_OBJECTS_URL": "s3://evidence/kept", "RR_OBJECTS_SECRET_FILE": "/run/secrets/s3"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    having = {one.name for one in standard(layout, workers=1).services if given.items() <= one.env.items()}
    seeing = {one.name for one in standard(layout, workers=1).services if given.keys() & one.env.keys()}

    assert having == seeing == {"gateway", "catalog", "approvals", "timeline", "worker-1"}
    assert not given.keys() & standard(layout).prepare.env.keys()


def test_only_the_gateway_signs_urls_of_evidence_with_a_secret_that_stays(layout: Layout) -> None:
    signing = {one.name: one.env.get("RR_EVIDENCE_SECRET") for one in standard(layout).services}

    assert [name for name, secret in signing.items() if secret] == ["gateway"]
    assert spec(layout, "gateway").env["RR_EVIDENCE_SECRET"] == signing["gateway"]


def test_an_exporter_runs_where_its_target_is_named_and_has_that_alone(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RR_EXPORT_URL", "s3://kept")
    monkeypatch.setenv("RR_EXPORT_SECRET_FILE", "/run/export")
    monkeypatch.setenv("RR_OBJECTS_SECRET_FILE", "/run/objects")

    services = {one.name: one for one in standard(layout).services}

    exporter = services.pop("exporter")
    assert exporter.module == "services.timeline.exporter"
    assert "//rr_exporter:" in exporter.env["RR_POSTGRES_URL"]
    assert exporter.env["RR_NATS_NKEY_FILE"].endswith("/exporter.nk")
    assert exporter.env["RR_EXPORT_SECRET_FILE"] == "/run/export"
    assert "RR_OBJECTS_SECRET_FILE" not in exporter.env
    assert not any(name.startswith("RR_EXPORT_") for one in services.values() for name in one.env)
