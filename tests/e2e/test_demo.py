"""The demo, as a newcomer runs it: one command, real servers, and a last line that programs read."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libs.tlog.leaf import event_hash
from tests.support import scratch

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]
PROGRAM = Path(sys.prefix) / "bin" / "rangerctl"
STEPS = ["collect", "impact", "reroute", "warm", "monitor", "bundle"]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = scratch.folder("rr-demo-")
    folder.chmod(0o711)
    yield folder / "data"
    rangerctl("down", "--data-dir", str(folder / "data"))
    shutil.rmtree(folder, ignore_errors=True)


def rangerctl(*words: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RR_")}
    return subprocess.run([PROGRAM, *words], env=kept, capture_output=True, text=True, timeout=200, check=False)


@pytest.fixture(scope="module")
def told(home: Path) -> dict[str, Any]:
    """The demo's last line; its stack is left running, so that one can look around."""
    done = rangerctl("demo", "--data-dir", str(home), "--keep", "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return last


def test_an_alert_becomes_a_verified_action(told: dict[str, Any]) -> None:
    assert (told["incident_status"], told["execution_state"]) == ("closed", "completed")
    assert [step["step"] for step in told["steps"]] == STEPS
    assert {step["state"] for step in told["steps"]} == {"succeeded"}
    assert told["chain_verified"] is True
    assert told["timeline_events"] >= 15
    assert {"stack_ready", "alert_to_effect", "alert_to_resolved", "total"} <= set(told["seconds"])


def test_one_trace_leads_from_the_alert_to_its_entry_in_the_log(told: dict[str, Any], home: Path) -> None:
    shown = rangerctl("trace", "--incident", told["incident_id"], "--data-dir", str(home), "-o", "json")
    assert shown.returncode == 0, shown.stderr

    (root,) = json.loads(shown.stdout)["roots"]
    spans = list(walk(root))

    assert root["name"] == "POST /webhooks/alertmanager"
    assert {"gateway", "incident", "catalog", "executor", "worker", "timeline"} <= {
        span["service"].rstrip("-0123456789") for span in spans
    }
    names = {span["name"] for span in spans}
    assert {"step http.request", "db claim", "db settle", "timeline chains runbook.step_completed"} <= names


def test_the_evidence_bundle_is_the_file_that_the_log_names(told: dict[str, Any], home: Path) -> None:
    shown = rangerctl("timeline", "show", "--incident", told["incident_id"], "--data-dir", str(home), "-o", "json")
    assert shown.returncode == 0, shown.stderr

    kept = home / "objects" / "artefacts" / "evidence" / "default"
    files = {path.name: path.read_bytes() for path in kept.iterdir()}

    assert {hashlib.sha256(data).hexdigest() for data in files.values()} == set(files)
    (bundle,) = (json.loads(data) for data in files.values())
    logged = {entry["event_id"]: entry["event_hash"] for entry in json.loads(shown.stdout)["entries"]}
    assert {item["event_id"]: item["event_hash"] for item in bundle["manifest"]}.items() <= logged.items()
    for leaf in bundle["leaves"]:
        assert event_hash(b64decode(leaf["leaf"])).hex() == leaf["event_hash"]


def test_what_the_log_names_is_fetched_and_holds(told: dict[str, Any], home: Path, tmp_path: Path) -> None:
    (sha256,) = [path.name for path in (home / "objects" / "artefacts" / "evidence" / "default").iterdir()]

    fetched = rangerctl("audit", "evidence", sha256, "-o", str(tmp_path / "bundle.json"), "--data-dir", str(home))
    checked = rangerctl("audit", "evidence", "--check", "--data-dir", str(home))
    held = rangerctl("audit", "hold", told["incident_id"], "-r", "a claim is pending", "--data-dir", str(home))

    assert (fetched.returncode, checked.returncode, held.returncode) == (0, 0, 0), fetched.stderr + checked.stderr
    assert hashlib.sha256((tmp_path / "bundle.json").read_bytes()).hexdigest() == sha256
    kinds = {path.name for path in (home / "objects" / "artefacts").iterdir()}
    assert {"approval", "evidence", "spec"} <= kinds
    assert "verified" in checked.stdout


def test_an_outsider_is_handed_the_incident_and_checks_it_with_two_keys(
    told: dict[str, Any], home: Path, tmp_path: Path
) -> None:
    keys = [
        rangerctl("audit", "vkey", str(home / "secrets" / f"{name}.key")).stdout.strip()
        for name in ("timeline", "bundle")
    ]
    trusted = [word for key in keys for word in ("--vkey", key)]
    file = tmp_path / "incident.zip"

    made = rangerctl("audit", "bundle", told["incident_id"], "-o", str(file), *trusted, "--data-dir", str(home))
    words = [sys.executable, "-m", "libs.verifier", str(file), *trusted, "--json"]
    checked = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    assert (made.returncode, checked.returncode) == (0, 0), made.stderr + checked.stderr
    verdict = json.loads(checked.stdout)
    assert (verdict["verified"], verdict["redacted"]) == (True, [])
    assert verdict["leaves"] >= told["timeline_events"]
    assert any(note.startswith(f"chain of execution {told['execution_id']}") for note in verdict["notes"])
    assert not [note for note in verdict["notes"] if "is not in the bundle" in note]


def walk(span: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield span
    for child in span["children"]:
        yield from walk(child)
