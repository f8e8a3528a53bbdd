"""`rangerctl runbook schema | build | test`: what an author does alone, without a server."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.errors import CliError, WrongUsage
from runbook_ranger.cli.options import Format, Output

if TYPE_CHECKING:
    from libs.runbook.loader import Loaded
    from libs.runbook.simulation.rehearsal import Rehearsal

BUILD_SECONDS: Final = 60
Paths = Annotated[int, typer.Option("--paths", min=1, help="Walk at most so many paths.")]
FailUnder = Annotated[int, typer.Option("--fail-under", min=0, max=100, help="1 if fewer ways of a hundred are taken.")]
Scenarios = Annotated[list[Path] | None, typer.Option("--scenario", "-s", help="A file of scenarios; may be repeated.")]
AlsoMatrix = Annotated[bool, typer.Option("--matrix", help="The fault matrix, also when there are scenarios.")]
Story = Annotated[bool, typer.Option("--story", help="Tell every scenario's story, not only of those that fail.")]


def add(commands: typer.Typer) -> None:
    """Add these commands to those about runbooks."""
    commands.command("schema")(schema)
    commands.command("build")(build)
    commands.command("test")(try_out)


def read(file: Path) -> bytes:
    """A runbook's text.

    Raises:
        WrongUsage: it cannot be read, or is Python, which would have to be carried out first.
    """
    if file.suffix == ".py":
        fix = f"`rangerctl runbook build {file} > {file.stem}.yaml` carries it out and writes the runbook."
        raise WrongUsage(f"{file} is Python, not a runbook.", fix=fix)
    try:
        return file.read_bytes()
    except OSError as error:
        raise WrongUsage(f"{file} cannot be read: {error.strerror}.") from None


def schema() -> None:
    """The language as JSON Schema, for editors and forms."""
    from libs.runbook.schema import json_schema

    show.as_json(json_schema())


def build(
    file: Annotated[Path, typer.Argument(help="A Python file that builds a runbook. It is carried out.")],
    name: Annotated[str, typer.Option("--name", help="Which, if the file builds several.")] = "",
) -> None:
    """Carry out a Python file, in a process of its own, and print the runbook that it builds as YAML."""
    if not file.is_file():
        raise WrongUsage(f"{file} is no file.")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RR_")}  # no token for the file
    command = [sys.executable, "-P", "-m", "runbook_ranger.cli.building", str(file), *([name] if name else [])]
    try:
        done = subprocess.run(command, env=kept, capture_output=True, check=False, timeout=BUILD_SECONDS)  # noqa: S603 — the author's own file, as asked
    except subprocess.TimeoutExpired:
        raise WrongUsage(f"{file} did not end within {BUILD_SECONDS} s.") from None
    for line in done.stderr.decode(errors="replace").splitlines():
        show.note(line)
    if done.returncode == 1:
        raise CliError(f"The runbook of {file} is refused.")
    if done.returncode:
        raise WrongUsage(f"{file} gives no runbook.")
    sys.stdout.write(done.stdout.decode())


def try_out(
    file: Annotated[Path, typer.Argument(help="The runbook, YAML.")],
    scenario: Scenarios = None,
    matrix: AlsoMatrix = False,
    paths: Paths = 2_000,
    fail_under: FailUnder = 0,
    story: Story = False,
    output: Output = Format.TABLE,
) -> None:
    """Try a runbook out without a server: its scenarios, or everything that can go wrong at each step.

    1 if an expectation does not hold, a path never ends, or too few ways are taken.
    """
    from libs.runbook.simulation.coverage import coverage
    from libs.runbook.simulation.matrix import explore
    from runbook_ranger.cli import rehearsals

    loaded = _loaded(file)
    played = [item for path in scenario or [] for item in _played(loaded, path)]
    walked = explore(loaded.spec, limit=paths) if matrix or not scenario else None
    taken = {edge for _, rehearsal in played for edge in rehearsal.edges} | (walked.edges if walked else set())
    ways = coverage(loaded.spec, taken)
    failed = [rehearsal.name for _, rehearsal in played if not rehearsal.passed]
    broken = walked is not None and bool(walked.hanging or walked.violations)
    passed = not failed and not broken and ways.percent >= fail_under
    if output is Format.JSON:
        parts: dict[str, Any] = {"scenarios": [{"file": str(path), **item.to_json()} for path, item in played]}
        parts |= {"coverage": ways.to_json(), "matrix": walked.to_json() if walked else None}
        show.as_json({"runbook_id": loaded.spec.id, "spec_hash": loaded.spec_hash, "passed": passed, **parts})
    else:
        rehearsals.tell(played, walked, ways, story=story)
    if not passed:
        raise CliError(_verdict(failed, ways.percent, fail_under, broken=broken))


def _loaded(file: Path) -> "Loaded":
    from libs.runbook.loader import load
    from libs.runbook.problems import RunbookInvalid

    try:
        return load(read(file))
    except RunbookInvalid as error:
        lines = "\n".join(f"{file}:{problem}" for problem in error.problems)
        raise CliError(f"{lines}\nThe runbook is refused.") from None


def _played(loaded: "Loaded", path: Path) -> "list[tuple[Path, Rehearsal]]":
    from libs.runbook.problems import RunbookInvalid
    from libs.runbook.simulation.rehearsal import read_scenarios, rehearse

    try:
        return [(path, rehearsal) for rehearsal in rehearse(loaded.spec, read_scenarios(read(path)))]
    except RunbookInvalid as error:
        lines = "\n".join(f"{path}:{problem}" for problem in error.problems)
        raise WrongUsage(f"{lines}\nThe scenarios cannot be played.") from None


def _verdict(failed: list[str], percent: int, fail_under: int, *, broken: bool) -> str:
    if failed:
        return f"{len(failed)} scenario{'s' if len(failed) > 1 else ''} did not come as expected."
    if broken:
        return "There are paths that never end, or that break a promise."
    return f"{percent} % of the ways are taken, fewer than {fail_under} %."
