"""The lifecycle of an incident: a table of state and trigger to state; nothing else makes a status.

    new ─► acknowledged ─► mitigating ◄─► monitoring ─► resolved ─► closed
                 ▲                                         │
                 └──────────────── reopen ─────────────────┘

An incident that an execution opened for itself has no alert whose end could resolve it: that execution's completion
does (`BY_ITS_OWN`).

People pull the triggers in `BY_PEOPLE`; facts pull those in `BY_FACTS`. A person's undefined move is refused and names
both ends; a fact's undefined move changes nothing, because facts are not asked whether they suit.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

from msgspec import Struct

from libs.common.contracts.incident import IncidentStatus
from services.incident.errors import RationaleMissing, UndefinedMove

PersonTrigger = Literal["acknowledge", "mitigate", "monitor", "resolve", "close", "reopen"]
FactTrigger = Literal["execution_started", "execution_completed", "alert_ended", "alert_refired"]
Trigger = PersonTrigger | FactTrigger

STATUSES: Final[tuple[IncidentStatus, ...]] = get_args(IncidentStatus)
BY_PEOPLE: Final[tuple[PersonTrigger, ...]] = get_args(PersonTrigger)
BY_FACTS: Final[tuple[FactTrigger, ...]] = get_args(FactTrigger)
TRIGGERS: Final[tuple[Trigger, ...]] = (*BY_PEOPLE, *BY_FACTS)

TERMINAL: Final[frozenset[IncidentStatus]] = frozenset({"closed"})
OPEN: Final[frozenset[IncidentStatus]] = frozenset(STATUSES) - TERMINAL
"""A problem has at most one incident in these."""
ACTIVE: Final[frozenset[IncidentStatus]] = OPEN - {"resolved"}
"""Someone still has something to do."""

INITIAL: Final[IncidentStatus] = "new"

TARGET: Final[Mapping[Trigger, IncidentStatus]] = MappingProxyType(
    {
        "acknowledge": "acknowledged",
        "mitigate": "mitigating",
        "monitor": "monitoring",
        "resolve": "resolved",
        "close": "closed",
        "reopen": "acknowledged",  # whoever reopens it knows of it
        "execution_started": "mitigating",
        "execution_completed": "monitoring",
        "alert_ended": "resolved",
        "alert_refired": "new",  # nobody has looked at it yet
    }
)


def _row(*triggers: Trigger) -> Mapping[Trigger, IncidentStatus]:
    return MappingProxyType({trigger: TARGET[trigger] for trigger in triggers})


TABLE: Final[Mapping[IncidentStatus, Mapping[Trigger, IncidentStatus]]] = MappingProxyType(
    {
        "new": _row("acknowledge", "mitigate", "resolve", "execution_started", "execution_completed", "alert_ended"),
        "acknowledged": _row("mitigate", "resolve", "execution_started", "execution_completed", "alert_ended"),
        "mitigating": _row("monitor", "resolve", "execution_completed", "alert_ended"),
        "monitoring": _row("mitigate", "resolve", "execution_started", "alert_ended"),
        "resolved": _row("close", "reopen", "alert_refired"),
        "closed": _row(),
    }
)

BY_ITS_OWN: Final[Mapping[IncidentStatus, Mapping[FactTrigger, IncidentStatus]]] = MappingProxyType(
    {status: MappingProxyType({"execution_completed": "resolved"} if status in ACTIVE else {}) for status in STATUSES}
)
"""Where the facts of the execution that opened the incident lead instead."""


class Circumstances(Struct, frozen=True):
    """What guards look at: whether it was mitigated since it was opened, how many alerts fire, and the reason given;
    and whether the fact is of the execution that opened the incident.
    """

    mitigated: bool = False
    firing: int = 0
    rationale: str = ""
    own: bool = False


Guard = Callable[[Circumstances], bool]
"""Whether the move may take place."""


def explained(circumstances: Circumstances) -> bool:
    """What ends without mitigation says why."""
    return circumstances.mitigated or bool(circumstances.rationale)


def all_ended(circumstances: Circumstances) -> bool:
    """The end of one alert is not the end of the problem while another fires."""
    return circumstances.firing == 0


GUARDS: Final[Mapping[Trigger, Guard]] = MappingProxyType(
    {"resolve": explained, "close": explained, "alert_ended": all_ended}
)


def move(status: IncidentStatus, trigger: PersonTrigger, circumstances: Circumstances) -> IncidentStatus:
    """Where a person's `trigger` leads.

    Raises:
        UndefinedMove: nowhere from here.
        RationaleMissing: it ends what was not mitigated, and says no reason.
    """
    target = TABLE[status].get(trigger)
    if target is None:
        raise UndefinedMove(status, trigger, TARGET[trigger], [name for name in BY_PEOPLE if name in TABLE[status]])
    if not _allowed(trigger, circumstances):
        raise RationaleMissing(status, trigger, target)
    return target


def follow(status: IncidentStatus, trigger: FactTrigger, circumstances: Circumstances) -> IncidentStatus | None:
    """Where a fact leads; None when it changes nothing here."""
    usual = TABLE[status].get(trigger)
    target = BY_ITS_OWN[status].get(trigger, usual) if circumstances.own else usual
    return target if target is not None and _allowed(trigger, circumstances) else None


def rationale_required(status: IncidentStatus, *, mitigated: bool) -> list[str]:
    """What people may do from here only with a rationale: triggers in the order of `BY_PEOPLE`, then `severity`."""
    silent = Circumstances(mitigated=mitigated)
    moves = [name for name in BY_PEOPLE if name in TABLE[status] and not _allowed(name, silent)]
    return [*moves, *(["severity"] if status in OPEN else [])]


def _allowed(trigger: Trigger, circumstances: Circumstances) -> bool:
    guard = GUARDS.get(trigger)
    return guard is None or guard(circumstances)
