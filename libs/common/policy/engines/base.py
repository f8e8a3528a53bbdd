"""What every engine promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from libs.common.policy.inputs import Document


class EngineFailed(Exception):
    """There is no answer, so nothing is allowed; the text is for logs and names no value of the question."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What an entrypoint gave, and which policies gave it."""

    value: Any
    revision: str


class PolicyEngine(Protocol):
    """Evaluates one entrypoint (`incident/authz/decision`) for one input.

    `revision`: of the policies that answered last, or will answer first; empty while nobody knows.
    """

    @property
    def name(self) -> str:
        """As decisions name it."""

    @property
    def revision(self) -> str:
        """Of its policies."""

    async def evaluate(self, entrypoint: str, document: Document) -> Evaluated:
        """The value.

        Raises:
            EngineFailed: there is none, or not exactly one.
        """

    async def close(self) -> None:
        """Let go of whatever is open."""
