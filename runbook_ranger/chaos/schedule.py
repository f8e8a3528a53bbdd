"""Which fault comes when and to whom: drawn from the seed before anything begins, so that a seed repeats a schedule."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from runbook_ranger.chaos.place import SERVERS, SUPERVISOR
from runbook_ranger.chaos.points import POINTS
from runbook_ranger.stack.plan import SERVICES

FIRST_SECONDS: Final = 2.0
PAUSE_SECONDS: Final = (1.0, 4.0)
PAST_A_LEASE: Final = (2.5, 4.5)
DURABLES: Final = ("INGRESS/incident", "EVENTS/catalog", "EVENTS/executor", "EVENTS/approvals", "EVENTS/incident")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: seconds after the beginning, its kind, whom it meets, and for how many seconds where it lasts.

    `point` is where a process crashes, for that kind.
    """

    at: float
    kind: str
    victim: str = ""
    seconds: float = 0.0
    point: str = ""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The faults of one run; the crashes at `points`, if they were asked for, come beside the others."""

    seed: int
    seconds: float
    faults: Sequence[Fault]
    points: Sequence[Fault] = ()

    def save(self, path: Path) -> None:
        """Keep it beside the history."""
        path.write_text(json.dumps(asdict(self), indent=1))


_Draw = Callable[[random.Random, Sequence[str]], Fault]


def _one_of(kind: str, *victims: str) -> _Draw:
    return lambda dice, _workers: Fault(0, kind, dice.choice(victims))


def _anyone(kind: str) -> _Draw:
    """A worker as often as a service."""
    return lambda dice, workers: Fault(0, kind, dice.choice((dice.choice(workers), dice.choice(SERVICES))))


def _frozen(dice: random.Random, workers: Sequence[str]) -> Fault:
    victim = dice.choice((dice.choice(workers), dice.choice(workers), dice.choice(SERVICES)))
    return Fault(0, "freeze", victim, round(dice.uniform(*PAST_A_LEASE), 2))


def _frozen_server(dice: random.Random, _workers: Sequence[str]) -> Fault:
    return Fault(0, "freeze_server", dice.choice(SERVERS), round(dice.uniform(1, 3), 2))


def _crash(dice: random.Random, _workers: Sequence[str]) -> Fault:
    point = dice.choice(POINTS)
    return Fault(0, "crash", point.process, 0, point.name)


def _switch(dice: random.Random, _workers: Sequence[str]) -> Fault:
    return Fault(0, "switch", "global", round(dice.uniform(1, 3), 2))


KINDS: Final[Mapping[str, tuple[int, _Draw]]] = MappingProxyType(
    {
        "kill": (6, _anyone("kill")),
        "crash": (4, _crash),
        "term": (3, _anyone("term")),
        "freeze": (4, _frozen),
        "nats": (2, _one_of("nats", "nats")),
        "postgres": (2, _one_of("postgres", "postgres")),
        "valkey": (1, _one_of("valkey", "valkey")),
        "freeze_server": (1, _frozen_server),
        "flush": (2, _one_of("flush", "valkey")),
        "terminate": (3, _one_of("terminate", "postgres")),
        "consumer": (1, _one_of("consumer", *DURABLES)),
        "poison": (3, _one_of("poison", "json", "schema", "envelope")),
        "switch": (2, _switch),
        "supervisor": (1, _one_of("supervisor", SUPERVISOR)),
    }
)
"""Each kind's weight, and how one of it is drawn."""
ON_REQUEST: Final[Mapping[str, tuple[int, _Draw]]] = MappingProxyType({"erase": (1, _one_of("erase", "nats"))})
"""Kinds that are drawn only when they are named: with the bus's store goes what some invariants are judged by."""


def draw(
    seed: int, seconds: float, workers: Sequence[str], kinds: Sequence[str] = (), *, points: bool = False
) -> Schedule:
    """The schedule of a seed; the same arguments give the same faults. With `points` every crash point comes once.

    Raises:
        ValueError: there is no such kind.
    """
    known = {**KINDS, **ON_REQUEST}
    strange = sorted(set(kinds) - set(known))
    if strange:
        raise ValueError(f"no such fault: {', '.join(strange)}; there are {', '.join(known)}")
    chosen = {kind: known[kind] for kind in known if kind in (kinds or KINDS)}
    dice = random.Random(seed)  # noqa: S311 — repeatable on purpose
    faults: list[Fault] = []
    at = FIRST_SECONDS
    while at < seconds:
        kind = dice.choices(list(chosen), [weight for weight, _ in chosen.values()])[0]
        fault = chosen[kind][1](dice, workers)
        faults.append(replace(fault, at=round(at, 2)))
        at += fault.seconds + dice.uniform(*PAUSE_SECONDS)
    return Schedule(seed, seconds, faults, _crashes(seconds) if points else ())


def _crashes(seconds: float) -> list[Fault]:
    """A crash at each named point, spread over the run."""
    apart = max(0.0, seconds - 2 * FIRST_SECONDS) / len(POINTS)
    return [
        Fault(round(FIRST_SECONDS + n * apart, 2), "crash", point.process, 0, point.name)
        for n, point in enumerate(POINTS)
    ]
