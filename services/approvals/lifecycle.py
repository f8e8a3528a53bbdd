"""The lifecycle of an approval: a table of state and trigger to state; nothing else makes a state.

    requested ─grant──► granted ─revoke─► revoked
        ├─reject───► rejected
        ├─expire───► expired      nobody decided in time
        └─withdraw─► withdrawn    nobody needs the answer any more

Whether a grant was used is the executor's to know: it holds a copy of each grant, and a use ends that copy.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args

from services.approvals.errors import UndefinedMove

State: TypeAlias = Literal["requested", "granted", "rejected", "expired", "revoked", "withdrawn"]
PersonTrigger: TypeAlias = Literal["grant", "reject", "revoke"]
Trigger: TypeAlias = PersonTrigger | Literal["expire", "withdraw"]

STATES: Final[tuple[State, ...]] = get_args(State)
BY_PEOPLE: Final[tuple[PersonTrigger, ...]] = get_args(PersonTrigger)
INITIAL: Final[State] = "requested"

TARGET: Final[Mapping[Trigger, State]] = MappingProxyType(
    {"grant": "granted", "reject": "rejected", "revoke": "revoked", "expire": "expired", "withdraw": "withdrawn"}
)


def _row(*triggers: Trigger) -> Mapping[Trigger, State]:
    return MappingProxyType({trigger: TARGET[trigger] for trigger in triggers})


TABLE: Final[Mapping[State, Mapping[Trigger, State]]] = MappingProxyType(
    {
        "requested": _row("grant", "reject", "expire", "withdraw"),
        "granted": _row("revoke"),
        "rejected": _row(),
        "expired": _row(),
        "revoked": _row(),
        "withdrawn": _row(),
    }
)
OPEN: Final[frozenset[State]] = frozenset({INITIAL})
"""A person is asked."""
TERMINAL: Final[frozenset[State]] = frozenset(state for state, moves in TABLE.items() if not moves)


def after(state: State, trigger: Trigger) -> State:
    """Where `trigger` leads.

    Raises:
        UndefinedMove: nowhere from here; it names both ends.
    """
    target = TABLE[state].get(trigger)
    if target is None:
        raise UndefinedMove(state, trigger, TARGET[trigger], [name for name in BY_PEOPLE if name in TABLE[state]])
    return target
