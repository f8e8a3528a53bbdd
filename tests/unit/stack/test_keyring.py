"""The folder of the bus's keys, and the server's authorization made of it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from libs.common.contracts.choreography import ADMIN, IDENTITIES
from runbook_ranger.cli import app
from runbook_ranger.stack import keyring
from runbook_ranger.stack.messaging import INBOX
from runbook_ranger.stack.nkeys import new_seed, public_key


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with all keys."""
    keyring.ensure(tmp_path / "keys")
    return tmp_path / "keys"


def test_who_has_a_key_is_who_the_choreography_says() -> None:
    assert (keyring.SERVICES, keyring.ADMIN) == (IDENTITIES, ADMIN)
    assert f"_INBOX_{ADMIN}" == INBOX


def test_keys_are_made_once_and_are_for_their_owner_alone(folder: Path) -> None:
    before = {file.name: file.read_text() for file in folder.iterdir()}

    keyring.ensure(folder)

    assert {file.name: file.read_text() for file in folder.iterdir()} == before
    assert set(before) == {f"{name}.nk" for name in keyring.IDENTITIES}
    assert len(set(before.values())) == len(before)
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_every_key_of_an_identity_is_let_in_and_files_of_nobody_are_passed_by(folder: Path) -> None:
    old = new_seed()
    (folder / "incident.old.nk").write_text(f"{old}\n")
    (folder / "stranger.nk").write_text("whatever")

    found = keyring.public_keys(folder)

    assert set(found["incident"]) == {public_key(old), public_key(keyring.seed(folder, "incident"))}
    assert {name: len(keys) for name, keys in found.items() if name != "incident"} == dict.fromkeys(
        set(keyring.IDENTITIES) - {"incident"}, 1
    )


def test_everybody_has_the_rights_of_its_name_and_the_administrator_all(folder: Path) -> None:
    text = keyring.authorization(keyring.public_keys(folder), "GRANTS", [keyring.open_user("guest", 'a "word"')])

    users = [line.strip() for line in text.splitlines() if line.strip().startswith("{")]
    assert users[: len(IDENTITIES)] == [
        f"{{ nkey: {public_key(keyring.seed(folder, name))}, permissions: ${name} }}" for name in IDENTITIES
    ]
    assert users[-2] == f"{{ nkey: {public_key(keyring.seed(folder, ADMIN))} }}"
    assert users[-1] == '{ user: "guest", password: "a \\"word\\"" }'
    assert not any(file.read_text() in text for file in folder.iterdir())


def test_the_command_line_makes_keys_and_prints_what_a_server_has_to_know(tmp_path: Path) -> None:
    run, folder = CliRunner(), str(tmp_path / "keys")

    made = run.invoke(app, ["nats", "keys", folder])
    again = run.invoke(app, ["nats", "keys", folder])
    block = run.invoke(app, ["nats", "authorization", folder])
    grants = run.invoke(app, ["nats", "permissions"])

    assert made.exit_code == 0
    assert made.output == again.output
    assert all(line.split()[1] in block.output for line in made.output.splitlines())
    assert grants.output == keyring.GRANTS.read_text()
    assert grants.output.rstrip() in block.output


def test_a_folder_that_lacks_a_key_makes_no_authorization(folder: Path) -> None:
    (folder / "worker.nk").unlink()

    refused = CliRunner().invoke(app, ["nats", "authorization", str(folder)])

    assert refused.exit_code == 1
    assert "no key of worker" in str(refused.exception)
