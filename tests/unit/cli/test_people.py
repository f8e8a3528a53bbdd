"""What people do by hand: open incidents, start runbooks, finish steps, decide approvals, follow what happens."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from runbook_ranger.cli import app, events
from runbook_ranger.cli.events import Heard, dispatched
from runbook_ranger.cli.runbooks import pairs
from tests.unit.cli.conftest import Run
from tests.unit.cli.gateway import FakeGateway

APPROVAL: dict[str, Any] = {
    "approval_id": "0192f0c1-aaaaaa",
    "state": "requested",
    "risk": "high",
    "action": "node.restart",
    "resource_id": "storage:s1",
    "step": "reroute",
    "requester": "olga",
    "plan_hash": "sha256:plan",
    "action_hash": "sha256:action",
    "prompt": "Restart\x1b[2J it?",
}


def test_an_incident_is_opened_judged_owned_and_linked(run: Run, gateway: FakeGateway) -> None:
    for path in ("/incidents", "/incidents/i1/severity", "/incidents/i1/owner", "/incidents/i1/runbooks"):
        gateway.answer(path, {"incident_id": "i1"})

    assert run("incident", "create", "slow", "--severity", "high", "--tag", "a", "--tag", "b").code == 0
    assert gateway.last_body == {"title": "slow", "severity": "high", "tags": ["a", "b"]}
    assert run("incident", "severity", "i1", "low", "-r", "better").code == 0
    assert gateway.last_body == {"severity": "low", "rationale": "better"}
    assert run("incident", "owner", "i1", "olga").code == 0
    assert gateway.last_body == {"owner": "olga"}
    assert run("incident", "owner", "i1", "--nobody").code == 0
    assert gateway.last_body == {"owner": None}
    assert run("incident", "link", "i1", "r-1").code == 0
    assert gateway.last_body == {"runbook_id": "r-1"}
    assert run("incident", "owner", "i1").code == 2


def test_an_incident_that_is_not_whole_says_so(run: Run, gateway: FakeGateway) -> None:
    whole = {"incident_id": "i1", "title": "slow", "approvals": [], "timeline": [{"type": "x"}], "timeline_next": 5}
    gateway.answer("/incidents/i1", {**whole, "unanswered": {"approvals": "away"}})

    ran = run("incident", "show", "i1")

    assert ran.code == 3
    assert "slow" in ran.out
    assert "approvals: away" in ran.err


PLAN: Final[dict[str, Any]] = {
    "runbook_id": "r-1", "runbook_version": 2, "name": "Move", "mode": "auto", "risk": "low", "plan_hash": "p" * 64,
    "incident_id": "i1", "deadline": "1h", "alert": {"name": "slow", "severity": "high", "firing": True},
    "inputs": {"shard": "s1"},
    "steps": [
        {
            "step": "look", "type": "check", "action": "", "effect": "read", "risk": "low", "mutating": False,
            "when": None, "applies": True, "values": {}, "resource": None, "approval": False, "known_after": [],
        },
        {
            "step": "move", "type": "action", "action": "http.request", "effect": "keyed", "risk": "low",
            "mutating": True, "when": "inputs.deep", "applies": True, "resource": "shard/s1", "approval": True,
            "values": {"with": {"method": "POST", "url": "http://t/move"}}, "known_after": ["look"],
        },
    ],
    "locks": [{
        "resource_id": "shard/s1", "steps": ["move"], "known_after": [],
        "holder": {"execution_id": "e-9", "state": "held", "since": "2026-03-01T10:00:00Z"},
    }],
    "approvals": [{
        "step": "move", "of": "action", "prompt": "Move?", "risk": "low", "expires_seconds": 900, "approvers": ["lead"],
    }],
    "hindrances": [{"kind": "waits", "step": "move", "text": "shard/s1 is held by e-9.", "fix": "Wait for it."}],
}  # fmt: skip


def test_a_runbook_is_kept_as_a_draft_and_published_from_it(run: Run, gateway: FakeGateway, tmp_path: Path) -> None:
    file = tmp_path / "runbook.yaml"
    file.write_text("steps: []\n")
    gateway.answer("/runbooks?draft=true", {"runbook_id": "r-1", "spec_hash": "h"}, 201)
    gateway.answer("/runbooks/r-1/draft", {"runbook_id": "r-1", "source": "steps: []\n"})
    gateway.answer("/runbooks/r-1/publish", {"runbook_id": "r-1", "version": 2, "spec_hash": "h"}, 201)

    ran = run("runbook", "draft", str(file))

    assert (ran.code, ran.out) == (0, "draft: r-1 (h)\n")
    assert run("runbook", "show", "r-1", "--draft", "--source").out == "steps: []\n"
    assert run("runbook", "show", "r-1", "--draft", "--version", "1").code == 2
    assert run("runbook", "publish", "--draft", "r-1").out == "published: r-1 version 2 (h)\n"
    assert run("runbook", "publish").code == 2
    assert run("runbook", "publish", str(file), "--draft", "r-1").code == 2


def test_a_runbook_is_started_with_typed_inputs(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/runbooks/r-1/execute", {"execution_id": "e1", "state": "pending"}, 202)

    ran = run("runbook", "execute", "r-1", "--input", "n=7", "-i", "on=true", "-i", 'id="7"', "--incident", "i1")

    assert ran.code == 0
    assert gateway.last_body == {"inputs": {"n": 7, "on": True, "id": "7"}, "incident_id": "i1"}
    assert pairs(["x=1.5", "y=a=b", "z=", "w=null"]) == {"x": "1.5", "y": "a=b", "z": "", "w": "null"}
    assert run("runbook", "execute", "r-1", "--input", "n").code == 2


def test_a_dry_run_is_started_as_such_and_shows_what_was_only_simulated(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/runbooks/r-1/execute", {"execution_id": "e1", "state": "pending", "dry_run": True}, 202)
    steps = [
        {"step": "look", "visit": 1, "state": "succeeded", "simulation": "carried_out"},
        {"step": "move", "visit": 1, "state": "succeeded", "simulation": "simulated", "message": "Simulated: x"},
        {"step": "judge", "visit": 1, "state": "skipped", "simulation": "not_simulated", "message": "it needs move"},
    ]
    gateway.answer("/executions/e1", {"execution_id": "e1", "state": "completed", "dry_run": True, "steps": steps})

    ran = run("runbook", "execute", "r-1", "--dry-run", "--wait")

    assert (ran.code, json.loads(gateway.asked[0][3])["dry_run"]) == (0, True)
    assert ran.out.splitlines() == [
        "execution completed (dry run)", "look #1 succeeded", "move #1 simulated", "judge #1 not simulated",
    ]  # fmt: skip
    shown = run("execution", "show", "e1").out
    assert "dry run, completed" in shown
    assert "it needs move" in shown


def test_a_plan_is_shown_with_its_steps_locks_and_hindrances_and_starts_nothing(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/runbooks/r-1/plan", PLAN)

    shown = run("execution", "plan", "r-1", "-i", "shard=s1", "--incident", "i1")

    assert shown.code == 0
    for value in (
        "slow (high): fires",
        "http.request POST http://t/move",
        "e-9 (held)",
        "lead",
        "is held by e-9",
        "s1",
    ):
        assert value in shown.out
    assert "steps look" not in shown.out
    assert gateway.last_body == {"inputs": {"shard": "s1"}, "incident_id": "i1"}
    same = run("runbook", "execute", "r-1", "-i", "shard=s1", "--incident", "i1", "--plan", "-o", "json")
    assert json.loads(same.out) == PLAN
    assert {path for _, path, _, _ in gateway.asked} == {"/runbooks/r-1/plan"}


def test_a_plan_that_nothing_stands_in_the_way_of_says_so(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/runbooks/r-1/plan", PLAN | {"hindrances": [], "locks": [], "approvals": [], "alert": None})

    assert "nothing stands in its way" in run("execution", "plan", "r-1").out


@pytest.mark.parametrize(("state", "code"), [("completed", 0), ("failed", 1)])
def test_starting_and_waiting_ends_as_the_execution_does(run: Run, gateway: FakeGateway, state: str, code: int) -> None:
    gateway.answer("/runbooks/r-1/execute", {"execution_id": "e1", "state": "pending"}, 202)
    gateway.answer("/executions/e1", {"execution_id": "e1", "state": state, "steps": []})

    ran = run("runbook", "execute", "r-1", "--wait")

    assert (ran.code, ran.out) == (code, f"execution {state}\n")


def test_a_manual_step_is_completed_with_what_proves_it(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/executions/e1/steps/look/complete", {"execution_id": "e1"})
    gateway.answer("/executions/e1/fail", {"execution_id": "e1"})

    named = ("--evidence", "ticket-7", "--approval", "a1", "--value", "nodes=3", "-r", "done")
    assert run("execution", "complete", "e1", "look", "succeeded", *named).code == 0
    assert gateway.last_body == {
        "outcome": "succeeded",
        "evidence_ref": "ticket-7",
        "approval_ids": ["a1"],
        "values": {"nodes": 3},
        "rationale": "done",
    }
    assert run("execution", "fail", "e1", "-r", "no help").code == 0
    assert gateway.last_body == {"rationale": "no help"}


@pytest.mark.parametrize("verb", ["pause", "resume", "rollback", "terminate", "abort", "fail"])
def test_an_execution_is_led_and_ended_with_a_reason(run: Run, gateway: FakeGateway, verb: str) -> None:
    running = [{"step": "move", "action": "shell.run", "effect": "unsafe", "worker_id": "w-1"}]
    met = {"execution_id": "e1", "state": "running", "running": running, "unstopped": running, "freed": ["shard/s1"]}
    gateway.answer(f"/executions/e1/{verb}", met)

    shown = run("execution", verb, "e1", "-r", "a drill")

    assert shown.code == 0
    assert gateway.last_body == {"rationale": "a drill"}
    assert "let finish" in shown.out
    assert "could not be stopped" in shown.out
    assert "w-1" in shown.out
    assert run("execution", verb, "e1").code == 2
    assert json.loads(run("execution", verb, "e1", "-r", "why", "-o", "json").out) == met


def test_a_step_is_left_out_or_chosen_for_by_its_path_and_an_event_is_signalled(run: Run, gateway: FakeGateway) -> None:
    for path in ("steps/fan/api/restart/skip", "steps/rollback:2/choose", "signal"):
        gateway.answer(f"/executions/e1/{path}", {"execution_id": "e1", "state": "running"})

    assert run("execution", "skip", "e1", "fan/api/restart", "-r", "by hand").code == 0
    assert gateway.last_body == {"rationale": "by hand"}
    assert run("execution", "choose", "e1", "rollback:2", "retry", "-r", "mended").code == 0
    assert gateway.last_body == {"choice": "retry", "rationale": "mended"}
    assert run("execution", "signal", "e1", "deployed", "--value", "n=7", "-r", "it is out").code == 0
    assert gateway.last_body == {"name": "deployed", "data": {"n": 7}, "rationale": "it is out"}
    assert run("execution", "skip", "e1", "fan//restart", "-r", "no path").code == 2


def test_a_retry_is_a_new_execution_that_can_be_watched(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/executions/e1/retry", {"execution_id": "e2", "retry_of": "e1", "retry_from": "move"}, 202)
    gateway.answer("/executions/e2", {"execution_id": "e2", "state": "completed", "steps": []})

    assert run("execution", "retry", "e1", "-r", "mended").code == 0
    assert gateway.last_body == {"rationale": "mended"}
    watched = run("execution", "retry", "e1", "-r", "mended", "--repeat-unknown", "--wait")
    assert (watched.code, watched.out) == (0, "execution completed\n")
    assert json.loads(gateway.asked[-2][3]) == {"rationale": "mended", "repeat_unknown": True}


def test_a_grant_shows_what_will_run_and_sends_the_hashes_it_showed(run: Run, gateway: FakeGateway) -> None:
    path = f"/approvals/{APPROVAL['approval_id']}"
    gateway.answer(path, APPROVAL)
    gateway.answer(f"{path}/grant", APPROVAL | {"state": "granted"})

    ran = run("approval", "grant", APPROVAL["approval_id"], "-r", "seen", "--yes", "-o", "json")

    assert ran.code == 0
    for value in ("node.restart", "storage:s1", "sha256:plan", "sha256:action", "high", "olga"):
        assert value in ran.err
    assert "\x1b" not in ran.err
    assert json.loads(ran.out)["state"] == "granted"
    assert gateway.last_body == {
        "rationale": "seen",
        "channel": "cli",
        "plan_hash": "sha256:plan",
        "action_hash": "sha256:action",
    }


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "code", "asked"), [("aaaaaa\n", 0, 2), ("yes\n", 1, 1), ("", 1, 1)])
def test_without_yes_a_grant_is_confirmed_by_typing(
    run: Run, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, typed: str, code: int, asked: int
) -> None:
    path = f"/approvals/{APPROVAL['approval_id']}"
    gateway.answer(path, APPROVAL)
    gateway.answer(f"{path}/grant", APPROVAL | {"state": "granted"})
    monkeypatch.setattr(sys, "stdin", Terminal(typed))

    assert run("approval", "grant", APPROVAL["approval_id"], "-r", "seen").code == code
    assert len(gateway.asked) == asked


def test_without_a_terminal_and_without_yes_nothing_is_granted(
    run: Run, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.answer(f"/approvals/{APPROVAL['approval_id']}", APPROVAL)
    monkeypatch.setattr(sys, "stdin", io.StringIO("aaaaaa\n"))

    ran = run("approval", "grant", APPROVAL["approval_id"], "-r", "seen")

    assert ran.code == 2
    assert "--yes" in ran.err
    assert len(gateway.asked) == 1


def test_approvals_are_listed_rejected_and_revoked(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/approvals", {"items": [APPROVAL], "next": None})
    gateway.answer("/approvals/a1/reject", APPROVAL)
    gateway.answer("/approvals/a1/revoke", APPROVAL)

    assert "node.restart" in run("approval", "list", "--state", "requested").out
    assert gateway.asked[0][1] == "/approvals?state=requested"
    assert run("approval", "reject", "a1", "-r", "too risky").code == 0
    assert gateway.last_body == {"rationale": "too risky", "channel": "cli"}
    assert run("approval", "revoke", "a1", "-r", "changed").code == 0
    assert run("approval", "list", "--state", "maybe").code == 2


WIDE = 34
OPEN: dict[str, Any] = APPROVAL | {
    "approval_id": "0192f0c1-0000-7000-8000-0000000000aa",
    "quorum": 2,
    "votes": [{"approver": "lea", "voted_at": "2026-03-01T10:00:00Z"}],
    "may_decide": {"names": ["lead", "payments"], "not": ["olga", "lea"], "missing": 1},
    "arguments": {"url": "http://router.example/shards/seven/of/nine", "headers": {"authorization": "•••"}},
    "form": {"window": {"type": "integer", "label": "Minutes", "required": True, "one_of": [30, 60]}},
    "plan_hash": "a" * 64,
}


def test_what_is_mine_to_decide_says_what_would_run_on_a_screen_of_any_width(
    run: Run, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDE))
    gateway.answer("/approvals", {"items": [OPEN, OPEN], "next": "a9"})

    ran = run("approval", "list", "--mine")

    assert gateway.asked[0][1] == "/approvals?mine=true"
    assert max(map(len, ran.out.splitlines())) <= WIDE
    joined = "".join(ran.out.split())
    for value in (
        "agreed:1of2(lea)",
        "lead,payments,butnotolga,lea",
        OPEN["plan_hash"],
        "http://router.example/shards",
    ):
        assert value in joined
    assert "window:Minutes(integerof30,60)" in joined
    assert "\x1b" not in ran.out
    assert "--after a9" in ran.err


def test_an_approval_is_shown_on_a_screen_of_any_width_and_whole_to_programs(
    run: Run, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDE))
    gateway.answer("/approvals/a1", OPEN)

    assert max(map(len, run("approval", "show", "a1").out.splitlines())) <= WIDE
    assert json.loads(run("approval", "show", "a1", "-o", "json").out) == OPEN


def test_a_form_is_filled_in_and_a_vote_taken_back(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/approvals/a1", OPEN)
    gateway.answer("/approvals/a1/grant", OPEN)
    gateway.answer("/approvals/a1/withdraw-vote", OPEN)

    assert run("approval", "grant", "a1", "-r", "seen", "--yes", "--value", "window=30").code == 0
    assert gateway.last_body["values"] == {"window": 30}
    assert run("approval", "withdraw-vote", "a1", "-r", "not sure").code == 0
    assert gateway.last_body == {"rationale": "not sure", "channel": "cli"}


def test_a_link_is_printed_as_an_address_to_pass_on(run: Run, gateway: FakeGateway) -> None:
    made = {"approval_id": "a1", "path": "/approvals/by-link?token=x.y", "token": "x.y", "expires_at": "soon"}
    gateway.answer("/approvals/a1/link", made)

    ran = run("approval", "link", "a1")

    assert ran.out == f"{gateway.url}/approvals/by-link?token=x.y\n"
    assert json.loads(run("approval", "link", "a1", "-o", "json").out)["url"] == ran.out.strip()


def event(seq: int) -> bytes:
    data = {"seq": seq, "type": "incident.created", "time": "t", "actor": "olga", "incident_id": "i1"}
    return f"id: 1-{seq}\ndata: {json.dumps(data)}\n\n".encode()


LIVE = b'event: live\nid: 1-9\ndata: {"epoch": 1, "seq": 9}\n\n'


def test_what_happened_so_far_is_told_and_then_it_ends(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/events", b"retry: 2000\n\n: after 1-0\n\n" + event(3) + event(5) + LIVE + event(10))

    ran = run("events")

    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()] == ["1-3", "1-5"]
    assert "incident=i1" in ran.out
    assert gateway.asked[0][2]["last-event-id"] == "0"


def test_what_is_chosen_is_asked_for_again_where_it_was_cut(
    run: Run, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "RETRY_SECONDS", 0)
    gateway.answer("/events", event(3))
    gateway.answer("/events", event(5) + LIVE)

    assert run("events", "--type", "incident.*", "--incident", "i1").code == 0

    assert [asked[1] for asked in gateway.asked] == ["/events?type=incident.%2A&incident_id=i1"] * 2


def test_following_comes_back_where_it_was_cut(run: Run, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "RETRY_SECONDS", 0)
    gateway.answer("/events", LIVE + event(10) + b"id: 1-14\n: alive\n\n" + event(15)[:20])
    gateway.answer("/events", LIVE + event(15))

    ran = run("events", "--follow", "--limit", "2", "-o", "json")

    assert [json.loads(line)["id"] for line in ran.out.splitlines()] == ["1-10", "1-15"]
    assert [asked[2].get("last-event-id") for asked in gateway.asked] == [None, "1-14"]


def test_what_is_no_longer_kept_is_a_no(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/events", b'event: reset\nid: 2-7\ndata: {"epoch": 2, "seq": 7}\n\n' + LIVE)

    assert run("events", "--after", "1-500").code == 1


def test_a_refused_stream_says_why(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/events", {"title": "Not authenticated", "code": "unauthenticated", "detail": "who?"}, 401)

    ran = run("events", "--follow")

    assert ran.code == 4
    assert "who?" in ran.err


def test_an_id_without_data_moves_the_position_and_dispatches_nothing() -> None:
    assert list(dispatched(["id: 1-2", ": alive", "", "data: {}", "", "", "data: {}"])) == [
        Heard("", "1-2", None),
        Heard("", "", {}),
    ]


def test_shells_complete_commands() -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "_RANGERCTL_COMPLETE": "complete_bash",
        "COMP_WORDS": "rangerctl approval g",
        "COMP_CWORD": "2",
    }
    code = "import sys; sys.argv = ['rangerctl']; from runbook_ranger.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)

    assert done.stdout.split() == ["grant"]


def test_every_command_is_in_the_manual() -> None:
    manual = Path("docs/rangerctl.md").read_text()
    program: Any = typer.main.get_command(app)
    for name, command in program.commands.items():
        for sub in getattr(command, "commands", {"": None}):
            words = [line for line in manual.splitlines() if f"`{name}" in line or f", `{name}" in line]
            assert any(sub in line for line in words), f"{name} {sub}"
