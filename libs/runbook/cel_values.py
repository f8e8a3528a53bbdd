"""What goes into an expression and what comes out of it: exact types, bounded sizes, nothing that the library bends.

The library cuts strings at NUL, turns integers beyond int64 into unsigned ones, takes `True` for 1, crashes on data
that is nested without end and answers `NaN` where it was given one. So whatever it would bend is refused before it
sees it, with the path to the value.

    ExpressionError
    ├── ScopeRefused    a value that an expression may not be given
    └── ResultRefused   an expression's value is of no type that a runbook holds
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from libs.runbook.expressions import ExpressionError

MAX_DEPTH: Final = 16
MAX_DATA_BYTES: Final = 1024 * 1024
MAX_RESULT_BYTES: Final = 256 * 1024
NODE_BYTES: Final = 8  # what a value counts beyond its text
INT64: Final = range(-(2**63), 2**63)
_EXACT: Final[Mapping[str, type]] = {"string": str, "integer": int, "boolean": bool}
_ARTICLES: Final = {"string": "a string", "integer": "an integer", "boolean": "true or false"}


class ScopeRefused(ExpressionError):
    """A value that an expression may not be given; the text names it."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


class ResultRefused(ExpressionError):
    """An expression's value is of no type that a runbook holds."""


class Intake:
    """Copies values for the library, and counts them: `size` is bytes of text, and 8 for each value."""

    def __init__(self) -> None:
        self.size = 0

    def typed(self, kind: str, value: Any, path: str) -> Any:
        """A value of a declared type (string, integer, boolean, texts, any).

        Raises:
            ScopeRefused: it has another type, or is refused whatever its type.
        """
        if kind in _EXACT and type(value) is not _EXACT[kind]:
            raise ScopeRefused(path, f"must be {_ARTICLES[kind]}, not {type(value).__name__}")
        if kind == "texts":
            return self._texts(value, path)
        return self.any(value, path)

    def any(self, value: Any, path: str, depth: int = 0) -> Any:
        """A value as plain data of exact types; bytes become a bytearray, which the library takes as bytes.

        Raises:
            ScopeRefused: as the module says.
        """
        if depth > MAX_DEPTH:
            raise ScopeRefused(path, f"is nested deeper than {MAX_DEPTH}")
        self._count(NODE_BYTES, path)
        kind = type(value)
        if kind is str:
            return self._text(value, path)
        if kind is dict or isinstance(value, Mapping):
            return {self.key(key, path): self.any(item, f"{path}.{key}", depth + 1) for key, item in value.items()}
        if kind is list or kind is tuple:
            return [self.any(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
        return self._scalar(value, path)

    def _scalar(self, value: Any, path: str) -> Any:
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is int:
            if value not in INT64:
                raise ScopeRefused(path, "integers must lie within 64 bits")
            return value
        if kind is float:
            if not math.isfinite(value):
                raise ScopeRefused(path, f"{value} is no number")
            return value
        if kind is bytes or kind is bytearray:
            self._count(len(value), path)
            return bytearray(value)
        raise ScopeRefused(path, f"{kind.__name__} is no data of a runbook")

    def _texts(self, value: Any, path: str) -> dict[str, str]:
        if not isinstance(value, Mapping):
            raise ScopeRefused(path, f"must be an object of strings, not {type(value).__name__}")
        return {self.key(key, path): self.typed("string", item, f"{path}.{key}") for key, item in value.items()}

    def key(self, key: Any, path: str) -> str:
        """A key of an object.

        Raises:
            ScopeRefused: it is no string, or no text that may be given.
        """
        if type(key) is not str:
            raise ScopeRefused(path, f"keys are strings, not {type(key).__name__}")
        return self._text(key, path)

    def _text(self, value: str, path: str) -> str:
        self._count(len(value), path)
        if "\x00" in value:
            raise ScopeRefused(path, "text holds a NUL character")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ScopeRefused(path, "text holds a lone surrogate") from None
        return value

    def _count(self, size: int, path: str) -> None:
        self.size += size
        if self.size > MAX_DATA_BYTES:
            raise ScopeRefused(path, f"an expression is given at most {MAX_DATA_BYTES} bytes of data")


def plain(source: str, value: Any) -> Any:
    """A result as str, int, bool, None, list and dict with string keys; what it is made of is looked at, all through.

    Raises:
        ResultRefused: a float, bytes, a time, a key that is no string; nested deeper than 16; over 256 KiB.
    """
    left = MAX_RESULT_BYTES

    def checked(item: Any, depth: int) -> Any:
        nonlocal left
        left -= NODE_BYTES + (len(item) if type(item) is str else 0)
        if left < 0:
            raise ResultRefused(f"`{shown(source)}` yields more than {MAX_RESULT_BYTES} bytes")
        if depth > MAX_DEPTH:
            raise ResultRefused(f"`{shown(source)}` yields a value nested deeper than {MAX_DEPTH}")
        if type(item) is dict:
            return {checked(_result_key(source, key), depth): checked(value, depth + 1) for key, value in item.items()}
        if type(item) is list:
            return [checked(value, depth + 1) for value in item]
        if item is None or type(item) in {str, bool} or (type(item) is int and item in INT64):
            return item
        raise refused_result(source, type(item).__name__)

    return checked(value, 0)


def refused_result(source: str, kind: str) -> ResultRefused:
    """The error for a value of a type that a runbook does not hold."""
    article = "is" if kind in {"DOUBLE", "float"} else "yields"
    hint = _HINTS.get(kind.partition("<")[0], "yield a string, an integer, a boolean, or a list or object of them")
    return ResultRefused(f"`{shown(source)}` {article} {_NAMES.get(kind, f'of type {kind}')}; {hint}")


def shown(source: str) -> str:
    """A source as messages quote it: at most 80 characters."""
    return source if len(source) <= 80 else f"{source[:77]}..."


def _result_key(source: str, key: Any) -> str:
    if type(key) is not str:
        raise ResultRefused(f"`{shown(source)}` yields an object with a key of type {type(key).__name__}; use strings")
    return key


_NAMES: Final = {
    "DOUBLE": "a float", "float": "a float", "TIMESTAMP": "a time", "datetime": "a time",
    "DURATION": "a duration", "timedelta": "a duration", "BYTES": "bytes", "bytearray": "bytes",
    "UINT": "an unsigned integer", "NULL": "null",
}  # fmt: skip
_FLOAT: Final = "floats are not hashed; wrap it in int(...), or in string(...)"
_TEXT: Final = "wrap it in string(...)"
_HINTS: Final = {
    "DOUBLE": _FLOAT, "float": _FLOAT, "TIMESTAMP": _TEXT, "datetime": _TEXT, "DURATION": _TEXT, "timedelta": _TEXT,
    "BYTES": _TEXT, "bytearray": _TEXT, "UINT": "wrap it in int(...)", "TYPE": _TEXT,
}  # fmt: skip
