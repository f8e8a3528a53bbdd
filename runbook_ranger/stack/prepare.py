"""What has to be true before any service starts: provisioned and migrated, in one process."""

import asyncio
import sys

from runbook_ranger.stack.errors import StackError
from runbook_ranger.stack.migrate import migrate
from runbook_ranger.stack.provision import Targets, provision


async def prepare(targets: Targets) -> None:
    """Provision, then migrate; repeatable."""
    await provision(targets)
    for service, revision in (await migrate(targets.postgres)).items():
        sys.stdout.write(f"{service} is at {revision}\n")


def main() -> None:
    """Prepare what the environment names; a refusal is printed and ends with code 1."""
    try:
        asyncio.run(prepare(Targets.from_environment()))
    except StackError as refusal:
        sys.exit(f"refused: {refusal}")


if __name__ == "__main__":
    main()
