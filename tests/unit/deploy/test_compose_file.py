"""The compose file against the code: its variables are read somewhere, its commands exist, its secrets are made."""

import importlib.util
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from libs.actions.settings import ActionSettings
from libs.common.contracts.choreography import SERVICES
from libs.common.objectsettings import ObjectSettings
from libs.common.policy.settings import PolicySettings
from libs.common.settings import FileBackedSettings, ProcessSettings, TokenMap
from libs.tlog.secretkey import parse_private
from runbook_ranger.stack.roles import role_of, role_password
from services.approvals.settings import ApprovalsSettings
from services.executor.settings import ExecutorSettings
from services.gateway.settings import GatewaySettings
from services.incident.settings import IncidentSettings
from services.timeline.exporter.settings import ExporterSettings
from services.timeline.settings import TimelineSettings

ROOT = Path(__file__).resolve().parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PROCESSES = {name: service for name, service in COMPOSE["services"].items() if "python" in service.get("command", [])}
SETTINGS = {
    "gateway": (GatewaySettings, TokenMap, ObjectSettings),
    "incident": (IncidentSettings,),
    "timeline": (TimelineSettings, ObjectSettings),
    "exporter": (ExporterSettings,),
    "catalog": (ProcessSettings, ObjectSettings),
    "approvals": (ApprovalsSettings, ObjectSettings),
    "executor": (ProcessSettings, ExecutorSettings),
    "worker": (ProcessSettings, ExecutorSettings, ActionSettings, ObjectSettings),
}
FOR_PREPARE = {
    "RR_POSTGRES_URL", "RR_NATS_URL", "RR_NATS_NKEY", "RR_REDIS_URL", "RR_ROLE_SECRET", "RR_EVENTS_MAX_BYTES",
}  # fmt: skip
FOR_COMPOSE = {"RR_IMAGE", "RR_NATS_IMAGE", "RR_PUBLISH", "RR_PUBLISH_PROMETHEUS", "RR_SECRETS_DIR"}


def known(process: str) -> set[str]:
    if process == "prepare":
        return FOR_PREPARE | {f"{name}_FILE" for name in FOR_PREPARE}
    read = (*SETTINGS[process], PolicySettings)
    plain = {f"RR_{name.upper()}" for settings in read for name in settings.model_fields}
    backed = [settings for settings in SETTINGS[process] if issubclass(settings, FileBackedSettings)]
    return plain | {f"RR_{name.upper()}_FILE" for settings in backed for name in settings.model_fields}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("deploy") / "secrets"
    subprocess.run([sys.executable, ROOT / "deploy" / "make_secrets.py", folder], check=True, capture_output=True)
    return {file.name: file.read_text().rstrip("\n") for file in folder.iterdir()}


def test_every_process_of_the_product_is_there() -> None:
    assert set(PROCESSES) == {"prepare", "worker", "exporter", *SERVICES}
    assert COMPOSE["services"]["worker"]["scale"] == 2


@pytest.mark.parametrize("process", PROCESSES)
def test_every_variable_is_read_by_the_process_that_gets_it(process: str) -> None:
    assert set(PROCESSES[process]["environment"]) - known(process) == set()


@pytest.mark.parametrize("process", PROCESSES)
def test_every_process_gets_what_it_cannot_do_without(process: str) -> None:
    environment = PROCESSES[process]["environment"]
    wanted = {"RR_POSTGRES_URL", "RR_NATS_NKEY"} | ({"RR_REDIS_URL"} if process in {"worker", "executor"} else set())

    assert {name for name in wanted if f"{name}_FILE" not in environment} == set()
    assert environment["RR_NATS_URL"] == "nats://nats:4222"


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_signs_in_to_the_bus_with_its_own_key(process: str) -> None:
    identity = "admin" if process == "prepare" else process

    assert PROCESSES[process]["environment"]["RR_NATS_NKEY_FILE"] == f"/run/secrets/nats_key_{identity}"


@pytest.mark.parametrize("process", PROCESSES)
def test_every_command_names_a_module_that_runs(process: str) -> None:
    commands = [PROCESSES[process]["command"]]
    if "test" in PROCESSES[process]["healthcheck"]:
        commands.append(PROCESSES[process]["healthcheck"]["test"][1:])

    for interpreter, flag, module in commands:
        assert (interpreter, flag) == ("python", "-m")
        spec = importlib.util.find_spec(module)
        assert spec is not None
        assert spec.submodule_search_locations is None or importlib.util.find_spec(f"{module}.__main__") is not None


def test_every_interpolated_variable_reaches_a_process_or_compose_itself() -> None:
    named = set(re.findall(r"\$\{(RR_[A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    given = {name for process in PROCESSES.values() for name in process["environment"]}

    assert named - given - FOR_COMPOSE == set()


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_has_the_secret_of_each_file_that_it_reads_and_no_other(process: str) -> None:
    service = PROCESSES[process]
    read = {Path(value).name for value in service["environment"].values() if str(value).startswith("/run/secrets/")}

    assert set(service["secrets"]) == read


def test_every_secret_is_made_and_every_made_secret_is_used(secrets: dict[str, str]) -> None:
    assert set(COMPOSE["secrets"]) == set(secrets) - {"operator_token"}  # that one is for a person


def test_every_service_has_a_role_of_its_own_with_the_password_that_provisioning_sets(secrets: dict[str, str]) -> None:
    for service in SERVICES:
        role = role_of(service)
        login = f"{role}:{role_password(secrets['role_secret'], role)}@"
        assert secrets[f"postgres_url_{service}"] == f"postgresql://{login}postgres:5432/ranger"


def test_the_gateway_takes_the_tokens_that_are_made(secrets: dict[str, str], tmp_path: Path) -> None:
    from services.gateway.tokens import Tokens

    file = tmp_path / "tokens"
    file.write_text(secrets["tokens"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RR_TOKENS_FILE", str(file))
        patch.delenv("RR_TOKENS", raising=False)
        principal = Tokens.read().principal(secrets["operator_token"])

    assert principal is not None
    assert principal.actor == "operator"


def test_secrets_that_servers_know_already_are_never_made_anew(tmp_path: Path) -> None:
    (tmp_path / "role_secret").write_text("known")
    module = runpy.run_path(str(ROOT / "deploy" / "make_secrets.py"))

    with pytest.raises(SystemExit, match="not empty"):
        module["write"](tmp_path)

    assert (tmp_path / "role_secret").read_text() == "known"


def lines(folder: Path) -> list[str]:
    """The users that the bus is to let in."""
    return [line.strip() for line in (folder / "nats_users").read_text().splitlines() if "nkey" in line]


def test_a_key_of_the_bus_is_changed_with_both_let_in_meanwhile(tmp_path: Path) -> None:
    module = runpy.run_path(str(ROOT / "deploy" / "make_secrets.py"))
    module["write"](tmp_path / "secrets")
    folder = tmp_path / "secrets"
    before = lines(folder)
    mounted = (folder / "nats_users").stat().st_ino

    module["renew"](folder, ["incident"])
    both = lines(folder)
    with pytest.raises(SystemExit, match="--retire first"):
        module["renew"](folder, ["incident"])
    module["retire"](folder)

    new = set(both) - set(before)
    assert [line.rpartition("permissions: ")[2] for line in new] == ["$incident }"]
    assert len(both) == len(before) + 1
    assert set(before) - set(lines(folder)) == {line for line in before if "$incident" in line}
    assert new < set(lines(folder))
    assert (folder / "nats_users").stat().st_ino == mounted


def test_a_folder_of_an_older_version_is_completed(tmp_path: Path) -> None:
    module = runpy.run_path(str(ROOT / "deploy" / "make_secrets.py"))
    (tmp_path / "nats_users").write_text("authorization { users: [{ user: ranger, password: known }] }")
    (tmp_path / "nats_users").chmod(0o444)

    module["complete"](tmp_path)
    first = lines(tmp_path)
    module["complete"](tmp_path)

    assert len(first) == 9
    assert lines(tmp_path) == first


def test_the_folder_of_secrets_is_closed_and_its_files_cannot_be_written(tmp_path: Path) -> None:
    module = runpy.run_path(str(ROOT / "deploy" / "make_secrets.py"))
    folder = tmp_path / "secrets"

    module["write"](folder)

    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o444}


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_no_service_has_more_rights_than_it_needs(name: str) -> None:
    service = COMPOSE["services"][name]

    assert service["user"].split(":")[0] not in {"0", "root"}
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "cpus", "pids_limit"} <= set(service)


def test_everything_is_watched_but_the_collector_which_has_nothing_to_ask_with() -> None:
    unwatched = {name for name, service in COMPOSE["services"].items() if "test" not in service.get("healthcheck", {})}

    assert unwatched == {"prepare", "otel-collector"}


def test_the_judge_beside_the_product_is_wanted_explicitly_and_reads_the_policies_of_this_version() -> None:
    opa = COMPOSE["services"]["opa"]

    assert opa["profiles"] == ["opa"]
    assert opa["volumes"] == ["./policies:/policies:ro"]
    assert opa["command"][-2:] == ["--bundle", "/policies"]
    assert "ports" not in opa


def test_prometheus_asks_every_process_on_the_port_that_it_shows() -> None:
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    (found,) = scraped["scrape_configs"][0]["dns_sd_configs"]

    assert set(found["names"]) == set(PROCESSES) - {"prepare"}
    ports = {process["environment"].get("RR_HEALTH_PORT") for process in PROCESSES.values()} - {None}
    assert ports == {str(found["port"])}


def test_no_secret_file_would_enter_the_repository_or_the_image() -> None:
    assert "/deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert [line for line in ignored if line.startswith("!deploy")] == ["!deploy/images/nats"]


def test_the_image_is_built_with_the_version_of_uv_that_the_makefile_has() -> None:
    dockerfile = (ROOT / "deploy" / "images" / "ranger" / "Dockerfile").read_text()
    makefile = (ROOT / "Makefile").read_text()

    assert re.findall(r"UV_VERSION=(\S+)", dockerfile)[0] == re.findall(r"UV_VERSION := (\S+)", makefile)[0]


def test_the_health_check_says_what_the_health_port_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from libs.common.healthcheck import main

    monkeypatch.setenv("RR_HEALTH_PORT", "")
    assert main([]) == 1
    monkeypatch.setenv("RR_HEALTH_PORT", "1")
    assert main([]) == 1
    assert os.environ["RR_HEALTH_PORT"] == "1"


def test_the_timeline_signs_with_the_keys_that_are_made(secrets: dict[str, str], tmp_path: Path) -> None:
    origin = TimelineSettings.model_fields["timeline_origin"].default
    module = runpy.run_path(str(ROOT / "deploy" / "make_secrets.py"))
    module["complete"](tmp_path, "rr.example/other")

    assert parse_private(secrets["timeline_key"]).name == origin
    assert parse_private(secrets["bundle_key"]).name == f"{origin}/bundles"
    assert parse_private((tmp_path / "timeline_key").read_text().strip()).name == "rr.example/other"
