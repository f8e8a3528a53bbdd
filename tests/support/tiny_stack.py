"""A whole stack whose services are tiny ones: `python -m tests.support.tiny_stack DATA_DIR [--no-fork] [--detach]`."""

import sys
from dataclasses import replace
from pathlib import Path

from runbook_ranger.stack.control import up_detached
from runbook_ranger.stack.errors import StackError
from runbook_ranger.stack.fleet import Plan
from runbook_ranger.stack.layout import Layout
from runbook_ranger.stack.plan import standard
from runbook_ranger.stack.supervisor import Supervisor

TINY = "tests.support.tiny_service"


def plan(layout: Layout, *, fork: bool) -> Plan:
    """The standard plan with every service replaced."""
    whole = standard(layout, workers=1, fork=fork)
    return replace(whole, services=[replace(spec, module=TINY) for spec in whole.services])


def main(root: str, *options: str) -> int:
    """Run it; a refusal is printed."""
    fork = "--no-fork" not in options
    try:
        layout = Layout.open(Path(root))
        if "--detach" in options:
            up_detached(layout, lambda: plan(layout, fork=fork), lambda line: print(line, flush=True), 60)  # noqa: T201
            return 0
        return Supervisor(layout, plan(layout, fork=fork)).run()
    except StackError as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
