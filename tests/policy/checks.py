"""The decision table as checks of single evaluations: what goes in, and whether what came out is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from libs.common.policy.actions import ACTIONS
from libs.common.policy.engines.base import EngineFailed
from libs.common.policy.inputs import Document, InputRefused, document
from libs.common.policy.model import Context, Decision, Resource
from libs.common.policy.verdicts import Verdict, seen, verdict
from tests.policy.table import NOW, Case, Listing, Raw, cases, listings, raws


@dataclass(frozen=True)
class Check:
    """One evaluation. `holds` says whether a value is the right one; `asked` is the input."""

    name: str
    package: str
    entrypoint: str
    asked: Document
    holds: Callable[[Any], bool]

    def passes(self, evaluate: Callable[[str, Document], Any]) -> bool:
        """Whether the right value comes out; no value is none."""
        try:
            return self.holds(evaluate(f"{self.package.replace('.', '/')}/{self.entrypoint}", self.asked))
        except EngineFailed:
            return False


def checks() -> list[Check]:
    """One for every row that reaches a policy; what the seam refuses by itself is none."""
    return [*_decisions(), *_lists(), *_inputs()]


def codes(check: Check, value: Any) -> frozenset[str]:
    """The codes of a denial."""
    found = verdict(value, check.package, check.asked)
    return frozenset() if found.allow else frozenset(reason.code for reason in found.reasons)


def _decisions() -> Iterator[Check]:
    for case in cases():
        question = case.question
        known = ACTIONS.get(question.action)
        if known is None or question.resource.kind not in known.kinds:
            continue
        try:
            asked = document(*question, now=NOW)
        except InputRefused:
            continue
        yield Check(case.name, known.package, "decision", asked, _agrees(case, known.package, asked))


def _lists() -> Iterator[Check]:
    for listing in listings():
        known = ACTIONS.get(listing.action)
        if known is not None and known.looks:
            thing = Resource(known.kinds[0], "*", listing.tenant)
            asked = document(listing.actor, listing.action, thing, Context(), now=NOW)
            yield Check(listing.name, known.package, "scope", asked, _shows(listing))


def _inputs() -> Iterator[Check]:
    for raw in raws():
        yield Check(raw.name, raw.package, raw.entrypoint.rpartition("/")[2], raw.document, _says(raw))


def _agrees(case: Case, package: str, asked: Document) -> Callable[[Any], bool]:
    return lambda value: not case.faults(_decision(verdict(value, package, asked)))


def _shows(listing: Listing) -> Callable[[Any], bool]:
    """The policy's part of it: the seam narrows it to the tenant that was asked about."""

    def holds(value: Any) -> bool:
        found = seen(value)
        wide = listing.sees.allow or listing.tenant not in {"*", *listing.actor.tenants}
        return found.allow == listing.sees.allow or wide

    def exact(value: Any) -> bool:
        found, wanted = seen(value), listing.sees
        same = (found.environments, found.max_clearance) == (wanted.environments, wanted.max_clearance)
        return found.allow and same and found.tenants == listing.actor.tenants

    return exact if listing.sees.allow else holds


def _says(raw: Raw) -> Callable[[Any], bool]:
    def holds(value: Any) -> bool:
        found = verdict(value, raw.package, raw.document)
        return found.allow is raw.allow and sorted(reason.code for reason in found.reasons) == sorted(raw.codes)

    return holds


def _decision(found: Verdict) -> Decision:
    return Decision("", found.allow, found.reasons, found.obligations)
