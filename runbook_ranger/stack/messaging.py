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
    import nats.errors  # as late as possible: most commands of `rangerctl` never need it
    from nats.aio.client import Client

    client = Client()
    signed: dict[str, Any] = {"nkeys_seed_str": key, "inbox_prefix": INBOX} if key else {}
    try:
        await client.connect(url, **signed, **options)
    except (nats.errors.Error, OSError) as error:
        await client.close()  # by itself it keeps the socket
        if "authorization violation" in str(error).lower():
            raise StackError("the bus does not let the administrator in: see RR_NATS_NKEY and RR_NATS_URL") from None
        raise
    return client
