"""`rangerctl events`: what happens, as it happens; it comes back by itself where it was cut."""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.errors import CliError, NotReachable
from runbook_ranger.cli.options import DataDir, Format, Limit, Output

if TYPE_CHECKING:
    from runbook_ranger.cli.client import Client

SILENCE_SECONDS: Final = 60.0
"""Three heartbeats of the gateway: a line that is quiet for longer is dead."""
RETRY_SECONDS: Final = 1.0
GIVE_UP: Final = 30
"""Attempts in a row that bring nothing."""
_ABOUT: Final = ("incident_id", "execution_id", "runbook_id")


@dataclass(frozen=True, slots=True)
class Heard:
    """One dispatched event, or (without `data`) a position."""

    name: str
    id: str
    data: dict[str, Any] | None


def register(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command("events")(events)


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens from now on.")] = False,
    after: Annotated[
        str | None, typer.Option(help="Begin after this id.  [default: with --follow now, else 0]")
    ] = None,
    type_: Annotated[
        str | None, typer.Option("--type", help="Only of this type; 'runbook.*' for all that begin so.")
    ] = None,
    incident: Annotated[str | None, typer.Option(help="Only of this incident.")] = None,
    limit: Limit = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """What happened, a line an event: id, time, type, who, about what. With -o json, a JSON document a line.

    Code 1 when what came after --after is no longer kept.
    """
    from runbook_ranger.cli.client import Client

    position = after if after is not None else ("" if follow else "0")
    told = 0
    with Client.open(data_dir) as client:
        for heard in _heard(client, position, type=type_, incident_id=incident):
            if heard.name == "live" and not follow:
                return
            if heard.name == "reset":
                _reset(heard, follow=follow)
            elif heard.data is not None and not heard.name:
                _tell(heard, output)
                told += 1
            if limit is not None and told >= limit:
                return


def dispatched(lines: Iterable[str]) -> Iterator[Heard]:
    """Events as the standard reads them: fields up to an empty line; an id without data only moves the position."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
        elif fields:
            data = json.loads(fields["data"]) if "data" in fields else None
            yield Heard(fields.get("event", ""), fields.get("id", ""), data)
            fields = {}


def _heard(client: "Client", position: str, **chosen: str | None) -> Iterator[Heard]:
    """Events after a position, for ever: each once, whatever is cut in between.

    Raises:
        NotReachable: nobody has answered for a while.
    """
    failures = 0
    while True:
        try:
            with client.lines("/events", after=position, silence=SILENCE_SECONDS, **chosen) as lines:
                for heard in dispatched(lines):
                    failures = 0
                    position = heard.id or position
                    yield heard
        except NotReachable:
            failures += 1
            if failures >= GIVE_UP or not position:
                raise
        time.sleep(RETRY_SECONDS)


def _reset(heard: Heard, *, follow: bool) -> None:
    text = f"What came before {heard.id} is no longer kept"
    if not follow:
        raise CliError(f"{text}.", fix="`rangerctl timeline show` has all of it.")
    show.note(f"{text}; going on from there.")


def _tell(heard: Heard, output: Format) -> None:
    data = heard.data or {}
    if output is Format.JSON:
        text = json.dumps({"id": heard.id, **data}, ensure_ascii=False)
    else:
        about = " ".join(f"{name.removesuffix('_id')}={data[name]}" for name in _ABOUT if data.get(name))
        text = f"{heard.id}  {data.get('time')}  {data.get('type')}  {data.get('actor')}  {about}"
    sys.stdout.write(f"{show.harmless(text)}\n")
    sys.stdout.flush()
