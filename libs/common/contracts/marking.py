"""Who may see a thing beside its tenants: the environment it belongs to, and the clearance it takes.

An incident gets its marking when it is opened, from the alert's labels or from the person who opens it. What follows
from it (executions, approvals, the facts of all of them) bears the same: a fact carries it in its headers. Lists and
streams go by it; the leaf of the log leaves it out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

CLEARANCES: Final = ("public", "internal", "confidential", "restricted")
"""From what everyone of the tenant may see to what few may; a clearance is a place in this list."""
MAX_CLEARANCE: Final = len(CLEARANCES) - 1
ENVIRONMENT_LABELS: Final = ("environment", "env")
CLEARANCE_LABEL: Final = "clearance"
ROTATION_LABELS: Final = ("rotation", "team")
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Marking:
    """`environment` is empty where a thing belongs to none; `clearance` is a place in `CLEARANCES`."""

    environment: str = ""
    clearance: int = 0

    def __post_init__(self) -> None:
        """Refuse what no list could go by.

        Raises:
            ValueError: naming the half that is wrong.
        """
        if self.environment and NAME.fullmatch(self.environment) is None:
            raise ValueError("an environment is named by 1 to 64 letters, digits, dots, dashes or underscores")
        if not 0 <= self.clearance <= MAX_CLEARANCE:
            raise ValueError(f"a clearance lies between 0 and {MAX_CLEARANCE}")

    @classmethod
    def of_labels(cls, labels: Mapping[str, str]) -> "Marking":
        """What an alert's labels say. A clearance that nobody knows is taken for the strictest."""
        named = labels.get(CLEARANCE_LABEL, "").strip().lower()
        known = {"": 0} | {name: clearance for clearance, name in enumerate(CLEARANCES)}
        return cls(first_name(labels, ENVIRONMENT_LABELS), known.get(named, MAX_CLEARANCE))


UNMARKED: Final = Marking()


def first_name(labels: Mapping[str, str], names: tuple[str, ...]) -> str:
    """The first of these labels that holds a name; empty where none does."""
    found = (labels.get(name, "").strip() for name in names)
    return next((value for value in found if NAME.fullmatch(value)), "")
