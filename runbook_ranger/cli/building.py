"""`python -m runbook_ranger.cli.building FILE [NAME]`: carry out an author's Python file, print its runbook as YAML.

A process of its own, since the file may do anything: `rangerctl` itself never imports it. Nothing but the YAML goes to
standard output, whatever the file prints. Ends with 1 if the runbook is refused, 2 if there is none.
"""

import os
import runpy
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from libs.runbook.builder import RunbookBuilder
from libs.runbook.builder.writing import write
from libs.runbook.loader import load
from libs.runbook.problems import RunbookInvalid
from libs.runbook.spec import Runbook


class NoRunbook(Exception):
    """The file defines none, or several."""


def main(arguments: list[str]) -> int:
    """Print the runbook; the exit code."""
    file, name = Path(arguments[0]), arguments[1] if len(arguments) > 1 else ""
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        sys.path.insert(0, str(file.resolve().parent))
        try:
            text = yaml_of(runpy.run_path(str(file)), name)
        except RunbookInvalid as error:
            return _say(*(f"{file}:{problem}" for problem in error.problems), code=1)
        except NoRunbook as error:
            return _say(f"{file} {error}", code=2)
        except BaseException:  # noqa: BLE001 — whatever an author's file raises, SystemExit included, is theirs to see
            traceback.print_exc()
            return 2
        out.write(text)
    return 0


def yaml_of(names: Mapping[str, Any], name: str) -> str:
    """The runbook among a file's names, as YAML.

    Raises:
        NoRunbook: there is none, or several and no name says which.
        RunbookInvalid: it is refused.
    """
    found = {key: value for key, value in names.items() if isinstance(value, RunbookBuilder | Runbook)}
    if name:
        found = {key: value for key, value in found.items() if key == name}
    texts = {_text(value): key for key, value in found.items()}
    if not texts:
        raise NoRunbook(
            f"has no runbook named {name}" if name else "defines no runbook: give what runbook(…) returns a name"
        )
    if len(texts) > 1:
        raise NoRunbook(f"defines several runbooks: {', '.join(texts.values())}; say which with --name")
    return next(iter(texts))


def _text(value: RunbookBuilder | Runbook) -> str:
    return value.to_yaml() if isinstance(value, RunbookBuilder) else load(write(value.to_json())).source


def _say(*lines: str, code: int) -> int:
    for line in lines:
        sys.stderr.write(f"{line}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
