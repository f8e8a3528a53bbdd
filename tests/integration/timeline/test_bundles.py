"""An incident's bundle: all of it or none, for who may view all of it, with every object or the reason."""

import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from libs.common.artefacts import Artefacts, key_of
from libs.common.contracts.envelope import Ref
from libs.common.contracts.marking import Marking
from libs.common.errors import Denied, Misconfigured, NotFound, RangerError, TooLarge, Unavailable
from libs.common.policy import Principal
from libs.common.policy.model import CONFIDENTIAL
from libs.common.rpc import Caller
from libs.common.sight import Sight, narrow
from libs.tlog.archive import unpack
from libs.tlog.inspection import Inspected, verify_bundle
from libs.tlog.note import Signer, Verifier
from libs.tlog.secretkey import private_text
from services.timeline import metrics
from services.timeline.bundles import Bundle, BundleDesk, Patience
from services.timeline.exhibits import EARLIER, GONE, SWAPPED, Limits
from services.timeline.keys import KeyFiles
from tests.integration.timeline.bench import Bench, stop
from tests.integration.timeline.signed import NAME, OLD, Office
from tests.support.eventually import eventually

pytestmark = pytest.mark.stack
ADA = Principal("ada", frozenset({"t_a1"}), frozenset({"viewer"}))
CLEARED = Principal("cleo", frozenset({"t_a1"}), frozenset({"viewer"}), clearance=CONFIDENTIAL)
GUS = Principal("gus", frozenset({"t_b2"}), frozenset({"admin"}), clearance=CONFIDENTIAL)
SEALER = Signer(f"{NAME}/bundles", bytes([9]) * 32)
KEYS: list[Verifier] = [OLD.verifier, SEALER.verifier]
LIMITS = Limits(each=10_000, whole=1_000_000)
INCIDENT = "incident-1"


class Desk:
    """A log that is signed, somebody who asks for bundles of it, and the store that they lie in."""

    def __init__(self, office: Office, folder: Path) -> None:
        self.office = office
        self.bench = office.bench
        self.kept = Artefacts(office.store)
        self.key = folder / "bundle.key"
        self.key.write_text(private_text(SEALER))
        self.log_key = office.key

    def made(self, *, limits: Limits = LIMITS, wait: float = 10.0) -> BundleDesk:
        return BundleDesk(
            NAME,
            self.bench.database,
            self.office.store,
            log_keys=KeyFiles("RR_TIMELINE_KEY_FILE", str(self.log_key), name=NAME),
            bundle_keys=KeyFiles("RR_BUNDLE_KEY_FILE", str(self.key), name=SEALER.name),
            limits=limits,
            patience=Patience(wait, 30.0),
        )

    async def ask(self, who: Principal = ADA, incident: str = INCIDENT, desk: BundleDesk | None = None) -> Any:
        """The answer, as the command has it."""
        tenant = min(who.tenants)
        async with self.bench.database.transaction("test") as tx:
            await narrow(tx, Sight.of(who, tenant, changes=True))
            return await (desk or self.made()).bundle(tx, Caller(who, tenant, "k"), Bundle(incident_id=incident))

    async def files(self, answer: Any) -> dict[str, bytes]:
        raw = await self.office.store.get(key_of("t_a1", "bundle", answer["sha256"]))
        assert raw is not None
        assert (hashlib.sha256(raw).hexdigest(), len(raw)) == (answer["sha256"], answer["length"])
        return unpack(raw)

    async def checked(self, answer: Any) -> Inspected:
        return verify_bundle(await self.files(answer), KEYS)

    async def tell(self, *numbers: int, **changed: Any) -> None:
        """Events of the incident."""
        about = {"incident_id": INCIDENT, "execution_id": "", **changed}
        await self.bench.send([self.bench.outgoing(number, **about) for number in numbers])


@pytest.fixture
async def desk(bench: Bench, tmp_path: Path) -> AsyncIterator[Desk]:
    office = Office(bench, tmp_path)
    async with office.open():
        yield Desk(office, tmp_path)


async def test_a_bundle_holds_the_whole_incident_and_the_log_names_it(desk: Desk) -> None:
    await desk.tell(1, 2, execution_id="inside")
    await desk.tell(3, execution_id="across")
    await desk.tell(4, execution_id="across", incident_id="another")
    await desk.tell(5)
    await desk.bench.caught_up(5)

    answer = await desk.ask()

    found = await desk.checked(answer)
    assert (found.manifest.incident, found.manifest.leaves) == (INCIDENT, 4)
    assert {key[1]: head.n for key, head in found.manifest.chains.items()} == {INCIDENT: 4, "inside": 2}
    assert found.manifest.policy
    assert answer["vkeys"] == [key.vkey for key in KEYS]
    assert (answer["index"], answer["leaves"], answer["absent"]) == (4, 4, 0)

    async def sealed() -> list[Any]:
        bodies = [leaf["body"] for leaf in await desk.bench.leaves() if leaf["kind"] == "control"]
        return [body for body in bodies if body["type"] == "bundle_sealed"]

    (said,) = await eventually(sealed)
    files = await desk.files(answer)
    assert said["envelope"] == hashlib.sha256(files["bundle.dsse.json"]).hexdigest() == answer["envelope"]
    assert (said["sha256"], said["incident"], said["size"]) == (answer["sha256"], INCIDENT, str(answer["size"]))
    await desk.bench.verified()


async def test_each_object_is_in_it_or_the_manifest_says_why_not(desk: Desk) -> None:
    here, swapped, gone, old = b"what it said", b"what was there", b"lost", b"deleted"
    refs = [await desk.kept.keep("t_a1", "output", raw) for raw in (here, swapped, gone, old)]
    refs.append(await desk.kept.keep("t_a1", "evidence", b"x" * 10_001))
    refs.append(await desk.kept.keep("t_a1", "bundle", b"an earlier one"))
    elsewhere = await desk.kept.keep("t_b2", "output", b"of another tenant")
    await desk.tell(1, refs=tuple(refs))
    await desk.tell(2, refs=(elsewhere,))
    await desk.bench.caught_up(2)
    (desk.office.objects / key_of("t_a1", "output", refs[1].sha256)).write_bytes(b"what is there!")
    for ref in refs[2:4]:
        await desk.office.store.delete(key_of("t_a1", "output", ref.sha256))
    pool = desk.bench.database.pool
    await pool.execute("UPDATE artefact SET deleted_at = '2026-04-01' WHERE sha256 = $1", bytes.fromhex(refs[3].sha256))
    alarms = metrics.ARTEFACTS_SWAPPED._value.get()

    answer = await desk.ask()

    found = await desk.checked(answer)
    assert found.manifest.absent == {
        refs[1].sha256: SWAPPED,
        refs[2].sha256: GONE,
        refs[3].sha256: "deleted at 2026-04-01T00:00:00Z",
        refs[4].sha256: "too large: 10001 bytes, an object may have 10000",
        refs[5].sha256: EARLIER,
        elsewhere.sha256: GONE,
    }
    files = await desk.files(answer)
    assert files[f"evidence/{refs[0].sha256}"] == here
    assert not any(b"of another tenant" in raw for raw in files.values())
    assert metrics.ARTEFACTS_SWAPPED._value.get() == alarms + 1


async def test_what_does_not_fit_is_left_out_in_the_order_of_the_log(desk: Desk) -> None:
    first, second = [await desk.kept.keep("t_a1", "output", bytes([number]) * 600) for number in (1, 2)]
    await desk.tell(1, refs=(first,))
    await desk.tell(2, refs=(second,))
    await desk.bench.caught_up(2)

    answer = await desk.ask(desk=desk.made(limits=Limits(each=1000, whole=1000)))
    with pytest.raises(TooLarge):
        await desk.ask(desk=desk.made(limits=Limits(each=1000, whole=10)))

    found = await desk.checked(answer)
    assert list(found.manifest.absent) == [second.sha256]
    assert "the bundle had" in found.manifest.absent[second.sha256]


async def test_who_may_not_view_all_of_it_gets_none_of_it(desk: Desk) -> None:
    await desk.tell(1)
    await desk.tell(2, marking=Marking("", CONFIDENTIAL))
    await desk.tell(3, incident_id="theirs", tenant="t_b2")
    await desk.bench.caught_up(3)

    with pytest.raises(Denied) as refused:
        await desk.ask(ADA)
    assert refused.value.reason_code == "bundle_not_whole"
    for who, incident in ((GUS, INCIDENT), (CLEARED, "theirs"), (CLEARED, "unknown")):
        with pytest.raises(NotFound):
            await desk.ask(who, incident)
    assert [key async for key in desk.office.store.list("artefacts")] == []

    answer = await desk.ask(CLEARED)
    assert (await desk.checked(answer)).manifest.leaves == 2
    assert answer["clearance"] == CONFIDENTIAL


async def test_an_event_of_another_tenant_in_the_chain_is_not_given_away_and_not_left_out(desk: Desk) -> None:
    await desk.tell(1)
    await desk.tell(2, tenant="t_b2")
    await desk.bench.caught_up(2)

    for who in (ADA, GUS):
        with pytest.raises(Denied) as refused:
            await desk.ask(who)
        assert refused.value.reason_code == "bundle_not_whole"


async def test_without_a_key_of_its_own_nothing_is_sealed_and_it_says_what_to_do(desk: Desk, tmp_path: Path) -> None:
    await desk.tell(1)
    await desk.bench.caught_up(1)
    for content in (None, "", private_text(OLD), private_text(Signer(SEALER.name, OLD.seed))):
        desk.key.unlink(missing_ok=True)
        if content is not None:
            desk.key.write_text(content)

        with pytest.raises(Misconfigured) as refused:
            await desk.ask()

        assert refused.value.reason_code == "bundle_key"
        assert "keygen" in refused.value.fix
        assert OLD.seed.hex() not in str(refused.value)
    desk.key.write_text(private_text(SEALER))
    desk.log_key = tmp_path / "lost.key"
    with pytest.raises(Misconfigured):
        await desk.ask()


async def test_it_waits_for_the_checkpoint_that_covers_it_and_not_for_ever(bench: Bench, tmp_path: Path) -> None:
    office = Office(bench, tmp_path)
    desk = Desk(office, tmp_path)
    writing = bench.start(office.writer)
    await desk.tell(1)
    await bench.caught_up(1)

    with pytest.raises(Unavailable) as refused:
        await desk.ask(desk=desk.made(wait=0.3))
    assert refused.value.reason_code == "no_checkpoint"
    await stop(writing)

    async with office.open():
        assert await desk.checked(await desk.ask())


async def test_asked_for_again_it_is_another_file_that_holds_as_well(desk: Desk) -> None:
    await desk.tell(*range(1, 11))
    await desk.bench.caught_up(10)
    first = await desk.ask()
    await desk.tell(11)
    await desk.bench.caught_up(11)

    second = await desk.ask()

    assert (await desk.checked(first)).manifest.leaves == 10
    assert (await desk.checked(second)).manifest.leaves == 11
    assert first["size"] < second["size"]


async def test_no_more_than_two_are_made_at_once(desk: Desk) -> None:
    await desk.tell(1)
    await desk.bench.caught_up(1)
    busy = desk.made()

    async with busy._turn(), busy._turn():
        with pytest.raises(Unavailable) as refused:
            await desk.ask(desk=busy)

    assert refused.value.reason_code == "bundle_busy"
    assert await desk.ask(desk=busy)


async def test_a_lie_about_a_length_hinders_nobody(desk: Desk) -> None:
    here = await desk.kept.keep("t_a1", "output", b"what it said")
    await desk.tell(1, refs=(here,))
    await desk.tell(2, refs=(Ref("output", here.sha256, 5),))
    await desk.bench.caught_up(2)

    found = await desk.checked(await desk.ask())

    assert "different lengths" in found.manifest.absent[here.sha256]


async def test_one_of_two_hundred_events_takes_less_than_a_second(desk: Desk) -> None:
    output = await desk.kept.keep("t_a1", "output", b"o" * 9_000)
    await desk.tell(*range(1, 1001), incident_id="others")
    await desk.tell(*range(1001, 1201), refs=(output,), execution_id="e-1")
    await desk.bench.caught_up(1200, timeout=30)
    await desk.office.published(1200)

    began = time.perf_counter()
    answer = await desk.ask()
    took = time.perf_counter() - began

    assert answer["leaves"] == 200
    assert took < 1.0


async def test_damage_in_the_database_is_not_sealed(desk: Desk, admin: Any) -> None:
    await desk.tell(1, 2)
    await desk.bench.caught_up(2)
    await desk.office.published(2)
    await admin.execute("UPDATE payload SET payload = $1 WHERE index = 1", orjson.dumps({"number": 3}))
    with pytest.raises(RangerError) as refused:
        await desk.ask()
    assert "does not match its commitment" in str(refused.value)

    await admin.execute("DELETE FROM payload WHERE index = 1")
    with pytest.raises(RangerError) as refused:
        await desk.ask()
    assert "no redaction says so" in str(refused.value)
