"""A policy's input as the engine's own values, and the engine's answer.

As the library's `set_input` and `query_bundle_entrypoint`, without their detours: they copy each string twice, ask
abstract types of each value and write each answer out four times, together a sixth of a decision. The C functions are
those that they call; the library's version is pinned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from regopy import Bundle, Interpreter

OK: Final = 0


def give(interpreter: Interpreter, document: Any) -> None:
    """Make a document of strings, 64-bit integers, booleans, nulls, lists and mappings the interpreter's input.

    Strings reach the engine as they are: none may hold what JSON escapes, as it puts them into JSON text again.

    Raises:
        RegoError: the engine does not take it.
        TypeError: something in it is none of these.
    """
    from regopy import rego_shared

    library = rego_shared.rego
    pointer = rego_shared.rego_new_input()
    try:
        if _put(library, pointer, document) != OK:
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


def _put(library: Any, pointer: Any, value: Any) -> int:
    """Put a value after those that stand there; not 0 where any of it failed. Containers gather what precedes them."""
    kind = type(value)
    failed: int = OK
    if kind is str:
        failed = library.regoInputString(pointer, value.encode())
    elif kind is dict:
        for name, part in value.items():
            failed |= library.regoInputString(pointer, name.encode()) | _put(library, pointer, part)
            failed |= library.regoInputObjectItem(pointer)
        failed |= library.regoInputObject(pointer, len(value))
    elif kind is list:
        for part in value:
            failed |= _put(library, pointer, part)
        failed |= library.regoInputArray(pointer, len(value))
    elif kind is bool:
        failed = library.regoInputBoolean(pointer, value)
    elif kind is int:
        failed = library.regoInputInt(pointer, value)
    elif value is None:
        failed = library.regoInputNull(pointer)
    else:
        raise TypeError(f"{kind.__name__} is no value of an input")
    return failed
