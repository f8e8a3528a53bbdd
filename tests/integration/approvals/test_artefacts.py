"""A decision is kept with what was shown, under its hash, whether or not the store answers when it is made."""

import hashlib
from pathlib import Path

import orjson
import pytest

from libs.common.artefacts import key_of
from libs.common.contracts.envelope import Ref
from libs.common.objectstore import ObjectStore
from tests.integration.approvals.room import ACTION, BOB, Executor, Room
from tests.support.eventually import eventually
from tests.support.s3 import ACCESS_KEY, SECRET, S3Server

pytestmark = pytest.mark.stack


async def kept(folder: Path, ref: Ref) -> bytes:
    """The artefact, once it is in the store."""
    file = folder / "artefacts" / ref.kind / "default" / ref.sha256
    await eventually(file.exists, timeout=20)
    data = file.read_bytes()
    assert (hashlib.sha256(data).hexdigest(), len(data)) == (ref.sha256, ref.length)
    return data


async def test_a_grant_names_the_question_as_it_was_shown_and_the_decision(room: Room) -> None:
    await room.start()
    approval = await room.asked(arguments={"url": "http://router/"})
    shown = await room.ask("get", approval_id=approval)

    await room.grant(approval)

    asked, (envelope, fact) = await room.told(approval, "approval.requested", "approval.granted")
    [ref] = envelope.refs
    document = orjson.loads(await kept(Path(room.env["RR_OBJECTS_DIR"]), ref))
    assert (ref.kind, asked[0].refs, document["v"]) == ("approval", (), "rr.approval/1")
    told = document["approval"]
    assert {name: told[name] for name in ("prompt", "arguments", "action_hash", "requester")} == {
        "prompt": shown["prompt"],
        "arguments": {"url": "http://router/"},
        "action_hash": ACTION,
        "requester": "rita",
    }
    assert (told["state"], told["approver"], told["decision_id"] != "") == ("granted", "ada", True)
    assert document["decision"] == {"type": "approval.granted", "payload": orjson.loads(fact.encode())}
    await eventually(lambda: empty(room), timeout=20)


async def test_a_no_and_a_grant_that_is_taken_back_are_kept_as_well(room: Room, executor: Executor) -> None:
    assert executor.asked == []
    await room.start()
    folder = Path(room.env["RR_OBJECTS_DIR"])
    refused, taken_back = await room.asked(), await room.asked()

    await room.say_no(refused)
    await room.grant(taken_back, who=BOB)
    await room.revoke(taken_back)

    [_, (no, _)] = await room.told(refused, "approval.requested", "approval.rejected")
    [_, _, (back, _)] = await room.told(taken_back, "approval.requested", "approval.granted", "approval.revoked")
    for envelope, state in ((no, "rejected"), (back, "revoked")):
        [ref] = envelope.refs
        assert orjson.loads(await kept(folder, ref))["approval"]["state"] == state


async def test_a_store_that_is_down_holds_up_no_decision(room: Room) -> None:
    folder = Path(room.env["RR_OBJECTS_DIR"])
    block(folder)
    instance = await room.start()
    approval = await room.asked()

    await room.grant(approval)

    _, (envelope, _) = await room.told(approval, "approval.requested", "approval.granted")
    await eventually(lambda: "artefacts_wait" in instance.output.read_text(), timeout=20)
    assert await instance.ready()
    unblock(folder)
    [ref] = envelope.refs
    await kept(folder, ref)


async def test_a_bucket_of_s3_takes_them_with_keys_from_files(room: Room, s3: S3Server, tmp_path: Path) -> None:
    url = s3.bucket()
    keys = {"ACCESS_KEY": ACCESS_KEY, "SECRET": SECRET}
    files = {f"RR_OBJECTS_{name}_FILE": written(tmp_path / name, text) for name, text in keys.items()}
    instance = await room.start(RR_OBJECTS_URL=url, **files)
    approval = await room.asked()

    await room.grant(approval)

    _, (envelope, _) = await room.told(approval, "approval.requested", "approval.granted")
    [ref] = envelope.refs
    store = ObjectStore.open(url, access_key=ACCESS_KEY, secret=SECRET)

    async def there() -> bool:
        return await store.size(key_of("default", "approval", ref.sha256)) == ref.length

    await eventually(there, timeout=20)
    assert SECRET not in instance.output.read_text()


async def empty(room: Room) -> bool:
    return await room.rows("SELECT 1 FROM artefact_waiting") == []


def block(folder: Path) -> None:
    """A file where the folder should be."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.touch()


def unblock(folder: Path) -> None:
    """The folder may be made."""
    folder.unlink()


def written(file: Path, text: str) -> str:
    """A file with that in it."""
    file.write_text(text)
    return str(file)
