"""`rangerctl policy`: may I, may somebody else, and why not; asked of the policies that commands are asked of."""

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.errors import WrongUsage
from runbook_ranger.cli.options import DataDir, Format, Output, group

DENIED = 1
"""The exit code of `can` where one of the answers is no."""
COLUMNS = ("action", "allow", "why", "fix")
_ATTRIBUTES = ("environment", "clearance", "severity", "status", "risk", "rotations", "groups", "requester", "tenant")


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    policies = group("policy", "Ask what policy would say, without doing anything.")
    policies.command("can")(can)
    app.add_typer(policies)


def can(
    actions: Annotated[list[str], typer.Argument(help="Actions such as incident.close; several are asked at once.")],
    of: Annotated[
        str | None, typer.Option("--of", help="The thing by its id, or KIND/ID, such as incident/0192….")
    ] = None,
    that: Annotated[
        list[str] | None,
        typer.Option("--that", help="Describe a thing instead, NAME=VALUE: environment=prod, risk=high; repeatable."),
    ] = None,
    to: Annotated[str | None, typer.Option(help="Where a transition would lead.")] = None,
    rationale: Annotated[bool, typer.Option("--with-rationale", help="As if a rationale were given.")] = False,
    who: Annotated[
        Path | None, typer.Option("--as", help="A JSON file of somebody else: {actor, roles, tenants, …}.")
    ] = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Say whether you may, every reason, and how to put it right. Ends with 1 where one of the answers is no."""
    from runbook_ranger.cli.client import Client

    resource = _resource(of, that or [])
    context = {"to": to, "rationale_present": True if rationale else None}
    context = {name: value for name, value in context.items() if value is not None}
    question = {"resource": resource or None, "context": context or None}
    body: dict[str, Any] = {"questions": [{"action": name, **question} for name in actions]}
    if who is not None:
        body["actor"] = _somebody(who)
    with Client.open(data_dir) as client:
        found = client.post("/policy/simulate", body)
    if output is Format.JSON:
        show.as_json(found)
    else:
        show.answer({"items": [_row(item) for item in found["decisions"]]}, output, COLUMNS)
    if not all(item["allow"] for item in found["decisions"]):
        raise typer.Exit(DENIED)


def _resource(of: str | None, that: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if of is not None:
        kind, _, name = of.rpartition("/")
        found = {"id": name, **({"kind": kind} if kind else {})}
    for pair in that:
        name, equals, value = pair.partition("=")
        if not equals or name not in _ATTRIBUTES:
            raise WrongUsage(f"`{pair}` describes nothing.", fix=f"NAME=VALUE, of {', '.join(_ATTRIBUTES)}.")
        found[name] = re.split(r"\s*,\s*", value) if name in {"rotations", "groups"} else value
    return found


def _somebody(path: Path) -> Any:
    try:
        return orjson.loads(sys.stdin.read() if str(path) == "-" else path.read_text())
    except (OSError, orjson.JSONDecodeError) as error:
        raise WrongUsage(f"{path} cannot be read as JSON ({type(error).__name__}).", fix="{actor, roles, …}") from None


def _row(item: dict[str, Any]) -> dict[str, Any]:
    reasons = item["reasons"]
    return {
        "action": item["action"],
        "allow": "yes" if item["allow"] else "no",
        "why": " ".join(f"{reason['text']} ({reason['code']})" for reason in reasons),
        "fix": "" if item["allow"] else " ".join(reason["fix"] for reason in reasons),
    }
