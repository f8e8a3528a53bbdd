"""Everything about who asks, put together: the doorkeeper, the token desk, and what runs beside them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from libs.common.database import Database
from libs.common.errors import Unavailable
from libs.common.policy import Principal
from services.gateway.principals import issuers
from services.gateway.principals.book import TokenBook
from services.gateway.principals.denials import Denials
from services.gateway.principals.directory import Directories
from services.gateway.principals.door import Doorkeeper
from services.gateway.principals.keys import TokenDesk
from services.gateway.principals.replays import Replays
from services.gateway.principals.sealed import Seal
from services.gateway.principals.senders import Senders
from services.gateway.principals.upkeep import Upkeep
from services.gateway.settings import GatewaySettings
from services.gateway.tokens import Tokens

if TYPE_CHECKING:
    from services.gateway.principals.bearers import Bearers


class Part(Protocol):
    """What runs for as long as the process does."""

    async def run(self) -> None:
        """Run until cancelled."""


@dataclass(slots=True)
class Reception:
    """What stands at the door. Without a database only the tokens of the settings are known, and nothing is told."""

    door: Doorkeeper
    desk: TokenDesk | None = None
    denials: Denials | None = None
    replays: Replays | None = None
    parts: tuple[tuple[str, Part], ...] = ()
    on_stop: tuple[Callable[[], Awaitable[None]], ...] = ()

    @classmethod
    def open(cls, settings: GatewaySettings, database: Database) -> Self:
        """As the settings want it.

        Raises:
            SystemExit: one of the files, or the providers, cannot be meant.
        """
        book = TokenBook(database)
        senders, directories = Senders(settings.webhooks_file), Directories(settings.directory_file)
        seal = Seal(settings.break_glass_file, database, tenant=settings.tenant) if settings.break_glass_file else None
        bearers = _bearers(settings.jwt_issuers.get_secret_value())
        denials = Denials(database, tenant=settings.tenant)
        parts: list[tuple[str, Part]] = [
            ("tokens", book),
            ("denials", denials),
            ("upkeep", Upkeep(database)),
            ("webhook senders", senders.watched),
            ("directory", directories.watched),
            *((("sealed account", seal.watched),) if seal else ()),
            *((f"provider keys {number}", keys) for number, keys in enumerate(bearers.parts if bearers else [], 1)),
        ]
        return cls(
            Doorkeeper(Tokens.read(), book, bearers, seal, senders, directories),
            TokenDesk(database, book),
            denials,
            Replays(database),
            tuple(parts),
            (book.last_words, denials.last_words),
        )

    def note(
        self, principal: Principal | None, action: str, reason: str, data: Mapping[str, object] | None = None
    ) -> None:
        """Remember a refusal of the gateway's own."""
        if self.denials is not None:
            self.denials.note(principal, action, reason, data=data)

    async def enter(self, sender: str, digest: bytes) -> None:
        """As `Replays.enter`."""
        if self.replays is None:
            raise Unavailable("Signed posts cannot be taken here.")
        await self.replays.enter(sender, digest)

    async def release(self, sender: str, digest: bytes) -> None:
        """As `Replays.release`."""
        if self.replays is not None:
            await self.replays.release(sender, digest)


def _bearers(text: str) -> "Bearers | None":
    found = issuers.read(text)
    if not found:
        return None
    from services.gateway.principals.bearers import Bearers  # cryptography's megabytes, for who has a provider alone

    return Bearers(found)
