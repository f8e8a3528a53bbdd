"""What the directory adds to a credential, when, and which files are refused while the one before holds on."""

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from libs.common.policy import Principal
from services.gateway.principals.directory import Directories, Directory

ADA = Principal("ada", frozenset({"acme", "globex"}), frozenset({"admin", "operator"}), groups=frozenset({"from-jwt"}))
PAGE = """
groups:
  storage: [ada, bob]
  empty: []
rotations:
  storage-oncall:
    members: [bob]
    shifts:
      - {from: 2026-03-01T08:00:00Z, to: 2026-03-01T20:00:00Z, actor: ada}
      - {from: "2026-03-01T20:00:00+02:00", to: 2026-03-02T06:00Z, actor: cid}
principals:
  ada: {clearance: confidential, environments: [prod], roles: [operator], tenants: [acme]}
  eve: {disabled: true}
"""


def moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.fixture
def directory() -> Directory:
    return Directory.parse(PAGE.encode())


def test_who_is_known_gets_what_is_known(directory: Directory) -> None:
    found = directory.enriched(ADA, moment("2026-03-01T09:00"))

    assert found is not None
    assert found.groups == {"storage", "from-jwt"}
    assert found.on_call == {"storage-oncall"}
    assert (found.clearance, found.environments) == (2, frozenset({"prod"}))
    assert (found.roles, found.tenants) == (frozenset({"operator"}), frozenset({"acme"}))
    assert (found.actor, found.scopes, found.method) == (ADA.actor, ADA.scopes, ADA.method)
    assert found.epoch != 0


def test_a_limit_gives_nothing_that_the_credential_has_not(directory: Directory) -> None:
    viewer = Principal("ada", frozenset({"globex"}), frozenset({"viewer"}))

    found = directory.enriched(viewer, 0)

    assert found is not None
    assert (found.roles, found.tenants) == (frozenset(), frozenset())


def test_a_token_for_all_tenants_is_held_to_those_that_the_directory_names(directory: Directory) -> None:
    found = directory.enriched(replace(ADA, tenants=frozenset({"*"})), 0)

    assert found is not None
    assert found.tenants == {"acme"}


def test_who_is_not_known_stays_as_they_are(directory: Directory) -> None:
    stranger = Principal("zoe", frozenset({"acme"}), frozenset({"viewer"}))

    assert directory.enriched(stranger, 0) is stranger


def test_who_is_disabled_is_nobody(directory: Directory) -> None:
    assert directory.enriched(Principal("eve", frozenset({"*"}), frozenset({"admin"})), 0) is None


@pytest.mark.parametrize(
    ("at", "on_call"),
    [
        ("2026-03-01T07:59:59", {"bob"}),
        ("2026-03-01T08:00:00", {"ada"}),
        ("2026-03-01T18:00:00", {"ada", "cid"}),
        ("2026-03-01T20:00:00", {"cid"}),
        ("2026-03-02T06:00:00", {"bob"}),
    ],
)
def test_a_shift_takes_the_place_of_the_members_while_it_is_on(
    directory: Directory, at: str, on_call: set[str]
) -> None:
    assert set(directory.on_call(moment(at))) == on_call


def test_other_rights_have_another_epoch_and_the_same_ones_the_same() -> None:
    def epoch(text: str, at: str = "2026-03-01T09:00") -> int:
        found = Directory.parse(text.encode()).enriched(ADA, moment(at))
        assert found is not None
        return found.epoch

    changes = [
        PAGE.replace("confidential", "internal"),
        PAGE.replace("[prod]", "[prod, dev]"),
        PAGE.replace("storage: [ada, bob]", "storage: [bob]"),
        PAGE.replace("roles: [operator]", "roles: [viewer]"),
        PAGE.replace("tenants: [acme]", "tenants: [globex]"),
    ]
    assert epoch(PAGE) == epoch(PAGE.replace("[ada, bob]", "[bob, ada]"))
    assert len({epoch(PAGE), epoch(PAGE, "2026-03-03T09:00"), *map(epoch, changes)}) == 7
    assert max(map(epoch, changes)) < 1 << 48


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "groups: [ada]",
        "users: {}",
        "principals: {ada: {clearance: cosmic}}",
        "principals: {ada: {clearance: 7}}",
        "principals: {ada: {roles: [system]}}",
        "principals: {ada: {roles: [break_glass]}}",
        "principals: {ada: {environments: []}}",
        "principals: {ada: {environments: ['*', prod]}}",
        "principals: {ada: {tenants: ['*', acme]}}",
        "principals: {'a b': {disabled: true}}",
        "principals: {ada: {disabled: perhaps}}",
        "rotations: {r: {shifts: [{from: 2026-03-01, to: 2026-03-02, actor: ada}]}}",
        "rotations: {r: {shifts: [{from: 2026-03-01T08:00:00, to: 2026-03-01T09:00:00, actor: ada}]}}",
        "groups: &g {a: [ada]}",
        "groups: {a: [ada]}\ngroups: {a: [bob]}",
        "groups: !!python/object/apply:os.system ['true']",
        "a: " + "x" * 300_000,
    ],
)
def test_a_file_that_is_wrong_ends_the_start_and_later_leaves_what_was(tmp_path: Path, text: str) -> None:
    path = tmp_path / "directory.yaml"
    path.write_text(text)
    with pytest.raises(SystemExit, match="RR_DIRECTORY_FILE"):
        Directories(str(path))

    path.write_text(PAGE)
    directories = Directories(str(path))
    change(path, text)
    directories.watched.look()

    assert directories.enriched(Principal("eve", frozenset({"acme"}), frozenset({"viewer"}))) is None
    assert REGISTRY.get_sample_value("ranger_gateway_file_refused", {"file": "RR_DIRECTORY_FILE"}) == 1


def test_a_change_is_taken_in_and_a_file_that_goes_away_is_not_a_change_of_mind(tmp_path: Path) -> None:
    path = tmp_path / "directory.json"
    path.write_text('{"principals": {"ada": {"disabled": true}}}')
    directories = Directories(str(path))
    assert directories.enriched(ADA) is None

    path.unlink()
    directories.watched.look()
    assert directories.enriched(ADA) is None

    change(path, '{"principals": {"ada": {"disabled": false}}}')
    directories.watched.look()
    assert directories.enriched(ADA) is not None


def change(path: Path, text: str) -> None:
    """As editors and orchestrators do it: another file takes its place."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.utime(fresh, ns=(1, 1))
    fresh.replace(path)
