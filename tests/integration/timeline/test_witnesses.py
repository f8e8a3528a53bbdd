"""Cosignatures: whose are kept, of what, and that whoever brings the witness's key finds them wherever they belong."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from libs.common.errors import Conflict, Denied, InvalidInput, NotFound, RangerError
from libs.common.policy import RESTRICTED, Principal
from libs.common.rpc import Caller
from libs.tlog.checkpoint import Checkpoint as Said
from libs.tlog.checkpoint import open_checkpoint, sign_checkpoint
from libs.tlog.inspection import verify_bundle
from libs.tlog.note import Cosigner, cosigned, parse_note
from libs.tlog.tlogproof import LeafProof
from libs.verifier.reading import verify_path as verified
from services.timeline import metrics, witnesses
from services.timeline.checkpoints import Made, as_signed
from services.timeline.press import Press
from services.timeline.proving import Checkpoint, Proof, ProofDesk
from services.timeline.witnesses import Cosigned, WitnessDesk
from tests.integration.timeline.bench import Bench
from tests.integration.timeline.signed import NAME, NEW, OLD, Office
from tests.integration.timeline.test_bundles import ADA, KEYS, Desk
from tests.support.eventually import eventually

pytestmark = pytest.mark.stack
AUDITOR = Principal("otto", frozenset({"*"}), frozenset({"auditor"}), clearance=RESTRICTED)
ONE, TWO, STRANGER = (Cosigner(f"witness.example/{number}", bytes([90 + number]) * 32) for number in (1, 2, 3))
SEEN = 1_772_359_300


class Witnessed(Desk):
    """A desk whose log is shown to witnesses."""

    def __init__(self, office: Office, folder: Path) -> None:
        super().__init__(office, folder)
        self.known = [ONE.verifier, TWO.verifier]
        self.proofs = ProofDesk(NAME)

    async def asked(self, desk: Any, verb: str, question: Any, who: Principal = ADA) -> Any:
        async with self.bench.database.transaction("test") as tx:
            return await getattr(desk, verb)(tx, Caller(who, "t_a1", "k"), question)

    async def newest(self, **which: Any) -> bytes:
        return str((await self.asked(self.proofs, "checkpoint", Checkpoint(**which)))["checkpoint"]).encode()

    async def hand_in(self, note: bytes, who: Principal = AUDITOR) -> Any:
        desk = WitnessDesk(NAME, self.known)
        return await self.asked(desk, "cosign", Cosigned(checkpoint=note.decode()), who)

    async def cosigned(self, *by: Cosigner, time: int = SEEN) -> bytes:
        """The newest checkpoint as witnesses give it back."""
        note = await self.newest()
        return cosigned(note, [witness.sign(parse_note(note)[0], time) for witness in by])


@pytest.fixture
async def desk(bench: Bench, tmp_path: Path) -> AsyncIterator[Witnessed]:
    """Three events, signed."""
    office = Office(bench, tmp_path)
    async with office.open():
        desk = Witnessed(office, tmp_path)
        await desk.tell(1, 2, 3)
        await office.published(3)
        yield desk


async def test_a_cosignature_is_given_out_with_its_checkpoint_its_proofs_and_bundles(desk: Witnessed) -> None:
    answer = await desk.hand_in(await desk.cosigned(ONE, STRANGER))
    again = await desk.hand_in(await desk.cosigned(TWO, time=SEEN + 5))

    assert (answer["size"], answer["new"], again["new"]) == (3, 1, 1)
    assert [(one["name"], one["time"]) for one in again["witnesses"]] == [(ONE.name, SEEN), (TWO.name, SEEN + 5)]
    await desk.tell(4)
    await desk.office.published(4)
    trusted = [OLD.verifier, ONE.verifier, TWO.verifier]
    signed = open_checkpoint(await desk.newest(witnessed=True), trusted)
    assert (signed.checkpoint.size, [one.time for one in signed.witnesses]) == (3, [SEEN, SEEN + 5])
    assert await desk.newest(size=3) == signed.raw
    assert open_checkpoint(await desk.newest(), trusted).witnesses == ()
    proof = LeafProof.from_json(await desk.asked(desk.proofs, "proof", Proof(index=0, witnessed=True)))
    assert len(proof.verify(trusted).witnesses) == 2

    await desk.hand_in(await desk.cosigned(ONE))
    await desk.tell(5, incident_id="another")
    await desk.office.published(5)
    found = verify_bundle(await desk.files(await desk.ask()), [*KEYS, ONE.verifier])
    assert (found.manifest.size, found.manifest.leaves) == (4, 4)
    assert [one.key.name for one in found.signed.witnesses] == [ONE.name]


async def test_what_witnesses_have_signed_is_published_beneath_the_note_of_its_size(desk: Witnessed) -> None:
    store, trusted = desk.office.store, [OLD.verifier, ONE.verifier, TWO.verifier]
    alone = await store.get("checkpoint")

    async def shown(key: str) -> list[str]:
        raw = await store.get(key)
        return [one.key.name for one in open_checkpoint(raw, trusted).witnesses] if raw else []

    async def signed_by(key: str, *names: str) -> None:
        async def there() -> bool:
            return await shown(key) == list(names)

        await eventually(there, timeout=15)

    await desk.hand_in(await desk.cosigned(ONE))
    await signed_by("checkpoint", ONE.name)
    await signed_by("witnessed", ONE.name)
    assert (await store.get("checkpoint") or b"").startswith(alone or b"no")
    assert await store.get("checkpoints/3") == alone, "what was made once stays as it was"

    # A witness that is late finds its checkpoint in the store although the log has gone on.
    second = await desk.cosigned(TWO)
    await desk.tell(4)
    await desk.office.published(4)
    await desk.hand_in(second)
    await signed_by("witnessed", ONE.name, TWO.name)
    assert await shown("checkpoint") == []
    assert open_checkpoint(await store.get("witnessed") or b"", trusted).checkpoint.size == 3
    await desk.hand_in(await desk.cosigned(TWO))
    await signed_by("checkpoint", TWO.name)
    await signed_by("witnessed", TWO.name)
    assert verified(desk.office.objects, trusted).signed.checkpoint.size == 4

    # A publisher that was paused takes nothing back, nor the lines from under it; lines of its own it adds.
    newest = await store.get("checkpoint") or b""
    old = Made(3, open_checkpoint(alone or b"", trusted).checkpoint.root, alone or b"")
    bare = Made(4, open_checkpoint(newest, trusted).checkpoint.root, await store.get("checkpoints/4") or b"")
    press = Press(desk.bench.database, store, origin=NAME)
    await press.publish(old, 0)
    await press.publish(bare, 0)
    assert await store.get("checkpoint") == newest
    cut = newest.replace(parse_note(newest)[1][-1].line().encode(), b"")
    spoilt = cut.replace(b"\n\n\xe2\x80\x94 " + NAME.encode() + b" ", b"\n\n\xe2\x80\x94 somebody ")
    for found in (cut, spoilt, b"no note at all"):
        await store.put("checkpoint", found)
        fresh = Press(desk.bench.database, store, origin=NAME)
        await fresh.witness(Made(4, bare.root, newest))
        opened = open_checkpoint(await store.get("checkpoint") or b"", trusted)
        assert [one.key.name for one in opened.witnesses] == [TWO.name]


def test_a_log_that_is_made_again_keeps_what_it_signed_and_not_what_others_put_beneath() -> None:
    said = Said(NAME, 3, bytes(range(32)))
    note = sign_checkpoint(said, [OLD, NEW])

    assert as_signed(note) == note
    assert as_signed(cosigned(note, [ONE.sign(said.text(), SEEN)])) == note


async def test_a_bundle_takes_a_newer_checkpoint_where_no_witness_has_seen_all_of_it(desk: Witnessed) -> None:
    await desk.hand_in(await desk.cosigned(ONE))
    await desk.tell(4)
    await desk.bench.caught_up(4)

    found = verify_bundle(await desk.files(await desk.ask()), [*KEYS, ONE.verifier])

    assert (found.manifest.leaves, found.signed.witnesses) == (4, ())


async def test_only_what_a_known_witness_says_of_this_log_is_kept(desk: Witnessed) -> None:
    note, said = await desk.newest(), Said(NAME, 3, bytes(32))
    elsewhere = Said("other.example/log", 3, bytes(32)).text()
    later = Said(NAME, 3_000, bytes(32)).text()
    alarms = metrics.SPLIT_VIEWS._value.get()
    for raw, refusal, code in (
        (note, InvalidInput, "unknown_witness"),
        (await desk.cosigned(STRANGER), InvalidInput, "unknown_witness"),
        ((await desk.cosigned(ONE)).replace(b" wit", b" Wit"), InvalidInput, "unknown_witness"),
        (b"no note", InvalidInput, "not_a_checkpoint"),
        (f"a\nb\n\n{ONE.sign('a' + chr(10) + 'b' + chr(10), SEEN)}".encode(), InvalidInput, "not_a_checkpoint"),
        (f"{elsewhere}\n{ONE.sign(elsewhere, SEEN)}".encode(), InvalidInput, "not_a_checkpoint"),
        (f"{later}\n{ONE.sign(later, SEEN)}".encode(), NotFound, "not_found"),
        (cosigned(sign_checkpoint(said, [OLD]), [ONE.sign(said.text(), SEEN)]), Conflict, "other_root"),
    ):
        with pytest.raises(refusal) as refused:
            await desk.hand_in(raw)
        assert refused.value.reason_code == code, raw
    signed = parse_note(await desk.cosigned(ONE))[1][-1]
    bent = note + signed.line().replace(signed.line()[40:44], "AAAA").encode()
    with pytest.raises(InvalidInput):
        await desk.hand_in(bent)

    assert metrics.SPLIT_VIEWS._value.get() == alarms + 1
    assert await desk.bench.database.pool.fetchval("SELECT count(*) FROM cosignature") == 0
    with pytest.raises(NotFound) as refused_too:
        await desk.newest(witnessed=True)
    assert refused_too.value.reason_code == "not_witnessed"


async def test_who_may_not_read_the_whole_log_hands_nothing_in_and_nothing_is_unsaid(desk: Witnessed) -> None:
    with pytest.raises(Denied):
        await desk.hand_in(await desk.cosigned(ONE), ADA)
    await desk.hand_in(await desk.cosigned(ONE))

    for statement in ("DELETE FROM cosignature", "UPDATE cosignature SET line = ''", "TRUNCATE cosignature"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await desk.bench.database.pool.execute(statement)


def test_a_setting_names_witnesses_and_nothing_else() -> None:
    text = f"{ONE.vkey}\n  {TWO.vkey} "
    assert witnesses.parsed(text) == [ONE.verifier, TWO.verifier]
    assert witnesses.parsed("") == []
    for wrong in (OLD.vkey, "nonsense", ONE.vkey[:-1], f"{ONE.vkey},{TWO.vkey}"):
        with pytest.raises(ValueError, match=r"key|vkey"):
            witnesses.parsed(wrong)


async def test_a_log_whose_key_is_changed_goes_on_signing_what_witnesses_have_signed(desk: Witnessed) -> None:
    """The notary reads the log's own lines in the last checkpoint, and finds no witness's there."""
    await desk.hand_in(await desk.cosigned(ONE, TWO))
    desk.office.give(OLD, NEW)
    await desk.tell(4)
    await desk.office.published(5)
    try:
        await desk.tell(5)
        signed = await desk.office.published(6, OLD, NEW)
    except RangerError as error:
        raise AssertionError from error
    assert {one.key.key_id for one in signed.signers} == {OLD.key_id, NEW.key_id}
