"""`rangerctl token`: the secret stands alone where a script takes it, and nowhere else."""

import hashlib
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.gateway import FakeGateway

MADE: dict[str, Any] = {
    "token_id": "t-1",
    "name": "ci",
    "state": "live",
    "owner": "olga",
    "tenants": ["acme"],
    "roles": ["operator"],
    "scopes": ["incident.*"],
    "created_at": "now",
    "expires_at": "later",
    "last_used_at": None,
    "made_with": None,
    "revoked_at": None,
    "revoked_by": None,
}


def test_a_new_token_stands_alone_on_standard_output(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/tokens", MADE | {"token": "rr_1_2"}, 201)

    ran = run("token", "create", "ci", "--days", "2", "--hours", "1", "--scope", "incident.*", "--role", "operator")

    assert (ran.code, ran.out) == (0, "rr_1_2\n")
    assert "t-1" in ran.err
    assert "rr_1_2" not in ran.err
    assert gateway.last_body == {
        "name": "ci",
        "expires_in_seconds": 49 * 3600,
        "scopes": ["incident.*"],
        "roles": ["operator"],
    }


def test_a_token_without_an_end_is_not_asked_for(run: Run, gateway: FakeGateway) -> None:
    ran = run("token", "create", "ci")

    assert (ran.code, gateway.asked) == (2, [])
    assert "--days" in ran.err


def test_for_programs_the_answer_is_whole(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/tokens", MADE | {"token": "rr_1_2"}, 201)

    assert json.loads(run("token", "create", "ci", "--days", "1", "-o", "json").out)["token"] == "rr_1_2"


def test_tokens_are_listed_and_revoked(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/tokens?everyone=true", {"items": [MADE], "next": None})
    gateway.answer("/tokens/t-1/revoke", MADE | {"state": "revoked", "ended": ["t-1"]})

    assert "ci" in run("token", "list", "--everyone").out
    assert "revoked" in run("token", "revoke", "t-1").out


def test_one_is_told_who_one_is(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/principals/me", {"actor": "olga", "tenants": ["acme"], "method": "token"})
    gateway.answer("/principals", {"items": [{"actor": "eve", "disabled": True}]})
    gateway.answer("/webhooks/senders", {"items": [{"sender": "am", "tenant": "acme", "method": "basic"}]})

    assert "olga" in run("principal", "me").out
    assert "eve" in run("principal", "list").out
    assert "basic" in run("alert", "senders").out


def test_an_envelope_is_sealed_without_asking_anybody(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "seal.json"

    ran = run("token", "seal", str(file), "--tenant", "acme", "--minutes", "30")

    secret, kept = ran.out.strip(), json.loads(file.read_text())
    assert kept == {
        "sha256": hashlib.sha256(secret.encode()).hexdigest(),
        "actor": "break-glass",
        "tenants": ["acme"],
        "minutes": 30,
        "activations": 1,
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret not in file.read_text() + ran.err
    assert run("token", "seal", str(file), "--tenant", "acme").code == 2


@pytest.mark.parametrize("path", ["missing/seal.json", "."])
def test_a_file_that_cannot_be_made_is_said(run: Run, tmp_path: Path, path: str) -> None:
    ran = run("token", "seal", str(tmp_path / path), "--tenant", "acme")

    assert (ran.code, ran.out) == (2, "")
