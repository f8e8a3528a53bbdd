"""What a step would do, as people read it before they agree: without secrets, and short enough for a fact.

What they agree to is named by the hash of the whole; a text that is cut here is not cut there.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from libs.actions.masking import MASK, Mask, header_secrets, is_secret_header

MAX_BYTES: Final = 8 * 1024
_LENGTHS: Final = (2_000, 200, 40)
"""How long a text may be, tried in this order until the whole is short enough."""
TOO_LARGE: Final[Mapping[str, Any]] = {"too_large": True}


def arguments(rendered: Any) -> dict[str, Any]:
    """Arguments of an action, of at most `MAX_BYTES` as JSON: the values of what is called like a secret are masked,
    wherever they stand; long texts end in an ellipsis. `{"too_large": true}` where even that is too long.
    """
    masked = _without(Mask(tuple(_secrets(rendered))).value(rendered))
    for length in _LENGTHS:
        shortened: dict[str, Any] = _shortened(masked, length)
        if len(orjson.dumps(shortened)) <= MAX_BYTES:
            return shortened
    return dict(TOO_LARGE)


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from header_secrets({name: item for name, item in value.items() if isinstance(item, str)})
        for item in value.values():
            yield from _secrets(item)
    elif isinstance(value, list):
        for item in value:
            yield from _secrets(item)


def _without(value: Any) -> Any:
    """Whatever is called like a secret is one, of whatever type and length."""
    if isinstance(value, Mapping):
        return {name: MASK if is_secret_header(name) else _without(item) for name, item in value.items()}
    return [_without(item) for item in value] if isinstance(value, list) else value


def _shortened(value: Any, length: int) -> Any:
    if isinstance(value, Mapping):
        return {name: _shortened(item, length) for name, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item, length) for item in value]
    return f"{value[:length]}\u2026" if isinstance(value, str) and len(value) > length else value
