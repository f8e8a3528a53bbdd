"""What has to be true before any service starts: provisioned and migrated, in one process."""

import asyncio
import sys

from runbook_ranger.stack.errors import StackError
from runbook_ranger.stack.migrate import migrate
from runbook_ranger.stack.provision import Targets, provision

REFUSED = 3


async def prepare(targets: Targets) -> None:
    """Provision, then migrate; repeatable."""
    await provision(targets)
    for service, revision in (await migrate(targets.postgres)).items():
        sys.stdout.write(f"{service} is at {revision}\n")


def main() -> None:
    """Prepare what the environment names; a refusal is printed and ends with REFUSED, all else may pass by itself."""
    try:
        asyncio.run(prepare(Targets.from_environment()))
    except StackError as refusal:
        sys.stderr.write(f"refused: {refusal}\n")
        sys.exit(REFUSED)


if __name__ == "__main__":
    main()
