"""Actions by name: the built-in pack, and plug-ins from the entry-point group `runbook_ranger.actions`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from libs.actions.api import Action
from libs.actions.errors import ActionError, UnknownAction
from libs.actions.http_request import HttpRequest
from libs.actions.notify_send import NotifySend
from libs.actions.shell_run import ShellRun

GROUP = "runbook_ranger.actions"


class PluginInvalid(ActionError):
    """A plug-in cannot be loaded, is no action, or takes a name that is in use: a process must not start so."""

    code = "plugin_invalid"


class Registry:
    """A closed set of actions; a name means one action for the life of the process."""

    def __init__(self, actions: Iterable[Action[Any]]) -> None:
        self._actions: dict[str, Action[Any]] = {}
        for item in actions:
            if item.name in self._actions:
                raise PluginInvalid(f"two actions are named {item.name!r}")
            self._actions[item.name] = item

    @classmethod
    def builtin(cls) -> Registry:
        """`http.request`, `notify.send` and `shell.run`."""
        return cls((HttpRequest(), NotifySend(), ShellRun()))

    @classmethod
    def installed(cls, points: Iterable[EntryPoint] | None = None) -> Registry:
        """The built-ins and what installed distributions register; an entry is an Action or a class of it."""
        found = entry_points(group=GROUP) if points is None else points
        return cls(
            (
                HttpRequest(),
                NotifySend(),
                ShellRun(),
                *(_loaded(point) for point in sorted(found, key=lambda p: p.name)),
            )
        )

    def get(self, name: str) -> Action[Any]:
        """The action of this name, or UnknownAction."""
        try:
            return self._actions[name]
        except KeyError:
            raise UnknownAction(name, tuple(sorted(self._actions))) from None

    def __iter__(self) -> Iterator[Action[Any]]:
        return iter(self._actions.values())

    def __contains__(self, name: str) -> bool:
        return name in self._actions


def _loaded(point: EntryPoint) -> Action[Any]:
    try:
        loaded = point.load()
        item = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:
        raise PluginInvalid(f"the plug-in {point.name} ({point.value}) cannot be loaded: {error}") from error
    if not isinstance(item, Action) or item.name != point.name:
        raise PluginInvalid(f"the plug-in {point.name} ({point.value}) is not an action of that name")
    return item
