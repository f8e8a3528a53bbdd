"""What is searched of each event: written with it, by whichever version wrote it, into the month it was stored in."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import asyncpg
import orjson
import pytest

from libs.common.contracts.marking import Marking
from libs.common.sight import Sight, narrow
from libs.tlog.errors import BrokenLog
from libs.tlog.shape import EVENT
from services.timeline import intake, storage
from services.timeline.ledger import Ledger
from services.timeline.model import Received
from services.timeline.partitions import AHEAD, Partitions
from tests.integration.timeline.bench import Bench

pytestmark = pytest.mark.stack

NOVEMBER: Final = 1_795_000_000_000_000_000
DAY: Final = 86_400_000_000_000
VERSIONS: Final = Path(storage.__file__).parent / "migrations" / "versions"
AS_BEFORE: Final = """
INSERT INTO payload (index, event_id, payload, salt, type, time, actor, tenant_id, incident_id, execution_id,
  runbook_id, dataschema, traceparent, environment, clearance)
SELECT index, event_id, $2, '\\x00', type, time, actor, tenant_id, incident_id, execution_id, runbook_id, dataschema,
  traceparent, environment, clearance FROM entry WHERE index = $1
"""
PAYLOADS: Final = (
    b'{"title":"Storage LATENCY high","labels":{"host":"db-1"},"list":["two words",["deep"]],"n":7}',
    orjson.dumps({"id": "0192f0c1-0000-7000-8000-00000000000a", "sha": "ab" * 32, "word": "x" * 100}),
    '{"title":"Störung in 東京, it\'s \\"quoted\\"\\n\\u0001new line"}'.encode(),
    b"not JSON",
    b'{"nul":"a\\u0000b"}',
    b'"text"',
    b"\xff\xfe",
)


def received(seq: int, payload: bytes = b"{}", *, ts_ns: int = NOVEMBER, bench: Bench, **changed: Any) -> Received:
    fact = bench.fact(seq, **changed)
    return Received(seq, fact.type, ts_ns, fact.to_headers(), payload)


async def append(ledger: Ledger, *messages: Received) -> None:
    await ledger.append([intake.arrival(message, stream=ledger.state.stream, epoch=1) for message in messages])


async def entries(connection: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in await connection.fetch("SELECT *, words::text AS words FROM entry ORDER BY index")]


def revision(name: str) -> ModuleType:
    (path,) = VERSIONS.glob(f"{name}_*.py")
    spec = importlib.util.spec_from_file_location(f"revision_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_every_event_has_an_entry_and_nothing_else_has(bench: Bench) -> None:
    ledger = await bench.ledger()
    reject = Received(3, bench.type, NOVEMBER, {}, b"no envelope")

    await append(
        ledger,
        received(1, b'{"title":"disk full"}', bench=bench, runbook_id="r-1"),
        received(2, bench=bench, incident_id="", execution_id=""),
        reject,
        received(4, bench=bench, id=bench.fact(1).id),
        received(5, bench=bench),
    )

    found = await entries(bench.database.pool)
    assert await bench.kinds() == [EVENT, EVENT, "reject", "conflict", EVENT]
    assert [entry["index"] for entry in found] == [0, 1, 4]
    assert (found[0]["words"], found[0]["runbook_id"], found[1]["incident_id"]) == ("'disk' 'full'", "r-1", None)
    assert {entry["stored_at"].isoformat() for entry in found} == {"2026-11-18T11:06:40+00:00"}


async def test_a_batch_without_events_and_one_with_empty_texts_are_appended(bench: Bench) -> None:
    ledger = await bench.ledger()

    await append(ledger, Received(1, bench.type, NOVEMBER, {}, b""))
    await append(ledger, received(2, b"", bench=bench, incident_id="", execution_id=""))

    (entry,) = await entries(bench.database.pool)
    assert (entry["index"], entry["words"], entry["environment"], entry["traceparent"]) == (1, "", "", "")


async def test_an_older_version_that_still_writes_gets_the_same_entries_from_the_trigger(
    bench: Bench, admin: Any
) -> None:
    ledger = await bench.ledger()
    await append(ledger, *(received(seq, payload, bench=bench) for seq, payload in enumerate(PAYLOADS, 1)))
    own = await entries(bench.database.pool)

    await admin.execute("DELETE FROM payload")
    async with bench.database.transaction("as before") as tx:
        for index, payload in enumerate(PAYLOADS):
            await tx.execute(AS_BEFORE, index, payload)

    both = await entries(bench.database.pool)
    assert [entry for pair in zip(own, own, strict=True) for entry in pair] == both


async def test_what_was_logged_before_there_were_entries_is_filled_in(bench: Bench, admin: Any) -> None:
    ledger = await bench.ledger()
    early = NOVEMBER - 200 * DAY
    await append(ledger, *(received(seq, one, bench=bench, ts_ns=early) for seq, one in enumerate(PAYLOADS, 1)))
    await append(ledger, received(20, bench=bench))
    own = await entries(bench.database.pool)
    await admin.execute("DELETE FROM entry WHERE index < $1", len(PAYLOADS))
    module = revision("0003")

    await admin.execute(module._PARTITIONS)
    await admin.execute(module._FILL)
    await admin.execute(module._FILL)

    assert await entries(bench.database.pool) == own
    places = await admin.fetch("SELECT DISTINCT tableoid::regclass::text AS place FROM entry ORDER BY 1")
    assert [row["place"] for row in places] == ["entry_2026_05", "entry_2026_11"]


async def test_the_service_adds_entries_and_cannot_change_them(bench: Bench) -> None:
    await append(await bench.ledger(), received(1, bench=bench))

    for statement in (
        "UPDATE entry SET actor = 'nobody'",
        "DELETE FROM entry",
        "TRUNCATE entry",
        "SELECT FROM entry_default",
        "CREATE TABLE entry_2030_01 PARTITION OF entry FOR VALUES FROM ('2030-01-01') TO ('2030-02-01')",
        "ALTER TABLE entry DISABLE ROW LEVEL SECURITY",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await bench.database.pool.execute(statement)


async def test_the_coming_months_are_made_ahead_and_once(bench: Bench, admin: Any) -> None:
    made = await admin.fetchval("SELECT count(*) FROM pg_inherits WHERE inhparent = 'entry'::regclass")
    assert made == 1 + 1 + AHEAD
    await admin.execute("DROP TABLE " + ", ".join(await months(admin)))
    partitions = Partitions(bench.database, seconds=60)

    assert await partitions.make() == 1 + AHEAD
    assert await partitions.make() == 0


async def test_an_event_of_a_month_that_nobody_made_is_stored_and_moves_when_the_month_is_made(
    bench: Bench, admin: Any
) -> None:
    await admin.execute("DROP TABLE " + ", ".join(await months(admin)))
    ledger = await bench.ledger()
    now = int(await admin.fetchval("SELECT extract(epoch FROM now())")) * 1_000_000_000
    await append(ledger, received(1, bench=bench, ts_ns=now), received(2, bench=bench, ts_ns=now - 400 * DAY))
    before = await entries(bench.database.pool)

    assert await Partitions(bench.database, seconds=60).make() == 1 + AHEAD

    assert await entries(bench.database.pool) == before
    places = await admin.fetch("SELECT tableoid::regclass::text AS place FROM entry ORDER BY index")
    assert [row["place"] == "entry_default" for row in places] == [False, True]


async def test_months_are_not_made_over_the_heads_of_those_who_read_but_nothing_fails(bench: Bench, admin: Any) -> None:
    await admin.execute("DROP TABLE " + ", ".join(await months(admin)))

    async with bench.database.transaction("reads for long") as tx:
        await tx.fetch("SELECT FROM entry_seen")
        assert await Partitions(bench.database, seconds=60).make() == 0

    assert await Partitions(bench.database, seconds=60).make() == 1 + AHEAD


async def months(admin: Any) -> list[str]:
    rows = await admin.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
        " WHERE inhparent = 'entry'::regclass AND inhrelid <> 'entry_default'::regclass"
    )
    return [row["name"] for row in rows]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entry SET actor = 'somebody-else' WHERE index = 1",
        "UPDATE entry SET incident_id = NULL WHERE index = 1",
        "UPDATE entry SET stored_at = stored_at + interval '1 second' WHERE index = 1",
        "DELETE FROM entry WHERE index = 1",
        "UPDATE entry SET type = 'incident.closed' WHERE index = 1",
        "INSERT INTO entry SELECT * FROM entry WHERE index = 1",
        "UPDATE entry SET index = 7 WHERE index = 2",
    ],
)
async def test_an_audit_finds_out_that_lists_show_something_else_than_the_log(
    bench: Bench, admin: Any, change: str
) -> None:
    ledger = await bench.ledger()
    await append(ledger, *(received(seq, bench=bench, runbook_id="r-1") for seq in range(1, 4)))
    await bench.verified()

    await admin.execute(change)

    with pytest.raises(BrokenLog, match="lists show another event"):
        await bench.verified()


async def test_the_view_shows_what_the_tables_own_rule_does_and_nothing_to_who_says_nothing(bench: Bench) -> None:
    ledger = await bench.ledger()
    markings = [Marking(environment, clearance) for environment in ("", "prod", "dev") for clearance in range(4)]
    tenants = [tenant for tenant in ("acme", "globex") for _ in markings]
    await append(
        ledger,
        *(
            received(seq, bench=bench, tenant=tenant, marking=marking)
            for seq, (tenant, marking) in enumerate(zip(tenants, markings * 2, strict=True), 1)
        ),
    )

    sights = [
        Sight(tenant, environments, clearance)
        for tenant in ("*", "acme", "", "nobody")
        for environments in ("*", "", "prod", "dev,prod")
        for clearance in range(4)
    ]
    for sight in sights:
        async with bench.database.transaction("look") as tx:
            await narrow(tx, sight)
            seen = [row["index"] for row in await tx.fetch("SELECT index FROM entry_seen ORDER BY index")]
            ruled = [row["index"] for row in await tx.fetch("SELECT index FROM entry ORDER BY index")]
        assert seen == ruled, sight
    async with bench.database.transaction("silent") as tx:
        for name in ("tenant", "environments", "clearance"):
            await tx.execute("SELECT set_config($1, '', true)", f"rr.{name}")
        assert await tx.fetch("SELECT FROM entry_seen") == []
