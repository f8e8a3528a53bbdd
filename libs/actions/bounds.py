"""Outputs stay inline and small: what does not fit is cut and named."""

from __future__ import annotations

from typing import Any

import orjson

CUT = "… cut …"


def bounded(outputs: dict[str, Any], limit: int) -> dict[str, Any]:
    """The outputs as JSON of at most `limit` bytes; members that were cut are listed in `truncated`.

    Strings lose their middle; other values become null. Values that JSON cannot hold raise TypeError.
    """
    size = len(orjson.dumps(outputs))
    if size <= limit:
        return outputs
    kept = dict(outputs)
    before = outputs.get("truncated")
    cut = [str(name) for name in before] if isinstance(before, list) else []
    while size > limit:
        name = max(
            (key for key in kept if key != "truncated"), key=lambda key: len(orjson.dumps(kept[key])), default=None
        )
        if name is None:
            return {"truncated": ["everything"]}
        kept[name] = _smaller(kept[name], size - limit)
        if name[:64] not in cut:
            cut.append(name[:64])
        elif kept[name] is None:
            del kept[name]
        kept["truncated"] = cut[:100]
        size = len(orjson.dumps(kept))
    return kept


def _smaller(value: Any, excess: int) -> str | None:
    if not isinstance(value, str) or len(value) < 64:
        return None
    target = max(16, min(len(value) - excess - len(CUT) - 64, len(value) * 3 // 4))
    return middle_cut(value, target)


def middle_cut(text: str, target: int) -> str:
    """The first and last characters of a text, `target` in all, with a mark between."""
    head = target * 2 // 3
    return text[:head] + CUT + text[len(text) - (target - head) :]
