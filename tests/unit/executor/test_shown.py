"""What would run, as people read it: no secret in it, and never long, whatever it is."""

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from services.executor.shown import MAX_BYTES, TOO_LARGE, arguments

NAMES = st.sampled_from(["url", "authorization", "token", "note", "x-api-key", "body"]) | st.text(max_size=8)
SECRET = "canary-of-a-secret"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=12).map(lambda text: text * 300),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(NAMES, inner, max_size=8),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(found=st.dictionaries(NAMES, VALUES, max_size=8))
def test_it_is_never_long(found: dict[str, Any]) -> None:
    assert len(orjson.dumps(arguments(found))) <= MAX_BYTES


@settings(max_examples=60, deadline=None)
@given(found=st.dictionaries(NAMES, VALUES, max_size=5), name=st.sampled_from(["token", "Authorization", "x-api-key"]))
def test_what_is_called_like_a_secret_is_shown_nowhere(found: dict[str, Any], name: str) -> None:
    deep = {**found, "first": {name: SECRET}, "also": [f"before {SECRET} after"]}

    assert SECRET not in orjson.dumps(arguments(deep)).decode()


def test_what_is_short_and_harmless_is_shown_as_it_is() -> None:
    plain = {"method": "POST", "url": "http://t/fix", "json": {"nodes": [1, 2]}}

    assert arguments(plain) == plain


def test_what_stays_too_long_is_said_to_be() -> None:
    assert arguments({f"k{n}": "x" * 40 for n in range(1_000)}) == TOO_LARGE
