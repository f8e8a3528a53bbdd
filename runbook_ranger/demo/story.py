"""The demo's story: latency goes bad, and what follows is the product's own doing, but for one person's yes.

A target runs with an alerter; a runbook of six steps is published; the active shard becomes slow. Alertmanager's
webhook → one incident → the runbook matches → metrics and impact are checked → the reroute waits for an approval →
granted → carried out → caches warmed → watched → evidence kept → the alert has ended: verified → resolved → closed.
The story plays the approver and otherwise only watches, through the same API that people use.
"""

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from libs.tlog.errors import BrokenLog
from runbook_ranger.cli.audit import check, snapshot
from runbook_ranger.cli.client import Client

TERMINAL: Final = frozenset({"completed", "failed", "aborted"})
RUNBOOK: Final = Path(__file__).parents[2] / "runbooks" / "evidence-storage-latency.yaml"
SLOW_MS: Final = 900
MONITOR_SECONDS: Final = 3
PATIENCE_SECONDS: Final = 90.0
LOOK_SECONDS: Final = 0.05

Tell = Callable[[str], None]
"""Hears one line of progress."""


class StoryBroken(RuntimeError):
    """What should have happened did not, in time; the text says what was seen last."""


@dataclass(slots=True)
class Outcome:
    """What the demo's last line says."""

    incident_id: str = ""
    incident_status: str = ""
    execution_id: str = ""
    execution_state: str = ""
    steps: list[dict[str, Any]] = field(default_factory=list)
    timeline_events: int = 0
    chain_verified: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether the alert led to a verified action, and the log holds."""
        return self.execution_state == "completed" and self.incident_status == "closed" and self.chain_verified


class Story:
    """One run of the demo against a running stack and target; `gateway_url` is where the target reaches the gateway."""

    def __init__(self, api: httpx.Client, target: httpx.Client, tell: Tell, gateway_url: str = "") -> None:
        self._api = api
        self._target = target
        self._gateway_url = gateway_url or f"{api.base_url}".rstrip("/")
        self._tell = tell
        self._began = time.monotonic()
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Tell the story up to the resolved incident.

        Raises:
            StoryBroken: something did not happen within 90 s.
        """
        self._publish()
        self._break_the_storage()
        self._follow_incident()
        self._follow_execution()
        self._see_it_resolved()
        return self.outcome

    def _publish(self) -> None:
        body = RUNBOOK.read_text()
        published = self._post(self._api, "/runbooks", content=body, headers={"Content-Type": "application/yaml"})
        self._say(f"runbook {published['runbook_id']} version {published['version']} is published")

    def _break_the_storage(self) -> None:
        token = self._api.headers["Authorization"].removeprefix("Bearer ")
        report_to = {
            "url": f"{self._gateway_url}/webhooks/alertmanager",
            "token": token,
            "annotations": {"monitor_seconds": str(MONITOR_SECONDS)},
        }
        self._post(self._target, "/alerter", json=report_to)
        self._began = time.monotonic()
        self._post(self._target, "/latency", json={"shard": "primary", "ms": SLOW_MS})
        self._say(f"the primary shard's storage now takes {SLOW_MS} ms; the alert will fire")

    def _follow_incident(self) -> None:
        def find() -> dict[str, Any] | None:
            items = self._get("/incidents")["items"]
            return items[0] if items else None

        incident = self._until("an incident is opened", find)
        self.outcome.incident_id = incident["incident_id"]
        self._mark("alert_to_incident")
        self._say(f"incident {incident['incident_id']} is open: {incident['severity']}, {incident['title']}")

    def _follow_execution(self) -> None:
        def find() -> dict[str, Any] | None:
            items = self._get("/executions", incident_id=self.outcome.incident_id)["items"]
            return items[0] if items else None

        execution = self._until("an execution is planned", find)
        self.outcome.execution_id = execution["execution_id"]
        self._say(f"execution {execution['execution_id']} of {execution['runbook_id']} is planned")
        seen: dict[str, str] = {}

        def ended() -> dict[str, Any] | None:
            shown = self._get(f"/executions/{self.outcome.execution_id}")
            self._tell_changes(shown, seen)
            if shown["blocked_reason"] == "approval" and not seen.get("approved"):
                seen["approved"] = self._approve()
            return shown if shown["state"] in TERMINAL else None

        shown = self._until("the execution ends", ended)
        self.outcome.execution_state = shown["state"]
        self.outcome.steps = [
            {"step": step["step"], "state": step["state"], "attempts": len(step["attempts"])} for step in shown["steps"]
        ]
        self._mark("alert_to_verified")

    def _approve(self) -> str:
        """Look at exactly what would run, and say yes to that; empty while nobody has been asked yet."""
        asked = self._get("/approvals", execution_id=self.outcome.execution_id, state="requested")["items"]
        if not asked:
            return ""
        request = asked[0]
        self._say(f"approval {request['approval_id']} is asked of a person: {request['prompt']}")
        self._tell(f"           {request['action']} on {request['resource_id']}, risk {request['risk']}")
        self._tell(f"           plan {request['plan_hash'][:16]}…, action {request['action_hash'][:16]}…")
        answer = {
            "rationale": "the standby shard is healthy; reroute",
            "plan_hash": request["plan_hash"],
            "action_hash": request["action_hash"],
        }
        self._post(self._api, f"/approvals/{request['approval_id']}/grant", json=answer)
        self._say("granted, for this plan and this action, once")
        return str(request["approval_id"])

    def _tell_changes(self, shown: Mapping[str, Any], seen: dict[str, str]) -> None:
        for step in shown["steps"]:
            if seen.get(step["step"]) != step["state"]:
                seen[step["step"]] = step["state"]
                self._say(f"step {step['step']} is {step['state']}")
                if step["step"] == "reroute" and step["state"] == "succeeded":
                    self._mark("alert_to_effect")
        whole = f"{shown['state']} ({shown['phase']})" if shown["state"] not in TERMINAL else shown["state"]
        if seen.get("") != whole:
            seen[""] = whole
            reason = f": {shown['reason']}" if shown["reason"] else ""
            self._say(f"the execution is {whole}{reason}")

    def _see_it_resolved(self) -> None:
        seen = [""]

        def resolved() -> dict[str, Any] | None:
            shown = self._get(f"/incidents/{self.outcome.incident_id}")
            if shown["status"] != seen[0]:
                seen[0] = shown["status"]
                self._say(f"the incident is {shown['status']}")
            return shown if shown["status"] == "resolved" else None

        self.outcome.incident_status = self._until("the incident is resolved", resolved)["status"]
        self._mark("alert_to_resolved")
        closing = {"trigger": "close", "rationale": "rerouted to the standby shard; latency is normal again"}
        path = f"/incidents/{self.outcome.incident_id}/transition"
        self.outcome.incident_status = self._post(self._api, path, json=closing)["status"]
        self._say(f"the incident is {self.outcome.incident_status}, with a rationale")

    def show_timeline(self) -> None:
        """Tell what the log holds of the incident, once it holds the last fact."""
        wanted = {f"runbook.{self.outcome.execution_state}", "incident.status_changed"}

        def logged() -> list[dict[str, Any]] | None:
            entries: list[dict[str, Any]] = self._get("/timeline", incident_id=self.outcome.incident_id)["entries"]
            types = {entry["type"] for entry in entries}
            closed = any((entry["payload"] or {}).get("status") == "closed" for entry in entries)
            return entries if wanted <= types and closed else None

        entries = self._until("the log holds the last fact", logged)
        self.outcome.timeline_events = len(entries)
        self._mark("alert_to_chained")
        for entry in entries:
            self._tell(f"    {entry['index']:>4}  {entry['event_hash'][:16]}  {entry['type']}")

    def verify_log(self, client: Client) -> None:
        """Read the whole log and compute it anew, as `rangerctl audit verify` does.

        Raises:
            StoryBroken: it does not hold; the text names the first thing.
        """
        try:
            state, heads = snapshot(client)
            report = check(client, state, heads)
        except BrokenLog as error:
            raise StoryBroken(f"the log does not verify: {error}") from None
        self.outcome.chain_verified = True
        self._say(f"the log verifies: {report.size} leaves to {state.stream} sequence {state.seq}")

    def _until(self, what: str, look: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            found = look()
            if found:
                return found
            time.sleep(LOOK_SECONDS)
        raise StoryBroken(f"{what}: not within {PATIENCE_SECONDS:.0f} s; `rangerctl logs` has what the services say")

    def _get(self, path: str, **params: Any) -> dict[str, Any]:
        return self._asked(self._api, "GET", path, params=params)

    def _post(self, client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
        """Change something, once: a repetition carries the same key."""
        headers = {"Idempotency-Key": str(uuid.uuid4()), **body.pop("headers", {})}
        return self._asked(client, "POST", path, headers=headers, **body)

    def _asked(self, client: httpx.Client, method: str, path: str, **more: Any) -> dict[str, Any]:
        """The answer, however often it takes: a process that is being started again is not the end of the story."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                answer = client.request(method, path, **more)
                if answer.status_code < 500 or time.monotonic() > deadline:
                    answer.raise_for_status()
                    content: dict[str, Any] = answer.json()
                    return content
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(LOOK_SECONDS)

    def _say(self, text: str) -> None:
        self._tell(f"[{time.monotonic() - self._began:6.2f} s] {text}")

    def _mark(self, name: str) -> None:
        self.outcome.seconds.setdefault(name, round(time.monotonic() - self._began, 3))
