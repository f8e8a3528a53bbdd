"""What the turmoil kept from its point is tried again after it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from runbook_ranger.chaos.evidence import Injury
from runbook_ranger.chaos.nemesis import Nemesis
from runbook_ranger.chaos.schedule import Fault, Schedule


class Reluctant(Nemesis):
    """Hurts nobody; to some points nobody comes at the first time."""

    late = frozenset({"before_claim", "after_settle"})

    async def inflict(self, fault: Fault) -> None:
        seen = sum(injury.detail["point"] == fault.point for injury in self.injuries)
        missed = {"missed": "nobody came there"} if fault.point in self.late and not seen else {}
        self.injuries.append(Injury(fault.kind, fault.victim, 0, 0, {"point": fault.point, **missed}))


async def test_a_crash_that_nobody_came_to_is_tried_again_when_the_other_faults_are_over(tmp_path: Path) -> None:
    names = ("before_claim", "after_claim", "after_settle")
    nemesis = Reluctant(cast("Any", SimpleNamespace(root=tmp_path)), cast("Any", None), lambda _: None)

    await nemesis.run(Schedule(1, 0, [], [Fault(0, "crash", "worker", 0, name) for name in names]))
    nemesis.close()

    assert [injury.detail["point"] for injury in nemesis.injuries] == [*names, "before_claim", "after_settle"]
    assert {injury.detail["point"] for injury in nemesis.injuries if injury.met} == set(names)
