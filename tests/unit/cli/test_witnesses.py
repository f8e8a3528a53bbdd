"""`audit checkpoint` and `cosign`: fetched, checked with the keys that are given, handed in as it stands."""

from pathlib import Path

from libs.tlog.note import cosigned
from tests.unit.cli.conftest import Run
from tests.unit.cli.gateway import FakeGateway
from tests.unit.tlog.vectors import CHECKPOINT, LOG, NOTE, SEEN, WITNESS
from tests.unit.tlog.worked import ORIGIN

WHOLE = NOTE


def test_a_checkpoint_is_written_as_it_was_signed(run: Run, gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.answer("/timeline/checkpoint", {"checkpoint": WHOLE.decode()})
    out = tmp_path / "checkpoint"

    bare = run("audit", "checkpoint", "-o", str(out))
    checked = run("audit", "checkpoint", "--witnessed", "--vkey", LOG.vkey, "--vkey", WITNESS.vkey)

    assert (bare.code, out.read_bytes()) == (0, WHOLE)
    assert bare.out.startswith(f"{ORIGIN} at size {CHECKPOINT.size}, root {CHECKPOINT.root.hex()}, signature not")
    assert f"witnessed by {WITNESS.name} at 2026-03-01T10:01:40Z" in checked.out
    assert gateway.asked[-1][1] == "/timeline/checkpoint?witnessed=true"
    other = run("audit", "checkpoint", "--vkey", WITNESS.vkey, "-o", str(tmp_path / "none"))
    assert (other.code, "NOT VERIFIED" in other.err, (tmp_path / "none").exists()) == (1, True, False)


def test_what_a_witness_gave_back_is_handed_in(run: Run, gateway: FakeGateway, tmp_path: Path) -> None:
    kept = {"size": 3, "new": 1, "witnesses": [{"name": WITNESS.name, "key_id": "7d275599", "time": SEEN}]}
    gateway.answer("/timeline/cosignatures", kept, 201)
    file = tmp_path / "cosigned"
    line = WITNESS.sign(CHECKPOINT.text(), SEEN)
    file.write_bytes(cosigned(f"{CHECKPOINT.text()}\n{LOG.sign(CHECKPOINT.text())}".encode(), [line]))

    done = run("audit", "cosign", str(file))

    assert (done.code, done.out) == (0, f"size 3: 1 new; witnessed by {WITNESS.name} at 2026-03-01T10:01:40Z\n")
    assert gateway.last_body == {"checkpoint": file.read_text()}
    assert run("audit", "cosign", str(tmp_path / "missing")).code == 2
