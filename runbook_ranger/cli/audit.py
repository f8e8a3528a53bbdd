"""`rangerctl audit verify`: reads the whole log and computes everything in it anew, on this machine.

The gateway only hands out what is stored; `libs.tlog` judges it here. A log that is still written is verified up to
where it stood when the command began. With a file or folder nothing is asked of anybody: `libs.verifier` reads it.
"""

from base64 import b64decode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, TypeAlias

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.bundles import bundle
from runbook_ranger.cli.errors import CliError, WrongUsage
from runbook_ranger.cli.evidence import evidence, hold, release
from runbook_ranger.cli.exporting import export
from runbook_ranger.cli.keeping import exporter, rebuild
from runbook_ranger.cli.offline import verify_file
from runbook_ranger.cli.options import DataDir, Format, Output, group
from runbook_ranger.cli.proofs import Checked, Trusted, proof
from runbook_ranger.cli.redaction import redact
from runbook_ranger.cli.signing import keygen, vkey
from runbook_ranger.cli.witnesses import checkpoint as fetch_checkpoint
from runbook_ranger.cli.witnesses import cosign

if TYPE_CHECKING:
    from libs.tlog.chain import ChainKey, Head
    from libs.tlog.verify import Report, StoredEntry, StoredState
    from runbook_ranger.cli.client import Client
    from runbook_ranger.cli.provenance import Noted, Sought

PAGE: Final = 500
SNAPSHOTS: Final = 50
READINGS: Final = 3

Verified: TypeAlias = Annotated[
    Path | None, typer.Argument(metavar="[FILE|DIR]", help="A bundle, an export, a published log or a proof, offline.")
]
Keys: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--vkey", help="A key that must have signed, or a file with one a line."),
]
Held: TypeAlias = Annotated[
    Path | None, typer.Option("--checkpoint", help="With --vkey: a checkpoint that you kept, which must be continued.")
]


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    commands = group("audit", "Prove what happened.")
    commands.command("verify")(verify)
    commands.command("bundle")(bundle)
    commands.command("export")(export)
    commands.command("exporter")(exporter)
    commands.command("rebuild")(rebuild)
    commands.command("evidence")(evidence)
    commands.command("hold")(hold)
    commands.command("release")(release)
    commands.command("redact")(redact)
    commands.command("proof")(proof)
    commands.command("checkpoint")(fetch_checkpoint)
    commands.command("cosign")(cosign)
    commands.command("keygen")(keygen)
    commands.command("vkey")(vkey)
    app.add_typer(commands)


def verify(
    path: Verified = None,
    vkey: Keys = None,
    checkpoint: Held = None,
    provenance: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND:ID=HASH", help="A provenance hash that must stand in its chain; may be repeated."),
    ] = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Verify the whole log, or a file of it, here; code 1 names the first thing that does not hold."""
    if path is not None:
        if provenance:
            raise WrongUsage("--provenance is for the whole log: a file's chains are told with its verdict.")
        verify_file(path, vkey or [], checkpoint, output)
        return
    if checkpoint and not vkey:
        raise WrongUsage("Whose signature does the checkpoint bear?", fix="Name the keys that you trust: --vkey VKEY")
    trusted = Trusted.of(vkey, checkpoint) if vkey else None
    _verify_log(provenance or [], trusted, data_dir, output)


def _verify_log(provenance: "Sequence[str]", trusted: "Trusted | None", data_dir: Path | None, output: Format) -> None:
    from libs.tlog.errors import TlogError
    from runbook_ranger.cli.client import Client
    from runbook_ranger.cli.provenance import Noted

    noted = [Noted.parse(text) for text in provenance]
    with Client.open(data_dir) as client:
        try:
            state, heads, report, sought, checked = _read(client, noted, trusted)
        except (TlogError, KeyError, TypeError, ValueError) as finding:
            if output is Format.JSON:
                show.as_json({"verified": False, "finding": _words(finding)})
            raise CliError(f"NOT VERIFIED: {show.harmless(_words(finding))}.") from None
    if sought.missing:
        _missing(sought.missing, output)
    told = sought.told(heads)
    if output is Format.JSON:
        signed = {"checkpoint": checked.described()} if checked else {}
        show.as_json({**_described(report, state), "provenance": told, **signed})
    else:
        _tell(report, state, checked, told)


def _read(
    client: "Client", noted: "Sequence[Noted]", trusted: "Trusted | None"
) -> "tuple[StoredState, dict[ChainKey, Head], Report, Sought, Checked | None]":
    """The whole log, verified. What is redacted while it is read lacks its leaf, which came later: it is read anew."""
    from libs.tlog.errors import Unexplained
    from runbook_ranger.cli.provenance import Sought

    for left in reversed(range(READINGS)):
        sought = Sought(noted)
        checked = Checked.fetch(client, trusted) if trusted else None
        state, heads = snapshot(client)
        try:
            return state, heads, check(client, state, heads, sought, checked), sought, checked
        except Unexplained:
            if not left or _state(client).size == state.size:
                raise
    raise AssertionError  # the last reading returned or raised


def _tell(report: "Report", state: "StoredState", checked: "Checked | None", noted: list[dict[str, Any]]) -> None:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(report.kinds.items())) or "empty"
    typer.echo(f"verified {report.size} leaves to sequence {state.seq} ({kinds}); root {report.root.hex()}")
    if checked:
        typer.echo(checked.words())
    if report.redacted:
        typer.echo(f"redacted payloads: {', '.join(map(str, report.redacted))}")
    for one in noted:
        place = f"leaf {one['index']} of the log, number {one['n']} of {one['of']} in its chain"
        typer.echo(f"{one['kind']} {show.harmless(one['id'])}: {one['hash']} is {place}")


def snapshot(client: "Client") -> "tuple[StoredState, dict[ChainKey, Head]]":
    """State and chain heads of one moment: the state was the same before the heads were read and after.

    Raises:
        CliError: there is no log, it is frozen, or it grew all the time.
    """
    state = _state(client)
    for _ in range(SNAPSHOTS):
        heads = dict(_heads(client))
        after = _state(client)
        if after == state:
            return state, heads
        state = after
    raise CliError("NOT VERIFIED: the log grew all the time.", fix="Try again when less is happening.")


def check(
    client: "Client",
    state: "StoredState",
    heads: "dict[ChainKey, Head]",
    sought: "Sought | None" = None,
    checked: "Checked | None" = None,
) -> "Report":
    """What the log of `state` consists of; `sought` and `checked` see each leaf once it is verified.

    Raises:
        TlogError: the first thing that does not hold.
    """
    from libs.tlog.verify import Verifier

    verifier = Verifier(state)
    for entry in _entries(client, state.size):
        verifier.add(entry)
        if sought is not None:
            sought.see(entry)
        if checked is not None:
            checked.see(entry)
    report = verifier.finish(heads)
    if checked is not None:
        checked.finish(report.size)
    return report


def _state(client: "Client") -> "StoredState":
    from libs.tlog.verify import StoredState

    found = client.get("/timeline/state")
    log = found["log"]
    if found.get("frozen"):
        raise CliError(f"NOT VERIFIED: the log is frozen: {show.harmless(str(found['frozen']))}.")
    if log is None:
        raise CliError("There is no log yet.", fix="Its first writer has not started; `rangerctl status` shows more.")
    return StoredState(log["origin"], log["size"], bytes.fromhex(log["root"]), log["stream"], log["epoch"], log["seq"])


def _heads(client: "Client") -> "Iterator[tuple[ChainKey, Head]]":
    from libs.tlog.chain import Head

    last: dict[str, str] = {}
    while page := client.get("/timeline/heads", limit=PAGE, **last)["heads"]:
        for item in page:
            yield (item["kind"], item["id"]), Head(item["n"], bytes.fromhex(item["event_hash"]))
        last = {"kind": page[-1]["kind"], "id": page[-1]["id"]}


def _entries(client: "Client", size: int) -> "Iterator[StoredEntry]":
    first = 0
    while first < size:
        page = client.get("/timeline/leaves", first=first, limit=min(PAGE, size - first))["leaves"]
        if not page:
            return
        for item in page:
            yield _entry(client, item)
        first = page[-1]["index"] + 1


def _entry(client: "Client", item: dict[str, Any]) -> "StoredEntry":
    from libs.tlog.verify import StoredEntry

    payload = _bytes(item["payload"])
    if payload is None and item["payload_length"] is not None:
        payload = _sliced(client, item["index"], item["payload_length"])
    leaf = b64decode(item["leaf"], validate=True)
    return StoredEntry(item["index"], leaf, bytes.fromhex(item["event_hash"]), payload, _bytes(item["salt"]))


def _sliced(client: "Client", index: int, length: int) -> bytes:
    """A payload too long for a page."""
    payload = b""
    while len(payload) < length:
        part = client.get(f"/timeline/leaves/{index}/payload", offset=len(payload))["part"]
        if not part:
            break
        payload += b64decode(part, validate=True)
    return payload


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text, validate=True)


def _missing(noted: "Sequence[Noted]", output: Format) -> NoReturn:
    """The log holds together, and is not the one that somebody has seen: it was rewritten, or the note is wrong."""
    findings = [f"{one} is no leaf of that chain" for one in noted]
    if output is Format.JSON:
        show.as_json({"verified": False, "finding": "; ".join(findings)})
    raise CliError(f"NOT VERIFIED: {show.harmless('; '.join(findings))}.")


def _words(finding: Exception) -> str:
    from libs.tlog.errors import TlogError

    if isinstance(finding, TlogError):
        return str(finding)
    return f"what the gateway answered is no stored log ({type(finding).__name__}: {finding})"


def _described(report: "Report", state: "StoredState") -> dict[str, Any]:
    return {
        "verified": True,
        "origin": state.origin,
        "leaves": report.size,
        "stream": state.stream,
        "epoch": state.epoch,
        "sequence": state.seq,
        "root": report.root.hex(),
        "kinds": report.kinds,
        "redacted": report.redacted,
    }
