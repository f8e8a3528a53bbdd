"""What an export holds: for whoever may see all of it everything, for everybody else what lists show them."""

from base64 import b64decode
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from libs.common.contracts.marking import Marking
from libs.common.errors import Denied, InvalidInput, NotFound
from libs.common.policy import RESTRICTED, Principal
from libs.common.rpc import Caller
from libs.common.sight import Sight, narrow
from libs.tlog.export import Exported, verify_export
from libs.tlog.exportlines import Shown
from libs.tlog.tally import Tally
from services.timeline import control, copies
from services.timeline.exporting import Export, ExportDesk, ExportPart
from services.timeline.handlers import ListEntries, LogDesk
from tests.integration.timeline.bench import Bench
from tests.integration.timeline.signed import NAME, OLD, Office

pytestmark = pytest.mark.stack

SECRET = "canary-of-the-other-tenant"
LONG = orjson.dumps({"text": "x" * 700_000})
CONTROLS = ({"type": "bundle_sealed", "incident": SECRET}, {"type": "heartbeat", "at": "2026-03-01T10:00:00Z"})
AUDITOR = Principal("usr_audit", frozenset({"*"}), frozenset({"auditor"}), clearance=RESTRICTED)
READERS = {
    "a viewer": (Principal("v", frozenset({"t_a1"}), frozenset({"viewer"})), "t_a1"),
    "an auditor of one tenant": (
        Principal("c", frozenset({"t_a1"}), frozenset({"auditor"}), clearance=RESTRICTED), "t_a1",
    ),
    "one environment's": (
        Principal("e", frozenset({"t_a1"}), frozenset({"viewer"}), environments=frozenset({"prod"})), "t_a1",
    ),
    "the other tenant": (Principal("o", frozenset({"t_b2"}), frozenset({"admin"})), "t_b2"),
    "every tenant's viewer": (Principal("w", frozenset({"*"}), frozenset({"viewer"})), "t_b2"),
    "an auditor of one environment": (
        Principal("p", frozenset({"*"}), frozenset({"auditor"}), environments=frozenset({"lab"}), clearance=RESTRICTED),
        "t_a1",
    ),
}  # fmt: skip


class Reader:
    """Somebody who asks the service, narrowed as it narrows."""

    def __init__(self, bench: Bench, principal: Principal, tenant: str) -> None:
        self._bench = bench
        self._caller = Caller(principal, tenant, "", "")
        self._desk = ExportDesk(NAME)
        self._lists = LogDesk(Any, Any)  # type: ignore[arg-type] -- lists ask neither

    async def _ask(self, ask: Any, question: Any) -> Any:
        async with self._bench.database.transaction("test", snapshot=True) as tx:
            await narrow(tx, Sight.of(self._caller.principal, self._caller.tenant, changes=False))
            return await ask(tx, self._caller, question)

    async def export(self, **asked: Any) -> bytes:
        said = await self._ask(self._desk.export, Export(**asked))
        text, first, offset = said["head"].encode(), said["first"], 0
        while first < said["end"]:
            question = ExportPart(first=first, offset=offset, end=said["end"], whole=said["whole"])
            found = await self._ask(self._desk.export_part, question)
            assert len(found["part"]) < 500_000
            text, first, offset = text + b64decode(found["part"]), found["next"], found["offset"]
        return bytes(text + said["closing"].encode())

    async def listed(self) -> dict[int, bool]:
        """What lists show: indexes of events, and whether with a payload."""
        found: dict[int, bool] = {}
        after: int | None = -1
        while after is not None:
            page = await self._ask(self._lists.list_entries, ListEntries(after=after))
            found |= {entry["index"]: entry["payload_length"] is not None for entry in page["entries"]}
            after = page["next"]
        return found


def leaves(text: bytes) -> dict[int, Shown]:
    return {shown.index: shown for shown in Tally().read([text])}


def verified(*texts: bytes) -> Exported:
    return verify_export([(str(number), [text]) for number, text in enumerate(texts)], [OLD.verifier])


@pytest.fixture
async def logged(bench: Bench, tmp_path: Path) -> Bench:
    """Two tenants' events with every kind of marking and outcome, and what the log says of itself; signed twice."""
    office = Office(bench, tmp_path)
    async with office.open():
        for number in range(1, 41):
            tenant = "t_a1" if number % 2 else "t_b2"
            marking = Marking(("", "prod", "lab")[number % 3], number % 4)
            secret = b'{"title":"%b"}' % (b"mine" if number % 2 else SECRET.encode())
            more = {"actor": SECRET} if tenant == "t_b2" else {}
            payload = LONG if number == 5 else secret
            await bench.send([bench.outgoing(number, payload=payload, tenant=tenant, marking=marking, **more)])
        await bench.send_raw(SECRET.encode())
        await office.published(41)
        async with bench.database.transaction("test") as tx:
            for body in CONTROLS:
                await control.ask(tx, NAME, body)
        await bench.send([bench.outgoing(2, payload=b'{"title":"%b"}' % SECRET.encode(), tenant="t_b2", actor=SECRET)])
        await office.published(44)
    return bench


async def test_the_whole_log_is_exported_and_verifies(logged: Bench) -> None:
    reader = Reader(logged, AUDITOR, "t_a1")

    text = await reader.export()

    found = verified(text)
    assert (found.signed.checkpoint.size, found.withheld, found.bare) == (44, 0, 0)
    assert found.kinds == {"event": 40, "reject": 1, "control": 2, "duplicate": 1}
    shown = leaves(text)
    assert shown[4].payload == LONG
    stored = await logged.rows()
    assert [shown[row["index"]].leaf for row in stored] == [row["leaf"] for row in stored]


async def test_an_export_shows_what_lists_show_and_of_everything_else_a_hash(logged: Bench) -> None:
    for name, (principal, tenant) in READERS.items():
        reader = Reader(logged, principal, tenant)

        text = await reader.export()

        found, listed, shown = verified(text), await reader.listed(), leaves(text)
        events = {index for index, one in shown.items() if one.leaf and b'"kind":"event"' in one.leaf}
        others = [one.leaf for index, one in shown.items() if one.leaf is not None and index not in events]
        assert events == set(listed), name
        assert {index for index in events if shown[index].payload is not None} == {
            i for i, has in listed.items() if has
        }
        assert [b"heartbeat" in leaf for leaf in others] == [True], name
        for row in await logged.rows():
            one = shown[row["index"]]
            assert one.leaf == row["leaf"] if one.leaf is not None else one.event_hash == row["event_hash"]
        lines = text.splitlines(keepends=True)[1:-1]
        hidden = {len(line) - len(str(n)) for n, line in enumerate(lines) if shown[n].leaf is None}
        assert (hidden, found.withheld) == ({87}, 44 - len(events) - 1), name  # a line's length tells its index alone
        assert (SECRET.encode() in text) == (tenant == "t_b2"), name


async def test_an_export_is_gone_on_with_anywhere_and_ends_with_a_checkpoint(logged: Bench) -> None:
    reader = Reader(logged, AUDITOR, "t_a1")
    whole = await reader.export()

    older = await reader.export(to=2)
    size = verified(older).signed.checkpoint.size

    assert 2 <= size < 44
    assert verified(older, await reader.export(first=size)).kinds == verified(whole).kinds
    for first in (1, 7, 32, 44):
        assert verified(await reader.export(first=first)).first == first
    with pytest.raises(NotFound):
        await reader.export(to=45)
    with pytest.raises(InvalidInput):
        await reader.export(first=45)


async def test_since_begins_with_the_first_event_that_is_shown_of_then(logged: Bench) -> None:
    stored = await logged.database.pool.fetch("SELECT index, stored_at FROM entry ORDER BY index")
    moment: datetime = stored[10]["stored_at"]

    assert verified(await Reader(logged, AUDITOR, "t_a1").export(since=moment)).first == stored[10]["index"]
    first = verified(await Reader(logged, *READERS["the other tenant"]).export(since=moment)).first
    assert first in {11, 13}
    later = datetime.fromisoformat("2999-01-01T00:00:00Z")
    assert verified(await Reader(logged, AUDITOR, "t_a1").export(since=later)).first == 44


async def test_who_may_not_see_everything_cannot_ask_for_it(logged: Bench) -> None:
    for name in ("every tenant's viewer", "an auditor of one environment", "a viewer"):
        reader = Reader(logged, *READERS[name])
        with pytest.raises(Denied):
            await reader._ask(reader._desk.export_part, ExportPart(first=0, end=44, whole=True))
    stranger = Reader(logged, Principal("s", frozenset({"t_c3"}), frozenset({"admin"})), "t_a1")
    with pytest.raises(Denied):
        await stranger.export()
    assert verified(await Reader(logged, AUDITOR, "t_b2").export(whole=False)).withheld


async def test_how_far_an_export_must_go_to_say_why_payloads_are_missing(logged: Bench, tmp_path: Path) -> None:
    reader = Reader(logged, AUDITOR, "t_a1")
    before = await reader._ask(reader._desk.export, Export(first=44))
    async with logged.database.transaction("test") as tx:
        await control.ask(tx, NAME, {"type": "redaction", "of": "7"})
    async with Office(logged, tmp_path).open() as office:
        await office.published(45)

    early, late = [await reader._ask(reader._desk.export, Export(first=first)) for first in (7, 8)]

    assert [said["explained"] for said in (before, early, late)] == [0, 0, 45]
    tenant = await reader._ask(reader._desk.export, Export(first=8, whole=False))
    assert tenant["explained"] == 0


async def test_parts_are_bounded_whatever_the_leaves(logged: Bench) -> None:
    async with logged.database.transaction("test", snapshot=True) as tx:
        first = await copies.part(tx, 4, 44)
        second = await copies.part(tx, 4, 44, offset=first.offset)
    assert (first.next, first.offset, len(first.data)) == (4, copies.PART_BYTES, copies.PART_BYTES)
    assert second.offset == 2 * copies.PART_BYTES
