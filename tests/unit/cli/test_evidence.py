"""`audit evidence` fetches what the log names, and believes nothing but the hash."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.gateway import TOKEN, FakeGateway

DATA = b"what it said\n" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()
PLACE = "/evidence/x/content"


def serve(gateway: FakeGateway, data: bytes = DATA, *, url: str = PLACE, sha256: str = SHA256) -> None:
    gateway.answer(
        f"/evidence/{sha256}/url", {"url": url, "kind": "output", "length": len(DATA), "sha256": sha256}, 201
    )
    gateway.answer(PLACE, data)


def item(**more: Any) -> dict[str, Any]:
    told = {"sha256": SHA256, "kind": "output", "length": len(DATA), "index": 7, "type": "runbook.step_completed"}
    return {**told, "time": "2026-03-01T10:00:00Z", "deleted_at": None, **more}


def test_it_is_written_once_its_hash_holds(run: Run, gateway: FakeGateway, tmp_path: Path) -> None:
    serve(gateway)

    done = run("audit", "evidence", SHA256, "-o", str(tmp_path / "said.json"))

    assert done.code == 0
    assert "SHA-256 holds" in done.out
    assert (tmp_path / "said.json").read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["said.json"]


def test_the_token_is_not_shown_to_whoever_keeps_it(run: Run, gateway: FakeGateway) -> None:
    serve(gateway, url=f"{gateway.url}{PLACE}")

    assert run("audit", "evidence", SHA256).code == 0

    (fetched,) = [headers for _, path, headers, _ in gateway.asked if path == PLACE]
    assert "authorization" not in fetched
    assert any(TOKEN in headers.get("authorization", "") for _, _, headers, _ in gateway.asked)


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"!", b"", DATA[:-1] + b"!"])
def test_what_is_something_else_is_not_written(run: Run, gateway: FakeGateway, tmp_path: Path, data: bytes) -> None:
    serve(gateway, data)

    done = run("audit", "evidence", SHA256, "-o", str(tmp_path / "said.json"))

    assert done.code == 1
    said = f"NOT VERIFIED: what is kept under {SHA256} is something else ({len(data)} bytes, SHA-256 {sha256_of(data)})"
    assert said in " ".join(done.err.split())
    assert list(tmp_path.iterdir()) == []


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_what_the_log_names_is_listed(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/evidence?limit=500&incident_id=i-1", {"artefacts": [item()], "next": 7})
    gateway.answer("/evidence?after=7&limit=500&incident_id=i-1", {"artefacts": [], "next": None})

    done = run("audit", "evidence", "--incident", "i-1")

    assert done.code == 0
    assert SHA256 in done.out


def test_all_of_it_is_checked_and_what_does_not_hold_is_named(run: Run, gateway: FakeGateway) -> None:
    other = hashlib.sha256(b"other").hexdigest()
    listed = [item(), item(index=8), item(sha256="0" * 64, deleted_at="2026-04-01T00:00:00Z"), item(sha256=other)]
    gateway.answer("/evidence", {"artefacts": listed, "next": 9})
    gateway.answer("/evidence", {"artefacts": [], "next": None})
    serve(gateway)
    serve(gateway, sha256=other)

    done = run("audit", "evidence", "--check")

    assert done.code == 1
    assert "1 of 3 artefacts do not hold, 1 deleted by retention or redaction" in done.err
    assert other in done.err


@pytest.mark.parametrize(
    "words", [["0" * 63], ["x", "--check"], ["--incident", "a", "--execution", "b"], ["-o", "file"]]
)
def test_what_cannot_be_meant_is_refused(run: Run, words: list[str]) -> None:
    assert run("audit", "evidence", *words).code == 2
