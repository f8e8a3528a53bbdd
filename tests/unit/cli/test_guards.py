"""Who holds and who waits, and breakers, as people and programs are shown them."""

import json
from typing import Any, Final

from tests.unit.cli.conftest import Run
from tests.unit.cli.gateway import FakeGateway

SINCE: Final = "2026-03-01T10:00:00+00:00"
LOCKS: Final[dict[str, Any]] = {
    "locks": [{
        "resource_id": "shard\x1b[2J-1", "state": "held", "execution_id": "e-1", "runbook_id": "mend",
        "incident_id": "i-1", "since": SINCE, "lease_until": SINCE, "waiting": 1,
        "waiters": [{"execution_id": "e-2", "step": "fix", "since": SINCE}],
    }],
    "places": [{
        "key": "storage", "limit": 1, "waiting": 1,
        "holders": [{"execution_id": "e-1", "runbook_id": "mend", "since": SINCE}],
        "queue": [
            {"position": 1, "execution_id": "e-3", "runbook_id": "mend", "policy": "queue", "since": SINCE},
        ],
    }],
    "held": [{
        "reason": "budget", "execution_id": "e-4", "runbook_id": "mend", "step": "fix", "resource_id": "shard-9",
        "since": SINCE, "until": SINCE, "detail": "2 of 2 resources were changed within 1h",
    }],
}  # fmt: skip
NOTHING: Final[dict[str, Any]] = {"locks": [], "places": [], "held": []}


def test_who_holds_and_who_waits_is_shown_as_tables_and_as_json(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/locks", LOCKS)

    ran = run("execution", "locks")

    assert ran.code == 0
    for told in (
        "shard\\x1b[2J-1",
        "waiting for a lock",
        "e-2",
        "storage",
        "e-3",
        "held by a guard",
        "2 of 2 resources",
    ):
        assert told in ran.out
    assert "\x1b" not in ran.out
    assert json.loads(run("execution", "locks", "-o", "json").out) == LOCKS


def test_one_resource_or_key_is_asked_for(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/locks?resource_id=db%3A1", NOTHING)
    gateway.answer("/locks?key=storage", NOTHING)

    ran = run("execution", "locks", "--resource", "db:1")

    assert (ran.code, ran.out, ran.err) == (0, "locks\n", "none\n")
    assert run("execution", "locks", "--key", "storage").code == 0


def test_breakers_are_listed_and_reset_with_a_rationale(run: Run, gateway: FakeGateway) -> None:
    item = {"state": "open", "runbook_id": "mend", "resource_id": "shard-1", "failures": 3, "opened_at": SINCE}
    gateway.answer("/breakers", {"items": [item]})
    gateway.answer("/breakers/reset", {"runbook_id": "mend", "resource_id": "shard-1", "state": "closed", "let_go": 1})

    listed = run("execution", "breakers")
    done = run("execution", "reset-breaker", "mend", "shard-1", "-r", "the disk was replaced")

    assert "shard-1" in listed.out
    assert (done.code, "closed" in done.out) == (0, True)
    assert gateway.last_body == {"runbook_id": "mend", "resource_id": "shard-1", "rationale": "the disk was replaced"}
    assert run("execution", "reset-breaker", "mend", "shard-1").code == 2


def test_a_breaker_that_is_not_open_is_refused_with_what_to_do(run: Run, gateway: FakeGateway) -> None:
    problem = {
        "title": "Conflict",
        "detail": "It is not open.",
        "fix": "Look at the breakers.",
        "code": "breaker_not_open",
    }
    gateway.answer("/breakers/reset", problem, 409)

    ran = run("execution", "reset-breaker", "mend", "shard-1", "-r", "just in case")

    assert ran.code == 1
    assert "It is not open." in ran.err
