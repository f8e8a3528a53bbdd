"""Heads of migration histories are read without Alembic."""

from pathlib import Path

import pytest

from libs.common.contracts.choreography import SERVICES
from libs.common.schema import head_of, revisions, versions_folder


def revision(folder: Path, name: str, down: str) -> None:
    (folder / f"{name}.py").write_text(f'"""A revision."""\nrevision: str = "{name}"\ndown_revision = {down}\n')


def test_the_head_is_what_nothing_follows(tmp_path: Path) -> None:
    revision(tmp_path, "0001", "None")
    revision(tmp_path, "0002", '"0001"')
    revision(tmp_path, "0003", '("0002",)')

    assert revisions(tmp_path) == {"0001": set(), "0002": {"0001"}, "0003": {"0002"}}
    assert head_of(tmp_path) == "0003"


def test_two_ends_are_refused_by_name(tmp_path: Path) -> None:
    revision(tmp_path, "0001", "None")
    revision(tmp_path, "0002", '"0001"')
    revision(tmp_path, "0003", '"0001"')

    with pytest.raises(ValueError, match=r"2 heads: \['0002', '0003'\]"):
        head_of(tmp_path)


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_one_history(service: str) -> None:
    folder = versions_folder(service)

    assert folder is None or head_of(folder)


def test_a_service_that_does_not_exist_has_no_history() -> None:
    assert versions_folder("nobody") is None
