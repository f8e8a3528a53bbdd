"""Settings: what is wrong is said by the name of its variable, and secrets stay out of sight."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from libs.common.settings import ProcessSettings, TokenMap

GOOD = {
    "RR_NATS_URL": "nats://ranger:canary-1@127.0.0.1:4222",
    "RR_POSTGRES_URL": "postgresql://rr_incident:canary-2@/ranger?host=/run/sockets",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RR_")]:
        monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name)

    with pytest.raises(SystemExit, match=f"{name}: Field required"):
        ProcessSettings.read()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RR_HEALTH_PORT", "http"),
        ("RR_TRACE_SAMPLE", "1.5"),
        ("RR_BATCH", "0"),
        ("RR_BATCH", "1001"),
        ("RR_POOL_SIZE", "0"),
        ("RR_MAX_FAILURES", "0"),
        ("RR_WATCHDOG_SECONDS", "soon"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit, match=f"settings: {name}: "):
        ProcessSettings.read()


def test_all_that_is_wrong_is_said_at_once_and_no_secret_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RR_BATCH", "many")
    monkeypatch.delenv("RR_POSTGRES_URL")

    with pytest.raises(SystemExit) as ended:
        ProcessSettings.read()

    assert "RR_BATCH" in str(ended.value)
    assert "RR_POSTGRES_URL" in str(ended.value)
    assert "canary" not in str(ended.value)


def test_secrets_do_not_show_when_settings_are_printed() -> None:
    assert "canary" not in repr(ProcessSettings.read())


def test_settings_do_not_change() -> None:
    settings = ProcessSettings.read()

    with pytest.raises(ValidationError, match="frozen"):
        settings.batch = 3


@pytest.mark.parametrize("text", ["", "[]", "{", "token"])
def test_tokens_that_are_no_json_object_are_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("RR_TOKENS", text)

    with pytest.raises(ValidationError, match="RR_TOKENS must be a JSON object"):
        TokenMap()


@pytest.mark.parametrize("name", [*GOOD, "RR_REDIS_URL"])
def test_a_secret_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    file = tmp_path / "secret"
    file.write_text("scheme://user:from-a-file@host/\n")
    monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(f"{name}_FILE", str(file))

    secret = getattr(ProcessSettings.read(), name.removeprefix("RR_").lower())

    assert secret.get_secret_value() == "scheme://user:from-a-file@host/"


def test_a_setting_that_is_no_secret_may_stand_in_a_file_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "hostname").write_text("worker-7f3a\n")
    monkeypatch.setenv("RR_INSTANCE_FILE", str(tmp_path / "hostname"))

    assert ProcessSettings.read().instance == "worker-7f3a"


def test_a_variable_and_its_file_are_not_both_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RR_NATS_URL_FILE", str(tmp_path / "secret"))

    with pytest.raises(SystemExit, match="settings: RR_NATS_URL and RR_NATS_URL_FILE are both set") as ended:
        ProcessSettings.read()

    assert "canary" not in str(ended.value)


def test_a_secret_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RR_NATS_URL")
    monkeypatch.setenv("RR_NATS_URL_FILE", str(tmp_path / "nothing"))

    with pytest.raises(SystemExit, match=r"settings: RR_NATS_URL_FILE: .*nothing cannot be read: No such file"):
        ProcessSettings.read()


def test_a_secret_file_of_bytes_is_named_without_its_content(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"\xffcanary")
    monkeypatch.delenv("RR_NATS_URL")
    monkeypatch.setenv("RR_NATS_URL_FILE", str(file))

    with pytest.raises(SystemExit, match="is not UTF-8 text") as ended:
        ProcessSettings.read()

    assert "canary" not in str(ended.value)


def test_an_empty_secret_file_counts_as_a_wrong_value(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("\n")
    monkeypatch.delenv("RR_NATS_URL")
    monkeypatch.setenv("RR_NATS_URL_FILE", str(file))

    with pytest.raises(SystemExit, match=r"RR_NATS_URL_FILE: .* is empty"):
        ProcessSettings.read()
