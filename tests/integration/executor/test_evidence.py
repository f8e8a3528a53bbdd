"""`evidence.bundle`: one file with an incident's leaves, named by its SHA-256 in the fact of the step."""

import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from libs.common.bus import Bus
from libs.common.contracts.envelope import Envelope
from libs.common.ids import new_id
from libs.common.rpc import RpcClient
from services.executor.worker.evidence import EvidenceBundle
from tests.integration.executor.bench import Bench, runbook
from tests.integration.executor.hands import artefacts_in, hands, kept_in
from tests.integration.executor.neighbours import Neighbours
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack
KEEP = {"id": "keep", "type": "action", "action": "evidence.bundle", "effect": "read"}
INCIDENT = "0190a0de-0000-7000-8000-000000000001"


@pytest.fixture
async def neighbours(stack_env: StackEnv) -> AsyncIterator[Neighbours]:
    """A timeline with three events of the incident, between those of another."""
    found = Neighbours()
    for index in range(6):
        payload = orjson.dumps({"number": index})
        leaf = base64.b64encode(b"leaf %d" % index).decode()
        stored = {"index": index, "leaf": leaf, "event_hash": hashlib.sha256(payload).hexdigest()}
        found.entries.append(
            {
                "index": index,
                "incident_id": INCIDENT if index % 2 else new_id(),
                "event_id": new_id(),
                "type": "runbook.started",
                "leaf": {**stored, "payload": base64.b64encode(payload).decode(), "salt": ""},
            }
        )
    await found.serve(stack_env["RR_NATS_URL"])
    yield found
    await found.close()


@pytest.fixture
async def action(neighbours: Neighbours, stack_env: StackEnv, tmp_path: Path) -> AsyncIterator[EvidenceBundle]:
    """The action, which keeps its files below the test's folder."""
    assert neighbours.entries
    bus = Bus(stack_env["RR_NATS_URL"], name="worker-test")
    await bus.connect()
    yield EvidenceBundle(RpcClient(bus, timeout=1.0), kept_in(tmp_path / "objects"))
    await bus.close()


async def kept(bench: Bench, action: EvidenceBundle, spec: Any = None, incident: str = INCIDENT) -> str:
    """An execution whose bundle was made."""
    execution = await bench.execution(spec or runbook(KEEP), incident=incident)
    async with hands(bench, action) as worker:
        assert (await worker.carry_out(execution))["state"] == "succeeded"
    return execution


async def refs(bench: Bench, execution: str, told: str = "step_completed") -> list[dict[str, str]]:
    """What the fact of the step names, as its headers say it."""
    headers = await bench.database.pool.fetchval(
        "SELECT headers FROM outbox WHERE aggregate_id = $1 AND subject = $2", execution, f"runbook.{told}"
    )
    wire = orjson.loads(headers)
    assert [ref.to_wire() for ref in Envelope.from_headers(wire).refs] == orjson.loads(wire["Rr-Refs"])
    found: list[dict[str, str]] = orjson.loads(wire["Rr-Refs"])
    return found


async def test_the_file_is_named_by_its_hash_and_the_fact_names_the_file(
    bench: Bench, action: EvidenceBundle, tmp_path: Path
) -> None:
    execution = await kept(bench, action)

    [file] = artefacts_in(tmp_path / "objects")
    data = file.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    assert file == tmp_path / "objects" / "artefacts" / "evidence" / "default" / digest
    assert await refs(bench, execution) == [{"k": "evidence", "len": str(len(data)), "sha256": digest}]
    [run] = (await bench.show(execution))["steps"]
    assert run["outputs"] == {"sha256": digest, "length": len(data), "leaves": 3}


async def test_the_file_holds_the_incidents_leaves_and_no_others(
    bench: Bench, action: EvidenceBundle, neighbours: Neighbours, tmp_path: Path
) -> None:
    await kept(bench, action)

    [file] = artefacts_in(tmp_path / "objects")
    document = orjson.loads(file.read_bytes())
    own = [entry for entry in neighbours.entries if entry["incident_id"] == INCIDENT]
    assert (document["v"], document["incident_id"]) == ("rr.evidence/1", INCIDENT)
    assert [leaf["leaf"] for leaf in document["leaves"]] == [entry["leaf"]["leaf"] for entry in own]
    for leaf, named in zip(document["leaves"], document["manifest"], strict=True):
        assert hashlib.sha256(base64.b64decode(leaf["payload"])).hexdigest() == named["event_hash"]
        assert (named["index"], named["event_id"]) == (leaf["index"], leaf["event_id"])


async def test_the_same_leaves_make_the_same_file_and_more_leaves_another(
    bench: Bench, action: EvidenceBundle, neighbours: Neighbours, tmp_path: Path
) -> None:
    first = await kept(bench, action)
    again = await kept(bench, action, runbook(KEEP, id="mend-again"))
    assert await refs(bench, first) == await refs(bench, again)
    assert len(artefacts_in(tmp_path / "objects")) == 1

    neighbours.entries[0]["incident_id"] = INCIDENT
    later = await kept(bench, action, runbook(KEEP, id="mend-later"))

    assert await refs(bench, later) != await refs(bench, first)
    assert len(artefacts_in(tmp_path / "objects")) == 2


async def test_an_incident_can_be_named(bench: Bench, action: EvidenceBundle, tmp_path: Path) -> None:
    execution = await kept(bench, action, runbook({**KEEP, "with": {"incident_id": INCIDENT}}), incident=new_id())

    [file] = artefacts_in(tmp_path / "objects")
    assert orjson.loads(file.read_bytes())["incident_id"] == INCIDENT
    assert [ref["sha256"] for ref in await refs(bench, execution)] == [file.name]


async def test_an_execution_for_no_incident_must_name_one(bench: Bench, action: EvidenceBundle, tmp_path: Path) -> None:
    execution = await bench.execution(runbook(KEEP))
    await bench.database.pool.execute("UPDATE action_log SET incident_id = ''")

    async with hands(bench, action) as worker:
        row = await worker.carry_out(execution)

    assert (row["state"], row["error_code"]) == ("failed", "no_incident")
    assert (await bench.show(execution))["state"] == "failed"
    assert artefacts_in(tmp_path / "objects") == []


async def test_a_timeline_that_does_not_answer_is_a_failure_that_may_pass(
    bench: Bench, action: EvidenceBundle, neighbours: Neighbours, tmp_path: Path
) -> None:
    execution = await bench.execution(runbook({**KEEP, "retry": {"attempts": 2, "delay": "1s"}}), incident=INCIDENT)
    await neighbours.close()

    async with hands(bench, action) as worker:
        row = await worker.carry_out(execution)

    assert (row["state"], row["error_code"]) == ("failed", "timeline_unavailable")
    assert (await bench.fact(execution, "step_failed"))["will_retry"]
    assert artefacts_in(tmp_path / "objects") == []


async def test_a_store_that_does_not_answer_is_a_failure_that_may_pass(
    bench: Bench, action: EvidenceBundle, tmp_path: Path
) -> None:
    (tmp_path / "objects").write_text("a file where the folder should be")
    execution = await bench.execution(runbook({**KEEP, "retry": {"attempts": 2, "delay": "1s"}}), incident=INCIDENT)

    async with hands(bench, action) as worker:
        row = await worker.carry_out(execution)

    assert (row["state"], row["error_code"]) == ("failed", "store_unavailable")
    assert (await bench.fact(execution, "step_failed"))["will_retry"]
