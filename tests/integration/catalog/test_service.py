"""The catalog as a process: asked over the bus, fed from the stream, its facts read from the stream."""

import asyncio
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nats.js.errors
import orjson
import pytest

from libs.common.bus import Bus, Outgoing
from libs.common.clock import rfc3339
from libs.common.contracts.choreography import BY_SUBJECT, EVENTS
from libs.common.contracts.envelope import Envelope
from libs.common.contracts.fact import Fact
from libs.common.contracts.incident import IncidentCreated
from libs.common.contracts.runbook import RunbookMatched, RunbookPublished
from libs.common.database import Database
from libs.common.errors import Conflict, InvalidInput, NotFound
from libs.common.ids import new_id
from libs.runbook.hashing import spec_hash
from services.catalog.model import match_id_of
from tests.integration.catalog.asker import Asker
from tests.support.eventually import eventually
from tests.support.servers import StackEnv
from tests.unit.catalog.promises import occasion, text, triggered

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("catalog")]

RUNBOOK = (Path(__file__).parents[3] / "runbooks" / "storage-latency.yaml").read_text()


@pytest.fixture
async def facts(bus: Bus) -> "Facts":
    return Facts(bus)


class Facts:
    """What stands on the stream."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def all(self, kind: type[Fact]) -> list[tuple[Envelope, Any]]:
        """Every fact of a kind, in the stream's order."""
        found: list[tuple[Envelope, Any]] = []
        last = (await self._bus.js.stream_info(EVENTS)).state.last_seq
        for seq in range(1, last + 1):
            try:
                message = await self._bus.js.get_msg(EVENTS, seq)
            except nats.js.errors.NotFoundError:
                continue
            if message.subject == kind.subject:
                fact = BY_SUBJECT[kind.subject].fact.decode(message.data or b"")
                found.append((Envelope.from_headers(message.headers), fact))
        return found

    async def several(self, kind: type[Fact], count: int) -> list[tuple[Envelope, Any]]:
        """The facts of a kind, once there are that many."""

        async def enough() -> list[tuple[Envelope, Any]]:
            found = await self.all(kind)
            return found if len(found) >= count else []

        return await eventually(enough)

    async def tell(self, created: IncidentCreated, *, tenant: str = "acme", times: int = 1) -> Envelope:
        """Publish an incident's creation, as the incident service does; more than once past the stream's window."""
        envelope = Envelope(
            id=new_id(),
            type=created.subject,
            source="/svc/incident",
            time=rfc3339(datetime.now(UTC)),
            aggregate_type=created.aggregate,
            aggregate_id=created.incident_id,
            aggregate_version=1,
            tenant=tenant,
            actor="svc_incident",
            correlation=new_id(),
            incident_id=created.incident_id,
        )
        for _ in range(times):
            headers = {**envelope.to_headers(), "Nats-Msg-Id": new_id()}
            (stored,) = await self._bus.publish([Outgoing(created.subject, created.encode(), headers)])
            assert not isinstance(stored, Exception)
        return envelope


async def test_a_published_runbook_can_be_read_and_its_fact_names_its_hash(asker: Asker, facts: Facts) -> None:
    answer = await asker("publish", source=RUNBOOK)

    read = await asker("get_version", runbook_id="storage-latency", version=1, include_source=True)
    ((envelope, fact),) = await facts.several(RunbookPublished, 1)
    assert (answer["version"], answer["created"], answer["published_by"]) == (1, True, "ada")
    assert read["spec_hash"] == answer["spec_hash"] == spec_hash(read["spec"]) == fact.spec_hash
    assert read["source"] == RUNBOOK
    assert (envelope.tenant, envelope.actor, envelope.runbook_id) == ("acme", "ada", "storage-latency")
    assert (fact.runbook_id, fact.runbook_version, fact.name) == ("storage-latency", 1, "Evidence storage latency")


async def test_publishing_the_same_again_tells_nobody(asker: Asker, facts: Facts) -> None:
    first = await asker("publish", source=RUNBOOK)
    again = await asker("publish", source=RUNBOOK)
    await asker("publish", source=text())

    assert again == {**first, "created": False}
    assert [fact.runbook_id for _, fact in await facts.several(RunbookPublished, 2)] == ["storage-latency", "sample"]


async def test_a_repeated_request_gets_the_first_answer(asker: Asker) -> None:
    key = new_id()
    first = await asker("publish", key, source=text(name="A"))
    await asker("publish", source=text(name="B"))

    assert await asker("publish", key, source=text(name="A")) == first
    with pytest.raises(Conflict):
        await asker("publish", key, source=text(name="C"))


async def test_the_same_id_in_two_tenants_is_two_runbooks(asker: Asker, facts: Facts) -> None:
    await asker("publish", source=text())
    await asker.of("other")("publish", source=text())

    envelopes = [envelope for envelope, _ in await facts.several(RunbookPublished, 2)]
    assert [envelope.aggregate_version for envelope in envelopes] == [1, 1]
    assert len({envelope.aggregate_id for envelope in envelopes}) == 2


HOSTILE = [
    ("a: &x [*x]", "a"),
    ("!!python/object/apply:os.system [id]", ""),
    ("a: " + "[" * 5_000, "a[0][0]"),
    ("a: b\na: c", "a"),
    ("a: " + "x" * 700_000, ""),
    ("a: \u202eb", ""),
    (text().replace("effect: read", "effect: magic"), "steps[0].effect"),
]


async def test_a_hostile_text_is_refused_and_the_catalog_lives(asker: Asker) -> None:
    for source, path in HOSTILE:
        with pytest.raises(InvalidInput) as refused:
            await asker("publish", source=source)
        assert refused.value.reason_code == "runbook_invalid"
        assert refused.value.data["problems"][0]["path"] == path

    assert (await asker("list"))["runbooks"] == []


async def test_lint_says_what_publishing_would_and_stores_nothing(asker: Asker) -> None:
    answer = await asker("lint", source=text())

    assert answer["runbook_id"] == "sample"
    with pytest.raises(NotFound):
        await asker("get_version", runbook_id="sample")


async def test_runbooks_are_listed_in_pages(asker: Asker) -> None:
    for runbook_id in ("b", "a", "c"):
        await asker("publish", source=text(runbook_id))

    first = await asker("list", limit=2)
    second = await asker("list", limit=2, after=first["next"])

    assert [item["runbook_id"] for item in first["runbooks"] + second["runbooks"]] == ["a", "b", "c"]
    assert second["next"] is None


async def test_a_draft_is_shown_published_by_its_id_and_gone(asker: Asker, facts: Facts) -> None:
    draft = await asker("draft", source=text())
    shown = await asker("get_draft", runbook_id="sample")
    [before] = (await asker("list"))["runbooks"]

    published = await asker("publish", runbook_id="sample", spec_hash=draft["spec_hash"])

    ((_, fact),) = await facts.several(RunbookPublished, 1)
    [after] = (await asker("list"))["runbooks"]
    assert (shown["source"], shown["author"], shown["spec_hash"]) == (text(), "ada", draft["spec_hash"])
    assert (before["status"], before["version"], before["draft"]) == ("draft", None, draft)
    assert (published["version"], published["created"], published["author"]) == (1, True, "ada")
    assert (after["status"], after["version"], after["draft"]) == ("published", 1, None)
    assert (fact.author, fact.published_by) == ("ada", "ada")
    with pytest.raises(NotFound):
        await asker("get_draft", runbook_id="sample")


async def test_a_publication_names_a_text_or_a_draft_and_not_both(asker: Asker) -> None:
    for body in ({}, {"source": text(), "runbook_id": "sample"}, {"source": text(), "spec_hash": "0" * 64}):
        with pytest.raises(InvalidInput):
            await asker("publish", **body)


async def test_an_incident_is_matched_in_its_own_conversation(asker: Asker, facts: Facts) -> None:
    published = await asker("publish", source=RUNBOOK)
    labels, annotations = {"shard": "s1", "standby": "s2"}, {"target": "http://127.0.0.1:1"}
    created = occasion(alert_name="storage_latency_high", labels=labels, annotations=annotations).created

    cause = await facts.tell(created)

    ((envelope, fact),) = await facts.several(RunbookMatched, 1)
    assert fact == RunbookMatched(
        match_id=match_id_of(created.incident_id, "storage-latency"),
        incident_id=created.incident_id,
        runbook_id="storage-latency",
        runbook_version=1,
        spec_hash=published["spec_hash"],
        alert_name="storage_latency_high",
        severity="high",
        labels=labels,
        annotations=annotations,
    )
    assert (envelope.tenant, envelope.actor, envelope.incident_id) == ("acme", "svc_catalog", created.incident_id)
    assert (envelope.correlation, envelope.causation) == (cause.correlation, cause.id)


async def test_an_incident_that_is_told_again_and_again_is_matched_once(
    asker: Asker, facts: Facts, database: Database
) -> None:
    await asker("publish", source=triggered("a"))
    wanted = [occasion().created for _ in range(20)]

    for created in wanted:
        await facts.tell(created, times=2)
        await facts.tell(created)
    nothing = occasion(alert_name="other").created
    marker = await facts.tell(nothing)

    async def applied() -> bool:
        query = "SELECT true FROM inbox WHERE event_id = $1::uuid"
        return bool(await database.pool.fetchval(query, marker.id))

    await eventually(applied)
    found = await facts.several(RunbookMatched, 20)
    assert sorted(fact.incident_id for _, fact in found) == sorted(created.incident_id for created in wanted)


async def test_another_tenants_incident_finds_nothing(asker: Asker, facts: Facts) -> None:
    await asker("publish", source=triggered("a"))

    await facts.tell(occasion().created, tenant="other")
    await facts.tell(occasion().created)

    assert [envelope.tenant for envelope, _ in await facts.several(RunbookMatched, 1)] == ["acme"]


async def test_many_ask_at_once(asker: Asker) -> None:
    answers = await asyncio.gather(*[asker("publish", source=text(f"r{n % 5}", f"Name {n}")) for n in range(40)])

    assert sorted((answer["runbook_id"], answer["version"]) for answer in answers) == [
        (f"r{n}", version) for n in range(5) for version in range(1, 9)
    ]


async def test_a_version_is_kept_with_how_it_came_to_be_public(asker: Asker, facts: Facts, stack_env: StackEnv) -> None:
    answer = await asker("publish", source=RUNBOOK)

    [(envelope, _)] = await facts.several(RunbookPublished, 1)
    [ref] = envelope.refs
    file = Path(stack_env["RR_OBJECTS_DIR"]) / "artefacts" / "spec" / "acme" / ref.sha256
    await eventually(file.exists, timeout=20)
    document = orjson.loads(file.read_bytes())
    assert (ref.kind, hashlib.sha256(file.read_bytes()).hexdigest()) == ("spec", ref.sha256)
    assert (document["v"], document["source"]) == ("rr.spec/1", RUNBOOK)
    assert spec_hash(document["spec"]) == document["spec_hash"] == answer["spec_hash"]
    assert {name: document[name] for name in ("author", "published_by", "version")} == {
        "author": "ada",
        "published_by": "ada",
        "version": 1,
    }
    assert document["published_at"] == answer["published_at"]
    assert "" not in (document["decision_id"], document["policy_revision"])
