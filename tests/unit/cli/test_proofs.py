"""Proofs of single events, and a log that is held against what its key signed."""

import json
from pathlib import Path
from typing import Any

from libs.tlog.checkpoint import Checkpoint, sign_checkpoint
from libs.tlog.hashing import event_hash
from libs.tlog.note import Signer
from libs.tlog.proofs import inclusion_proof
from libs.tlog.tiles import TileHashes
from libs.tlog.tlogproof import LeafProof, TlogProof
from libs.tlog.tree import Frontier
from tests.unit.cli.conftest import Run
from tests.unit.cli.gateway import FakeGateway
from tests.unit.cli.test_audit import serve
from tests.unit.tlog.worked import Store, message, stored


def key(store: Store, number: int = 1) -> Signer:
    return Signer(store.state.origin, bytes([number]) * 32)


def note(store: Store, size: int, *, root: bytes = b"") -> bytes:
    tree = Frontier()
    for entry in store.entries[:size]:
        tree.append(event_hash(entry.leaf))
    return sign_checkpoint(Checkpoint(store.state.origin, size, root or tree.root()), [key(store)])


def serve_checkpoint(gateway: FakeGateway, raw: bytes) -> None:
    gateway.answers.pop("/timeline/checkpoint", None)
    gateway.answer("/timeline/checkpoint", lambda _: {"checkpoint": raw.decode(), "made_at": "2026-03-01T10:00:00Z"})


def proof_of(store: Store, index: int) -> dict[str, Any]:
    size = len(store.entries)
    row = b"".join(event_hash(entry.leaf) for entry in store.entries)
    path = inclusion_proof(index, size, TileHashes(lambda _: row, size))
    proof = TlogProof(index, tuple(path), note(store, size))
    return LeafProof(store.state.origin, size, store.entries[index].leaf, proof).as_json()


def test_the_log_is_held_against_its_signed_checkpoint(run: Run, gateway: FakeGateway, tmp_path: Path) -> None:
    store = stored()
    serve(gateway, store)
    serve_checkpoint(gateway, note(store, 3))
    (tmp_path / "vkeys").write_text(f"{key(store, 2).vkey}\n{key(store).vkey}\n")

    by_key = run("audit", "verify", "--vkey", key(store).vkey)
    by_file = run("audit", "verify", "--vkey", str(tmp_path / "vkeys"), "-o", "json")

    assert (by_key.code, "the first 3 leaves" in by_key.out) == (0, True)
    assert json.loads(by_file.out)["checkpoint"]["signed_by"] == [key(store).vkey]


def test_a_log_that_its_key_did_not_sign_is_not_verified(run: Run, gateway: FakeGateway) -> None:
    store = stored()
    serve(gateway, store)
    cases = [
        (note(store, 3, root=bytes(32)), key(store), "its checkpoint signs 0000"),
        (note(store, 3), key(store, 2), "no signature of a known key"),
        (sign_checkpoint(Checkpoint(store.state.origin, 999, bytes(32)), [key(store)]), key(store), "signs 999"),
    ]
    for raw, signer, words in cases:
        serve_checkpoint(gateway, raw)

        ran = run("audit", "verify", "--vkey", signer.vkey)

        assert (ran.code, words in ran.err) == (1, True), (ran, words)
    assert run("audit", "verify", "--vkey", "nonsense").code == 2


def test_the_log_continues_the_checkpoint_that_the_auditor_kept(run: Run, gateway: FakeGateway, tmp_path: Path) -> None:
    store, kept = stored(), tmp_path / "kept"
    serve(gateway, store)
    serve_checkpoint(gateway, note(store, 5))
    for size in (1, 3, 5):
        kept.write_bytes(note(store, size))
        ran = run("audit", "verify", "--vkey", key(store).vkey, "--checkpoint", str(kept))
        assert (ran.code, f"continues the checkpoint of size {size} that you kept" in ran.out) == (0, True), ran
    ran = run("audit", "verify", "--vkey", key(store).vkey, "--checkpoint", str(kept), "-o", "json")
    assert json.loads(ran.out)["checkpoint"]["continues"] == 5

    other = Store()
    other.append(*(message(seq, payload=b"{}") for seq in range(1, 8)))
    for raw, words in (
        (note(store, 6), "the newest checkpoint that is shown is of size 5, before the one of size 6 that is held: it"),
        (note(other, 3), "at size 3 the log rr.example/timeline/prod-1 has the root "),
    ):
        kept.write_bytes(raw)
        ran = run("audit", "verify", "--vkey", key(store).vkey, "--checkpoint", str(kept))
        assert (ran.code, f"NOT VERIFIED: {words}" in ran.err) == (1, True), ran
    assert "two histories were shown" in ran.err
    kept.write_bytes(sign_checkpoint(Checkpoint(store.state.origin, 3, bytes(32)), [key(store, 2)]))
    assert run("audit", "verify", "--vkey", key(store).vkey, "--checkpoint", str(kept)).code == 2


def test_a_proof_is_checked_before_it_is_written(run: Run, gateway: FakeGateway, tmp_path: Path) -> None:
    store = stored()
    gateway.answer("/timeline/1/proof", lambda _: proof_of(store, 1))
    file, leaf = tmp_path / "event.tlog-proof", tmp_path / "event.leaf"

    ran = run("audit", "proof", "1", "-o", str(file), "--leaf", str(leaf), "--vkey", key(store).vkey)

    assert ran.code == 0, ran.err
    TlogProof.parse(file.read_bytes()).verify(event_hash(leaf.read_bytes()), [key(store).verifier])
    assert leaf.read_bytes() == store.entries[1].leaf
    assert run("audit", "proof", "1", "-o", str(file)).out.count("signature not checked") == 1


def test_a_proof_that_does_not_hold_is_not_written(run: Run, gateway: FakeGateway, tmp_path: Path) -> None:
    store = stored()
    bent = proof_of(store, 1) | {"leaf": proof_of(store, 0)["leaf"]}
    gateway.answer("/timeline/1/proof", lambda _: bent)

    for more in ([], ["--vkey", key(store).vkey]):
        ran = run("audit", "proof", "1", "-o", str(tmp_path / "file"), *more)
        assert (ran.code, "NOT VERIFIED" in ran.err) == (1, True)
    assert not list(tmp_path.iterdir())
