"""What a leaf of each kind must look like. Builder and verifier apply the same rules, so neither is laxer.

A leaf that passes `check` lies inside the canonical profile (lone surrogates apart, which the encoder refuses).
Every refusal is a LeafError whose reason is fixed text: it ends up in reject leaves and must not depend on library
versions.
"""

import re
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, TypeAlias

from libs.tlog.errors import LeafError
from libs.tlog.profile import is_decimal

Leaf: TypeAlias = dict[str, Any]

VERSION = "rr.leaf/1"
MAX_LEAF = 4096  # bytes
MAX_REFS = 16
MAX_NAME = 512  # bytes of an id or a source: they are keys of indexes

EVENT, DUPLICATE, CONFLICT, REJECT, GAP, CONTROL = "event", "duplicate", "conflict", "reject", "gap", "control"
KINDS = frozenset({EVENT, DUPLICATE, CONFLICT, REJECT, GAP, CONTROL})
CHAIN_KINDS = frozenset({"incident", "execution", "runbook"})
REF_KINDS = frozenset({"spec", "evidence", "output", "approval", "bundle"})

_EVENT_KEYS = frozenset({"agg", "chains", "ev", "kind", "log", "payload", "refs", "src", "v"})
_SEQUENCE_KEYS = frozenset({"body", "kind", "log", "src", "v"})
_CONTROL_KEYS = frozenset({"body", "kind", "log", "v"})
_BODY_KEYS = {
    DUPLICATE: frozenset({"id", "of"}),
    CONFLICT: frozenset({"id", "of"}),
    REJECT: frozenset({"reason"}),
    GAP: frozenset({"from", "to"}),
}
_AGG_KEYS = frozenset({"id", "type", "version"})
_CHAIN_KEYS = frozenset({"id", "k", "n", "prev"})
_EV_KEYS = frozenset({"actor", "causation", "correlation", "id", "source", "tenant", "tenants", "time", "type"})
_EV_TEXTS = ("actor", "correlation", "id", "source", "tenant", "time", "type")
_PAYLOAD_KEYS = frozenset({"commit", "ct", "len"})
_REF_KEYS = frozenset({"k", "len", "sha256"})
_SRC_KEYS = frozenset({"epoch", "seq", "stream", "subject", "ts"})
_GAP_SRC_KEYS = frozenset({"epoch", "stream"})

_HEX = re.compile(r"[0-9a-f]{64}")
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT([01]\d|2[0-3]):\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)


def check(leaf: Leaf) -> None:
    """Raise LeafError unless the leaf has exactly the fields of its kind, each in its only spelling."""
    kind = leaf.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise LeafError("kind is unknown")
    _texts(leaf, "leaf", ("log", "v"))
    if leaf["v"] != VERSION:
        raise LeafError("leaf version is unknown")
    if kind == EVENT:
        _event(leaf)
    elif kind == CONTROL:
        _control(leaf)
    else:
        _outcome(leaf, kind)


def _event(leaf: Leaf) -> None:
    _keys(leaf, "leaf", _EVENT_KEYS)
    _aggregate(leaf["agg"])
    _chains(leaf["chains"])
    _envelope(leaf["ev"])
    _payload(leaf["payload"])
    _refs(leaf["refs"])
    _source(leaf["src"])


def _outcome(leaf: Leaf, kind: str) -> None:
    _keys(leaf, "leaf", _SEQUENCE_KEYS)
    body = leaf["body"]
    _keys(body, "body", _BODY_KEYS[kind])
    _texts(body, "body", tuple(_BODY_KEYS[kind]))
    if kind == GAP:
        _keys(leaf["src"], "src", _GAP_SRC_KEYS)
        _texts(leaf["src"], "src", ("stream",))
        _decimals(leaf["src"], "src", ("epoch",))
        _decimals(body, "body", ("from", "to"))
        if not 1 <= int(body["from"]) <= int(body["to"]):
            raise LeafError("gap range is empty")
        return
    _source(leaf["src"])
    if kind != REJECT:
        _decimals(body, "body", ("of",))


def _control(leaf: Leaf) -> None:
    _keys(leaf, "leaf", _CONTROL_KEYS)
    body = leaf["body"]
    if not isinstance(body, dict) or "type" not in body:
        raise LeafError("body has no type")
    for key in body:
        if not isinstance(key, str) or not key.isascii():
            raise LeafError("body has a key that is not ASCII text")
    _texts(body, "body", tuple(body))


def _aggregate(agg: Any) -> None:
    _keys(agg, "agg", _AGG_KEYS)
    _texts(agg, "agg", ("id", "type"))
    _decimals(agg, "agg", ("version",))


def _chains(chains: Any) -> None:
    if not isinstance(chains, list):
        raise LeafError("chains is not a list")
    last = ""
    for chain in chains:
        _keys(chain, "chain", _CHAIN_KEYS)
        _texts(chain, "chain", ("k",))
        _name(chain["id"], "chain.id")
        _decimals(chain, "chain", ("n",))
        _hash(chain["prev"], "chain.prev")
        if chain["k"] not in CHAIN_KINDS:
            raise LeafError("chain.k is unknown")
        if chain["n"] == "0":
            raise LeafError("chain.n starts at 1")
        if chain["k"] <= last:
            raise LeafError("chains are not sorted, one a kind")
        last = chain["k"]


def _envelope(ev: Any) -> None:
    _keys(ev, "ev", _EV_KEYS)
    _texts(ev, "ev", _EV_TEXTS)
    _name(ev["id"], "ev.id")
    _name(ev["source"], "ev.source")
    _text(ev["causation"], "ev.causation")
    if not _is_time(ev["time"]):
        raise LeafError("ev.time is not an RFC 3339 time")
    tenants = ev["tenants"]
    if not isinstance(tenants, list):
        raise LeafError("ev.tenants is not a list")
    for tenant in tenants:
        _filled(tenant, "ev.tenants")
    if any(left >= right for left, right in pairwise(tenants)):
        raise LeafError("ev.tenants is not sorted")
    if ev["tenant"] not in tenants:
        raise LeafError("ev.tenants does not contain ev.tenant")


def _payload(payload: Any) -> None:
    _keys(payload, "payload", _PAYLOAD_KEYS)
    _hash(payload["commit"], "payload.commit")
    _filled(payload["ct"], "payload.ct")
    _decimals(payload, "payload", ("len",))


def _refs(refs: Any) -> None:
    if not isinstance(refs, list):
        raise LeafError("refs is not a list")
    if len(refs) > MAX_REFS:
        raise LeafError(f"more than {MAX_REFS} refs")
    last = ("", "")
    for ref in refs:
        _keys(ref, "ref", _REF_KEYS)
        _text(ref["k"], "ref.k")
        if ref["k"] not in REF_KINDS:
            raise LeafError("ref.k is unknown")
        _decimals(ref, "ref", ("len",))
        _hash(ref["sha256"], "ref.sha256")
        if (ref["k"], ref["sha256"]) <= last:
            raise LeafError("refs are not sorted by k, then sha256, without repetition")
        last = (ref["k"], ref["sha256"])


def _source(src: Any) -> None:
    _keys(src, "src", _SRC_KEYS)
    _texts(src, "src", ("stream", "subject", "ts"))
    _decimals(src, "src", ("epoch", "seq"))
    if src["seq"] == "0":
        raise LeafError("src.seq starts at 1")
    if _STAMP.fullmatch(src["ts"]) is None:
        raise LeafError("src.ts is not a UTC time with nine digits")


def _is_time(text: str) -> bool:
    if _TIME.fullmatch(text) is None:
        return False
    try:
        datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return False
    return True


def _keys(node: Any, name: str, keys: frozenset[str]) -> None:
    if not isinstance(node, dict) or node.keys() != keys:
        raise LeafError(f"{name} does not have exactly the fields {', '.join(sorted(keys))}")


def _texts(node: Leaf, name: str, keys: tuple[str, ...]) -> None:
    for key in keys:
        value = node.get(key)
        if not isinstance(value, str) or not value or "\0" in value:
            _filled(value, f"{name}.{key}")


def _decimals(node: Leaf, name: str, keys: tuple[str, ...]) -> None:
    for key in keys:
        value = node[key]
        if not isinstance(value, str) or not is_decimal(value):
            raise LeafError(f"{name}.{key} is not a decimal string")


def _filled(value: Any, name: str) -> None:
    _text(value, name)
    if not value:
        raise LeafError(f"{name} is missing")


def _name(value: Any, name: str) -> None:
    _filled(value, name)
    if len(value.encode(errors="replace")) > MAX_NAME:
        raise LeafError(f"{name} is longer than {MAX_NAME} bytes")


def _text(value: Any, name: str) -> None:
    if not isinstance(value, str):
        raise LeafError(f"{name} is missing" if value is None else f"{name} is not text")
    if "\0" in value:
        raise LeafError(f"{name} contains NUL")


def _hash(value: Any, name: str) -> None:
    if not isinstance(value, str) or _HEX.fullmatch(value) is None:
        raise LeafError(f"{name} is not a SHA-256 in lower-case hex")
