"""`python -m libs.verifier`: what it says of each kind of file, and its exit codes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from libs.verifier.__main__ import main
from tests.unit.tlog.incident import SEALER, bundled
from tests.unit.tlog.vectors import LOG, WITNESS
from tests.unit.tlog.worked import redacted, stored
from tests.unit.verifier.files import (
    TRUSTED,
    bundle,
    checkpoint,
    export,
    folder,
    long_log,
    proof,
    published,
)

ROOT = Path(__file__).resolve().parents[3]
Verify = Callable[..., tuple[int, str, str]]

ONLY_THESE = """
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        spec = PathFinder.find_spec(name, path)
        third = spec is not None and "site-packages" in str(spec.origin)
        if third and name.split(".")[0] not in {"cryptography", "orjson", "cffi", "_cffi_backend"}:
            raise ImportError(f"{name} is not what verifying needs")
sys.meta_path.insert(0, Refuse())
try:
    import msgspec
except ImportError:
    pass
else:
    sys.exit("the refusal does not work")
import runpy
runpy.run_module("libs.verifier", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str]) -> Verify:
    """Run it in this process: exit code, standard output, standard error."""

    def verify(path: Path, *words: str) -> tuple[int, str, str]:
        code = main([str(path), *(words or TRUSTED)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return verify


def alone(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run it where importing anything but cryptography and orjson fails."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", ONLY_THESE, *words], env=environment, capture_output=True, text=True, check=False
    )


def test_nothing_but_cryptography_and_orjson_is_needed(tmp_path: Path) -> None:
    for path in (
        bundle(tmp_path / "bundle.zip"),
        export(tmp_path / "log.jsonl"),
        proof(tmp_path / "proof.json"),
        folder(tmp_path / "published", published(redacted())),
    ):
        ran = alone(str(path), *TRUSTED)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert ran.stdout.startswith("verified to event")


def test_a_bundle_is_verified_to_its_last_event(verify: Verify, tmp_path: Path) -> None:
    code, out, _ = verify(bundle(tmp_path / "x"))

    assert code == 0
    assert out.splitlines()[0] == (
        "verified to event 7 (incident.created 0192f0c2-0000-7000-8000-000000000008) at 2026-03-01T10:00:00.000000008Z"
    )
    assert "bundle of incident 0192f0c1-0000-7000-8000-00000000000a: 8 leaves" in out
    assert "redacted: the payloads of leaves 4" in out
    assert "not kept" in out
    assert f"sealed by {SEALER.name}" in out
    assert "no witness of yours has signed" in out


def test_a_bundles_folder_is_verified_as_its_file_is(verify: Verify, tmp_path: Path) -> None:
    assert verify(folder(tmp_path / "files", bundled())) == verify(bundle(tmp_path / "x"))


def test_an_export_is_verified_and_says_who_saw_it(verify: Verify, tmp_path: Path) -> None:
    code, out, _ = verify(export(tmp_path / "x"), *TRUSTED, "--vkey", WITNESS.vkey)

    assert code == 0
    assert "verified to event 14 (incident.created 0192f0c2-0000-7000-8000-000000000102)" in out
    assert "export: 16 leaves (1 conflict, 2 control, 1 duplicate, 10 event, 1 gap, 1 reject)" in out
    assert "every stream sequence has one outcome, to 2 of EVENTS epoch 2" in out
    assert "witnessed by witness.example/w1 at 2026-03-01T10:01:40Z" in out
    assert "no witness" not in out


def test_exports_in_a_folder_continue_each_other(verify: Verify, tmp_path: Path) -> None:
    export(tmp_path / "b.jsonl", first=0, end=5)
    export(tmp_path / "a.jsonl", first=5)

    assert "export: 16 leaves" in verify(tmp_path)[1]
    (tmp_path / "b.jsonl").unlink()
    assert "begins at leaf 5" in verify(tmp_path)[1]


def test_a_published_log_is_verified_leaf_by_leaf(verify: Verify, tmp_path: Path) -> None:
    code, out, _ = verify(folder(tmp_path, published(long_log())))

    assert code == 0
    assert "verified to event 299" in out
    assert "300 payloads are not shown" in out


def test_a_proof_is_verified_alone(verify: Verify, tmp_path: Path) -> None:
    code, out, _ = verify(proof(tmp_path / "x"))

    assert code == 0
    assert out.startswith("verified to event 5 (incident.created 0192f0c2-0000-7000-8000-000000000006)")
    assert "verified to its beginning" in verify(proof(tmp_path / "y", index=15))[1]


def test_the_checkpoint_that_the_auditor_kept_must_be_continued(verify: Verify, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(checkpoint(redacted(), 9))

    code, out, _ = verify(export(tmp_path / "x"), *TRUSTED, "--checkpoint", str(kept))
    assert (code, "continues the checkpoint of size 9 that you hold" in out) == (0, True)
    folder(tmp_path / "published", published(redacted()))
    assert verify(tmp_path / "published", *TRUSTED, "--checkpoint", str(kept))[0] == 0

    kept.write_bytes(checkpoint(long_log(), 9))
    code, _, err = verify(export(tmp_path / "x"), *TRUSTED, "--checkpoint", str(kept))
    assert (code, "two histories were shown" in err) == (1, True)
    kept.write_bytes(checkpoint(long_log(), 30))
    assert "it is stale" in verify(export(tmp_path / "x"), *TRUSTED, "--checkpoint", str(kept))[2]


def test_a_bundle_and_a_proof_are_compared_with_a_checkpoint_of_their_own_size(verify: Verify, tmp_path: Path) -> None:
    kept, made = tmp_path / "kept", proof(tmp_path / "x")

    kept.write_bytes(checkpoint(redacted()))
    assert verify(made, *TRUSTED, "--checkpoint", str(kept))[0] == 0
    kept.write_bytes(checkpoint(long_log(16)))
    assert "two roots at size 16" in verify(made, *TRUSTED, "--checkpoint", str(kept))[2]
    assert "cannot be compared" in verify(bundle(tmp_path / "y"), *TRUSTED, "--checkpoint", str(kept))[2]


def test_what_does_not_hold_is_named_and_the_code_is_1(verify: Verify, tmp_path: Path) -> None:
    path = export(tmp_path / "x")
    path.write_bytes(path.read_bytes().replace(b'"payload":"eyJz', b'"payload":"eyJy', 1))

    code, out, err = verify(path)

    assert (code, out) == (1, "")
    assert err == (
        "NOT VERIFIED: leaf 0 (event 0192f0c2-0000-7000-8000-000000000001, incident.created, stream sequence 1): "
        "stored payload does not match its commitment\n"
    )


def test_programs_get_the_verdict_and_the_finding_as_json(verify: Verify, tmp_path: Path) -> None:
    path = export(tmp_path / "x")

    said = json.loads(verify(path, *TRUSTED, "--json")[1])
    assert (said["verified"], said["size"], said["last"]["index"], said["redacted"]) == (True, 16, 14, [4])

    path.write_bytes(path.read_bytes()[:-1])
    code, out, _ = verify(path, *TRUSTED, "--json")
    assert (code, json.loads(out)["verified"]) == (1, False)


@pytest.mark.parametrize(
    "bend",
    [
        lambda files: files.pop("tile/0/000"),
        lambda files: files.pop("tile/entries/001.p/44"),
        lambda files: files.update({"tile/0/000": bytes(8192)}),
        lambda files: files.update({"tile/1/000.p/1": bytes(32)}),
        lambda files: files.update({"tile/entries/000": files["tile/entries/000"][:-1]}),
        lambda files: files.update(
            {"tile/entries/000": files["tile/entries/000"].replace(b"usr_7f3a", b"usr_evil", 1)}
        ),
        lambda files: files.update({"checkpoint": checkpoint(stored())}),
        lambda files: files.update({"checkpoint": b"x"}),
    ],
)
def test_a_published_log_with_another_file_is_not_verified(
    verify: Verify, tmp_path: Path, bend: Callable[[dict[str, bytes]], object]
) -> None:
    files = published(long_log())
    bend(files)

    code, _, err = verify(folder(tmp_path, files))

    assert code == 1
    assert err.startswith("NOT VERIFIED: ")


def test_partial_files_may_have_given_way_to_full_ones(verify: Verify, tmp_path: Path) -> None:
    files = {**published(long_log(512)), "checkpoint": checkpoint(long_log(300))}
    files["tile/1/000.p/1"] = files.pop("tile/1/000.p/2")[:32]

    assert verify(folder(tmp_path, files))[0] == 0


def test_a_link_in_a_bundles_folder_is_refused(verify: Verify, tmp_path: Path) -> None:
    folder(tmp_path / "files", bundled())
    (tmp_path / "files" / "leaves" / "0").unlink()
    (tmp_path / "files" / "leaves" / "0").symlink_to("/etc/passwd")

    assert verify(tmp_path / "files")[2] == "NOT VERIFIED: leaves/0 is a link\n"


@pytest.mark.parametrize("raw", [b"", b"\0" * 100, b"PK\x03\x04", b'{"v":"rr.proof/1"}', b'{"v":"rr.proof/1"', b"\xff"])
def test_a_file_that_is_nothing_of_ours_is_not_verified(verify: Verify, tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(raw)

    assert verify(path)[0] == 1


def test_where_nothing_can_be_verified_the_code_is_2(verify: Verify, tmp_path: Path) -> None:
    path = export(tmp_path / "x")
    kept = tmp_path / "kept"
    kept.write_bytes(b"x")

    assert verify(tmp_path / "missing")[0] == 2
    assert verify(path, "--vkey", "no-such-file")[0] == 2
    assert verify(path, "--vkey", LOG.vkey[:-1])[0] == 2
    assert verify(path, *TRUSTED, "--checkpoint", str(kept))[0] == 2
    assert verify(path, *TRUSTED, "--checkpoint", str(tmp_path / "missing"))[0] == 2
    with pytest.raises(SystemExit) as usage:
        main([str(path)])
    assert usage.value.code == 2


def test_an_empty_folder_is_not_verified(verify: Verify, tmp_path: Path) -> None:
    assert "holds no bundle, no published log and no export" in verify(tmp_path)[2]


def test_keys_may_stand_in_a_file(verify: Verify, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{LOG.vkey}\n{SEALER.vkey}\n")

    assert verify(bundle(tmp_path / "x"), "--vkey", str(keys))[0] == 0


def test_a_strangers_text_does_not_drive_the_terminal(verify: Verify, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b'\x1b[2J{"\n')

    code, _, err = verify(path)

    assert code == 1
    assert "\x1b" not in err
