"""Evidence behind URLs that end: who gets one, what it opens, and what happens when somebody swaps the object."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pytest
from starlette.types import Message

from libs.common.artefacts import Artefacts, key_of
from libs.common.bus import Bus
from libs.common.contracts.envelope import Envelope
from libs.common.database import Database
from libs.common.errors import Denied, NotFound
from libs.common.ids import new_id
from libs.common.objectstore import ObjectStore
from libs.common.rpc import RpcClient
from services.gateway import metrics
from services.gateway.evidence.downloads import Downloads, Swapped
from services.gateway.evidence.links import Links
from services.gateway.evidence.redactions import Asked, Recovery, RedactionDesk
from tests.integration.gateway.conftest import EVIDENCE_SECRET, SENDER, VIEWER, bearer
from tests.integration.gateway.fakes import FakeServices
from tests.support.eventually import eventually
from tests.support.s3 import ACCESS_KEY, SECRET, S3Server

pytestmark = pytest.mark.stack
DATA = b"what the command printed\n" * 40_000
SHA256 = hashlib.sha256(DATA).hexdigest()
FOUND: dict[str, Any] = {
    "sha256": SHA256,
    "kind": "output",
    "length": len(DATA),
    "index": 7,
    "type": "runbook.step_completed",
    "time": "2026-03-01T10:00:00.000000Z",
    "incident_id": "0192f0c1-0000-7000-8000-00000000000a",
    "execution_id": "0192f0c1-0000-7000-8000-00000000000e",
    "environment": "",
    "clearance": 0,
    "deleted_at": None,
}
URL = f"/evidence/{SHA256}/url"
KEY = key_of("default", "output", SHA256)


@pytest.fixture
async def stranger(base_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client without any credential."""
    async with httpx.AsyncClient(base_url=base_url, trust_env=False, timeout=10) as client:
        yield client


@pytest.fixture
async def kept(store: ObjectStore, services: FakeServices) -> None:
    """The object is kept, and the timeline knows it."""
    await Artefacts(store).keep("default", "output", DATA)
    await services.answer("timeline.artefact", FOUND)


async def url_of(http: httpx.AsyncClient, **body: Any) -> str:
    answer = await http.post(URL, json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["url"])


def the_file(tmp_path: Path) -> Path:
    return tmp_path / "objects" / KEY


@pytest.mark.usefixtures("kept")
async def test_a_url_reads_the_evidence_without_a_token(http: httpx.AsyncClient, stranger: httpx.AsyncClient) -> None:
    given = (await http.post(URL, json={"ttl_seconds": 60, "filename": "printed.txt"})).json()

    answer = await stranger.get(given["url"])

    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["content-disposition"] == 'attachment; filename="printed.txt"'
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert (given["sha256"], given["kind"], given["length"]) == (SHA256, "output", len(DATA))


@pytest.mark.usefixtures("kept")
async def test_what_there_is_is_asked_of_the_timeline_as_it_stands(
    http: httpx.AsyncClient, services: FakeServices
) -> None:
    await services.answer("timeline.artefacts", {"artefacts": [FOUND], "next": 7})

    listed = await http.get("/evidence", params={"incident_id": "i-1", "after": 3, "limit": 2})
    assert listed.json()["artefacts"] == [FOUND]
    assert services.last.body == {"incident_id": "i-1", "after": 3, "limit": 2}
    assert (await http.get(f"/evidence/{SHA256}")).json() == FOUND


@pytest.mark.usefixtures("kept")
async def test_it_reads_nothing_else_and_nothing_once_its_time_is_over(
    http: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    url = await url_of(http, ttl_seconds=1)

    for other in (url.replace(SHA256, "b" * 64), url.replace("default", "acme"), url[:-1], url.partition("?")[0]):
        refused = await stranger.get(other)
        assert (refused.status_code, refused.json()["code"]) == (403, "url_invalid"), other
    assert (await stranger.post(url)).status_code == 401
    assert (await stranger.get(url.replace("/content", "/url"))).status_code == 401

    async def over() -> bool:
        answer = await stranger.get(url)
        return answer.status_code == 403 and answer.json()["code"] == "url_expired"

    await eventually(over, timeout=5)


@pytest.mark.usefixtures("kept")
async def test_the_log_is_told_who_was_given_one(http: httpx.AsyncClient, database: Database) -> None:
    url = await url_of(http)

    row = await database.pool.fetchrow("SELECT payload, headers FROM outbox WHERE subject = 'access.evidence_opened'")
    told, envelope = orjson.loads(row["payload"]), Envelope.from_headers(orjson.loads(row["headers"]))
    assert (told["actor"], told["sha256"], told["kind"], told["index"]) == ("olga", SHA256, "output", 7)
    assert (told["decision_id"], told["policy_revision"]) != ("", "")
    assert (envelope.incident_id, envelope.execution_id) == (FOUND["incident_id"], FOUND["execution_id"])
    assert url.rpartition("=")[2].encode() not in row["payload"]


async def test_who_may_not_view_the_event_gets_none(
    http: httpx.AsyncClient, services: FakeServices, store: ObjectStore, database: Database
) -> None:
    await Artefacts(store).keep("default", "output", DATA)
    subscription = await services.answer("timeline.artefact", NotFound("No event names it."))
    assert (await http.post(URL, json={})).status_code == 404
    await subscription.unsubscribe()

    await services.answer("timeline.artefact", FOUND | {"clearance": 3})
    refused = await http.post(URL, json={}, headers=bearer(VIEWER))
    assert (refused.status_code, refused.json()["code"]) == (403, "policy.clearance")
    assert (await http.post(URL, json={}, headers=bearer(SENDER))).status_code == 403

    assert await database.pool.fetchval("SELECT count(*) FROM outbox WHERE subject = 'access.evidence_opened'") == 0


@pytest.mark.usefixtures("kept")
async def test_how_long_a_url_is_good_is_bounded(http: httpx.AsyncClient) -> None:
    too_long = await http.post(URL, json={"ttl_seconds": 3601})

    assert (too_long.status_code, too_long.json()["code"]) == (422, "ttl_too_long")
    for body in ({"ttl_seconds": 0}, {"ttl_seconds": -1}, {"filename": "../x"}, {"filename": 'a"b'}, {"file": "x"}):
        assert (await http.post(URL, json=body)).status_code == 422
    assert (await http.post("/evidence/not-a-hash/url", json={})).status_code == 404


@pytest.mark.usefixtures("kept")
async def test_evidence_that_was_swapped_behind_its_url_does_not_arrive(
    http: httpx.AsyncClient, stranger: httpx.AsyncClient, tmp_path: Path
) -> None:
    url = await url_of(http)
    before = metrics.EVIDENCE_SWAPPED._value.get()
    the_file(tmp_path).write_bytes(DATA[:-1] + b"!")

    answer = await stranger.get(url)

    assert (answer.status_code, answer.json()["code"]) == (500, "evidence_swapped")
    assert metrics.EVIDENCE_SWAPPED._value.get() == before + 1


@pytest.mark.usefixtures("kept")
async def test_evidence_that_is_swapped_while_it_is_read_never_arrives_whole(
    http: httpx.AsyncClient, store: ObjectStore, tmp_path: Path
) -> None:
    url = await url_of(http)
    path, _, query = url.partition("?")
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.start":  # it was hashed once, and is read again from here on
            the_file(tmp_path).write_bytes(b"x" * len(DATA))

    scope = {"type": "http", "method": "GET", "raw_path": path.encode(), "query_string": query.encode()}
    with pytest.raises(Swapped):
        await Downloads(store, Links.of(EVIDENCE_SECRET))(scope, nothing, send)

    assert sent[0]["status"] == 200
    assert sum(len(message["body"]) for message in sent[1:]) < len(DATA)
    assert all(message["more_body"] for message in sent[1:])


async def nothing() -> Message:
    """What a client says that says nothing."""
    return {"type": "http.disconnect"}


@pytest.mark.usefixtures("kept")
async def test_what_the_store_has_lost_or_holds_otherwise_gets_no_url(
    http: httpx.AsyncClient, stranger: httpx.AsyncClient, tmp_path: Path, services: FakeServices
) -> None:
    url = await url_of(http)
    the_file(tmp_path).write_bytes(b"shorter")
    assert (await http.post(URL, json={})).json()["code"] == "evidence_swapped"

    the_file(tmp_path).unlink()
    assert (await http.post(URL, json={})).json()["code"] == "evidence_missing"
    gone = await stranger.get(url)
    assert (gone.status_code, gone.json()["code"]) == (404, "evidence_missing")

    assert services.asked


async def test_what_retention_has_deleted_is_said_to_be(http: httpx.AsyncClient, services: FakeServices) -> None:
    await services.answer("timeline.artefact", FOUND | {"deleted_at": "2026-04-01T00:00:00.000000Z"})

    refused = (await http.post(URL, json={})).json()

    assert refused["code"] == "evidence_deleted"
    assert "2026-04-01" in refused["detail"]


async def test_a_hold_is_told_with_who_and_why_and_with_what_the_incident_bears(
    http: httpx.AsyncClient, services: FakeServices, database: Database
) -> None:
    await services.answer("incident.get", {"incident_id": FOUND["incident_id"], "environment": "prod", "clearance": 0})
    wanted = {"rationale": "a claim is pending"}

    refused = await http.post(
        "/evidence/incidents/0192f0c1-0000-7000-8000-00000000000a/hold", json=wanted, headers=bearer(VIEWER)
    )
    held = await http.post("/evidence/incidents/0192f0c1-0000-7000-8000-00000000000a/hold", json=wanted)
    freed = await http.post("/evidence/incidents/0192f0c1-0000-7000-8000-00000000000a/release", json=wanted)

    assert (refused.status_code, held.status_code, freed.status_code) == (403, 202, 202)
    assert (held.json()["held"], freed.json()["held"]) == (True, False)
    rows = await database.pool.fetch("SELECT subject, payload, headers FROM outbox ORDER BY id")
    told = [(row["subject"], Envelope.from_headers(orjson.loads(row["headers"]))) for row in rows]
    assert [subject for subject, _ in told] == ["access.evidence_held", "access.evidence_released"]
    assert {(envelope.incident_id, envelope.marking.environment) for _, envelope in told} == {
        (FOUND["incident_id"], "prod")
    }
    assert orjson.loads(rows[0]["payload"])["rationale"] == "a claim is pending"
    assert (
        await http.post("/evidence/incidents/0192f0c1-0000-7000-8000-00000000000a/hold", json={})
    ).status_code == 422


async def test_a_redaction_is_told_with_who_and_why_by_whichever_decision(
    http: httpx.AsyncClient, services: FakeServices, database: Database
) -> None:
    done = {name: FOUND[name] for name in ("index", "type", "incident_id", "execution_id", "clearance")}
    done |= {"event_id": "e-7", "environment": "prod", "decision_id": "d-1", "policy_revision": "r-1"}
    answering = await services.answer("timeline.redact", done | {"new": True})
    wanted = {"rationale": "asked for by Ada"}

    first = await http.post("/evidence/events/7/redact", json=wanted)
    assert services.last.body == {"index": 7, **wanted}
    await http.post("/evidence/events/e-7/redact", json=wanted)
    assert services.last.body == {"event_id": "e-7", **wanted}
    await answering.unsubscribe()
    await services.answer("timeline.redact", done | {"new": False})
    again = await http.post("/evidence/events/7/redact", json=wanted)

    assert (first.status_code, first.json()["new"], again.json()["new"]) == (202, True, False)
    rows = await database.pool.fetch("SELECT subject, payload, headers FROM outbox ORDER BY id")
    assert [row["subject"] for row in rows] == ["access.event_redacted"] * 2
    told, envelope = orjson.loads(rows[0]["payload"]), Envelope.from_headers(orjson.loads(rows[0]["headers"]))
    assert (told["actor"], told["rationale"], told["index"], told["event_id"]) == ("olga", "asked for by Ada", 7, "e-7")
    assert (told["decision_id"], told["policy_revision"]) == ("d-1", "r-1")
    assert (envelope.incident_id, envelope.marking.environment) == (FOUND["incident_id"], "prod")
    assert (await http.post("/evidence/events/7/redact", json={})).status_code == 422
    assert await database.pool.fetchval("SELECT count(*) FROM redaction_asked") == 0


async def test_what_a_gateway_left_untold_is_told_once_and_what_was_never_carried_out_is_not_carried_out_later(
    bus: Bus, services: FakeServices, database: Database
) -> None:
    desk = RedactionDesk(database)
    recovery = Recovery(desk, RpcClient(bus, timeout=2), seconds=0.01)
    done = {name: FOUND[name] for name in ("index", "type", "incident_id", "execution_id", "clearance")}
    done |= {"event_id": "e-7", "environment": "prod", "decision_id": "d-1", "policy_revision": "r-1", "new": True}
    wanted = {"index": 7, "rationale": "asked for by Ada"}

    def left(key: str = "key-1", **more: Any) -> Asked:
        return Asked(new_id(), "default", key, "olga", "token", wanted | more)

    async def told() -> list[Any]:
        return [orjson.loads(row["payload"]) for row in await database.pool.fetch("SELECT payload FROM outbox")]

    async def rows() -> int:
        return int(await database.pool.fetchval("SELECT count(*) FROM redaction_asked"))

    repeated = left()
    for one in (left(), repeated, left(), mallorys := left(rationale="another reason")):
        await desk.note(one)
    await desk.drop(mallorys)  # which was refused, for the key is another request's
    await eventually(lambda: desk.left(0.01))
    await recovery.once()  # nobody answers: it waits
    assert await rows() == 3
    answering = await services.answer("timeline.redaction", done)
    await asyncio.gather(recovery.once(), recovery.once(), recovery.once())
    assert services.last.body == {"request_key": "key-1", "asked": wanted}
    assert services.last.request["principal"]["actor"] == "olga"
    assert [(fact["rationale"], fact["actor"], fact["index"]) for fact in await told()] == [
        ("asked for by Ada", "olga", 7)
    ]
    await desk.tell(repeated, done)  # who was slower finds that it is told
    assert (len(await told()), await rows()) == (1, 0)

    await answering.unsubscribe()
    answering = await services.answer("timeline.redaction", done | {"new": False})
    await desk.note(left("key-2"))
    await eventually(lambda: desk.left(0.01))
    await recovery.once()
    assert (len(await told()), await rows()) == (1, 0)

    await answering.unsubscribe()
    await services.answer("timeline.redaction", NotFound("no such request"))
    await desk.note(left("key-3"))
    await eventually(lambda: desk.left(0.01))
    await recovery.once()
    assert await rows() == 1, "it may still be on its way"
    await database.pool.execute("UPDATE redaction_asked SET asked_at = asked_at - interval '11 minutes'")
    await recovery.once()
    assert (len(await told()), await rows()) == (1, 0)
    assert {asked.subject for asked in services.asked} == {"rpc.timeline.redaction"}


async def test_a_refused_redaction_is_told_as_a_denial(
    http: httpx.AsyncClient, services: FakeServices, database: Database
) -> None:
    await services.answer("timeline.redact", Denied("olga may not", code="policy.role", decision_id="d-9"))

    refused = await http.post("/evidence/events/7/redact", json={"rationale": "why not"})

    assert (refused.status_code, refused.json()["code"]) == (403, "policy.role")
    statement = "SELECT payload FROM outbox WHERE subject = 'access.denied'"
    told = await eventually(lambda: database.pool.fetchval(statement), timeout=10)
    assert {name: orjson.loads(told or b"{}").get(name) for name in ("actor", "action", "reason")} == {
        "actor": "olga", "action": "evidence.redact", "reason": "policy.role",
    }  # fmt: skip
    assert await database.pool.fetchval("SELECT count(*) FROM redaction_asked") == 0


class TestS3:
    """The same, of a store that gives out URLs itself."""

    @pytest.fixture
    def bucket(self, s3: S3Server) -> str:
        return s3.bucket()

    @pytest.fixture
    def store(self, bucket: str) -> ObjectStore:
        return ObjectStore.open(bucket, access_key=ACCESS_KEY, secret=SECRET)

    @pytest.fixture(params=[False, True])
    def more_settings(self, request: pytest.FixtureRequest) -> dict[str, Any]:
        return {"evidence_via_gateway": request.param}

    @pytest.mark.usefixtures("kept")
    async def test_its_urls_are_those_of_the_store_or_the_gateways_own(
        self, http: httpx.AsyncClient, stranger: httpx.AsyncClient, more_settings: dict[str, Any], bucket: str
    ) -> None:
        url = await url_of(http, ttl_seconds=60)

        answer = await stranger.get(url)

        assert (answer.status_code, answer.content) == (200, DATA)
        assert answer.headers["content-disposition"] == f'attachment; filename="output-{SHA256}"'
        assert urlsplit(url).path == (
            f"/evidence/{SHA256}/content"
            if more_settings["evidence_via_gateway"]
            else f"/{urlsplit(bucket).netloc}/kept/{KEY}"
        )

    @pytest.mark.usefixtures("kept")
    async def test_what_is_swapped_in_the_bucket_has_another_hash_or_does_not_arrive(
        self,
        http: httpx.AsyncClient,
        stranger: httpx.AsyncClient,
        more_settings: dict[str, Any],
        bucket: str,
        s3: S3Server,
    ) -> None:
        url = await url_of(http, ttl_seconds=60)
        other = DATA[:-1] + b"!"
        s3.client().put_object(Bucket=urlsplit(bucket).netloc, Key=f"kept/{KEY}", Body=other)

        answer = await stranger.get(url)

        if more_settings["evidence_via_gateway"]:
            assert (answer.status_code, answer.json()["code"]) == (500, "evidence_swapped")
        else:  # the store's own URL: whoever fetches it compares with the leaf, as `rangerctl audit evidence` does
            assert hashlib.sha256(answer.content).hexdigest() == hashlib.sha256(other).hexdigest() != SHA256
