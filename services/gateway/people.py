"""Whom a credential speaks for, and what the directory knows of people."""

from datetime import UTC, datetime
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Request, Response

from libs.common.clock import rfc3339
from libs.common.policy import SYSTEM_TENANTS
from services.gateway import answers
from services.gateway.asking import Ask, StrictRoute, reply
from services.gateway.principals.directory import DirectoryFile, Entry
from services.gateway.principals.proof import FOREVER
from services.gateway.principals.reception import Reception

router = APIRouter(prefix="/principals", tags=["principals"], route_class=StrictRoute)


async def _reception(request: Request) -> Reception:
    return cast("Reception", request.app.state.reception)


Received = Annotated[Reception, Depends(_reception)]


@router.get("/me", response_model=answers.Me)
async def me(ask: Ask) -> Response:
    """The caller itself, as the credential and the directory have it: what policy will be asked about."""
    proof, principal = ask.identity.proof, ask.identity.principal
    return reply(
        {
            "actor": principal.actor,
            "tenant": ask.identity.tenant,
            "tenants": sorted(principal.tenants),
            "roles": sorted(principal.roles),
            "scopes": sorted(principal.scopes),
            "environments": sorted(principal.environments),
            "clearance": principal.clearance,
            "groups": sorted(principal.groups),
            "on_call": sorted(principal.on_call),
            "method": principal.method,
            "kind": principal.kind,
            "mfa": principal.mfa,
            "token_id": proof.key if proof.kind == "token" else None,
            "expires_at": _moment(proof.until),
        }
    )


@router.get("", response_model=answers.Principals)
async def listing(ask: Ask, received: Received) -> Response:
    """What the directory says of people, groups and rotations, and who is on call now; it is one for all tenants."""
    await ask.require("principal.view", "principal")
    file, on_call = received.door.directories.now
    if ask.identity.principal.tenants != SYSTEM_TENANTS:
        file = _of_tenant(file, ask.identity.tenant)
    names = sorted({*file.principals, *(actor for group in file.groups.values() for actor in group)})
    items = [_shown(file, name, on_call.get(name, frozenset())) for name in names]
    return reply({"items": items})


def _moment(until: float) -> str | None:
    return None if until == FOREVER else rfc3339(datetime.fromtimestamp(until, UTC))


def _of_tenant(file: DirectoryFile, tenant: str) -> DirectoryFile:
    """What an administrator of one tenant may see: those whom the directory puts there and nowhere else."""
    shown = {name: entry for name, entry in file.principals.items() if entry.tenants == frozenset({tenant})}
    groups = {name: members & shown.keys() for name, members in file.groups.items()}
    return DirectoryFile(groups=groups, principals=shown)


def _shown(file: DirectoryFile, name: str, on_call: frozenset[str]) -> dict[str, Any]:
    entry = file.principals.get(name, Entry())
    return {
        "actor": name,
        "disabled": entry.disabled,
        "clearance": entry.clearance,
        "environments": _sorted(entry.environments),
        "roles": _sorted(entry.roles),
        "tenants": _sorted(entry.tenants),
        "groups": sorted(group for group, members in file.groups.items() if name in members),
        "on_call": sorted(on_call),
    }


def _sorted(found: frozenset[str] | None) -> list[str] | None:
    return None if found is None else sorted(found)
