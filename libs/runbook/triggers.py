"""Which runbooks fit an alert, and which of them fits best.

A trigger fits when every one of its conditions holds: the alert's name, its severity, and each label named; a label
that the alert does not carry never fits. Among triggers that fit, the more specific one is better: more conditions
first, then more conditions on a single value. Among runbooks of equal specificity the id that sorts first is taken,
so that the same alert always finds the same runbook.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from libs.runbook.spec import Runbook, Trigger

Specificity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class AlertFacts:
    """What triggers and inputs see of an alert."""

    name: str
    severity: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    def to_json(self) -> dict[str, object]:
        """The alert as templates see it, under `alert`."""
        return {
            "name": self.name,
            "severity": self.severity,
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
        }


def fits(trigger: Trigger, alert: AlertFacts) -> bool:
    """Whether every condition of the trigger holds for the alert."""
    return (
        (trigger.alert is None or alert.name in trigger.alert)
        and (trigger.severity is None or alert.severity in trigger.severity)
        and all(alert.labels.get(name) in accepted for name, accepted in trigger.labels.items())
    )


def specificity(trigger: Trigger) -> Specificity:
    """(conditions, conditions on a single value): greater is more specific."""
    conditions = [values for values in (trigger.alert, trigger.severity, *trigger.labels.values()) if values]
    return len(conditions), sum(len(values) == 1 for values in conditions)


def fit(spec: Runbook, alert: AlertFacts) -> Specificity | None:
    """The specificity of the runbook's best trigger that fits; None if none does."""
    return max((specificity(trigger) for trigger in spec.triggers if fits(trigger, alert)), default=None)


def best(specs: Iterable[Runbook], alert: AlertFacts) -> Runbook | None:
    """The runbook that fits best; None if none fits."""
    found = [(fit(spec, alert), spec) for spec in specs]
    ranked = [(-score[0], -score[1], spec.id, spec) for score, spec in found if score is not None]
    return min(ranked, key=lambda item: item[:3])[3] if ranked else None
