"""Where a chain stands: what the next leaf of an incident, an execution or a runbook follows."""

from typing import NamedTuple, TypeAlias

ChainKey: TypeAlias = tuple[str, str]  # (kind, id)


class Head(NamedTuple):
    """Where a chain ends: its n-th leaf and that leaf's hash."""

    n: int
    event_hash: bytes
