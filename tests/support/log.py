"""The log as an auditor reads it: every page through the API, everything computed anew."""

import base64
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from libs.tlog.chain import Head
from libs.tlog.verify import Report, StoredEntry, StoredState, verify

Get = Callable[..., Awaitable[Any]]


async def verify_log(get: Get) -> Report:
    """Verify the log whole; every fact stands in it once, and each aggregate's versions are 1, 2, 3… in order.

    Raises:
        BrokenLog, AssertionError: with the first thing that does not hold.
    """
    leaves = await _pages(get)
    said = (await get("/timeline/state"))["log"]
    entries = [
        StoredEntry(
            leaf["index"],
            _bytes(leaf["leaf"]) or b"",
            bytes.fromhex(leaf["event_hash"]),
            _bytes(leaf["payload"]),
            _bytes(leaf["salt"]),
        )
        for leaf in leaves
    ]
    report = verify(
        entries,
        StoredState(
            origin=said["origin"],
            size=said["size"],
            root=bytes.fromhex(said["root"]),
            stream=said["stream"],
            epoch=said["epoch"],
            seq=said["seq"],
        ),
        await _heads(get),
    )
    assert set(report.kinds) <= {"event", "control", "duplicate"}, report.kinds
    _in_order([orjson.loads(entry.leaf) for entry in entries])
    return report


def _in_order(leaves: list[dict[str, Any]]) -> None:
    versions: dict[tuple[str, str], list[int]] = defaultdict(list)
    for leaf in leaves:
        if leaf["kind"] == "event":
            versions[leaf["agg"]["type"], leaf["agg"]["id"]].append(int(leaf["agg"]["version"]))
    for aggregate, found in versions.items():
        assert found == list(range(1, len(found) + 1)), (aggregate, found)


async def _pages(get: Get) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    first: int | None = 0
    while first is not None:
        page = await get("/timeline/leaves", first=first)
        found += page["leaves"]
        first = page["next"]
    return found


async def _heads(get: Get) -> dict[tuple[str, str], Head]:
    found: dict[tuple[str, str], Head] = {}
    after: dict[str, str] = {}
    while page := (await get("/timeline/heads", **after))["heads"]:
        for head in page:
            found[head["kind"], head["id"]] = Head(head["n"], bytes.fromhex(head["event_hash"]))
        after = {"kind": page[-1]["kind"], "id": page[-1]["id"]}
    return found


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
