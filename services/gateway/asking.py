"""How a route asks a service: in the caller's name, under its request key; the answer passes through unchanged."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, cast

import orjson
from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute

from libs.common.errors import Denied
from libs.common.policy import Resource, decide, require
from libs.common.rpc import RpcClient
from services.gateway.identity import Identity
from services.gateway.principals.reception import Reception
from services.gateway.problems import Unsupported

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Asking:
    """One authenticated request, and its way to the services."""

    identity: Identity
    client: RpcClient
    reception: Reception

    async def content(
        self, service: str, verb: str, question: Mapping[str, Any], timeout: float | None = None
    ) -> dict[str, Any]:
        """The service's answer; its refusals and `Unavailable` are raised."""
        identity = self.identity
        return await self.client.ask(
            service,
            verb,
            question,
            principal=identity.principal,
            tenant=identity.tenant,
            request_key=identity.request_key,
            timeout=timeout,
        )

    async def __call__(self, service: str, verb: str, question: Mapping[str, Any], status: int = 200) -> Response:
        """The service's answer as a response."""
        return reply(await self.content(service, verb, question), status)

    async def require(self, action: str, kind: str, *, tenant: str = "") -> None:
        """For what the gateway carries out itself: policy, as every service asks it. A refusal is told as a fact.

        `tenant` is the caller's where none is named; `*` is the whole installation.

        Raises:
            Denied: with the reason and how to fix it.
        """
        try:
            await require(self.identity.principal, action, Resource(kind, "*", tenant or self.identity.tenant))
        except Denied as denied:
            self.reception.note(self.identity.principal, action, denied.reason_code, denied.data)
            raise

    async def allows(self, action: str, kind: str) -> bool:
        """Whether policy would let the caller, where the answer decides what is shown and not whether."""
        return (await decide(self.identity.principal, action, Resource(kind, "*", self.identity.tenant))).allow


def reply(content: Mapping[str, Any], status: int = 200) -> Response:
    """A JSON response."""
    return Response(orjson.dumps(content), status, media_type=JSON)


async def _asking(request: Request) -> Asking:  # a plain function would be run in a thread, for more than its worth
    state = request.app.state
    return Asking(
        cast("Identity", request.state.identity), cast("RpcClient", state.client), cast("Reception", state.reception)
    )


Ask = Annotated[Asking, Depends(_asking)]


class StrictRoute(APIRoute):
    """A route that says which content types it takes; a body of another one is refused before it is parsed."""

    accepts: frozenset[str] = frozenset({JSON})

    def get_route_handler(self) -> Any:
        """The handler, behind the check."""
        handle = super().get_route_handler()
        described = (self.openapi_extra or {}).get("requestBody", {}).get("content", {})
        accepts = frozenset(described) or self.accepts

        async def checked(request: Request) -> Response:
            if request.method not in {"GET", "HEAD"} and (described or await request.body()):
                _check_content_type(request, accepts)
            request.json = lambda: _parsed(request)  # type: ignore[method-assign]
            return await handle(request)

        return checked


async def _parsed(request: Request) -> Any:
    """Strict JSON: no NaN, no comments, nesting bounded, UTF-8 only."""
    return orjson.loads(await request.body())


def _check_content_type(request: Request, accepts: frozenset[str]) -> None:
    sent = request.headers.getlist("content-type")
    kind, _, parameters = (sent[0] if len(sent) == 1 else "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if kind.strip().lower() not in accepts or charset not in {"", "charset=utf-8"}:
        raise Unsupported(
            "The body's content type is not one that this path takes.",
            fix=f"Send `Content-Type: {' or '.join(sorted(accepts))}` (UTF-8).",
        )
