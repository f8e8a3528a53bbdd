"""`rangerctl audit redact`: delete for good what an event said."""

from typing import Annotated

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.options import DataDir, Rationale


def redact(
    event: Annotated[str, typer.Argument(help="The event's id, or its index in the log.")],
    rationale: Rationale,
    data_dir: DataDir = None,
) -> None:
    """Delete for good what an event said, what only it named, and the bundles that hold it; the log says so."""
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        done = client.post(f"/evidence/events/{segment(event)}/redact", {"rationale": rationale})
        index = int(done["index"])
        page = client.get("/timeline", after=index - 1, limit=1)["entries"]
    gone = bool(page) and page[0]["index"] == index and page[0]["payload_length"] is None
    about = f"leaf {index} ({done['type']} {done['event_id']})"
    if not gone:
        show.note(f"{about} will be redacted when the log goes on; `rangerctl status` says why it does not.")
    elif done["new"]:
        typer.echo(show.harmless(f"redacted: {about}. Other copies: docs/auditors.md, What was redacted."))
    else:
        typer.echo(show.harmless(f"redacted before: {about}"))
