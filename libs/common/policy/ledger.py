"""What policy told one command: collected while it is carried out, and written down by whoever carries it out.

Outside a command nothing is collected: a claim's decision is told by the step that it lets begin or refuses, and
looking is not written down.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from libs.common.policy.model import Decision, Principal, Resource


class Entry(NamedTuple):
    """One decision, and what it was about."""

    actor: Principal
    action: str
    resource: Resource
    decision: Decision


_open: ContextVar[list[Entry] | None] = ContextVar("policy_ledger", default=None)


@contextmanager
def opened() -> Iterator[list[Entry]]:
    """Collect what is decided in here."""
    entries: list[Entry] = []
    token = _open.set(entries)
    try:
        yield entries
    finally:
        _open.reset(token)


def note(actor: Principal, action: str, resource: Resource, decision: Decision) -> None:
    """Put a decision down, where a ledger is open."""
    entries = _open.get()
    if entries is not None:
        entries.append(Entry(actor, action, resource, decision))
