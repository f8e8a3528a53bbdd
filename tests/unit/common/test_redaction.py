"""No canary secret gets out through a log line."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from libs.common import telemetry
from libs.common.settings import ProcessSettings

CANARY = "canary-7f3a"


@pytest.mark.parametrize(
    "event",
    [
        {"password": CANARY},
        {"db_passwd_or_pass": CANARY},
        {"RR_TOKENS": CANARY},
        {"Authorization": f"Bearer {CANARY}"},
        {"cookie": CANARY},
        {"api_key": CANARY},
        {"apikey": CANARY},
        {"role_secret": CANARY.encode()},
        {"credentials": [CANARY]},
        {"url": f"nats://ranger:{CANARY}@127.0.0.1:4222"},
        {"url": f"nats://{CANARY}@127.0.0.1:4222"},
        {"error": f"cannot reach postgresql://rr_incident:{CANARY}@/ranger?host=/run: refused"},
        {"error": f"redis://u:with@sign-{CANARY}@host/0"},
        {"headers": {"authorization": f"Bearer {CANARY}", "accept": "*/*"}},
        {"request": {"target": {"token": CANARY}}},
        {"servers": [f"nats://u:{CANARY}@a:1", {"password": CANARY}]},
        {"servers": (f"nats://u:{CANARY}@a:1",)},
        {"event": f"connecting to nats://u:{CANARY}@a:1 and nats://u:{CANARY}@b:1"},
    ],
)
def test_a_secret_is_masked_wherever_it_stands(event: dict[str, Any]) -> None:
    assert CANARY not in repr(telemetry.redact(None, "info", dict(event)))


def test_what_is_no_secret_stays_readable() -> None:
    event = {
        "event": "ready",
        "url": "http://127.0.0.1:8080/path@2",
        "incident_id": "i-1",
        "n": 3,
        "who": "a@b.example",
    }

    assert telemetry.redact(None, "info", dict(event)) == event


def _fail() -> None:
    raise ConnectionError(f"no answer from postgresql://r:{CANARY}@/ranger")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    output = io.StringIO()
    monkeypatch.setattr("sys.stdout", output)
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    telemetry._set_up_logs("incident", ProcessSettings.model_construct(instance="incident-1", log_level="INFO"))
    yield output
    root.handlers = before
    root.setLevel(level)
    logging.getLogger("ranger").setLevel(logging.NOTSET)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def test_neither_our_log_nor_a_librarys_nor_a_traceback_shows_a_secret(lines: io.StringIO) -> None:
    telemetry.log.info("connected", url=f"nats://u:{CANARY}@a:1", token=CANARY)
    logging.getLogger("some.library").warning("lost %s", f"nats://u:{CANARY}@a:1")
    try:
        _fail()
    except ConnectionError:
        telemetry.log.exception("part_failed")

    text = lines.getvalue()

    assert CANARY not in text
    logged = [json.loads(line) for line in text.splitlines()]
    assert [line["event"] for line in logged] == ["connected", "lost nats://***@a:1", "part_failed"]
    assert {line["service"] for line in logged} == {"incident"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\nx",
    ],
)
def test_a_broken_traceparent_is_no_context_and_no_error(text: str) -> None:
    assert telemetry.parse_traceparent(text) is None
    assert not telemetry.is_traceparent(text)
    assert not telemetry.is_sampled(text)


def test_a_traceparent_comes_back() -> None:
    text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    context = telemetry.parse_traceparent(text)

    assert context is not None
    assert telemetry.format_traceparent(context) == text
    assert telemetry.is_traceparent(text)
    assert telemetry.is_sampled(text)
    assert not telemetry.is_sampled(f"{text[:-1]}0")
