"""Each command asks what it should, and shows what came for people and for programs."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.gateway import FakeGateway

INCIDENT: dict[str, Any] = {
    "incident_id": "i1",
    "severity": "high",
    "status": "new",
    "title": "storage is slow",
    "alert_name": "storage_latency_high",
    "firing": 1,
    "flags": {"remediation_failed": None},
    "opened_at": "2026-03-01T10:00:00.000000Z",
}
EXECUTION: dict[str, Any] = {
    "execution_id": "e1",
    "state": "running",
    "phase": "apply",
    "blocked_reason": None,
    "steps": [],
}


def test_json_output_is_the_answer_as_it_came(run: Run, gateway: FakeGateway) -> None:
    content = {"items": [INCIDENT | {"unicode": "…", "extra": [1, None]}], "next": None}
    gateway.answer("/incidents", content)

    ran = run("incident", "list", "--status", "new", "--limit", "5", "-o", "json")

    assert ran.code == 0
    assert json.loads(ran.out) == content
    assert gateway.asked[0][1] == "/incidents?status=new&limit=5"


def test_a_table_shows_rows_and_says_that_there_is_more(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/incidents", {"items": [INCIDENT], "next": "i1"})

    ran = run("incident", "list")

    assert "storage is slow" in ran.out
    assert "--after i1" in ran.err


def test_an_empty_list_is_no_error(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/incidents", {"items": [], "next": None})

    ran = run("incident", "list")

    assert (ran.code, ran.out, ran.err) == (0, "", "none\n")


def test_what_an_alert_says_cannot_steer_the_terminal(run: Run, gateway: FakeGateway) -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J[bold]x[/bold]\u202e\x9b31m"
    gateway.answer("/incidents", {"items": [INCIDENT | {"title": hostile}], "next": None})
    gateway.answer("/incidents/i1", INCIDENT | {"title": hostile, "alerts": [{"name": hostile}]})

    for ran in (run("incident", "list"), run("incident", "show", "i1")):
        assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(ran.out + ran.err)
        assert "[bold]x[/bold]" in ran.out


def test_a_transition_carries_trigger_and_rationale(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/incidents/i1/transition", {"status": "closed"})

    assert run("incident", "transition", "i1", "close", "--rationale", "fixed").code == 0
    assert gateway.last_body == {"trigger": "close", "rationale": "fixed"}
    run("incident", "transition", "i1", "acknowledge")
    assert gateway.last_body == {"trigger": "acknowledge"}


def test_an_alert_is_described_by_options(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/webhooks/events", {"accepted": 1, "stream": "INGRESS", "seq": 7}, 202)

    ran = run("alert", "post", "--name", "slow", "--severity", "high", "--label", "shard=s1", "--label", "q=a=b")

    assert (ran.code, ran.out) == (0, "stored: 1 in INGRESS at 7\n")
    assert gateway.last_body["labels"] == {"shard": "s1", "q": "a=b"}
    assert gateway.last_body["status"] == "firing"


def test_an_alert_is_posted_from_a_file_byte_for_byte(run: Run, gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.answer("/webhooks/alertmanager", {"accepted": 1, "stream": "INGRESS", "seq": 1}, 202)
    file = tmp_path / "alert.json"
    file.write_bytes(b'{ "version" : "4" }\n')

    assert run("alert", "post", str(file), "--format", "alertmanager").code == 0
    assert gateway.asked[0][3] == file.read_bytes()


def test_a_refused_runbook_lists_its_problems_by_line(run: Run, gateway: FakeGateway, tmp_path: Path) -> None:
    file = tmp_path / "runbook.yaml"
    file.write_text("steps: []\n")
    problems = [{"line": 3, "column": 1, "path": "steps[0]", "message": "names no action"}]
    problem = {
        "title": "Invalid input",
        "code": "runbook_invalid",
        "detail": "1 problem",
        "data": {"problems": problems},
    }
    gateway.answer("/runbooks", problem, 422)

    ran = run("runbook", "publish", str(file))

    assert ran.code == 1
    assert "line 3: steps[0]: names no action" in ran.err


@pytest.mark.parametrize(("state", "code"), [("completed", 0), ("failed", 1), ("aborted", 1)])
def test_watching_ends_with_the_execution_and_tells_how_it_ended(
    run: Run, gateway: FakeGateway, state: str, code: int
) -> None:
    step = {"step": "reroute", "visit": 1, "state": "running"}
    gateway.answer("/executions/e1", EXECUTION | {"steps": [step]})
    gateway.answer("/executions/e1", EXECUTION | {"state": "blocked", "blocked_reason": "lock", "steps": [step]})
    gateway.answer("/executions/e1", EXECUTION | {"steps": [step | {"state": "succeeded"}]})
    gateway.answer("/executions/e1", EXECUTION | {"state": state, "steps": [step | {"state": "succeeded"}]})

    ran = run("execution", "watch", "e1", "--interval", "0.1")

    assert ran.code == code
    assert ran.out.splitlines() == [
        "execution running",
        "reroute #1 running",
        "execution blocked (blocked on lock)",
        "execution running",
        "reroute #1 succeeded",
        f"execution {state}",
    ]


def test_watching_for_programs_is_one_document(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/executions/e1", EXECUTION)
    gateway.answer("/executions/e1", EXECUTION | {"state": "failed", "reason": "verify"})

    ran = run("execution", "watch", "e1", "--interval", "0.1", "-o", "json")

    assert ran.code == 1
    assert json.loads(ran.out)["reason"] == "verify"


def test_watching_survives_a_gateway_that_is_away_for_a_moment(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/executions/e1", EXECUTION)
    for _ in range(4):
        gateway.answer("/executions/e1", {"title": "down", "detail": ""}, 503, Retry_After="0")
    gateway.answer("/executions/e1", EXECUTION | {"state": "completed"})

    assert run("execution", "watch", "e1", "--interval", "0.1").code == 0


def test_watching_gives_up_in_time(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/executions/e1", EXECUTION)

    ran = run("execution", "watch", "e1", "--interval", "0.1", "--timeout", "0.2")

    assert ran.code == 1
    assert "it is running" in ran.err


def test_a_decision_goes_to_its_step(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/executions/e1/steps/reroute/decide", {"execution_id": "e1", "state": "running"})

    assert run("execution", "decide", "e1", "reroute", "succeeded", "-r", "I looked").code == 0
    assert gateway.last_body == {"decision": "succeeded", "rationale": "I looked"}


def test_the_kill_switch_is_turned_with_scope_and_reason(run: Run, gateway: FakeGateway) -> None:
    item = {
        "scope": "global",
        "engaged": True,
        "epoch": 1,
        "changed_by": "olga",
        "changed_at": "now",
        "reason": "storm",
    }
    gateway.answer("/kill-switch", {"changed": True, "items": [item]})

    assert "storm" in run("kill-switch", "on", "--reason", "storm", "--scope", "global").out
    assert gateway.last_body == {"engaged": True, "reason": "storm", "scope": "global"}


def test_a_list_of_dead_letters_that_is_not_whole_says_so(run: Run, gateway: FakeGateway) -> None:
    letter = {"service": "incident", "id": 1, "subject": "alert.event", "reason": "not JSON"}
    gateway.answer("/dead-letters", {"items": [letter], "unanswered": {"executor": "no answer"}})

    ran = run("dlq", "list")

    assert ran.code == 3
    assert "not JSON" in ran.out
    assert "executor" in ran.err


def test_a_dead_letter_is_retried_with_a_rationale(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/dead-letters/incident/7/retry", {"retried": [7, 8]})

    assert run("dlq", "retry", "incident", "7", "-r", "mended").code == 0
    assert gateway.last_body == {"rationale": "mended"}


def test_the_timeline_is_read_to_its_end(run: Run, gateway: FakeGateway) -> None:
    entry = {"index": 1, "time": "t", "type": "incident.created", "actor": "svc_incident", "payload": {"title": "slow"}}
    gateway.answer("/timeline?limit=500&incident_id=i1", {"entries": [entry], "next": 1})
    gateway.answer("/timeline?after=1&limit=500&incident_id=i1", {"entries": [entry | {"index": 5}], "next": 5})
    gateway.answer("/timeline?after=5&limit=500&incident_id=i1", {"entries": [], "next": None})

    ran = run("timeline", "show", "--incident", "i1", "-o", "json")

    assert [item["index"] for item in json.loads(ran.out)["entries"]] == [1, 5]
    gateway.answer("/timeline?limit=1&incident_id=i1", {"entries": [entry], "next": 1})
    assert "title: slow" in run("timeline", "show", "--incident", "i1", "--limit", "1").out


def test_the_timeline_is_asked_for_what_is_said(run: Run, gateway: FakeGateway) -> None:
    asked: list[dict[str, str]] = []
    gateway.answer("/timeline", lambda query: asked.append(query) or {"entries": [], "next": None})

    said = "--runbook r-1 --actor ada --type runbook.* --text resta* --newest --after 9 --limit 7"
    assert run("timeline", "show", *said.split(), "--since", "2026-03-01T10:00:00+01:00", "--until", "2h").code == 0

    (query,) = asked
    until = datetime.fromisoformat(query.pop("until"))
    assert timedelta(hours=2) <= datetime.now(UTC) - until < timedelta(hours=2, minutes=1)
    assert query == {
        "runbook_id": "r-1",
        "actor": "ada",
        "type": "runbook.*",
        "text": "resta*",
        "order": "newest",
        "since": "2026-03-01T09:00:00Z",
        "after": "9",
        "limit": "7",
    }


def test_a_timeline_of_everything_stops_after_a_hundred_and_says_how_to_go_on(run: Run, gateway: FakeGateway) -> None:
    page = [{"index": number, "payload": None} for number in range(100)]
    gateway.answer("/timeline?limit=100", {"entries": page, "next": 99})

    assert "--after 99" in run("timeline", "show").err


def test_what_is_shown_says_where_its_chain_ends_or_why_that_is_not_known(run: Run, gateway: FakeGateway) -> None:
    proven = {"provenance_hash": "ab" * 32, "provenance": {"n": 2, "index": 3}}
    gateway.answer("/incidents/i1", {"incident_id": "i1", **proven})
    gateway.answer("/executions/e1", {"execution_id": "e1", "state": "running", "steps": [], **proven})

    for kind, name in (("incident", "i1"), ("execution", "e1")):
        out = run(kind, "show", name).out
        assert f"{'ab' * 32} (leaf 3 of the log, number 2 of its chain)" in out
        assert json.loads(run(kind, "show", name, "-o", "json").out)["provenance"] == {"n": 2, "index": 3}

    unknown = {"provenance_hash": None, "provenance": {"missing": "timeline did not answer"}}
    gateway.answer("/incidents/i2", {"incident_id": "i2", **unknown})
    assert "unknown: timeline did not answer" in run("incident", "show", "i2").out
