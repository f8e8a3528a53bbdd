"""A search reads a bounded number of incidents for one page, and the next page goes on where it stopped."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from libs.common.database import Database
from libs.common.ids import new_id
from libs.common.outbox import Outbox
from libs.common.policy import ALL, RESTRICTED, Scope
from services.incident.openings import opened_by_person
from services.incident.pages import Page, Wanted
from services.incident.sla import Sla
from services.incident.storage import Storage
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack

EVERYTHING = Scope(allow=True, tenants=ALL, environments=ALL, max_clearance=RESTRICTED)
TITLES = ["needle 0", "hay 1", "hay 2", "hay 3", "Needle 4", "hay 5", "hay 6"]


@pytest.fixture
async def database(stack_env: StackEnv) -> AsyncIterator[Database]:
    url = stack_env.service("incident")["RR_POSTGRES_URL"]
    found = Database(url, schema="incident", instance="incident-test", pool_size=1)
    await found.open()
    for title in TITLES:
        await add(found, title)
    await add(found, "needle of others", tenant="acme")
    yield found
    await found.close()


async def add(database: Database, title: str, tenant: str = "default") -> None:
    step, opening = opened_by_person(
        new_id(),
        tenant=tenant,
        actor="pat",
        title=title,
        severity="low",
        description="",
        tags=(),
        sla=Sla(),
        now=datetime.now(UTC),
    )
    async with database.transaction("open") as tx:
        await Storage(tx, Outbox("incident", "incident")).open(step.incident, opening)


async def page(database: Database, wanted: Wanted) -> Page:
    async with database.transaction("page") as tx:
        return await Storage(tx, Outbox("incident", "incident")).page("default", wanted)


async def all_pages(database: Database, *, limit: int, scanned: int) -> list[list[str]]:
    """The titles of each page, to the last."""
    found, after = [], None
    while True:
        part = await page(database, Wanted(seen=EVERYTHING, limit=limit, after=after, text="NEEDLE", scanned=scanned))
        found.append([item["title"] for item in part.items])
        after = part.next
        if after is None:
            return found


async def test_a_page_may_be_short_or_empty_and_nothing_is_missed(database: Database) -> None:
    assert await all_pages(database, limit=5, scanned=100) == [["Needle 4", "needle 0"]]
    assert await all_pages(database, limit=5, scanned=2) == [[], ["Needle 4"], [], ["needle 0"]]
    assert await all_pages(database, limit=1, scanned=100) == [["Needle 4"], ["needle 0"]]


async def test_without_words_a_page_is_full_while_there_is_more(database: Database) -> None:
    first = await page(database, Wanted(seen=EVERYTHING, limit=4, severity="low", scanned=1))
    second = await page(database, Wanted(seen=EVERYTHING, limit=4, severity="low", after=first.next, scanned=1))

    assert [item["title"] for item in (*first.items, *second.items)] == TITLES[::-1]
    assert second.next is None
    assert (await page(database, Wanted(seen=EVERYTHING, limit=4, severity="high"))).items == []
