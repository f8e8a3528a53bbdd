"""The fourteen invariants, as functions from evidence to what breaks them.

They are written from the promises alone and use nothing of the services: a checker that asked the product's own tables
of states what is right would agree with its mistakes.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Final, TypeAlias

from runbook_ranger.chaos.evidence import Evidence, Violation
from runbook_ranger.chaos.invariants import (
    delivery,
    effects,
    gates,
    health,
    letters,
    log,
    order,
    places,
    quiet,
    states,
    timers,
    traces,
    writes,
)

Check: TypeAlias = Callable[[Evidence], Iterator[Violation]]

TITLES: Final[Mapping[int, str]] = MappingProxyType(
    {
        1: "every acknowledged write is there",
        2: "every outbox row is published, and applied once a consumer",
        3: "versions without gaps, in order; no state goes back",
        4: "the log verifies, one entry an event",
        5: "at most one effect an unsafe or keyed key",
        6: "no two effects overlap on a resource, nor more executions than may",
        7: "no effect past kill switch, approval or step order",
        8: "a dead worker's unsafe action ends unknown",
        9: "terminal states stand",
        10: "every due timer fires once, never early",
        11: "quiet after healing",
        12: "every poison is a dead letter, and nothing else",
        13: "health answers, or the process ends",
        14: "one trace from alert to effect to log",
    }
)

CHECKS: Final[Mapping[int, Check]] = MappingProxyType(
    {
        1: writes.check,
        2: delivery.check,
        3: order.check,
        4: log.check,
        5: effects.check_once,
        6: lambda evidence: chain(effects.check_apart(evidence), places.check(evidence)),
        7: gates.check,
        8: states.check_unsafe,
        9: states.check_terminal,
        10: timers.check,
        11: quiet.check,
        12: letters.check,
        13: health.check,
        14: traces.check,
    }
)


def check(evidence: Evidence) -> list[Violation]:
    """Everything that breaks an invariant, in the order of the invariants; empty when all of them hold."""
    return [violation for judge in CHECKS.values() for violation in judge(evidence)]
