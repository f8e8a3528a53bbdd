"""Verifies a log from outside: pages it out of the gateway and computes everything anew, here.

Whoever asks trusts nobody: what the service says of its log (size, root, heads, position) is only compared.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any, Final

from libs.tlog.chain import ChainKey, Head
from libs.tlog.verify import Report, StoredEntry, StoredState, Verifier

Get = Callable[[str, Mapping[str, Any]], dict[str, Any]]
"""(path, parameters) → the answer of the gateway."""

ROUNDS: Final = 50


class LogGrows(RuntimeError):
    """The log grew faster than it could be read; ask again when it is quieter."""


def verify_log(get: Get) -> tuple[Report, StoredState]:
    """Verify every leaf up to now, in bounded memory; the log may grow meanwhile.

    Raises:
        libs.tlog.errors.BrokenLog: the first thing that does not hold, named.
        LogGrows: it never stood still between two looks.
    """
    state = _state(get)
    verifier = Verifier(state)
    for _ in range(ROUNDS):
        before = _state(get)
        _read(get, verifier)
        heads = _heads(get)
        if _state(get) == before:
            return verifier.finish(heads, before), before
    raise LogGrows(f"the log grew during each of {ROUNDS} looks")


def _state(get: Get) -> StoredState:
    log = get("/timeline/state", {})["log"]
    if log is None:
        return StoredState("", 0, b"", "", 0, 0)
    return StoredState(log["origin"], log["size"], bytes.fromhex(log["root"]), log["stream"], log["epoch"], log["seq"])


def _read(get: Get, verifier: Verifier) -> None:
    """Add the leaves that the verifier has not seen."""
    first: int | None = verifier.size
    while first is not None:
        page = get("/timeline/leaves", {"first": first})
        for item in page["leaves"]:
            verifier.add(_entry(get, item))
        first = page["next"]


def _entry(get: Get, item: Mapping[str, Any]) -> StoredEntry:
    payload, length = _bytes(item["payload"]), item["payload_length"]
    if payload is None and length is not None:
        payload = b""
        while len(payload) < length:
            part = get(f"/timeline/leaves/{item['index']}/payload", {"offset": len(payload)})["part"]
            payload += base64.b64decode(part)
    return StoredEntry(
        index=item["index"],
        leaf=_bytes(item["leaf"]) or b"",
        event_hash=bytes.fromhex(item["event_hash"]),
        payload=payload,
        salt=_bytes(item["salt"]),
    )


def _heads(get: Get) -> dict[ChainKey, Head]:
    found: dict[ChainKey, Head] = {}
    after: dict[str, str] = {}
    while page := get("/timeline/heads", after)["heads"]:
        for item in page:
            found[item["kind"], item["id"]] = Head(item["n"], bytes.fromhex(item["event_hash"]))
        after = {"kind": page[-1]["kind"], "id": page[-1]["id"]}
    return found


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)
