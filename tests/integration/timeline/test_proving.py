"""Proofs by the service's verbs: to whom, of what, and that an outsider's verifier takes them."""

import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from libs.common.errors import Denied, InvalidInput, NotFound
from libs.common.policy import RESTRICTED, Principal
from libs.common.rpc import Caller
from libs.tlog.hashing import event_hash
from libs.tlog.tlogproof import ConsistencyProof, LeafProof
from services.timeline.proving import Checkpoint, Consistency, Proof, ProofDesk
from tests.integration.timeline.bench import Bench
from tests.integration.timeline.signed import NAME, OLD, Office

pytestmark = pytest.mark.stack

VIEWER = Principal("usr_view", frozenset({"t_a1"}), frozenset({"viewer"}))
OTHER = Principal("usr_other", frozenset({"t_b2"}), frozenset({"viewer"}))
AUDITOR = Principal("usr_audit", frozenset({"*"}), frozenset({"admin"}), clearance=RESTRICTED)


class Asker:
    """Somebody who asks the desk."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.desk = ProofDesk(NAME)

    async def ask(self, verb: str, question: Any, principal: Principal = VIEWER, tenant: str = "t_a1") -> Any:
        caller = Caller(principal, tenant, "", "")
        async with self.bench.database.transaction("test", snapshot=True) as tx:
            return await getattr(self.desk, verb)(tx, caller, question)


@pytest.fixture
async def signed(bench: Bench, tmp_path: Path) -> AsyncIterator[Asker]:
    """A log of 700 events, signed at several sizes."""
    office = Office(bench, tmp_path)
    async with office.open():
        await bench.publish(*range(1, 301))
        await office.published(300)
        await bench.publish(*range(301, 701))
        await office.published(700)
        yield Asker(bench)


async def test_every_kind_of_place_is_proven_under_every_checkpoint(signed: Asker) -> None:
    sizes = [row["size"] for row in await signed.bench.database.pool.fetch("SELECT size FROM checkpoint")]
    for size in sizes:
        for index in sorted({0, size // 2, size - 1, min(255, size - 1), min(256, size - 1)}):
            found = LeafProof.from_json(await signed.ask("proof", Proof(index=index, size=size)))

            verified = found.verify([OLD.verifier])

            assert (found.proof.index, verified.checkpoint.size) == (index, size)


async def test_an_event_is_proven_by_its_id(signed: Asker) -> None:
    event = signed.bench.fact(123).id

    found = LeafProof.from_json(await signed.ask("proof", Proof(event_id=event)))

    assert event.encode() in found.leaf
    found.verify([OLD.verifier])
    (row,) = await signed.bench.database.pool.fetch("SELECT event_hash FROM leaf WHERE event_id = $1", event)
    assert row["event_hash"] == event_hash(found.leaf)


async def test_sizes_that_were_signed_belong_together(signed: Asker) -> None:
    made = await signed.bench.database.pool.fetch("SELECT size, root FROM checkpoint ORDER BY size")
    for old in made:
        answer = await signed.ask("consistency", Consistency(old=old["size"]))

        ConsistencyProof.from_json(answer).verify(old["root"], made[-1]["root"])
    between = ConsistencyProof.from_json(await signed.ask("consistency", Consistency(old=7, new=301)))
    assert (between.old, between.new) == (7, 301)
    with pytest.raises(InvalidInput):
        await signed.ask("consistency", Consistency(old=7, new=701))


async def test_who_may_not_view_an_event_gets_no_proof_of_it(signed: Asker) -> None:
    event = signed.bench.fact(1).id
    for question in (Proof(index=0), Proof(event_id=event)):
        with pytest.raises(NotFound):
            await signed.ask("proof", question, OTHER, "t_b2")
        with pytest.raises(Denied):
            await signed.ask("proof", question, OTHER, "t_a1")
    assert await signed.ask("proof", Proof(index=0), AUDITOR, "t_b2")
    with pytest.raises(NotFound):
        await signed.ask("proof", Proof(index=700))
    with pytest.raises(NotFound):
        await signed.ask("checkpoint", Checkpoint(size=1_000_000))
    with pytest.raises(Denied):
        await signed.ask("checkpoint", Checkpoint(), OTHER, "t_a1")


async def test_a_proof_takes_a_few_milliseconds(signed: Asker) -> None:
    chosen = random.Random(7).sample(range(700), 50)
    began = time.perf_counter()
    for index in chosen:
        await signed.ask("proof", Proof(index=index))
    assert (time.perf_counter() - began) / len(chosen) < 0.05
