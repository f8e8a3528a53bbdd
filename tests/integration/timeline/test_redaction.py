"""Redaction: what was said is gone, that it was said stays proven, and no crash leaves the one without the other."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from libs.common.artefacts import ROOT, Artefacts
from libs.common.contracts.envelope import Ref
from libs.common.contracts.marking import Marking
from libs.common.errors import Conflict, Denied, NotFound, Unavailable
from libs.common.policy import Principal
from libs.common.rpc import Caller, RpcServer
from libs.common.sight import Sight, narrow
from libs.tlog.secretkey import private_text
from libs.tlog.tlogproof import LeafProof
from services.timeline import control
from services.timeline.handlers import ListEntries, LogDesk
from services.timeline.proving import Proof, ProofDesk
from services.timeline.redaction import _TURN, Answered, Redact, RedactionDesk, Shredder, doom
from tests.integration.timeline.bench import Bench, stop
from tests.integration.timeline.places import Place, end
from tests.integration.timeline.signed import NAME, OLD, Office
from tests.integration.timeline.test_bundles import ADA, CLEARED, INCIDENT, Desk
from tests.integration.timeline.test_control import publish_facts
from tests.support.eventually import eventually
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack
ROOT_ADMIN = Principal("rita", frozenset({"t_a1"}), frozenset({"admin"}))
GUS = Principal("gus", frozenset({"t_b2"}), frozenset({"admin"}), clearance=3)
AUDITOR = Principal("otto", frozenset({"t_a1"}), frozenset({"auditor"}))
SECRET = b'{"title":"Ada Lovelace of 7 Canary Lane"}'


class Censor(Desk):
    """A desk whose log can be redacted."""

    async def redact(self, *, who: Principal = ROOT_ADMIN, rationale: str = "asked for by Ada", **named: Any) -> Any:
        """The answer, once it is done."""
        tenant = min(who.tenants)
        desk = RedactionDesk(NAME, self.bench.database)
        async with self.bench.database.transaction("test") as tx:
            await narrow(tx, Sight.of(who, tenant, changes=True))
            answer = await desk.redact(tx, Caller(who, tenant, "k"), Redact(**named, rationale=rationale))
        await desk._settled()
        return answer

    async def listed(self, **conditions: Any) -> list[Any]:
        desk = LogDesk(self.office.writer, self.office.notary)
        async with self.bench.database.transaction("test", snapshot=True) as tx:
            answer = await desk.list_entries(tx, Caller(ADA, "t_a1", "k"), ListEntries(**conditions))
        return list(answer["entries"])

    async def kept_objects(self) -> set[str]:
        return {key.rpartition("/")[2] async for key in self.office.store.list(ROOT)}


@pytest.fixture
async def censor(bench: Bench, tmp_path: Path) -> AsyncIterator[Censor]:
    office = Office(bench, tmp_path)
    async with office.open():
        desk = Censor(office, tmp_path)
        shredding = asyncio.create_task(Shredder(bench.database, office.store, office.writer, seconds=0.05).run())
        yield desk
        await stop(shredding)


async def said(censor: Censor) -> None:
    """Three events of the incident, of which the second says what it should not."""
    await censor.tell(1)
    await censor.bench.send([censor.bench.outgoing(2, payload=SECRET, incident_id=INCIDENT, execution_id="")])
    await censor.tell(3)
    await censor.bench.caught_up(3)


async def test_what_was_said_is_gone_and_that_it_was_said_stays_proven(censor: Censor, admin: Any) -> None:
    await said(censor)
    assert len(await censor.listed(text="canary")) == 1
    before = await censor.bench.rows()

    answer = await censor.redact(index=1)

    assert (answer["index"], answer["event_id"], answer["new"]) == (1, censor.bench.fact(2).id, True)
    report = await censor.bench.verified()
    assert report.redacted == [1]
    assert [row["leaf"] for row in (await censor.bench.rows())[:3]] == [row["leaf"] for row in before]
    leaf = (await censor.bench.leaves())[3]
    assert {name: leaf["body"][name] for name in ("type", "of", "id", "actor")} == {
        "type": "redaction", "of": "1", "id": answer["event_id"], "actor": "rita",
    }  # fmt: skip
    assert (leaf["body"]["decision"], leaf["body"]["policy"]) == (answer["decision_id"], answer["policy_revision"])
    assert "Ada" not in orjson.dumps(leaf).decode()

    shown = (await censor.listed(incident_id=INCIDENT))[1]
    assert (shown["index"], shown["payload"], shown["payload_length"]) == (1, None, None)
    assert await censor.listed(text="canary") == []
    for table in ("payload", "entry", "control", "command", "decision", "shredding"):
        found = await admin.fetchval(f"SELECT count(*) FROM {table} AS t WHERE t::text ~* 'canary|4c616e65'")
        assert found == 0, table

    await censor.office.published(4)
    async with censor.bench.database.transaction("test", snapshot=True) as tx:
        found = await ProofDesk(NAME).proof(tx, Caller(ADA, "t_a1", ""), Proof(index=1))
    LeafProof.from_json(found).verify([OLD.verifier])


async def test_bundles_from_before_are_deleted_and_later_ones_say_redacted(censor: Censor) -> None:
    await said(censor)
    await censor.office.published(3)
    desk = censor.made()
    early, _ = await asyncio.gather(censor.ask(desk=desk), censor.ask(desk=desk))
    await censor.tell(4)
    await censor.bench.caught_up(4)
    other = await censor.redact(event_id=censor.bench.fact(4).id)
    assert early["sha256"] in await censor.kept_objects()  # it ends before that event

    await censor.redact(event_id=censor.bench.fact(2).id)

    assert await censor.kept_objects() == set()
    answer = await censor.ask()
    found = await censor.checked(answer)
    assert found.manifest.redacted == (1, other["index"])
    assert found.manifest.leaves == 6
    assert not any(b"Canary" in raw for raw in (await censor.files(answer)).values())


async def test_objects_go_with_the_last_event_that_names_them(censor: Censor) -> None:
    alone, shared = [await censor.kept.keep("t_a1", "output", raw) for raw in (b"alone", b"shared")]
    theirs = await Artefacts(censor.office.store).keep("t_b2", "output", b"alone")
    assert theirs.sha256 == alone.sha256
    await censor.tell(1, refs=(alone, shared))
    await censor.tell(2, refs=(shared,))
    await censor.tell(3, refs=(Ref("output", alone.sha256, alone.length),), tenant="t_b2", incident_id="theirs")
    await censor.bench.caught_up(3)

    await censor.redact(index=0)

    assert not (censor.office.objects / ROOT / "output" / "t_a1" / alone.sha256).exists()
    assert (censor.office.objects / ROOT / "output" / "t_b2" / alone.sha256).exists()
    assert (censor.office.objects / ROOT / "output" / "t_a1" / shared.sha256).exists()
    found = await censor.checked(await censor.ask())
    assert list(found.manifest.absent) == [alone.sha256]
    assert found.manifest.absent[alone.sha256].startswith("deleted at ")

    await censor.redact(index=1)

    assert not (censor.office.objects / ROOT / "output" / "t_a1" / shared.sha256).exists()


async def test_it_takes_an_administrator_who_sees_it_and_a_reason(censor: Censor) -> None:
    await said(censor)
    await censor.tell(4, marking=Marking("", 2))
    await censor.bench.caught_up(4)

    for who, named, refusal, code in (
        (ADA, {"index": 1}, Denied, "policy.role"),
        (AUDITOR, {"index": 1}, Denied, "policy.role"),
        (CLEARED, {"index": 3}, Denied, "policy.role"),
        (GUS, {"index": 1}, NotFound, "not_found"),
        (ROOT_ADMIN, {"index": 3}, NotFound, "not_found"),
        (ROOT_ADMIN, {"index": 99}, NotFound, "not_found"),
        (ROOT_ADMIN, {"event_id": "nobody's"}, NotFound, "not_found"),
    ):
        with pytest.raises(refusal) as refused:
            await censor.redact(who=who, **named)
        assert refused.value.reason_code == code
    with pytest.raises(Denied) as refused:
        await censor.redact(index=1, rationale="  ")
    assert refused.value.reason_code == "policy.rationale"

    assert (await censor.bench.verified()).redacted == []


async def test_asked_for_twice_or_at_once_it_is_said_once(censor: Censor) -> None:
    await said(censor)

    answers = await asyncio.gather(*(censor.redact(index=1) for _ in range(4)))
    again = await censor.redact(event_id=censor.bench.fact(2).id)

    assert sorted(answer["new"] for answer in answers) == [False, False, False, True]
    assert not again["new"]
    assert (await censor.bench.kinds()).count("control") == 1
    await censor.bench.verified()


async def test_the_answer_is_given_again_to_who_asked_and_redacts_nothing(censor: Censor) -> None:
    await said(censor)
    bench, wanted = censor.bench, Redact(index=1, rationale="asked for by Ada")
    server, desk = RpcServer(bench.bus, bench.database, "timeline"), RedactionDesk(NAME, bench.database)
    entries: list[Any] = []
    answer = await server._carried_out("redact", Caller(ROOT_ADMIN, "t_a1", "k-1"), wanted, desk.redact, entries)
    assert answer["new"]

    async def asked(key: str, who: Principal, tenant: str = "t_a1", what: Redact = wanted) -> Any:
        async with bench.database.transaction("test", snapshot=True) as tx:
            await narrow(tx, Sight.of(who, tenant, changes=False))
            return await desk.answered(tx, Caller(who, tenant, "k"), Answered(request_key=key, asked=what))

    unarmed = Principal("rita", frozenset({"t_a1"}), frozenset())
    assert await asked("k-1", unarmed) == answer
    for key, who, tenant, what in (
        ("k-1", Principal("mallory", frozenset({"t_a1"}), frozenset()), "t_a1", wanted),
        ("k-1", Principal("rita", frozenset({"t_b2"}), frozenset()), "t_b2", wanted),
        ("k-1", unarmed, "t_a1", Redact(index=1, rationale="another reason")),
        ("k-1", unarmed, "t_a1", Redact(index=2, rationale="asked for by Ada")),
        ("k-2", unarmed, "t_a1", wanted),
    ):
        with pytest.raises(NotFound):
            await asked(key, who, tenant, what)
    await eventually(lambda: _redacted(bench, 1))
    assert await bench.database.pool.fetchval("SELECT count(*) FROM control") == 1
    assert (await censor.bench.verified()).redacted == [1]


async def _redacted(bench: Bench, index: int) -> bool:
    return (await bench.verified()).redacted == [index]


async def test_what_is_held_is_not_redacted_until_it_is_released(censor: Censor, admin: Any) -> None:
    async def hold(number: int, word: str) -> None:
        """A word about a hold: another event, until it is in the log (the bench's stream takes no other subjects)."""
        await censor.tell(number)
        await censor.bench.caught_up(number)
        event = censor.bench.fact(number).id
        await admin.execute("UPDATE entry SET type = $1 WHERE event_id = $2", f"access.evidence_{word}", event)

    await said(censor)
    await hold(4, "held")
    with pytest.raises(Conflict) as refused:
        await censor.redact(index=1)
    assert refused.value.reason_code == "evidence_held"

    await hold(5, "released")
    assert (await censor.redact(index=1))["new"]
    assert (await censor.redact(index=3))["new"], "what the hold said; that there was one stays known"
    await hold(6, "held")
    with pytest.raises(Conflict):
        await censor.redact(index=0)


async def test_the_services_role_deletes_nothing_by_itself(censor: Censor) -> None:
    await said(censor)
    pool = censor.bench.database.pool
    for statement in (
        "DELETE FROM payload",
        "UPDATE entry SET words = ''",
        "SELECT redact()",
        "UPDATE payload SET salt = ''",
    ):
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError)):
            await pool.execute(statement)
    assert (await censor.bench.verified()).redacted == []


async def test_a_bundle_that_was_being_made_meanwhile_is_not_given_out(censor: Censor) -> None:
    await said(censor)
    body = {"type": "redaction", "of": "1", "id": censor.bench.fact(2).id}
    async with censor.bench.database.transaction("test") as tx:
        await tx.execute(_TURN)
        await control.ask(tx, NAME, body)
        making = asyncio.create_task(censor.ask())
        await eventually(censor.kept_objects)

    with pytest.raises(Unavailable) as refused:
        await making

    assert refused.value.reason_code == "bundle_redacted"
    assert await censor.kept_objects() == set()


async def test_a_bundle_that_nobody_finished_is_deleted_and_one_that_was_is_not(censor: Censor, admin: Any) -> None:
    await said(censor)
    finished = await censor.ask()
    nameless = await censor.kept.keep("t_a1", "bundle", b"what a crash left")
    await doom(censor.bench.database, "t_a1", nameless, seconds=600)
    await doom(censor.bench.database, "t_a1", Ref("bundle", finished["sha256"], finished["length"]), seconds=600)
    assert await censor.kept_objects() == {finished["sha256"], nameless.sha256}

    await admin.execute("UPDATE shredding SET asked_at = asked_at - interval '600 seconds'")

    await eventually(lambda: _only(censor, finished["sha256"]))


async def _only(censor: Censor, sha256: str) -> bool:
    return await censor.kept_objects() == {sha256}


async def test_a_store_that_is_down_delays_the_objects_alone(censor: Censor, tmp_path: Path) -> None:
    ref = await censor.kept.keep("t_a1", "output", b"to go")
    await censor.tell(1, refs=(ref,))
    await censor.bench.caught_up(1)
    folder, aside = censor.office.objects / ROOT / "output", tmp_path / "aside"
    folder.rename(aside)
    folder.write_bytes(b"no folder")

    await censor.redact(index=0)
    assert (await censor.bench.verified()).redacted == [0]
    assert (aside / "t_a1" / ref.sha256).exists()
    folder.unlink()
    aside.rename(folder)

    await eventually(lambda: not (folder / "t_a1" / ref.sha256).exists())


@pytest.mark.parametrize(
    "point",
    ["timeline_before_commit", "timeline_after_commit", "timeline_object_shredded", "timeline_checkpoint_signed"],
)
async def test_a_crash_anywhere_ends_the_same(stack_env: StackEnv, tmp_path: Path, point: str) -> None:
    async with Place.open(stack_env, tmp_path) as place:
        place.key.write_text(private_text(OLD))
        ref = await Artefacts(place.store).keep("t_a1", "output", b"to go")
        await publish_facts(stack_env, 5, refs=(ref,))
        await place.log_of_a_run(5)
        await place.ask(type="redaction", of="2", id="x")
        await place.ask(type="redaction", of="0", id="y")
        await place.ask(type="redaction", of="4", id="y")
        await place.ask(type="redaction", of="3", id="y")
        await place.ask(type="redaction", of="1", id="y")
        died = await place.start(RR_CRASH_AT=point)
        assert await died.wait() == 137

        process = await place.start()

        async def done() -> bool:
            assert process.returncode is None
            left = await place.admin.fetchval("SELECT count(*) FROM shredding")
            return await place.size() == 10 and not left

        await eventually(done, timeout=30)
        await end(process)
        leaves = [orjson.loads(leaf) for leaf in await place.leaves()]
        assert [leaf["body"]["of"] for leaf in leaves[5:]] == ["2", "0", "4", "3", "1"]
        assert not (place.objects / ROOT / "output" / "t_a1" / ref.sha256).exists()
        assert await place.admin.fetchval("SELECT count(*) FROM payload") == 0
