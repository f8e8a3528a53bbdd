"""Hangs the approvals service's parts onto its process: none yet."""

from libs.common.process import Runtime
from libs.common.telemetry import log


async def wire(_rt: Runtime) -> None:
    """Nothing to consume or to answer: `/readyz` tells of Postgres, the schema and NATS, all that it depends on."""
    log.info("approvals_idle", why="requests and decisions are not part of this version")
