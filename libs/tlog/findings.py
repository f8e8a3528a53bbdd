"""What a finding names: the leaf that it is about, as far as that can be read."""

from typing import Any, cast

from libs.tlog.errors import BrokenLog, LeafError, ProfileError
from libs.tlog.profile import parse
from libs.tlog.shape import CONFLICT, DUPLICATE, EVENT, MAX_LEAF, Leaf, check


def read_leaf(index: int, leaf: bytes) -> Leaf:
    """The parsed leaf, canonical and holding every rule of its kind. Raises BrokenLog."""
    if len(leaf) > MAX_LEAF:
        raise BrokenLog(f"leaf is longer than {MAX_LEAF} bytes", index=index)
    try:
        read = cast("Leaf", parse(leaf))
        check(read)
    except ProfileError as error:
        raise BrokenLog(f"leaf is not canonical: {error}", index=index) from None
    except (LeafError, AttributeError) as error:
        raise BrokenLog(f"leaf is malformed: {error}", index=index) from None
    return read


def names(index: int, leaf: bytes) -> dict[str, Any]:
    """What identifies a leaf in a finding; one that cannot be trusted is still read for its names."""
    found: dict[str, Any] = {"index": index}
    try:
        read = read_leaf(index, leaf)
    except BrokenLog:
        return found
    if read["kind"] == EVENT:
        found |= {"event_id": read["ev"]["id"], "event_type": read["ev"]["type"]}
    elif read["kind"] in {DUPLICATE, CONFLICT}:
        found["event_id"] = read["body"]["id"]
    if "seq" in read.get("src", {}):
        found["sequence"] = int(read["src"]["seq"])
    return found


def sequence_words(first: int, expected: int) -> str:
    """What is wrong with an outcome of this stream sequence that comes next."""
    if first < expected:
        return f"stream sequence {first} has its outcome already, expected {expected}"
    missing = f"sequence {expected} has" if first == expected + 1 else f"sequences {expected} to {first - 1} have"
    return f"stream {missing} no outcome before it"
