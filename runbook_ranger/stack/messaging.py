"""The administrator's way to the bus: for provisioning, chaos runs, and whatever looks at streams from outside."""

from typing import TYPE_CHECKING, Any, Final

from runbook_ranger.stack.errors import StackError
from runbook_ranger.stack.keyring import ADMIN

if TYPE_CHECKING:
    from nats.aio.client import Client

INBOX: Final = f"_INBOX_{ADMIN}"


async def administrator(url: str, key: str = "", **options: Any) -> "Client":
    """A connection that signs in with the administrator's seed; without one the URL says who it is.

    `options` are the client's own.

    Raises:
        StackError: the server knows neither this key nor this password.
        nats.errors.Error, OSError: it does not answer.
    """
    import nats  # as late as possible: most commands of `rangerctl` never need it

    signed = {"nkeys_seed_str": key, "inbox_prefix": INBOX} if key else {}
    try:
        return await nats.connect(url, **signed, **options)
    except nats.errors.Error as error:
        if "authorization violation" in str(error).lower():
            raise StackError("the bus does not let the administrator in: see RR_NATS_NKEY and RR_NATS_URL") from None
        raise
