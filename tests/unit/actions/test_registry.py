"""A name means one action for the life of a process."""

from importlib.metadata import EntryPoint

import pytest

from libs.actions import Registry, UnknownAction
from libs.actions.http_request import HttpRequest
from libs.actions.registry import GROUP, PluginInvalid


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


def test_the_built_ins_are_there() -> None:
    registry = Registry.builtin()

    assert {item.name for item in registry} == {"http.request", "notify.send", "shell.run"}
    assert "http.request" in registry
    assert isinstance(registry.get("http.request"), HttpRequest)


def test_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UnknownAction, match=r"http\.request, notify\.send, shell\.run"):
        Registry.builtin().get("shell.eval")


def test_a_plug_in_is_loaded_by_its_entry_point() -> None:
    registry = Registry.installed([point("demo.greet", "tests.support.greet_action:greet")])

    assert registry.get("demo.greet").name == "demo.greet"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("http.request", "libs.actions.http_request:HttpRequest"),
        ("demo.other", "tests.support.greet_action:greet"),
        ("demo.absent", "libs.actions.nowhere:thing"),
        ("demo.text", "libs.actions.registry:GROUP"),
    ],
)
def test_a_plug_in_that_is_not_what_it_says_stops_the_process(name: str, value: str) -> None:
    with pytest.raises(PluginInvalid):
        Registry.installed([point(name, value)])


def test_what_is_installed_can_be_loaded() -> None:
    assert "shell.run" in Registry.installed()
