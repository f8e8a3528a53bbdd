"""`rangerctl audit evidence`: what the log names by SHA-256, fetched and held against that name on this machine."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.errors import CliError, WrongUsage
from runbook_ranger.cli.options import DataDir, Rationale

if TYPE_CHECKING:
    from runbook_ranger.cli.client import Client

PAGE: Final = 500
COLUMNS: Final = ("sha256", "kind", "length", "index", "type", "time", "deleted_at")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def evidence(
    sha256: Annotated[str, typer.Argument(help="The artefact, as the log names it; none lists them.")] = "",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write it there, once its hash holds.")] = None,
    incident: Annotated[str | None, typer.Option(help="List those of this incident.")] = None,
    execution: Annotated[str | None, typer.Option(help="List those of this execution.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Fetch each of the list, and say whether it holds.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Fetch evidence and check its hash here, or list what the log names; code 1 where something does not hold."""
    from runbook_ranger.cli.client import Client

    if sha256 and (incident or execution or check):
        raise WrongUsage("Name an artefact, or what to list.")
    if sha256 and not _SHA256.fullmatch(sha256):
        raise WrongUsage("An artefact's name is its SHA-256, 64 hex digits.", fix="`rangerctl audit evidence` lists.")
    if (incident and execution) or (out is not None and not sha256):
        raise WrongUsage("--incident and --execution are one or the other; --out goes with an artefact.")
    with Client.open(data_dir) as client:
        if sha256:
            said = fetch(client, sha256, out)
            typer.echo(f"{said['kind']}, {said['length']} bytes: SHA-256 holds{f'; written to {out}' if out else ''}")
            return
        found = listed(client, incident_id=incident, execution_id=execution)
        if check:
            _check(client, found)
        else:
            show.table(found, COLUMNS)


def hold(incident: Annotated[str, typer.Argument()], rationale: Rationale, data_dir: DataDir = None) -> None:
    """Keep what an incident's events name, whatever its retention says."""
    _tell("hold", incident, rationale, data_dir)


def release(incident: Annotated[str, typer.Argument()], rationale: Rationale, data_dir: DataDir = None) -> None:
    """Let an incident's evidence go when its retention is over."""
    _tell("release", incident, rationale, data_dir)


def _tell(verb: str, incident: str, rationale: str, data_dir: Path | None) -> None:
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        told = client.post(f"/evidence/incidents/{segment(incident)}/{verb}", {"rationale": rationale})
    typer.echo(f"{'held' if told['held'] else 'released'}: the evidence of incident {told['incident_id']}")


def listed(client: "Client", **about: str | None) -> Iterator[dict[str, Any]]:
    """What events name, page by page, in the log's order."""
    after = None
    while (page := client.get("/evidence", after=after, limit=PAGE, **about))["artefacts"]:
        yield from page["artefacts"]
        after = page["next"]


def fetch(client: "Client", sha256: str, out: Path | None) -> dict[str, Any]:
    """Fetch an artefact through a URL that is good for a while; returns what the gateway said of it.

    `out` is written whole or not at all.

    Raises:
        CliError: it is not to be had, or is not what its name says.
    """
    given: dict[str, Any] = client.post(f"/evidence/{sha256}/url", {})
    partial = out.with_name(f".{out.name}.{os.getpid()}") if out is not None else None
    with ExitStack() as stack:
        file: BinaryIO | None = None
        if partial is not None:
            stack.callback(partial.unlink, missing_ok=True)
            file = stack.enter_context(_new(partial))
        receive(client, given | {"sha256": sha256}, file)
        if partial is not None and out is not None and file is not None:
            file.close()
            partial.replace(out)
    return given


def receive(client: "Client", given: dict[str, Any], file: BinaryIO | None) -> None:
    """Fetch what the gateway gave a URL for, of the `sha256` and `length` that it must have, into a file.

    Raises:
        CliError: it is not to be had, or is not what its name says.
    """
    digest, length = hashlib.sha256(), 0
    with client.download(str(given["url"])) as parts:
        for part in parts:
            digest.update(part)
            length += len(part)
            if file is not None:
                file.write(part)
    if (digest.hexdigest(), length) != (given["sha256"], given["length"]):
        raise CliError(
            f"NOT VERIFIED: what is kept under {given['sha256']} is something else ({length} bytes, SHA-256"
            f" {digest.hexdigest()}).",
            fix="It was changed where it is kept; nothing was written.",
        )


def _new(path: Path) -> BinaryIO:
    try:
        return path.open("wb")
    except OSError as error:
        raise WrongUsage(f"{path.parent} cannot be written to: {error.strerror}.") from None


def _check(client: "Client", found: Iterator[dict[str, Any]]) -> None:
    """Each artefact once; what was deleted on purpose is counted, and is no fault."""
    seen: set[str] = set()
    faults: list[str] = []
    deleted = 0
    for item in found:
        if item["sha256"] in seen:
            continue
        seen.add(item["sha256"])
        if item["deleted_at"] is not None:
            deleted += 1
            continue
        try:
            fetch(client, item["sha256"], None)
        except CliError as fault:
            faults.append(f"{item['sha256']} ({item['kind']}): {fault}")
    gone = f", {deleted} deleted by retention or redaction" if deleted else ""
    for line in faults:
        show.note(line)
    if faults:
        raise CliError(f"NOT VERIFIED: {len(faults)} of {len(seen)} artefacts do not hold{gone}.")
    typer.echo(f"verified {len(seen) - deleted} artefacts{gone}")
