"""What policies may not use: what the embedded engine answers wrongly, slowly, or differently from OPA.

`max([10, 9])` is 9 there and `sort` orders as text; `x = "y"` gives a variable another value, where it should compare,
so that it always holds; a regular expression can run for seconds; the clock, the network and chance would make two
engines, or two moments, disagree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

BANNED: Final = (
    "sort", "min", "max", "rand", "print", "trace", "regex", "glob", "net", "time", "http", "opa", "io", "crypto",
    "uuid", "json.unmarshal", "yaml.unmarshal", "walk",
)  # fmt: skip
_NOISE: Final = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`|#[^\n]*')
_CALL: Final = re.compile(r"(?<![\w.])([a-z_]+(?:\.[a-z_0-9]+)*)\(")
_UNIFIED: Final = re.compile(r"(?<![:=!<>])=(?!=)")
_BARE_WITH: Final = re.compile(r"(?<![\w.])with\s+(?:input|data)\b")


def faults(source: str) -> Iterator[str]:
    """What a module may not do, each with its line."""
    bare = _NOISE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), source)
    for found in _CALL.finditer(bare):
        name = found[1]
        if any(name == banned or name.startswith(f"{banned}.") for banned in BANNED):
            yield f"line {bare.count(chr(10), 0, found.start()) + 1}: {name} is not allowed"
    for found in _BARE_WITH.finditer(bare):
        yield f"line {bare.count(chr(10), 0, found.start()) + 1}: input and data are as they are; `with` is not allowed"
    for found in _UNIFIED.finditer(bare):
        yield f"line {bare.count(chr(10), 0, found.start()) + 1}: `=` is not allowed; `==` compares, `:=` assigns"
