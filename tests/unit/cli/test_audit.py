"""`audit verify` computes the whole log anew from what the gateway hands out, and says what does not hold."""

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from libs.tlog.chain import Head
from libs.tlog.verify import StoredEntry
from runbook_ranger.cli import audit
from tests.unit.cli.conftest import Run
from tests.unit.cli.gateway import FakeGateway
from tests.unit.tlog.worked import Store, message, stored
from tests.unit.verifier.files import TRUSTED, bundle, export

Bend = Callable[[Store], None]


def base64(raw: bytes | None) -> str | None:
    return None if raw is None else b64encode(raw).decode()


def shown(entry: StoredEntry, *, whole: bool = True) -> dict[str, Any]:
    return {
        "index": entry.index,
        "leaf": base64(entry.leaf),
        "event_hash": entry.event_hash.hex(),
        "payload": base64(entry.payload) if whole else None,
        "payload_length": None if entry.payload is None else len(entry.payload),
        "salt": base64(entry.salt),
    }


def serve(gateway: FakeGateway, store: Store, *, page: int = 4, whole: bool = True, frozen: str | None = None) -> None:
    """The timeline's answers on `store`, in small pages."""

    def state(_query: dict[str, str]) -> Any:
        s = store.state
        log = {
            "origin": s.origin,
            "size": s.size,
            "root": s.root.hex(),
            "stream": s.stream,
            "epoch": s.epoch,
            "seq": s.seq,
        }
        return {"log": log | {"term": 1}, "frozen": frozen}

    def leaves(query: dict[str, str]) -> Any:
        first, limit = int(query["first"]), min(int(query["limit"]), page)
        found = [shown(entry, whole=whole) for entry in store.entries if entry.index >= first][:limit]
        return {"leaves": found, "next": found[-1]["index"] + 1 if found else None}

    def heads(query: dict[str, str]) -> Any:
        after = query.get("kind", ""), query.get("id", "")
        keys = [key for key in sorted(store.heads) if key > after][:2]
        return {
            "heads": [
                {"kind": k, "id": i, "n": store.heads[k, i].n, "event_hash": store.heads[k, i].event_hash.hex()}
                for k, i in keys
            ]
        }

    gateway.answer("/timeline/state", state)
    gateway.answer("/timeline/leaves", leaves)
    gateway.answer("/timeline/heads", heads)
    for entry in store.entries:
        if entry.payload is not None:
            part = _slices(entry.payload)
            gateway.answer(f"/timeline/leaves/{entry.index}/payload", part)


def _slices(payload: bytes) -> Callable[[dict[str, str]], Any]:
    def part(query: dict[str, str]) -> Any:
        offset = int(query["offset"])
        return {"part": base64(payload[offset : offset + 20]), "payload_length": len(payload)}

    return part


def test_a_sound_log_is_verified_page_by_page(run: Run, gateway: FakeGateway) -> None:
    store = stored()
    serve(gateway, store)

    ran = run("audit", "verify")

    assert ran.code == 0
    assert ran.out.startswith(f"verified {store.state.size} leaves to sequence 2 ")
    assert store.state.root.hex() in ran.out


def test_programs_get_the_verdict_as_json(run: Run, gateway: FakeGateway) -> None:
    store = stored()
    serve(gateway, store)

    verdict = json.loads(run("audit", "verify", "-o", "json").out)

    assert verdict["verified"] is True
    assert (verdict["leaves"], verdict["epoch"], verdict["sequence"]) == (store.state.size, 2, 2)


def test_payloads_too_long_for_a_page_are_read_in_slices(run: Run, gateway: FakeGateway) -> None:
    serve(gateway, stored(), whole=False)

    assert run("audit", "verify").code == 0


def flip_payload(store: Store) -> None:
    store.entries[2] = replace(store.entries[2], payload=b"{}")


def flip_leaf(store: Store) -> None:
    store.entries[3] = replace(store.entries[3], leaf=store.entries[3].leaf.replace(b"usr_7f3a", b"usr_0000"))


def drop_leaf(store: Store) -> None:
    del store.entries[4]


def cut_tail(store: Store) -> None:
    del store.entries[-1]


def swap_leaves(store: Store) -> None:
    one, two = store.entries[1], store.entries[2]
    store.entries[1], store.entries[2] = replace(two, index=1), replace(one, index=2)


def move_head(store: Store) -> None:
    key = next(iter(store.heads))
    store.heads[key] = Head(store.heads[key].n + 1, bytes(32))


@pytest.mark.parametrize(
    ("bend", "named"),
    [
        (flip_payload, "leaf 2"),
        (flip_leaf, "leaf 3"),
        (drop_leaf, "leaf 4 is missing"),
        (cut_tail, "the log holds"),
        (swap_leaves, "leaf 1"),
        (move_head, "stored head"),
    ],
)
def test_a_bent_log_is_not_verified_and_the_place_is_named(
    run: Run, gateway: FakeGateway, bend: Bend, named: str
) -> None:
    store = stored()
    bend(store)
    serve(gateway, store)

    ran = run("audit", "verify")
    verdict = json.loads(run("audit", "verify", "-o", "json").out)

    assert ran.code == 1
    assert "NOT VERIFIED" in ran.err
    assert named in ran.err
    assert "verified " not in ran.out
    assert verdict["verified"] is False


def test_a_log_that_grows_meanwhile_is_verified_to_where_it_stood(run: Run, gateway: FakeGateway) -> None:
    store = stored()
    serve(gateway, store)
    size, seq = store.state.size, store.state.seq
    plain = gateway.answers["/timeline/leaves"][0].content

    def growing(query: dict[str, str]) -> Any:
        store.append(message(store.state.seq + 1, event=1000 + store.state.size, epoch=2))
        return plain(query)

    gateway.answers["/timeline/leaves"][0].content = growing

    ran = run("audit", "verify")

    assert ran.out.startswith(f"verified {size} leaves to sequence {seq} ")


def test_state_and_heads_of_two_moments_are_never_mixed(run: Run, gateway: FakeGateway) -> None:
    store = stored()
    serve(gateway, store)
    plain = gateway.answers["/timeline/heads"][0].content
    left = [3]

    def growing(query: dict[str, str]) -> Any:
        if left[0]:
            left[0] -= 1
            store.append(message(store.state.seq + 1, event=1000 + store.state.size, epoch=2))
        return plain(query)

    gateway.answers["/timeline/heads"][0].content = growing

    assert run("audit", "verify").code == 0


def test_a_log_that_never_rests_is_not_called_verified(
    run: Run, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stored()
    serve(gateway, store)
    monkeypatch.setattr(audit, "SNAPSHOTS", 2)
    plain = gateway.answers["/timeline/heads"][0].content

    def growing(query: dict[str, str]) -> Any:
        store.append(message(store.state.seq + 1, event=1000 + store.state.size, epoch=2))
        return plain(query)

    gateway.answers["/timeline/heads"][0].content = growing

    ran = run("audit", "verify")

    assert ran.code == 1
    assert "grew all the time" in ran.err


@pytest.mark.parametrize(
    "answer",
    [{"log": None, "frozen": None}, {"log": {}, "frozen": None}, {"log": None, "frozen": "stream rolled back"}],
)
def test_no_log_a_frozen_one_and_nonsense_are_not_verified(run: Run, gateway: FakeGateway, answer: Any) -> None:
    gateway.answer("/timeline/state", answer)

    assert run("audit", "verify").code == 1


def test_nonsense_leaves_are_not_verified(run: Run, gateway: FakeGateway) -> None:
    serve(gateway, stored())
    gateway.answers["/timeline/leaves"] = []
    gateway.answer("/timeline/leaves", {"leaves": [{"index": 0, "leaf": "%", "payload": None}], "next": 1})

    ran = run("audit", "verify")

    assert ran.code == 1
    assert "NOT VERIFIED" in ran.err


def test_a_file_is_verified_without_anybody_being_asked(run: Run, tmp_path: Path) -> None:
    ran = run("audit", "verify", str(bundle(tmp_path / "x.zip")), *TRUSTED)

    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("verified to event 7 ")


def test_a_files_verdict_and_finding_are_json_for_programs(run: Run, tmp_path: Path) -> None:
    path = export(tmp_path / "x.jsonl")
    assert json.loads(run("audit", "verify", str(path), *TRUSTED, "-o", "json").out)["verified"] is True

    path.write_bytes(path.read_bytes()[:-1])
    ran = run("audit", "verify", str(path), *TRUSTED, "-o", "json")

    assert (ran.code, json.loads(ran.out)["verified"]) == (1, False)
    assert "NOT VERIFIED: x.jsonl, line" in ran.err


def test_nothing_is_verified_by_nobodys_key_nor_against_what_is_no_checkpoint(run: Run, tmp_path: Path) -> None:
    path = str(export(tmp_path / "x.jsonl"))

    assert run("audit", "verify", path).code == 2
    assert run("audit", "verify", path, "--vkey", "x").code == 2
    assert run("audit", "verify", str(tmp_path / "missing"), *TRUSTED).code == 2
    assert run("audit", "verify", path, *TRUSTED, "--checkpoint", path).code == 2
    assert run("audit", "verify", *TRUSTED, "--checkpoint", path).code == 2
    assert run("audit", "verify", "--checkpoint", path).code == 2


def test_a_provenance_hash_that_was_noted_down_is_found_in_its_chain(run: Run, gateway: FakeGateway) -> None:
    store = stored()
    serve(gateway, store)
    (kind, name), head = next(iter(store.heads.items()))
    noted = f"{kind}:{name}={head.event_hash.hex()}"

    ran = run("audit", "verify", "--provenance", noted)
    verdict = json.loads(run("audit", "verify", "--provenance", noted, "-o", "json").out)

    assert ran.code == 0
    assert f"number {head.n} of {head.n} in its chain" in ran.out
    (found,) = verdict["provenance"]
    assert (found["kind"], found["id"], found["n"], found["of"]) == (kind, name, head.n, head.n)
    assert store.entries[found["index"]].event_hash == head.event_hash


def test_a_hash_that_is_no_leaf_or_one_of_another_chain_is_not_verified(run: Run, gateway: FakeGateway) -> None:
    store = stored()
    serve(gateway, store)
    (kind, name), head = next(iter(store.heads.items()))

    for noted in (f"{kind}:{name}={'00' * 32}", f"{kind}:somebody-else={head.event_hash.hex()}"):
        ran = run("audit", "verify", "--provenance", noted)
        assert (ran.code, ran.out) == (1, "")
        assert f"NOT VERIFIED: {noted} is no leaf of that chain" in ran.err
        assert json.loads(run("audit", "verify", "--provenance", noted, "-o", "json").out)["verified"] is False
