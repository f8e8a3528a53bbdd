"""`rangerctl audit verify FILE`: a bundle, an export, a published log or a proof, without anybody being asked."""

from pathlib import Path

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.errors import CliError, WrongUsage
from runbook_ranger.cli.options import Format


def verify_file(path: Path, vkeys: list[str], checkpoint: Path | None, output: Format) -> None:
    """Verify a file or folder by the auditor's keys, and say to where.

    Raises:
        WrongUsage: nothing could be verified.
        CliError: something does not hold.
    """
    from libs.tlog.errors import TlogError
    from libs.verifier.reading import read_checkpoint, read_vkeys, verify_path

    if not vkeys:
        raise WrongUsage("Whose signature should it bear?", fix="Name the keys that you trust: --vkey VKEY")
    try:
        keys = read_vkeys(vkeys)
        old = read_checkpoint(checkpoint, keys) if checkpoint else None
    except (TlogError, OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"Nothing was verified: {show.harmless(str(error))}.") from None
    try:
        verdict = verify_path(path, keys, old)
    except OSError as error:
        raise WrongUsage(f"Nothing was verified: {show.harmless(str(error))}.") from None
    except TlogError as finding:
        if output is Format.JSON:
            show.as_json({"verified": False, "finding": str(finding)})
        raise CliError(f"NOT VERIFIED: {show.harmless(str(finding))}.") from None
    if output is Format.JSON:
        show.as_json(verdict.as_json())
        return
    for line in verdict.lines():
        typer.echo(show.harmless(line))
