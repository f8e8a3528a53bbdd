"""The live stream shows a fact exactly to whom policy lets view the thing that it is about."""

from __future__ import annotations

import asyncio
from typing import Final
from unittest.mock import sentinel

from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.contracts.choreography import ROWS
from libs.common.contracts.marking import Marking
from libs.common.policy import ACTIONS, ALL, SYSTEM_TENANTS, Principal, Resource, decide
from services.gateway.feed import VIEWS, Feed
from services.gateway.identity import Identity
from services.gateway.principals.proof import Proof
from services.gateway.reader import Event

TENANTS: Final = ("acme", "globex")
ROLES: Final = ("viewer", "operator", "approver", "alerting", "admin", "auditor")
PEOPLE: Final = st.builds(
    Principal,
    actor=st.just("ada"),
    tenants=st.one_of(st.frozensets(st.sampled_from(TENANTS), min_size=1), st.just(SYSTEM_TENANTS)),
    roles=st.frozensets(st.sampled_from(ROLES)),
    environments=st.one_of(st.frozensets(st.sampled_from(("prod", "dev"))), st.just(ALL)),
    clearance=st.integers(0, 3),
    scopes=st.sampled_from((ALL, frozenset({"incident.*"}), frozenset({"execution.view", "approval.view"}))),
)
EVENTS: Final = st.builds(
    Event,
    seq=st.just(1),
    type=st.sampled_from([row.subject for row in ROWS] + ["nobody.knows_it"]),
    time=st.just(""),
    tenants=st.lists(st.sampled_from(TENANTS), min_size=1, unique=True).map(tuple),
    aggregate_id=st.just("a"),
    incident_id=st.just(""),
    execution_id=st.just(""),
    runbook_id=st.just(""),
    actor=st.just("ada"),
    marking=st.builds(Marking, st.sampled_from(("", "prod", "dev")), st.integers(0, 3)),
)
KINDS: Final = {row.subject: row.fact.aggregate for row in ROWS}


@settings(max_examples=150, deadline=None)
@given(PEOPLE, st.sampled_from(TENANTS), EVENTS)
def test_a_fact_is_shown_exactly_if_its_thing_may_be_viewed(principal: Principal, tenant: str, event: Event) -> None:
    asyncio.run(_compared(principal, tenant, event))


async def _compared(principal: Principal, tenant: str, event: Event) -> None:
    feed = Feed(sentinel.tail, Identity(Proof("token", principal, principal), tenant, "key"))
    scopes = await feed._scopes()

    view = VIEWS.get(KINDS.get(event.type, ""))
    allowed = False
    if view is not None and tenant in event.tenants:
        kind = ACTIONS[view].kinds[0]
        marks = event.marking
        thing = Resource(kind, "a", tenant, environment=marks.environment, clearance=marks.clearance)
        allowed = (await decide(principal, view, thing)).allow
    assert feed._visible(event, scopes) == allowed
