"""The decision table, row by row, on the engine that every installation has."""

from __future__ import annotations

import pytest

from libs.common.policy.actions import ACTIONS
from libs.common.policy.bundle import PolicyBundle, folder
from libs.common.policy.engines.embedded import EmbeddedRego
from libs.common.policy.seam import Seam
from libs.common.policy.verdicts import verdict
from tests.policy.table import NOW, TABLE, Case, Listing, Raw, cases, listings, raws

ENGINE = EmbeddedRego(PolicyBundle.read(folder()))
SEAM = Seam(ENGINE, clock=lambda: NOW)


def test_the_table_is_long_enough_and_says_nothing_twice() -> None:
    names = [case.name for case in cases()]

    assert len(names) >= 300
    assert len(set(names)) == len(names)


def test_the_table_has_a_row_for_every_action() -> None:
    assert set(TABLE["roles"]) == set(ACTIONS)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
async def test_everybody_may_do_what_the_table_says_and_nothing_else(case: Case) -> None:
    assert case.faults(await SEAM.decide(*case.question)) == []


@pytest.mark.parametrize("listing", listings(), ids=lambda listing: listing.name)
async def test_a_list_shows_what_the_table_says(listing: Listing) -> None:
    assert await SEAM.scope(listing.actor, listing.action, listing.tenant) == listing.sees


@pytest.mark.parametrize("raw", raws(), ids=lambda raw: raw.name)
def test_an_input_that_no_caller_makes_is_judged_as_the_table_says(raw: Raw) -> None:
    found = verdict(ENGINE.value(raw.entrypoint, raw.document), raw.package, raw.document)

    assert found.allow is raw.allow
    assert sorted(reason.code for reason in found.reasons) == sorted(raw.codes)
