"""Running programs that are not ours, with their last words in the error."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

TAIL = 3000


class Failed(Exception):
    """A program ended with an error; the text has the end of what it said."""


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    seconds: float = 120,
    given: bytes | None = None,
) -> str:
    """Standard output of a program that ends well within the time; raises Failed otherwise."""
    try:
        done = subprocess.run(command, env=env, cwd=cwd, timeout=seconds, input=given, capture_output=True, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command)}: not within {seconds:.0f} s") from None
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace")[-TAIL:]
        raise Failed(f"{' '.join(command)}: ended with {done.returncode}\n{said}")
    return done.stdout.decode(errors="replace")
