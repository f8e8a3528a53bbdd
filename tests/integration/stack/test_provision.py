"""Provisioning against real servers: idempotent, loud about drift, exact about epochs and rights."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import nats
import pytest

from libs.common.contracts.choreography import EXPORTER, SERVICES, STREAMS, consumers
from libs.common.schema import SchemaBehindError, check_schema, current_and_head
from runbook_ranger.stack.errors import DriftError, EpochMismatchError, StackError
from runbook_ranger.stack.migrate import migrate
from runbook_ranger.stack.provision import Purpose, Targets, provision
from runbook_ranger.stack.provision.jetstream import JetStream, epoch_of
from runbook_ranger.stack.provision.wanted import durable, streams
from tests.support.servers import SMALL, StackEnv

pytestmark = pytest.mark.stack


@pytest.fixture
def targets(stack_env: StackEnv) -> Targets:
    return Targets(
        stack_env["RR_POSTGRES_URL"],
        stack_env["RR_NATS_URL"],
        stack_env["RR_REDIS_URL"],
        stack_env["RR_ROLE_SECRET"],
        SMALL,
    )


@asynccontextmanager
async def jetstream(targets: Targets) -> AsyncIterator[JetStream]:
    client = await nats.connect(targets.nats)
    try:
        yield JetStream(client)
    finally:
        await client.close()


@asynccontextmanager
async def database(url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def epoch(targets: Targets, stream: str = "EVENTS") -> int:
    async with database(targets.postgres) as connection:
        return int(await connection.fetchval("select epoch from public.stream_epoch where stream = $1", stream))


async def test_streams_and_consumers_are_those_of_the_choreography(targets: Targets) -> None:
    async with jetstream(targets) as js:
        found = {(stream, name) for stream in STREAMS for name in await js.consumer_names(stream)}
        keeper = await js.consumer("EVENTS", "timeline")
        events = await js.stream("EVENTS")

    assert found == set(consumers())
    assert keeper is not None
    assert keeper["config"]["ack_policy"] == "all"
    assert events is not None
    assert (events["allow_atomic"], events["deny_delete"], events["deny_purge"]) == (True, True, True)


async def test_provisioning_twice_at_once_changes_nothing(targets: Targets) -> None:
    await asyncio.gather(provision(targets), provision(targets))

    assert await epoch(targets) == 1


async def test_a_changed_stream_is_refused_by_field_and_left_as_it_is(targets: Targets) -> None:
    async with jetstream(targets) as js:
        changed = {**(await js.stream("EVENTS") or {}), "max_age": 3_600_000_000_000}
        await js.update_stream(changed)

        with pytest.raises(DriftError) as refusal:
            await provision(targets)

        assert [(one.what, one.field, one.found) for one in refusal.value.differences] == [
            ("stream EVENTS", "max_age", 3_600_000_000_000)
        ]
        assert "rangerctl provision --update EVENTS" in str(refusal.value)
        assert (await js.stream("EVENTS") or {})["max_age"] == 3_600_000_000_000

        await provision(targets, Purpose(update=["EVENTS"]))
        assert (await js.stream("EVENTS") or {})["max_age"] == streams(SMALL)["EVENTS"]["max_age"]
    await provision(targets)


async def test_a_changed_consumer_is_refused_and_recreated_where_it_stood(targets: Targets) -> None:
    async with jetstream(targets) as js:
        await js.delete_consumer("EVENTS", "catalog")
        await js.create_consumer("EVENTS", {**durable("catalog", ("incident.*",), SMALL), "max_ack_pending": 7})
        context = js.client.jetstream()
        for number in range(3):
            await context.publish("incident.created", str(number).encode())
        subscription = await context.pull_subscribe_bind("catalog", "EVENTS")
        for message in await subscription.fetch(2):
            await message.ack_sync()

        with pytest.raises(DriftError) as refusal:
            await provision(targets)
        assert {one.field for one in refusal.value.differences} == {"max_ack_pending", "filter_subjects"}
        assert "--recreate EVENTS/catalog" in str(refusal.value)

        await provision(targets, Purpose(recreate=["EVENTS/catalog"]))

        renewed = await context.pull_subscribe_bind("catalog", "EVENTS")
        assert [message.data for message in await renewed.fetch(5, timeout=1)] == [b"2"]
    await provision(targets)


async def test_a_stream_made_anew_begins_a_new_epoch_and_says_so_itself(targets: Targets) -> None:
    async with jetstream(targets) as js:
        await js.delete_stream("EVENTS")

        await provision(targets)

        assert await epoch(targets) == 2
        assert epoch_of(await js.stream("EVENTS") or {}) == 2
        assert await epoch(targets, "INGRESS") == 1
        assert set(await js.consumer_names("EVENTS")) == {name for stream, name in consumers() if stream == "EVENTS"}


async def test_a_database_made_anew_adopts_the_epoch_that_the_stream_carries(targets: Targets) -> None:
    async with jetstream(targets) as js:
        await js.delete_stream("EVENTS")
    await provision(targets)
    async with database(targets.postgres) as connection:
        await connection.execute("truncate public.stream_epoch")

    await provision(targets)

    assert await epoch(targets) == 2


async def test_histories_that_do_not_belong_together_are_refused_until_renewed(targets: Targets) -> None:
    async with database(targets.postgres) as connection:
        await connection.execute("update public.stream_epoch set epoch = 5 where stream = 'EVENTS'")

    with pytest.raises(EpochMismatchError, match=r"says epoch 1, public\.stream_epoch says 5"):
        await provision(targets)

    await provision(targets, Purpose(renew=["EVENTS"]))
    assert await epoch(targets) == 6


async def test_a_consumer_that_is_missing_is_made_again(targets: Targets) -> None:
    async with jetstream(targets) as js:
        await js.delete_consumer("EVENTS", "timeline")

        await provision(targets)

        assert await js.consumer("EVENTS", "timeline") is not None


async def test_a_full_stream_refuses_and_keeps_what_it_has(targets: Targets) -> None:
    async with jetstream(targets) as js:
        config = {**(await js.stream("EVENTS") or {}), "max_msgs": 1}
        await js.update_stream(config)
        context = js.client.jetstream()
        await context.publish("incident.created", b"first")

        with pytest.raises(nats.js.errors.APIError) as refusal:
            await context.publish("incident.created", b"second")

    assert refusal.value.err_code == 10077


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_sees_its_own_schema_and_the_epochs_only(stack_env: StackEnv, service: str) -> None:
    other = next(name for name in SERVICES if name != service)
    async with database(stack_env.service(service)["RR_POSTGRES_URL"]) as connection:
        await connection.execute("create table own_probe (id int)")

        assert await connection.fetchval("select to_regclass('own_probe')::text") == "own_probe"
        assert await connection.fetchval("select current_schema()") == service
        assert await connection.fetchval("select count(*) from public.stream_epoch") == len(STREAMS)
        assert await connection.fetchval("show idle_in_transaction_session_timeout") == "10s"
        for forbidden in (
            f"create table {other}.intruder (id int)",
            f"select * from {other}.alembic_version",
            "create table public.intruder (id int)",
            "update public.stream_epoch set epoch = 9",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)


async def test_a_role_gets_no_more_connections_than_its_share(stack_env: StackEnv) -> None:
    async with database(stack_env["RR_POSTGRES_URL"]) as connection:
        rows = await connection.fetch("select rolname, rolconnlimit from pg_roles where rolname like 'rr\\_%'")
        available = int(await connection.fetchval("show max_connections"))

    limits = {row["rolname"]: row["rolconnlimit"] for row in rows}
    assert set(limits) == {f"rr_{service}" for service in (*SERVICES, EXPORTER)}
    assert 0 < sum(limits.values()) < available


async def test_every_service_is_migrated_to_its_head_and_owns_what_it_made(stack_env: StackEnv) -> None:
    async with database(stack_env["RR_POSTGRES_URL"]) as connection:
        versions = {service: await current_and_head(connection, service) for service in SERVICES}
        owner = await connection.fetchval(
            "select tableowner from pg_tables where tablename = 'alembic_version' limit 1"
        )

    assert all(current == head for current, head in versions.values())
    assert any(head for _, head in versions.values())
    assert owner.startswith("rr_")
    assert await migrate(stack_env["RR_POSTGRES_URL"]) == {}


async def test_a_schema_that_is_behind_refuses_its_service_and_one_ahead_does_not(stack_env: StackEnv) -> None:
    async with database(stack_env["RR_POSTGRES_URL"]) as connection:
        await connection.execute("update timeline.alembic_version set version_num = 'from_the_future'")
        await check_schema(connection, "timeline")

        await connection.execute("drop table timeline.alembic_version")
        with pytest.raises(SchemaBehindError, match="schema timeline is at nothing"):
            await check_schema(connection, "timeline")


def test_what_is_missing_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RR_POSTGRES_URL", "RR_NATS_URL", "RR_ROLE_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RR_NATS_URL", "nats://there")

    with pytest.raises(StackError, match="RR_POSTGRES_URL, RR_ROLE_SECRET"):
        Targets.from_environment()
