"""Keys that sign the log: made on the operator's machine, shown by their public half."""

from pathlib import Path

from libs.tlog.note import Verifier
from libs.tlog.secretkey import parse_private
from tests.unit.cli.conftest import Run

NAME = "ranger.test/timeline"


def test_a_key_is_made_for_its_owner_alone_and_its_public_half_is_printed(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "timeline.key"

    made = run("audit", "keygen", "--origin", NAME, "-o", str(file))

    signer = parse_private(file.read_text().strip())
    assert made.code == 0
    assert Verifier.parse(made.out.strip()) == signer.verifier
    assert signer.name == NAME
    assert file.stat().st_mode & 0o777 == 0o600
    assert run("audit", "vkey", str(file)).out == made.out


def test_a_key_is_never_overwritten(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "timeline.key"
    file.write_text("precious")

    refused = run("audit", "keygen", "--origin", NAME, "-o", str(file))

    assert refused.code == 2
    assert "is there already" in refused.err
    assert file.read_text() == "precious"


def test_what_cannot_be_a_name_or_a_key_is_refused(run: Run, tmp_path: Path) -> None:
    assert run("audit", "keygen", "--origin", "two words", "-o", str(tmp_path / "key")).code == 2
    assert not (tmp_path / "key").exists()
    (tmp_path / "key").write_text("PRIVATE+KEY+secret")
    refused = run("audit", "vkey", str(tmp_path / "key"))
    assert (refused.code, "secret" in refused.err) == (2, False)
    assert run("audit", "vkey", str(tmp_path / "none")).code == 2
