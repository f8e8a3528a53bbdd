"""Invariant 7: no effect starts after the kill switch's commit, without a valid approval, or out of step order.

What starts an effect is the claim that commits before its first byte, so claims are judged, and each effect must have
one. A toggle of the switch and a claim exclude each other, so that the moments noted in both transactions are ordered.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from runbook_ranger.chaos.evidence import Change, Evidence, Row, Violation, seconds

PASSED: Final = frozenset({"succeeded", "skipped"})
BRANCHING: Final = frozenset({"on_success", "on_failure", "when"})
UNDOING: Final = "rollback:"
Step = Mapping[str, Any]


@dataclass
class Course:
    """The changes of one thing, to be asked what it was like at a moment."""

    moments: list[float] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def add(self, change: Change) -> None:
        """The next change."""
        self.moments.append(change.at)
        self.rows.append(change.new)

    def at(self, moment: float) -> Row:
        """The row as it was then; empty before it was there."""
        place = bisect_right(self.moments, moment)
        return self.rows[place - 1] if place else {}


def check(evidence: Evidence) -> Iterator[Violation]:
    """Judge every claim, then every effect by its claim."""
    judge = _Judge(evidence)
    claims: dict[tuple[str, int], float] = {}
    for change in evidence.changed("executor.action_log"):
        if change.new.get("state") == "running" and change.old.get("state") != "running":
            claims[change.new["idem_key"], change.new["fence"]] = change.at
            if change.new["effect"] != "read":
                yield from judge.claim(change)
    for effect in evidence.ledger.effects:
        claimed = claims.get((effect["key"], effect["fence"]))
        if claimed is None or seconds(effect["start"]) < claimed:
            when = "was never claimed" if claimed is None else "was claimed only later"
            yield Violation(7, f"call {effect['call']}", f"took effect under key {effect['key']}, which {when}")


class _Judge:
    """Looks at one claim after another."""

    def __init__(self, evidence: Evidence) -> None:
        self._switches = _courses(evidence.changed("executor.kill_switch"), "scope")
        self._approvals = _courses(evidence.changed("approvals.approval"), "approval_id")
        self._steps = _courses(evidence.changed("executor.step_run"), "execution_id", "path")
        self._executions = {row["execution_id"]: row for row in evidence.table("executor.execution")}
        self._specs = {row["spec_hash"]: row["body"] for row in evidence.table("executor.spec")}

    def claim(self, change: Change) -> Iterator[Violation]:
        """What is wrong with beginning this action then."""
        action = change.new
        subject = f"action {action['action_id']} ({action['path']}, fence {action['fence']})"
        for problem in (*self._held(action, change.at), *self._out_of_order(action, change.at)):
            yield Violation(7, subject, problem)

    def _held(self, action: Row, at: float) -> Iterator[str]:
        for scope in ("global", f"tenant:{action['tenant_id']}"):
            switch = self._switches[scope,].at(at)
            if switch.get("engaged"):
                yield f"was claimed while the kill switch {scope} was engaged (epoch {switch['epoch']})"

    def _out_of_order(self, action: Row, at: float) -> Iterator[str]:
        execution = self._executions.get(action["execution_id"], {})
        spec: Mapping[str, Any] = self._specs.get(execution.get("spec_hash", ""), {})
        if action["path"].startswith(UNDOING):
            yield from self._taken_back_early(action, at)
            return
        found = _place(spec.get("steps", ()), action["path"])
        if found is None:
            return
        step, earlier = found
        if _needs_approval(spec, step) and not self._granted(action, execution, at):
            yield "was claimed without a grant that stood for this plan and this action at that time"
        if any(one.get(name) for one in _walk(spec.get("steps", ())) for name in BRANCHING):
            return  # such a runbook may leave steps out
        for path in earlier:
            state = self._steps[action["execution_id"], path].at(at).get("state")
            if state not in PASSED:
                yield f"was claimed while step {path} before it was {state or 'not begun'}"

    def _taken_back_early(self, action: Row, at: float) -> Iterator[str]:
        """The last change is taken back first."""
        number = int(action["path"].removeprefix(UNDOING))
        later = self._steps[action["execution_id"], f"{UNDOING}{number + 1}"].at(at).get("state")
        if later is not None and later not in PASSED:
            yield f"was claimed while the change after it was {later}, not taken back"

    def _granted(self, action: Row, execution: Row, at: float) -> bool:
        for course in self._approvals.values():
            row = course.at(at)
            if (
                row.get("step_run_id") == action["step_run_id"]
                and row["state"] == "granted"
                and row["plan_hash"] == execution["plan_hash"]
                and row["action_hash"] == action["action_hash"]
                and seconds(row["valid_until"]) >= at
            ):
                return True
        return False


def _courses(changes: Sequence[Change], *key: str) -> defaultdict[tuple[Any, ...], Course]:
    found: defaultdict[tuple[Any, ...], Course] = defaultdict(Course)
    for change in sorted(changes, key=lambda one: one.number):
        found[tuple(change.row[name] for name in key)].add(change)
    return found


def _place(steps: Sequence[Step], path: str) -> tuple[Step, list[str]] | None:
    """The step of that path, and the paths of those that must have passed before it begins."""
    earlier: list[str] = []
    parts, before = path.split("/"), ""
    while parts:
        names = [step["id"] for step in steps]
        if parts[0] not in names:
            return None
        place = names.index(parts[0])
        step = steps[place]
        earlier += [f"{before}{name}" for name in names[:place]]
        if len(parts) == 1:
            return step, earlier
        before = f"{before}{parts[0]}/{parts[1]}/"
        steps = step["steps"] if step["type"] == "loop" else step["branches"][parts[1]]
        parts = parts[2:]
    return None


def _walk(steps: Sequence[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        if step["type"] == "loop":
            yield from _walk(step["steps"])
        elif step["type"] == "parallel":
            for body in step["branches"].values():
                yield from _walk(body)


def _needs_approval(spec: Step, step: Step) -> bool:
    risk = step.get("risk", spec.get("risk"))
    asked = step.get("approval") is not None or bool(step.get("irreversible"))
    return asked or (risk == "high" and step["type"] == "action")
