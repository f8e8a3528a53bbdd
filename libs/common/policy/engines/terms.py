"""A policy's input as the engine's own values, and the engine's answer.

As the library's `set_input` and `query_bundle_entrypoint`, without their detours: they copy each string twice, ask
abstract types of each value and write each answer out four times, together a sixth of a decision. The C functions are
those that they call; the library's version is pinned. The short ones, which put one value each, keep Python's lock: to
let go of it and take it again costs more than they do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

if TYPE_CHECKING:
    from regopy import Bundle, Interpreter

OK: Final = 0


class Calls(NamedTuple):
    """What puts values into an input; each takes the input, and gives 0 where it did."""

    string: Callable[[Any, bytes], int]
    item: Callable[[Any], int]
    object: Callable[[Any, int], int]
    array: Callable[[Any, int], int]
    boolean: Callable[[Any, bool], int]
    integer: Callable[[Any, int], int]
    null: Callable[[Any], int]


@cache
def _calls() -> Calls:
    from regopy import rego_shared

    library = ctypes.PyDLL(rego_shared.path)

    def call(name: str, *values: Any) -> Any:
        found = library[name]
        found.argtypes, found.restype = (ctypes.c_void_p, *values), ctypes.c_uint32
        return found

    return Calls(
        string=call("regoInputString", ctypes.c_char_p),
        item=call("regoInputObjectItem"),
        object=call("regoInputObject", ctypes.c_uint32),
        array=call("regoInputArray", ctypes.c_uint32),
        boolean=call("regoInputBoolean", ctypes.c_bool),
        integer=call("regoInputInt", ctypes.c_int64),
        null=call("regoInputNull"),
    )


def give(interpreter: Interpreter, document: Any) -> None:
    """Make a document of strings, 64-bit integers, booleans, nulls, lists and mappings the interpreter's input.

    Strings reach the engine as they are: none may hold what JSON escapes, as it puts them into JSON text again.

    Raises:
        RegoError: the engine does not take it.
        TypeError: something in it is none of these.
    """
    from regopy import rego_shared

    pointer = rego_shared.rego_new_input()
    try:
        if _put(_calls(), pointer, document) != OK:
            raise rego_shared.RegoError("Unable to create input", rego_shared.Code.ERROR)
        rego_shared.rego_set_input(interpreter._impl, pointer)  # noqa: SLF001 -- the library's own calls take it
    finally:
        rego_shared.rego_free_input(pointer)


def ask(interpreter: Interpreter, bundle: Bundle, entrypoint: str) -> list[Any]:
    """The expressions of the one result that an entrypoint has for the input; none where that is not so.

    Raises:
        RegoError, ValueError: the engine's own; the interpreter may not be used any more.
    """
    from regopy import rego_shared

    answer = rego_shared.rego_bundle_query_entrypoint(interpreter._impl, bundle._impl, entrypoint)  # noqa: SLF001
    try:
        if not rego_shared.rego_output_ok(answer):
            return []
        text = rego_shared.rego_output_string(answer)
    finally:
        rego_shared.rego_free_output(answer)
    found = orjson.loads(text) if text != "undefined" else {}
    results = found if isinstance(found, list) else [found]
    return list(results[0].get("expressions", ())) if len(results) == 1 else []


def _put(calls: Calls, pointer: Any, value: Any) -> int:
    """Put a value after those that stand there; not 0 where any of it failed. Containers gather what precedes them."""
    kind = type(value)
    failed: int = OK
    if kind is str:
        failed = calls.string(pointer, value.encode())
    elif kind is dict:
        for name, part in value.items():
            failed |= calls.string(pointer, name.encode()) | _put(calls, pointer, part) | calls.item(pointer)
        failed |= calls.object(pointer, len(value))
    elif kind is list:
        for part in value:
            failed |= _put(calls, pointer, part)
        failed |= calls.array(pointer, len(value))
    elif kind is bool:
        failed = calls.boolean(pointer, value)
    elif kind is int:
        failed = calls.integer(pointer, value)
    elif value is None:
        failed = calls.null(pointer)
    else:
        raise TypeError(f"{kind.__name__} is no value of an input")
    return failed
