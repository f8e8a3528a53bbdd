"""Plain data as the YAML that `text.py` reads: what is written here is read back as the same data."""

from collections.abc import Mapping
from typing import Any, Final

import yaml

from libs.runbook.problems import Problem, RunbookInvalid, dotted
from libs.runbook.text import Path, stands_for_itself, unwanted

WIDTH: Final = 110


class _Dumper(yaml.SafeDumper):
    """Block style, in the order of the data, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Nothing is written as a reference to something before."""
        del data
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 — PyYAML's own
        """Lists stand two columns to the right of their key."""
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    """Text of several lines as a block; whatever could be read as something else in quotes."""
    style = "|" if "\n" in value and value.strip() == value.rstrip("\n") and "\r" not in value else None
    if not stands_for_itself(value):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def write(data: Mapping[str, Any]) -> str:
    """The data as YAML: mappings, lists, strings, integers and booleans.

    Raises:
        RunbookInvalid: a value is of another type, or a text holds an unwanted character; names the place.
    """
    _refuse_others(data, ())
    return str(yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, width=WIDTH, allow_unicode=True))


def _refuse_others(value: Any, path: Path) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_others(item, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _refuse_others(item, (*path, index))
    elif type(value) not in {str, int, bool, float, type(None)}:  # the last two are refused when it is read
        raise RunbookInvalid([Problem(dotted(path), f"a runbook holds no {type(value).__name__}")])
    elif isinstance(value, str) and (fault := unwanted(value)):
        raise RunbookInvalid([Problem(dotted(path), fault)])
