from contextlib import suppress

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from libs.tlog.errors import ProfileError
from libs.tlog.profile import MAX_DEPTH, Value, check, encode, is_decimal, parse

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
KEY = st.text(st.characters(max_codepoint=127), max_size=8)
VALUES: st.SearchStrategy[Value] = st.recursive(
    TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEY, inner, max_size=4),
    max_leaves=20,
)


def fits(value: Value) -> bool:
    try:
        check(value)
    except ProfileError:
        return False
    return True


@given(VALUES.filter(fits))
def test_inside_the_profile_the_bytes_are_those_of_rfc_8785(value: Value) -> None:
    assert encode(value) == rfc8785.dumps(value)


@given(VALUES.filter(fits))
def test_what_was_encoded_parses_to_the_same_value(value: Value) -> None:
    assert parse(encode(value)) == value


@given(st.binary(max_size=40))
def test_no_bytes_make_the_parser_raise_anything_else(raw: bytes) -> None:
    with suppress(ProfileError):
        assert encode(parse(raw)) == raw


@pytest.mark.parametrize("value", [1, 1.5, True, None, {"a": 1}, [None], {"é": "x"}, {1: "x"}, b"x", ("x",)])
def test_numbers_booleans_null_and_other_keys_are_refused(value: Value) -> None:
    with pytest.raises(ProfileError):
        encode(value)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"a":"1","a":"2"}', "key 'a' occurs twice"),
        (b'{"b":"1","a":"2"}', "not in canonical form"),
        (b'{"a": "1"}', "not in canonical form"),
        (b'{"a":"\\u0041"}', "not in canonical form"),
        (b'{"a":"1"} ', "not in canonical form"),
        (b'{"a":"\\ud800"}', "not JSON"),
        (b'{"a":"\xff"}', "not JSON"),
        (b'{"a":9007199254740993}', "not int"),
        (b'{"a":1e400}', "not JSON"),
        (b'{"a":-0}', "not int"),
        (b"[" * 5000 + b"]" * 5000, "not JSON"),
        (b"[" * 20 + b"]" * 20, f"nested deeper than {MAX_DEPTH}"),
        (b"", "not JSON"),
    ],
)
def test_every_other_spelling_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(ProfileError, match=words):
        parse(raw)


def test_a_repeated_key_that_hides_a_deep_value_is_refused() -> None:
    with pytest.raises(ProfileError):
        parse(b'{"a":' + b"[" * 1000 + b"]" * 1000 + b',"a":"x"}')


def test_composed_and_decomposed_text_stay_what_they_are() -> None:
    assert encode("\u00e9") != encode("e\u0301")
    assert parse(orjson.dumps("e\u0301")) == "e\u0301"


@pytest.mark.parametrize("text", ["0", "42", "9" * 19])
def test_an_integer_is_written_in_decimal_digits(text: str) -> None:
    assert is_decimal(text)


@pytest.mark.parametrize("text", ["", "042", "-1", "+1", "1.0", "1\n", "\u0663", "9" * 20])
def test_an_integer_has_no_other_spelling(text: str) -> None:
    assert not is_decimal(text)
