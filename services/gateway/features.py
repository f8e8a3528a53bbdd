"""Feature flags: what a tenant has, and switching it.

A flag is the installation's, so that a tenant's own administrator sees it and cannot change it.
"""

from typing import Annotated, Literal, cast

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.params import Depends as Dependency
from pydantic import Field, model_validator

from libs.common.errors import NotFound
from libs.common.policy import SYSTEM_TENANTS
from services.gateway import answers
from services.gateway.asking import Ask, StrictRoute, reply
from services.gateway.flags.book import FlagBook
from services.gateway.flags.desk import Change, FlagDesk
from services.gateway.flags.model import FLAGS
from services.gateway.parameters import Parameters, Rationale
from services.gateway.tokens import TenantName

router = APIRouter(prefix="/flags", tags=["flags"], route_class=StrictRoute)


class Setting(Parameters):
    """`on` for everyone, `off` for everyone, or `listed`: on for these tenants alone; and why."""

    state: Literal["on", "off", "listed"]
    tenants: Annotated[list[TenantName], Field(max_length=1000)] | None = None
    rationale: Rationale

    @model_validator(mode="after")
    def _names_tenants_where_they_count(self) -> "Setting":
        if (self.state == "listed") != bool(self.tenants):
            raise ValueError("`listed` names tenants, and nothing else does")
        if "*" in (self.tenants or ()):
            raise ValueError("`on` is for every tenant")
        return self


async def _book(request: Request) -> FlagBook:
    return cast("FlagBook", request.app.state.flags)


async def _desk(request: Request) -> FlagDesk:
    return cast("FlagDesk", request.app.state.flag_desk)


Book = Annotated[FlagBook, Depends(_book)]


@router.get("", response_model=answers.Flags)
async def listing(ask: Ask, book: Book) -> Response:
    """Which parts the caller's tenant has; for who may know of all tenants, who else has them."""
    await ask.require("flag.view", "flag")
    whole = ask.identity.principal.tenants == SYSTEM_TENANTS
    return reply({"items": [book.flag(name).shown(ask.identity.tenant, whole=whole) for name in FLAGS]})


@router.post("/{name}", response_model=answers.Flag)
async def change(
    ask: Ask, desk: Annotated[FlagDesk, Depends(_desk)], name: Annotated[str, Path(max_length=64)], setting: Setting
) -> Response:
    """Switch a part on or off, for everyone or for the tenants of a list; every gateway knows within two seconds."""
    if name not in FLAGS:  # which there are is no secret
        raise NotFound(f"There is no flag {name[:64]}.", fix=f"There are: {', '.join(FLAGS)}.")
    await ask.require("flag.set", "flag", tenant="*")
    identity = ask.identity
    wanted = Change(setting.state, frozenset(setting.tenants or ()), setting.rationale)
    actor = identity.principal.actor
    flag = await desk.change(name, wanted, actor=actor, tenant=identity.tenant, request_key=identity.request_key)
    return reply(flag.shown(identity.tenant, whole=True))


def needs(name: str) -> list[Dependency]:
    """The dependency of routes that a flag holds."""

    async def check(ask: Ask, request: Request) -> None:
        book = cast("FlagBook | None", request.app.state.flags)
        if book is not None:
            book.require(name, ask.identity.tenant)

    return [Depends(check)]
