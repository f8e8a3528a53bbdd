"""A plan as people read it: what it is about, each step, the locks it would take, and what stands in its way."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.options import Format

_HEAD: Final = ("runbook_id", "runbook_version", "name", "mode", "risk", "plan_hash", "incident_id", "deadline")
_STEPS: Final = ("step", "type", "does", "effect", "risk", "lock", "approval", "condition", "known_after")
_LOCKS: Final = ("resource_id", "steps", "held_by", "since")
_HINDRANCES: Final = ("kind", "step", "text", "fix")
Plan = Mapping[str, Any]


def ask(data_dir: Path | None, runbook_id: str, order: Mapping[str, Any], output: Format) -> None:
    """Ask for a plan and print it."""
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        found = client.post(f"/runbooks/{segment(runbook_id)}/plan", order)
    if output is Format.JSON:
        show.as_json(found)
    else:
        _print(found)


def _print(plan: Plan) -> None:
    show.fields({name: plan.get(name) for name in _HEAD} | {"alert": _alert(plan.get("alert"))})
    if plan["inputs"]:
        _section("inputs", [{"input": name, "value": value} for name, value in plan["inputs"].items()])
    _section("steps", [_step(step) for step in plan["steps"]], _STEPS)
    if plan["locks"]:
        _section("locks", [_lock(lock) for lock in plan["locks"]], _LOCKS)
    if plan["approvals"]:
        _section("approvals", plan["approvals"], ("step", "of", "prompt", "risk", "expires_seconds", "approvers"))
    if plan["hindrances"]:
        _section("what stands in its way", plan["hindrances"], _HINDRANCES)
    else:
        typer.echo("\nnothing stands in its way")
    show.note("nothing was changed; what is filled in, hashes and policy: -o json")


def _section(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ("input", "value")) -> None:
    typer.echo(f"\n{title}")
    show.table(rows, columns)


def _alert(alert: Mapping[str, Any] | None) -> str | None:
    if alert is None:
        return None
    firing = {True: "fires", False: "has ended", None: "not known whether it fires"}[alert["firing"]]
    return f"{alert['name']} ({alert['severity']}): {firing}"


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    """A row: what it does in a few words, and which steps must answer before that is known."""
    condition = {True: "applies", False: "is left out", None: "known later"}[step["applies"]] if step["when"] else None
    return {
        **step,
        "does": _does(step),
        "lock": step["resource"] if step["mutating"] else None,
        "approval": "needed" if step["approval"] else None,
        "condition": condition,
        "known_after": ", ".join(step["known_after"]) or None,
    }


def _does(step: Mapping[str, Any]) -> str:
    values = step["values"]
    arguments = values.get("with")
    target = arguments.get("url") or arguments.get("command") if isinstance(arguments, Mapping) else None
    method = arguments.get("method") if isinstance(arguments, Mapping) and step["action"] == "http.request" else None
    said = [target] if target else [values[key] for key in ("channel", "for", "seconds", "prompt") if key in values]
    return " ".join(str(part) for part in (step["action"], method, *said) if part)


def _lock(lock: Mapping[str, Any]) -> dict[str, Any]:
    holder = lock["holder"] or {}
    held = f"{holder['execution_id']} ({holder['state']})" if holder else "nobody"
    since = holder.get("since")
    after = f"known only after {', '.join(lock['known_after'])}" if lock["known_after"] else held
    return {**lock, "steps": ", ".join(lock["steps"]), "held_by": after, "since": since}
