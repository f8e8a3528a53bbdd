"""The log whole, across tenants and markings: what may be done with it is asked about one thing."""

from typing import Final

from libs.common.policy import RESTRICTED, Resource, require
from libs.common.rpc import Caller

LOG: Final = Resource("timeline", "log", "*", clearance=RESTRICTED)


async def require_whole(caller: Caller) -> None:
    """Let through who may have all of the log.

    Raises:
        Denied: they may not.
    """
    await require(caller.principal, "timeline.export", LOG)
