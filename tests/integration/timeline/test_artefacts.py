"""What events name in the object store, as the log's own table has it."""

import runpy
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from libs.common.contracts.envelope import Ref
from libs.common.contracts.marking import UNMARKED, Marking
from libs.common.errors import NotFound
from libs.common.policy import Principal
from libs.common.rpc import Caller
from libs.common.sight import Sight, narrow
from services.timeline.handlers import Artefact, Artefacts, LogDesk
from services.timeline.keys import KeyFiles
from services.timeline.notary import Notary
from tests.integration.timeline.bench import Bench, stop

pytestmark = pytest.mark.stack
ADA = Principal("ada", frozenset({"default"}), frozenset({"viewer"}))
GUS = Principal("gus", frozenset({"globex"}), frozenset({"admin"}))
ONE, OTHER, SECRET = "a" * 64, "b" * 64, "c" * 64
INCIDENT, EXECUTION = "i-1", "e-1"
_numbers = count(1)


async def asked(bench: Bench, who: Principal, question: Artefact | Artefacts) -> Any:
    """What the desk answers, in a transaction as a question has it."""
    origin = bench.settings.timeline_origin
    notary = Notary(bench.database, KeyFiles("RR_TIMELINE_KEY_FILE", "", name=origin), origin=origin)
    desk = LogDesk(bench.writer(), notary)
    tenant = next(iter(who.tenants))
    caller = Caller(who, tenant, "")
    async with bench.database.transaction("test", snapshot=True) as tx:
        await narrow(tx, Sight.of(who, tenant, changes=False))
        return await (desk.artefact if isinstance(question, Artefact) else desk.artefacts)(tx, caller, question)


async def tell(bench: Bench, *refs: Ref, marking: Marking = UNMARKED) -> None:
    """An event that names these."""
    number = next(_numbers)
    about = {"tenant": "default", "incident_id": INCIDENT, "execution_id": EXECUTION}
    await bench.send([bench.outgoing(number, refs=refs, marking=marking, **about)])


async def logged(bench: Bench, count: int) -> None:
    """So many events stand in the log."""
    writing = bench.start()
    await bench.caught_up(count)
    await stop(writing)


async def test_an_artefact_is_found_by_its_hash_with_the_newest_event_that_names_it(bench: Bench) -> None:
    await tell(bench, Ref("output", ONE, 12), Ref("evidence", OTHER, 3))
    await tell(bench)
    await tell(bench, Ref("output", ONE, 12))
    await logged(bench, 3)

    found = await asked(bench, ADA, Artefact(sha256=ONE))

    assert (found["kind"], found["length"], found["index"], found["type"]) == ("output", 12, 2, bench.type)
    assert (found["incident_id"], found["execution_id"], found["deleted_at"]) == (INCIDENT, EXECUTION, None)


async def test_nobody_learns_of_another_tenants_or_of_what_they_may_not_view(bench: Bench) -> None:
    await tell(bench, Ref("output", ONE, 12))
    await tell(bench, Ref("output", SECRET, 12), marking=Marking("", 3))
    await logged(bench, 2)

    for who, sha256 in ((GUS, ONE), (ADA, SECRET), (ADA, OTHER)):
        with pytest.raises(NotFound):
            await asked(bench, who, Artefact(sha256=sha256))
    assert (await asked(bench, GUS, Artefacts(incident_id=INCIDENT)))["artefacts"] == []
    seen = (await asked(bench, ADA, Artefacts(incident_id=INCIDENT)))["artefacts"]
    assert [item["sha256"] for item in seen] == [ONE]
    assert (await asked(bench, ADA, Artefacts()))["artefacts"] == seen
    assert (await asked(bench, GUS, Artefacts()))["artefacts"] == []


async def test_what_an_incidents_events_name_is_listed_page_by_page(bench: Bench) -> None:
    for number in range(5):
        await tell(bench, *(Ref("output", f"{number:x}{kind:x}" * 32, number) for kind in range(number)))
    await logged(bench, 5)

    pages, after = [], -1
    while (page := await asked(bench, ADA, Artefacts(execution_id=EXECUTION, after=after, limit=3)))["artefacts"]:
        pages.append([item["index"] for item in page["artefacts"]])
        after = page["next"]

    assert pages == [[1, 2, 2], [3, 3, 3], [4, 4, 4, 4]]


async def test_the_service_may_say_that_one_was_deleted_and_change_nothing_else(bench: Bench) -> None:
    await tell(bench, Ref("output", ONE, 12))
    await logged(bench, 1)
    pool = bench.database.pool

    await pool.execute("UPDATE artefact SET deleted_at = clock_timestamp()")
    for statement in ("DELETE FROM artefact", "UPDATE artefact SET sha256 = sha256", "UPDATE artefact SET length = 1"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute(statement)
    assert (await asked(bench, ADA, Artefact(sha256=ONE)))["deleted_at"] is not None


async def test_what_the_log_named_before_is_read_out_of_its_leaves(
    bench: Bench, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await tell(bench, Ref("output", ONE, 12), Ref("evidence", OTHER, 3))
    await tell(bench)
    await logged(bench, 2)
    before = await admin.fetch("SELECT * FROM artefact ORDER BY sha256")
    await admin.execute("DELETE FROM artefact")

    await admin.execute(from_before())

    assert await admin.fetch("SELECT * FROM artefact ORDER BY sha256") == before
    assert len(before) == 2


def from_before() -> str:
    """The statement of the migration."""
    versions = Path(__file__).parents[3] / "services" / "timeline" / "migrations" / "versions"
    statement: str = runpy.run_path(str(versions / "0005_artefacts.py"))["_FROM_BEFORE"]
    return statement
