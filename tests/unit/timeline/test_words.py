import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import InvalidInput
from services.timeline.words import MOST, TEXT, WORD, query, vector

TEXTS = st.text(max_size=200)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def words(payload: object) -> set[str]:
    found = vector(orjson.dumps(payload))
    return {part.strip("'") for part in found.split("' '")} if found else set()


def test_the_words_of_texts_at_any_depth_are_found_in_lower_case_and_names_of_fields_are_not() -> None:
    payload = {"step": "Re-route", "outputs": [{"message": "3 pods of storage_latency_high"}], "attempt": 7}

    assert words(payload) == {"re", "route", "3", "pods", "of", "storage", "latency", "high"}


def test_ids_and_hashes_are_no_words() -> None:
    assert words(["0192f0c1-0000-7000-8000-00000000000a", "ab" * 32, "ab" * 20, "worker-1"]) == {"worker", "1"}


def test_letters_of_any_script_make_words() -> None:
    assert words({"title": "Störung: ЗАДЕРЖКА 東京"}) == {"störung", "задержка", "東京"}


@pytest.mark.parametrize("payload", [b"", b"not JSON", b'{"a":', b"\xff", b"[" * 5000])
def test_what_is_not_json_has_no_words(payload: bytes) -> None:
    assert vector(payload) == ""


def test_a_long_payload_is_found_by_its_beginning() -> None:
    found = words([f"word{number}" for number in range(100_000)])

    assert 0 < len(found) <= MOST
    assert words("x" * 2 * TEXT) == {"x" * WORD}


@given(JSON)
def test_nothing_in_a_payload_breaks_out_of_its_quotes(payload: object) -> None:
    for word in words(payload):
        assert 0 < len(word) <= WORD
        assert not set("'\\ \x00\x1f") & set(word)


def test_a_question_asks_for_all_words_and_a_star_for_a_beginning() -> None:
    assert query("Restarted, pod*  of CHECKOUT-eu") == "'restarted' & 'pod':* & 'of' & 'checkout' & 'eu'"


@pytest.mark.parametrize("text", ["", "?!", "' & !*", "*"])
def test_a_question_without_a_word_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        query(text)


def test_a_question_of_too_many_words_is_refused() -> None:
    with pytest.raises(InvalidInput, match="17 words"):
        query(" ".join("abcdefghijklmnopq"))
