"""Where the client goes, what it sends, and which exit code each answer becomes."""

import json
from pathlib import Path

import pytest

from runbook_ranger.cli.client import Address, segment
from runbook_ranger.cli.errors import NotReachable, WrongUsage
from tests.unit.cli.conftest import Run
from tests.unit.cli.gateway import TOKEN, FakeGateway

PROBLEM = {"title": "Refused", "code": "why", "detail": "Because.", "fix": "Do this.", "trace_id": "ab" * 16}


def test_the_address_is_the_environments_or_the_stacks(tmp_path: Path) -> None:
    (tmp_path / "client.json").write_text(json.dumps({"url": "http://127.0.0.1:1/", "token": "stored"}))

    named = Address.find(tmp_path, {"RR_URL": "https://ranger.example", "RR_TOKEN": "mine"})
    stored = Address.find(None, {"RR_DATA_DIR": str(tmp_path)})
    mixed = Address.find(tmp_path, {"RR_TOKEN": "mine"})

    assert (named.url, named.token) == ("https://ranger.example", "mine")
    assert (stored.url, stored.token) == ("http://127.0.0.1:1", "stored")
    assert (mixed.url, mixed.token) == ("http://127.0.0.1:1", "mine")
    assert "stored" not in repr(stored)


def test_a_stored_token_is_never_sent_to_another_gateway(tmp_path: Path) -> None:
    (tmp_path / "client.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "token": "stored"}))

    with pytest.raises(WrongUsage, match="RR_URL needs RR_TOKEN"):
        Address.find(tmp_path, {"RR_URL": "https://elsewhere.example"})


def test_without_a_stack_it_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NotReachable) as refused:
        Address.find(tmp_path, {})

    assert "rangerctl up" in refused.value.fix


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"url": "http://x"}', '{"url": "file:///x", "token": "t"}'])
def test_a_broken_client_json_is_wrong_usage(tmp_path: Path, content: str) -> None:
    (tmp_path / "client.json").write_text(content)

    with pytest.raises(WrongUsage):
        Address.find(tmp_path, {})


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "a b", "a?b", "a#b", "ä", "a%2fb", "a;b"])
def test_what_is_no_id_never_becomes_a_path(text: str) -> None:
    with pytest.raises(WrongUsage):
        segment(text)


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, 1), (401, 4), (403, 4), (404, 1), (409, 1), (413, 1), (422, 1), (500, 1), (502, 3), (504, 3)],
)
def test_each_refusal_has_its_exit_code_and_says_what_to_do(
    run: Run, gateway: FakeGateway, status: int, code: int
) -> None:
    gateway.answer("/incidents", PROBLEM, status)

    ran = run("incident", "list")

    assert ran.code == code
    assert ran.out == ""
    assert "Refused (why): Because." in ran.err
    assert "Do this." in ran.err
    assert "ab" * 16 in ran.err


def test_nobody_there_is_code_3_and_names_the_cure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RR_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("RR_TOKEN", TOKEN)

    ran = run("incident", "list")

    assert ran.code == 3
    assert "rangerctl up" in ran.err


def test_no_stack_is_code_3(run: Run, tmp_path: Path) -> None:
    assert run("incident", "list", "--data-dir", str(tmp_path)).code == 3


@pytest.mark.parametrize(
    "line",
    ["nonsense", "incident", "incident show", "incident show a/b", "execution decide e s maybe -r x", "kill-switch on",
     "alert post", "alert post missing.json", "alert post --name x --label y", "timeline show --since yesterday",
     "timeline show --until 2026-03-01", "audit verify --provenance x", "trace", "trace xyz",
     "incident list -o xml", "dlq show incident one", "alert post --name x --resolved"],
)  # fmt: skip
def test_a_wrong_command_line_is_code_2_and_asks_nobody(run: Run, gateway: FakeGateway, line: str) -> None:
    assert run(*line.split()).code == 2
    assert gateway.asked == []


def test_what_is_no_gateway_is_said_so(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/incidents", b"<html>It works!</html>")

    ran = run("incident", "list")

    assert ran.code == 1
    assert "no answer of a gateway" in ran.err


def test_the_token_and_the_tenant_are_sent_and_the_token_is_never_said(
    run: Run, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RR_TENANT", "acme")
    gateway.answer("/incidents", PROBLEM, 403)

    ran = run("incident", "list")

    _, _, headers, _ = gateway.asked[0]
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["rr-tenant"] == "acme"
    assert TOKEN not in ran.out + ran.err


def test_a_change_that_was_not_answered_is_repeated_under_the_same_key(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/executions/e1/abort", PROBLEM, 503, Retry_After="0")
    gateway.answer("/executions/e1/abort", PROBLEM, 503, Retry_After="0")
    gateway.answer("/executions/e1/abort", {"state": "aborted"})

    ran = run("execution", "abort", "e1", "--rationale", "it hangs")

    assert ran.code == 0
    assert len(gateway.asked) == 3
    assert len({headers["idempotency-key"] for _, _, headers, _ in gateway.asked}) == 1


def test_it_gives_up_after_three_attempts(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/incidents", PROBLEM, 503, Retry_After="0")

    assert run("incident", "list").code == 3
    assert len(gateway.asked) == 3


def test_two_changes_have_two_keys(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/kill-switch", {"changed": True, "items": []})

    run("kill-switch", "on", "--reason", "a storm")
    run("kill-switch", "off", "--reason", "it is over")

    keys = {headers["idempotency-key"] for _, _, headers, _ in gateway.asked}
    assert len(keys) == 2
