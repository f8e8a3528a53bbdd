"""The provenance of what is shown: where its chain ends in the log, read when it is asked for and stored nowhere else.

Whoever notes the hash down can have it checked later, with the whole log (`rangerctl audit verify --provenance`): all
that happened up to then stands in the chain before it.
"""

from typing import Any, Final, Literal

from libs.common.errors import RangerError
from services.gateway.asking import Asking

SECONDS: Final = 2.0
"""A log that takes longer is named as missing: nothing else is kept waiting for it."""


async def provenance(ask: Asking, kind: Literal["execution", "incident"], about: str) -> dict[str, Any]:
    """`provenance_hash`, and in `provenance` the leaf's number in its chain and its index, or why there is none."""
    try:
        found = await ask.content("timeline", "provenance", {"kind": kind, "id": about}, timeout=SECONDS)
    except RangerError as error:
        return {"provenance_hash": None, "provenance": {"missing": error.detail}}
    return {"provenance_hash": found.pop("provenance_hash", None), "provenance": found}
