"""The Redis streams that carry step hints, and the group that the workers read them with."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis.asyncio import Redis

POOLS = ("default",)
PRIORITIES = ("high", "normal")
GROUP = "workers"


def hint_streams() -> tuple[str, ...]:
    """Every stream of hints: one a pool and priority."""
    return tuple(f"rr:steps:{pool}:{priority}" for pool in POOLS for priority in PRIORITIES)


async def ensure_groups(client: "Redis") -> None:
    """Make stream and group where they are missing, reading from the start: a hint is never skipped."""
    from redis.exceptions import ResponseError  # loaded only where hints are provisioned

    for stream in hint_streams():
        try:
            await client.xgroup_create(stream, GROUP, id="0", mkstream=True)
        except ResponseError as refusal:
            if "BUSYGROUP" not in str(refusal):
                raise
