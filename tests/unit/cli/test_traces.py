"""A trace is drawn from span lines in any order and any number of files, whatever else lies in them."""

import json
from pathlib import Path
from typing import Any

import pytest

from runbook_ranger.cli import spans
from tests.unit.cli.conftest import Run
from tests.unit.cli.gateway import FakeGateway

TRACE = "0af7651916cd43dd8448eb211c80319c"
OTHER = "ffffffffffffffffffffffffffffffff"
INCIDENT = "0192f0c1-0000-7000-8000-00000000000a"


def line(
    number: int,
    name: str,
    *,
    parent: int | None = None,
    service: str = "gateway",
    trace: str = TRACE,
    attributes: dict[str, Any] | None = None,
) -> str:
    return json.dumps(
        {
            "name": name,
            "context": {"trace_id": f"0x{trace}", "span_id": f"0x{number:016x}", "trace_state": "[]"},
            "kind": "SpanKind.INTERNAL",
            "parent_id": None if parent is None else f"0x{parent:016x}",
            "start_time": f"2026-03-01T10:00:00.{number:03d}000Z",
            "end_time": f"2026-03-01T10:00:01.{number:03d}500Z",
            "status": {"status_code": "ERROR", "description": "boom"} if name == "bad" else {"status_code": "UNSET"},
            "attributes": attributes or {},
            "events": [],
            "links": [],
            "resource": {"attributes": {"service.name": service, "service.instance.id": service}},
        }
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "traces"
    folder.mkdir()
    late = [
        line(3, "bad", parent=2, service="worker-1"),
        line(2, "incident handles alert.event", parent=1, service="incident"),
    ]
    (folder / "b.jsonl").write_text("\n".join([*late, line(9, "else", trace=OTHER), '{"name": "torn', ""]))
    early = [line(1, "POST /webhooks/events"), line(4, "orphan", parent=77, attributes={"rr.incident_id": INCIDENT})]
    mention = line(8, "GET /incidents/{incident_id}", trace=OTHER, attributes={"rr.incident_id": INCIDENT})
    (folder / "a.jsonl").write_text("\n".join([mention, *early, early[0], "not json", ""]))
    return tmp_path


def test_a_trace_is_a_tree_with_services_durations_and_errors(run: Run, data: Path) -> None:
    ran = run("trace", TRACE, "--data-dir", str(data))

    assert ran.code == 0
    lines = ran.out.splitlines()
    assert "4 spans" in lines[0]
    assert [text.strip(" │├└─").split("  ")[1:3] for text in lines[1:]] == [
        ["gateway", "POST /webhooks/events"],
        ["incident", "incident handles alert.event"],
        ["worker-1", "bad"],
        ["gateway", "orphan"],
    ]
    assert "boom" in lines[3]
    assert "1000.5 ms" in lines[1]


def test_programs_get_the_tree_as_json(run: Run, data: Path) -> None:
    found = json.loads(run("trace", f"0x{TRACE.upper()}", "--data-dir", str(data), "-o", "json").out)

    assert found["spans"] == 4
    assert [root["name"] for root in found["roots"]] == ["POST /webhooks/events", "orphan"]
    assert found["roots"][0]["children"][0]["children"][0]["error"] == "boom"


def test_an_incidents_trace_is_the_earliest_that_names_it(run: Run, data: Path) -> None:
    assert TRACE in run("trace", "--incident", INCIDENT, "--data-dir", str(data)).out


def test_with_a_gateway_the_event_that_opened_the_incident_names_its_trace(
    run: Run, gateway: FakeGateway, data: Path
) -> None:
    gateway.answer("/timeline", {"entries": [{"event_id": "the-event"}], "next": None})
    extra = line(7, "timeline chains incident.created", trace=OTHER, attributes={"rr.event.id": "the-event"})
    (data / "traces" / "c.jsonl").write_text(extra + "\n")

    assert OTHER in run("trace", "--incident", INCIDENT, "--data-dir", str(data)).out


@pytest.mark.parametrize("arguments", [[OTHER.replace("f", "e")], ["--incident", "nobody"]])
def test_a_trace_that_is_not_there_is_code_1(run: Run, data: Path, arguments: list[str]) -> None:
    assert run("trace", *arguments, "--data-dir", str(data)).code == 1


def test_files_may_be_named(run: Run, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "3 spans" not in run("trace", TRACE, "--file", str(data / "traces" / "b.jsonl")).out
    assert run("trace", TRACE, "--file", str(data / "nothing.jsonl")).code == 2
    monkeypatch.setenv("RR_TRACE_FILE", str(data / "traces" / "a.jsonl"))
    assert "2 spans" in run("trace", TRACE).out


def test_without_any_spans_it_says_where_it_looked(run: Run, tmp_path: Path) -> None:
    ran = run("trace", TRACE, "--data-dir", str(tmp_path))

    assert ran.code == 1
    assert str(tmp_path) in ran.err


def test_spans_that_name_each_other_as_parents_are_drawn_once() -> None:
    one, two = (spans.Span.read(line(n, "x", parent=p).encode()) for n, p in ((1, 1), (2, 3)))
    assert one is not None
    assert two is not None

    assert spans.tree([one, two]) == [one, two]
