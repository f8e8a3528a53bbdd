"""The shape of the tree: walls between rooms, modules of a readable size, and handlers for what the table gives."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.common.contracts.choreography import INGRESS, SERVICES, consumers

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("libs", "services", "runbook_ranger")
LONGEST = 300


def modules() -> Iterator[Path]:
    """Every module of the product, but revisions, which are documents of their own."""
    for package in PACKAGES:
        yield from (path for path in sorted((ROOT / package).rglob("*.py")) if "versions" not in path.parts)


def test_no_room_reaches_through_a_wall() -> None:
    checked = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "0 broken" in checked.stdout


def test_every_package_and_module_says_what_it_is_for() -> None:
    silent = [str(path.relative_to(ROOT)) for path in modules() if not ast.get_docstring(ast.parse(path.read_text()))]

    assert silent == []


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in modules()}

    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_a_module_fits_into_a_readers_head() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules()}

    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_starts_as_a_module_of_its_own(service: str) -> None:
    assert callable(importlib.import_module(f"services.{service}.__main__").main)


def _streams_consumed(service: str) -> set[str]:
    """Streams that a service's wiring consumes, by the name of the constant it passes."""
    found = set()
    for path in (ROOT / "services" / service).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(attr="consume"), args=[ast.Name(id=name), *_]):
                    found.add(name)
                case ast.Call(func=ast.Name(id="EventStream"), args=[_, ast.Name(id=name), *_]):
                    found.add(name)
                case _:
                    pass
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_consumes_the_streams_that_the_choreography_gives_it_and_no_others(service: str) -> None:
    assert _streams_consumed(service) == {stream for stream, name in consumers() if name == service}


def test_only_the_incident_service_hears_what_outsiders_post() -> None:
    assert [name for stream, name in consumers() if stream == INGRESS] == ["incident"]


def test_nobody_but_provisioning_makes_streams_or_consumers() -> None:
    forbidden = {"add_stream", "update_stream", "add_consumer", "pull_subscribe", "JStream", "create_stream"}
    found = [
        f"{path.relative_to(ROOT)}: {node.attr if isinstance(node, ast.Attribute) else node.id}"
        for path in modules()
        if "provision" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in forbidden)
        or (isinstance(node, ast.Name) and node.id in forbidden)
    ]

    assert found == []


def test_counters_are_named_as_such_and_no_metric_carries_ids() -> None:
    """Labels named after ids would make a series an incident."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name(id="Counter" | "Gauge" | "Histogram" as kind),
                    args=[ast.Constant(value=str() as name), *more],
                ):
                    assert name.endswith("_total") or kind != "Counter", f"{path}: {name}"
                    labels = ast.literal_eval(more[1]) if len(more) > 1 else []
                    assert not {label for label in labels if label.endswith("id") or label == "tenant"}, (
                        f"{path}: {name}"
                    )
                case _:
                    pass
