"""Settings: what is wrong is said by the name of its variable, and secrets stay out of sight."""

import os

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
