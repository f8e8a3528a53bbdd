"""Commands and questions: an effect once a request key, typed refusals across, and no hint of a bug's insides."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from libs.common.database import Tx
from libs.common.errors import Conflict, Denied, InvalidInput, RangerError, TooLarge, Unavailable
from libs.common.policy import Principal
from libs.common.rpc import MAX_REPLY_BYTES, Answer, Caller, Question, RpcClient, RpcServer
from tests.integration.common.lab import Lab
from tests.support.servers import Servers

pytestmark = pytest.mark.stack

ADA = Principal("ada", frozenset({"acme"}), frozenset({"operator"}))


class Note(Question):
    """Write something down."""

    text: str
    size: int = 0


class Notebook:
    """Commands and questions with every kind of outcome."""

    def __init__(self) -> None:
        self.refuse = False

    async def write(self, tx: Tx, caller: Caller, note: Note) -> Answer:
        number = await tx.fetchval("INSERT INTO tally (event_id) VALUES ($1) RETURNING n", note.text)
        if self.refuse:
            raise Conflict("Not now.", fix="Later.", code="not_now", text=note.text)
        return {"n": number, "by": caller.principal.actor, "x": "x" * note.size}

    async def fill(self, _tx: Tx, _caller: Caller, note: Note) -> Answer:
        await asyncio.sleep(0)
        return {"text": note.text * note.size}

    async def deny(self, _tx: Tx, _caller: Caller, _note: Note) -> Answer:
        await asyncio.sleep(0)
        raise Denied("No.", fix="Ask.", code="policy.role", step="s-1")

    async def break_down(self, tx: Tx, _caller: Caller, _note: Note) -> Answer:
        await tx.execute("INSERT INTO tally (event_id) VALUES ('half done')")
        raise ZeroDivisionError("canary-secret")

    async def whole(self, tx: Tx, _caller: Caller, _note: Note) -> Answer:
        return {"rows": await tx.fetchval("SELECT count(*) FROM tally")}


class Asker:
    """Asks the notebook from another connection."""

    def __init__(self, client: RpcClient, notebook: Notebook) -> None:
        self._client = client
        self.notebook = notebook

    async def __call__(self, verb: str, key: str = "", tenant: str = "acme", **body: Any) -> dict[str, Any]:
        return await self._client.ask(
            "catalog", verb, {"text": "hello", **body}, principal=ADA, tenant=tenant, request_key=key
        )


@pytest.fixture
async def ask(lab: Lab) -> Asker:
    bus = await lab.another_bus("notebook")
    server, notebook = RpcServer(bus, lab.catalog, "catalog"), Notebook()
    server.command("write", Note, notebook.write)
    server.command("break_down", Note, notebook.break_down)
    server.query("fill", Note, notebook.fill)
    server.query("deny", Note, notebook.deny)
    server.query("whole", Note, notebook.whole)
    await bus.serve()
    return Asker(RpcClient(lab.bus, timeout=5), notebook)


async def test_the_same_key_and_body_have_one_effect_and_one_answer(lab: Lab, ask: Asker) -> None:
    first = await ask("write", key="k-1")
    again = await ask("write", key="k-1")

    assert first == again == {"n": first["n"], "by": "ada", "x": ""}
    assert await lab.count("catalog.tally") == 1


async def test_twenty_at_once_with_one_key_have_one_effect_and_one_answer(lab: Lab, ask: Asker) -> None:
    answers = await asyncio.gather(*(ask("write", key="k-1") for _ in range(20)))

    assert len({orjson.dumps(answer) for answer in answers}) == 1
    assert await lab.count("catalog.tally") == 1


async def test_twenty_at_once_with_keys_of_their_own_have_twenty_effects(ask: Asker) -> None:
    answers = await asyncio.gather(*(ask("write", key=f"k-{n}") for n in range(20)))

    assert len({answer["n"] for answer in answers}) == 20


async def test_a_key_used_before_with_another_request_is_refused(lab: Lab, ask: Asker) -> None:
    await ask("write", key="k-1")

    with pytest.raises(Conflict) as other_body:
        await ask("write", key="k-1", text="other")
    with pytest.raises(Conflict) as other_verb:
        await ask("break_down", key="k-1")

    assert {refused.value.reason_code for refused in (other_body, other_verb)} == {"request_key_reused"}
    assert await lab.count("catalog.tally") == 1


async def test_a_key_belongs_to_its_tenant(lab: Lab, ask: Asker) -> None:
    await ask("write", key="k-1")
    await ask("write", key="k-1", tenant="beta", text="other")

    assert await lab.count("catalog.tally") == 2


async def test_a_refusal_is_not_remembered_and_its_effects_are_undone(lab: Lab, ask: Asker) -> None:
    ask.notebook.refuse = True
    with pytest.raises(Conflict) as refused:
        await ask("write", key="k-1")
    assert await lab.count("catalog.tally") == 0
    ask.notebook.refuse = False

    await ask("write", key="k-1")

    assert (refused.value.reason_code, refused.value.fix) == ("not_now", "Later.")
    assert refused.value.data == {"text": "hello"}
    assert await lab.count("catalog.tally") == 1


async def test_a_typed_error_arrives_as_what_it_was(ask: Asker) -> None:
    with pytest.raises(Denied) as denied:
        await ask("deny")

    assert (denied.value.status, denied.value.reason_code, denied.value.detail) == (403, "policy.role", "No.")
    assert denied.value.data == {"step": "s-1"}


async def test_a_bug_is_answered_without_detail_and_with_its_trace_and_is_undone(lab: Lab, ask: Asker) -> None:
    with pytest.raises(RangerError) as broken:
        await ask("break_down", key="k-1")

    assert type(broken.value) is RangerError
    assert broken.value.reason_code == "internal"
    assert set(broken.value.data) == {"trace"}
    assert "canary" not in orjson.dumps(broken.value.to_wire()).decode()
    assert await lab.count("catalog.tally") == 0
    assert await lab.count("catalog.command") == 0


async def test_nobody_there_is_unavailable_at_once(lab: Lab) -> None:
    with pytest.raises(Unavailable, match="incident did not answer"):
        await RpcClient(lab.bus, timeout=60).ask("incident", "write", {}, principal=ADA, tenant="acme")


async def test_a_server_that_is_down_is_unavailable_within_the_time_out(lab: Lab, ask: Asker, servers: Servers) -> None:
    servers.kill(servers.postgres)
    client = RpcClient(lab.bus, timeout=4)

    with pytest.raises(Unavailable):
        await client.ask("catalog", "whole", {"text": ""}, principal=ADA, tenant="acme")

    servers.kill(servers.nats)
    with pytest.raises(Unavailable):
        await client.ask("catalog", "whole", {"text": ""}, principal=ADA, tenant="acme", timeout=0.3)
    assert ask.notebook.refuse is False


async def test_an_answer_over_the_limit_is_refused(ask: Asker) -> None:
    with pytest.raises(TooLarge):
        await ask("fill", text="x", size=MAX_REPLY_BYTES)
    assert len((await ask("fill", text="x", size=MAX_REPLY_BYTES - 100))["text"]) == MAX_REPLY_BYTES - 100


async def test_a_command_whose_answer_is_over_the_limit_has_no_effect(lab: Lab, ask: Asker) -> None:
    with pytest.raises(TooLarge):
        await ask("write", key="k-1", size=MAX_REPLY_BYTES)

    assert await lab.count("catalog.tally") == 0


@pytest.mark.parametrize(
    ("body", "said"),
    [({"texte": "x"}, "texte: Extra inputs"), ({"size": "many"}, "size"), ({"text": None}, "text")],
)
async def test_a_field_that_is_unknown_or_mistyped_is_refused_by_name(
    lab: Lab, ask: Asker, body: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        await ask("write", **body)
    assert await lab.count("catalog.tally") == 0


@pytest.mark.parametrize("data", [b"", b"hello", b"[]", b"{}", b'{"principal": 7}', b"\xff", b"[" * 5000])
async def test_a_request_that_is_none_is_refused_as_one(lab: Lab, ask: Asker, data: bytes) -> None:
    reply = orjson.loads((await lab.bus.nc.request("rpc.catalog.write", data, timeout=5)).data)

    assert reply["error"]["code"] == "invalid"
    assert await ask("write")
