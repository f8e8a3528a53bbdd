"""Lists of events: what any combination of conditions finds, page by page, and which index finds it."""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
import pytest
from msgspec.structs import replace

from libs.common.policy import ALL, RESTRICTED, Scope
from libs.common.rpc import MAX_REPLY_BYTES
from libs.common.sight import Sight, narrow
from services.timeline import pages
from services.timeline.pages import Wanted
from services.timeline.words import query
from tests.integration.timeline.bench import Bench
from tests.integration.timeline.test_entries import DAY, NOVEMBER, append, received

pytestmark = pytest.mark.stack

EVERYTHING: Final = Scope(allow=True, tenants=ALL, environments=ALL, max_clearance=RESTRICTED)
START: Final = datetime.fromtimestamp(NOVEMBER / 1e9, UTC)
TYPES: Final = (
    "incident.created",
    "runbook.started",
    "runbook.step_completed",
    "runbook.step_failed",
    "approval.asked",
)
WORDS: Final = ("restarted", "failed", "checkout", "slow")
Event = dict[str, Any]


async def filled(bench: Bench, count: int) -> list[Event]:
    """A log of events that differ in everything."""
    chance, ledger = random.Random(7), await bench.ledger()
    known: list[Event] = [
        {
            "index": seq - 1,
            "type": chance.choice(TYPES),
            "actor": chance.choice(("ada", "bob", "svc_executor")),
            "tenant": chance.choice(("t_a1", "t_a1", "t_b2")),
            "incident_id": chance.choice(("", "i-1", "i-2")),
            "execution_id": chance.choice(("", "e-1", "e-2")),
            "runbook_id": chance.choice(("", "r-1")),
            "text": chance.sample(WORDS, 2),
            "stored_at": START + timedelta(hours=seq),
        }
        for seq in range(1, count + 1)
    ]
    for start in range(0, count, 100):
        await append(ledger, *(_message(bench, event) for event in known[start : start + 100]))
    return known


def _message(bench: Bench, event: Event) -> Any:
    seq = event["index"] + 1
    told = {name: event[name] for name in ("type", "actor", "tenant", "incident_id", "execution_id", "runbook_id")}
    payload = orjson.dumps({"message": " ".join(event["text"]), "number": seq})
    return received(seq, payload, ts_ns=NOVEMBER + seq * DAY // 24, bench=bench, **told)


async def whole(bench: Bench, wanted: Wanted, *, most: int = 10_000) -> list[Any]:
    """Page after page until one is empty."""
    found: list[Any] = []
    async with bench.database.transaction("list", snapshot=True) as tx:
        await narrow(tx, Sight(wanted.tenant))
        while page := await pages.entries(tx, wanted):
            found += page
            assert len(found) <= most
            wanted = replace(wanted, after=page[-1]["index"])
    return found


CONDITIONS: Final[dict[str, tuple[Any, ...]]] = {
    "incident_id": ("i-1", "nothing"),
    "execution_id": ("e-2",),
    "runbook_id": ("r-1",),
    "actor": ("ada", "svc_executor"),
    "type": ("incident.created", "runbook.*", "runbook.step_*", "nothing.*", "*"),
    "since": (START + timedelta(hours=100), START + timedelta(days=300)),
    "until": (START + timedelta(hours=200),),
    "words": ("restarted", "fail* CHECKOUT", "nowhere"),
}


def fits(event: Event, name: str, value: Any) -> bool:
    match name:
        case "type" if value.endswith("*"):
            return bool(event["type"].startswith(value[:-1]))
        case "since":
            return bool(event["stored_at"] >= value)
        case "until":
            return bool(event["stored_at"] < value)
        case "words":
            return all(
                any(word.startswith(part.strip("*").lower()) for word in event["text"]) for part in value.split()
            )
        case _:
            return bool(event[name] == value)


async def test_any_combination_of_conditions_finds_what_fits_all_of_them_both_ways_page_by_page(bench: Bench) -> None:
    known, chance = await filled(bench, 300), random.Random(11)
    alone = [{name: value} for name, values in CONDITIONS.items() for value in values]
    mixed = [
        {name: chance.choice(CONDITIONS[name]) for name in chance.sample(sorted(CONDITIONS), chance.randint(0, 4))}
        for _ in range(60)
    ]

    for asked in (*alone, *mixed):
        expected = [
            event["index"]
            for event in known
            if event["tenant"] == "t_a1" and all(fits(event, name, value) for name, value in asked.items())
        ]
        for newest in (False, True):
            given = asked | ({"words": query(asked["words"])} if "words" in asked else {})
            wanted = Wanted(tenant="t_a1", scope=EVERYTHING, newest=newest, limit=chance.choice((7, 50)), **given)
            found = [entry["index"] for entry in await whole(bench, wanted)]
            assert found == (expected[::-1] if newest else expected), asked


async def test_an_entry_says_what_it_is_about_and_a_payload_that_was_redacted_is_missing(
    bench: Bench, admin: Any
) -> None:
    await filled(bench, 3)
    await admin.execute("DELETE FROM payload WHERE index = 0")
    first = await admin.fetchval("SELECT tenant_id FROM entry WHERE index = 0")

    found = await whole(bench, Wanted(tenant=first, scope=EVERYTHING))

    assert (found[0]["payload"], found[0]["payload_length"]) == (None, None)
    assert found[0]["stored_at"] == "2026-11-18T12:06:40.000000Z"
    assert found[0]["time"] == "2026-03-01T09:59:50.000000Z"
    assert {"incident_id", "execution_id", "runbook_id", "environment", "clearance", "traceparent"} <= found[0].keys()


async def test_pages_fit_into_a_reply_whatever_their_events_hold(bench: Bench) -> None:
    ledger = await bench.ledger()
    long = "\\" * 300
    about: dict[str, Any] = {"incident_id": long, "execution_id": long, "runbook_id": long, "actor": long}
    sizes = (200_000, 300_000, 10, 500_000, 10, *(0 for _ in range(600)))
    for start in range(0, len(sizes), 100):
        await append(
            ledger,
            *(
                received(seq, orjson.dumps("x" * size), bench=bench, **about)
                for seq, size in list(enumerate(sizes, 1))[start : start + 100]
            ),
        )

    for newest in (False, True):
        found, wanted = [], Wanted(tenant="t_a1", scope=EVERYTHING, newest=newest, limit=500)
        async with bench.database.transaction("list", snapshot=True) as tx:
            while page := await pages.entries(tx, wanted):
                assert len(orjson.dumps({"ok": {"entries": page, "next": 0}})) < MAX_REPLY_BYTES
                found += page
                wanted = replace(wanted, after=page[-1]["index"])
        assert sorted(entry["index"] for entry in found) == list(range(len(sizes)))
        assert [entry["index"] for entry in found if entry["payload"] is None] == [3]


MANY: Final = 200_000
_FILL: Final = """
INSERT INTO entry
SELECT n, 'id-' || n, s, s,
  CASE WHEN n % 5000 = 0 THEN 'approval.expired' ELSE (ARRAY['incident.created', 'runbook.started',
    'runbook.step_completed', 'runbook.completed'])[1 + n % 4] END,
  CASE WHEN n % 1000 = 0 THEN 'ada' ELSE 'svc_executor' END, CASE WHEN n % 10 = 0 THEN 'others' ELSE 'default' END,
  'incident-' || n / 20, 'execution-' || n / 10, 'runbook-' || n % 300, (ARRAY['', 'prod', 'dev'])[1 + n % 3], n % 3,
  '', '', array_to_tsvector(ARRAY['step', 'succeeded', 'w' || n % 10000])
FROM (SELECT n, now() - interval '60 days' + n * interval '25.9 seconds' AS s FROM generate_series(1, $1) AS n) AS made
"""
NOW: Final = datetime.now(UTC)
PLANS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("ix_entry_tenant", {}),
    ("ix_entry_incident", {"incident_id": "incident-77"}),
    ("ix_entry_execution", {"execution_id": "execution-77"}),
    ("ix_entry_runbook", {"runbook_id": "runbook-77"}),
    ("ix_entry_actor", {"actor": "ada"}),
    ("ix_entry_type", {"type": "runbook.started"}),
    ("ix_entry_type", {"type": "approval.*"}),
    ("ix_entry_stored", {"since": NOW - timedelta(days=40), "until": NOW - timedelta(days=40, minutes=-30)}),
    ("ix_entry_words", {"words": "'succeeded' & 'w77'"}),
    ("ix_entry_words", {"words": "'w77'", "type": "runbook.*", "since": NOW - timedelta(days=70)}),
    ("ix_entry_incident", {"incident_id": "incident-77", "type": "runbook.*", "words": "'step'"}),
    ("ix_entry_actor", {"actor": "ada", "since": NOW - timedelta(days=70), "type": "runbook.*"}),
)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


async def test_each_condition_has_an_index_that_finds_it_among_200_000_events(bench: Bench, admin: Any) -> None:
    await admin.execute("SELECT make_entry_partitions((now() - interval '60 days')::date, 3)")
    await admin.execute(_FILL, MANY)
    await admin.execute("VACUUM ANALYZE entry")
    index_of = await _names(admin)
    dev = Scope(allow=True, tenants=ALL, environments=frozenset({"dev"}), max_clearance=1)

    for index, asked in PLANS:
        for newest, after in ((False, None), (True, None), (False, 1000), (True, MANY - 1000)):
            wanted = Wanted(tenant="default", scope=dev, newest=newest, after=after, **asked)
            plan = await _plan(bench, wanted)
            used = {index_of[node["Index Name"]] for node in nodes(plan) if node.get("Index Name") in index_of}
            read_whole = [node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"]
            assert index in used, (asked, newest, after, used)
            assert set(read_whole) <= _empty(), (asked, newest, read_whole)
            assert _looked_at(plan) < MANY / 20, (asked, newest, after)


def _empty() -> set[str]:
    """Partitions of months that have no events yet; and the tables beside, which this log leaves empty."""
    coming = [(NOW.replace(day=1) + timedelta(days=32 * number)) for number in range(1, 4)]
    return {f"entry_{month:%Y_%m}" for month in coming} | {"entry_default", "leaf", "payload"}


def _looked_at(plan: dict[str, Any]) -> float:
    read: Callable[[dict[str, Any]], float] = lambda node: (  # noqa: E731
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0))
        * node["Actual Loops"]
    )
    return sum(read(node) for node in nodes(plan) if node.get("Relation Name", "").startswith("entry"))


async def _plan(bench: Bench, wanted: Wanted) -> dict[str, Any]:
    text, values = pages.statement(wanted)
    async with bench.database.transaction("plan") as tx:
        await narrow(tx, Sight(wanted.tenant, "dev", 1))
        await tx.execute(pages._PLAN_EACH)
        raw = await tx.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", *values)
    plan: dict[str, Any] = orjson.loads(raw)[0]["Plan"]
    return plan


async def _names(admin: Any) -> dict[str, str]:
    rows = await admin.fetch(
        "SELECT inhrelid::regclass::text AS part, inhparent::regclass::text AS whole FROM pg_inherits"
        " WHERE inhparent::regclass::text LIKE 'ix_entry_%'"
    )
    return {row["part"]: row["whole"] for row in rows}
