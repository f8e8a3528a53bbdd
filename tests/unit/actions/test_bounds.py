"""Outputs stay inline and small."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from libs.actions.bounds import bounded, middle_cut
from libs.actions.capture import Capture
from libs.actions.masking import MASK, Mask

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=100), JSON), st.integers(512, 2048))
def test_outputs_never_exceed_the_limit(outputs: dict[str, Any], limit: int) -> None:
    kept = bounded(outputs, limit)

    assert len(orjson.dumps(kept)) <= limit
    if len(orjson.dumps(outputs)) <= limit:
        assert kept == outputs
    else:
        assert kept["truncated"]


def test_the_longest_text_is_cut_first_and_named() -> None:
    kept = bounded({"stdout": "a" * 50_000, "stderr": "b" * 100, "exit_code": 0}, 10_000)

    assert kept["stderr"] == "b" * 100
    assert kept["exit_code"] == 0
    assert kept["truncated"] == ["stdout"]
    assert kept["stdout"].startswith("aaa")
    assert kept["stdout"].endswith("aaa")
    assert len(orjson.dumps(kept)) > 5_000


def test_a_document_that_does_not_fit_becomes_null() -> None:
    kept = bounded({"json": list(range(10_000)), "status": 200}, 1_000)

    assert kept == {"json": None, "status": 200, "truncated": ["json"]}


def test_control_characters_count_as_json_writes_them() -> None:
    assert len(orjson.dumps(bounded({"text": "\0" * 10_000}, 20_000))) <= 20_000


def test_a_middle_cut_keeps_both_ends() -> None:
    assert middle_cut("0123456789" * 10, 15) == "0123456789… cut …56789"


@given(st.lists(st.binary(max_size=60_000), max_size=20))
def test_a_capture_knows_all_and_holds_little(chunks: list[bytes]) -> None:
    capture = Capture(8192)
    for chunk in chunks:
        capture.feed(chunk)
    whole = b"".join(chunks)

    shown = capture.done(Mask([]))

    assert shown.length == len(whole)
    assert shown.truncated == (len(whole) > 8192)
    assert len(capture._head) + len(capture._tail) <= 5 * 8192 + 60_000
    if not shown.truncated:
        assert shown.text == whole.decode("utf-8", "replace")


def test_a_secret_across_the_cut_is_masked_whole() -> None:
    capture = Capture(1000)
    capture.feed(b"x" * 495 + b"opensesame" + b"y" * 90_000 + b"opensesame" + b"z" * 495)

    shown = capture.done(Mask(["opensesame"]))

    assert "opens" not in shown.text
    assert "esame" not in shown.text
    assert MASK in shown.text
