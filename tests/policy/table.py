"""The decision table: who may do what, as data, without a word of Rego. Every engine has to agree with it.

`roles` is a row an action: the actors that may do it to a thing of their tenant, all others being denied. `cases` vary
actors, things and circumstances; `scopes` are lists; `raw` are inputs that no caller of the seam can make.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from libs.common.policy.actions import ACTIONS
from libs.common.policy.model import Approval, Binding, Context, Decision, Principal, Resource, Scope
from libs.common.policy.seam import Question

NOW: Final = 1000
TABLE: Final[Mapping[str, Any]] = json.loads((Path(__file__).parent / "table.json").read_text())


@dataclass(frozen=True)
class Case:
    """One row: a question, and all that its answer has to say."""

    name: str
    question: Question
    allow: bool
    codes: tuple[str, ...]
    exact: bool = True
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    obligations: list[dict[str, Any]] | None = None

    @property
    def package(self) -> str:
        known = ACTIONS.get(self.question.action)
        return known.package if known else ""

    def faults(self, found: Decision) -> list[str]:
        """In what an answer is not the one that is expected."""
        codes = sorted(reason.code for reason in found.reasons)
        agrees = codes == sorted(self.codes) if self.exact else set(self.codes) <= set(codes)
        wrong = [] if (found.allow, agrees) == (self.allow, True) else [f"{found.allow} {codes}, not {self.allow}"]
        params = {reason.code: dict(reason.params) for reason in found.reasons}
        wrong += [f"{code}: {params.get(code)}" for code, wanted in self.params.items() if params.get(code) != wanted]
        due = [obligation.to_wire() for obligation in found.obligations]
        if self.obligations is not None and due != self.obligations:
            wrong.append(f"obligations {due}")
        return wrong


@dataclass(frozen=True)
class Listing:
    """One list: who asks for which tenant's things, and what they see of them."""

    name: str
    actor: Principal
    action: str
    tenant: str
    sees: Scope


@dataclass(frozen=True)
class Raw:
    """One input as it stands, at one entrypoint."""

    name: str
    entrypoint: str
    document: Mapping[str, Any]
    allow: bool
    codes: tuple[str, ...]

    @property
    def package(self) -> str:
        return self.entrypoint.rpartition("/")[0].replace("/", ".")


def cases() -> list[Case]:
    """Every question, the rows of `roles` first."""
    return [*_matrix(), *(_case(row) for row in TABLE["cases"])]


def listings() -> list[Listing]:
    """Every list."""
    return [
        Listing(row["name"], actor(row["actor"]), row["action"], row["tenant"], _scope(row["sees"]))
        for row in TABLE["scopes"]
    ]


def raws() -> list[Raw]:
    """Every input that is given as it stands."""
    return [
        Raw(row["name"], row["entrypoint"], row["input"], row["allow"], tuple(row["codes"])) for row in TABLE["raw"]
    ]


def actor(found: str | Mapping[str, Any]) -> Principal:
    """An actor of the table, by name or varied."""
    name, more = (found, {}) if isinstance(found, str) else (found["as"], {k: v for k, v in found.items() if k != "as"})
    return Principal.from_wire({"actor": name, "tenants": ["acme"], **TABLE["actors"][name], **more})


def thing(action: str, more: Mapping[str, Any]) -> Resource:
    """What an action is asked about, unless it is varied: a thing of the tenant `acme`."""
    known = ACTIONS.get(action)
    found = {"kind": known.kinds[0] if known else "incident", "id": "t-1", "tenant": "acme", **more}
    sets = {name: frozenset(found[name]) for name in ("rotations", "groups") if name in found}
    return Resource(**{**found, **sets})


def context(more: Mapping[str, Any]) -> Context:
    """Circumstances; empty unless they are told."""
    binding = Binding(**more["binding"]) if more.get("binding") else None
    approvals = tuple(Approval(**approval) for approval in more.get("approvals", ()))
    return Context(**{**more, "binding": binding, "approvals": approvals})


def _matrix() -> Iterator[Case]:
    for action, allowed in TABLE["roles"].items():
        for name in TABLE["actors"]:
            question = Question(actor(name), action, thing(action, {}), Context(rationale_present=True))
            code = "role" if name not in allowed or name != "break_glass" else "break_glass"
            yield Case(f"{name} {action}", question, name in allowed, (code,), exact=name in allowed)


def _case(row: Mapping[str, Any]) -> Case:
    action = row["action"]
    question = Question(
        actor(row["actor"]), action, thing(action, row.get("thing", {})), context(row.get("context", {}))
    )
    more = {name: row[name] for name in ("params", "obligations") if name in row}
    return Case(row["name"], question, row["allow"], tuple(row["codes"]), **more)


def _scope(sees: Mapping[str, Any] | None) -> Scope:
    if sees is None:
        return Scope(allow=False)
    tenants, environments = frozenset(sees["tenants"]), frozenset(sees["environments"])
    return Scope(allow=True, tenants=tenants, environments=environments, max_clearance=sees["max_clearance"])
