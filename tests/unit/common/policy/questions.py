"""Questions that the tests of the seam begin with."""

from __future__ import annotations

from typing import Any, Final

from libs.common.policy.bundle import PolicyBundle, folder
from libs.common.policy.engines.base import EngineFailed, Evaluated
from libs.common.policy.inputs import Document
from libs.common.policy.model import Principal, Resource

ACME: Final = frozenset({"acme"})
VERA: Final = Principal("vera", ACME, frozenset({"viewer"}))
OLGA: Final = Principal("olga", ACME, frozenset({"operator"}))
ADA: Final = Principal("ada", ACME, frozenset({"admin"}))
INCIDENT: Final = Resource("incident", "i-1", "acme")
BUNDLE: Final = PolicyBundle.read(folder())


class Scripted:
    """An engine that answers what it is told to, and counts how often it was asked."""

    def __init__(self, value: Any, revision: str = "r-1", name: str = "scripted") -> None:
        self.value = value
        self.revision = revision
        self.name = name
        self.asked: list[tuple[str, Document]] = []
        self.closed = False

    async def evaluate(self, entrypoint: str, document: Document) -> Evaluated:
        self.asked.append((entrypoint, document))
        if isinstance(self.value, EngineFailed):
            raise self.value
        return Evaluated(self.value, self.revision)

    async def close(self) -> None:
        self.closed = True


def allowing(*codes: str) -> dict[str, Any]:
    return {"allow": True, "grants": list(codes or ("role",))}


def denying(*codes: str) -> dict[str, Any]:
    return {"allow": False, "denials": list(codes)}
