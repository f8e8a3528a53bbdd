"""What stands in the way of a runbook that somebody thinks of beginning, in the order in which it would be met.

refused   it would not begin
fails     a step would fail
skips     steps would be left out
waits     it would begin, and wait: for a grant, a lock, a guard, the kill switch; or wait for a place to begin
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

Preview = Mapping[str, Any]
_SWITCH: Final = "`rangerctl kill-switch show` tells who holds mutations back, and why."


def of(preview: Preview) -> list[dict[str, Any]]:
    """Each hindrance: `kind` and `code` for programs, `text` and `fix` for people, the `step` that would meet it."""
    found = list(_at_start(preview))
    for step in preview["steps"]:
        if step["applies"] is not False:
            found += _at_step(preview, step)
    return found


def _at_start(preview: Preview) -> Iterator[dict[str, Any]]:
    start = preview["policy"]["start"]
    if not start["allow"]:
        yield _said("refused", f"policy.{start['reason']}", start["text"], start["fix"])
    for guard in preview["guards"]:
        if guard["resource"] is None:
            yield _said(guard["kind"], guard["code"], guard["text"], guard["fix"])


def _at_step(preview: Preview, step: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    path = step["step"]
    for fault in step["faults"]:
        fix = "Give an input that has what it needs, or mend the runbook."
        yield _said("fails", "render_refused", f"{fault['at']}: {fault['message']}", fix, path)
    if step["policy"] is not None and not step["policy"]["allow"]:
        code = f"policy.{step['policy']['reason']}"
        yield _said("fails", code, step["policy"]["text"], step["policy"]["fix"], path)
    alert = preview["alert"]
    if step["requires_firing"] and alert is not None and alert["firing"] is False:
        text = f"Alert {alert['name']} has ended: this step, and what follows, would be left out."
        yield _said("skips", "alert_resolved", text, "Begin it when the alert fires.", path)
    yield from _waits(preview, step)


def _waits(preview: Preview, step: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    path, holder = step["step"], step["holder"]
    if step["mutating"] and preview["kill_switch"]["holds"]:
        yield _said("waits", "kill_switch", "Mutations are held back.", _SWITCH, path)
    if step["approval"]:
        text = "A person must grant it, other than whoever begins it."
        yield _said("waits", "approval", text, "`rangerctl approval list` will show the request.", path)
    if step["type"] == "manual":
        yield _said("waits", "person", "A person must carry it out.", "`rangerctl execution complete` tells it.", path)
    if holder is not None:
        text = f"{step['resource']} is held by execution {holder['execution_id']}."
        fix = "Wait for it; `rangerctl execution break-lock` frees what nobody will free."
        yield _said("waits", "lock", text, fix, path)
    for guard in preview["guards"]:
        if step["mutating"] and guard["resource"] is not None and guard["resource"] == step["resource"]:
            yield _said(guard["kind"], guard["code"], guard["text"], guard["fix"], path)


def _said(kind: str, code: str, text: str, fix: str, step: str | None = None) -> dict[str, Any]:
    return {"kind": kind, "code": code, "step": step, "text": text, "fix": fix}
