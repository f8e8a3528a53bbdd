"""Secrets do not come back, in any form in which a target may echo them."""

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.actions.masking import MASK, Mask, header_secrets, is_secret_header

SECRET = 's3cr3t/"key" +üß'
FORMS = [
    SECRET,
    quote(SECRET),
    quote(SECRET, safe=""),
    quote_plus(SECRET),
    SECRET.encode().hex(),
    SECRET.encode().hex().upper(),
    json.dumps(SECRET),
    json.dumps(SECRET, ensure_ascii=False),
    SECRET[::-1],
]


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_masked_in_a_derived_form(form: str) -> None:
    shown = Mask([SECRET]).text(f"the target said: {form}!")

    assert MASK in shown
    assert form.strip('"') not in shown


@pytest.mark.parametrize("before", ["", "u", "us", "use", "user:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_secret_inside_base64_is_masked_at_every_alignment(before: str, encode: object) -> None:
    assert callable(encode)
    encoded = encode(f"{before}{SECRET}and more".encode()).decode()

    shown = Mask([SECRET]).text(f"Basic {encoded}")

    assert MASK in shown
    assert encoded not in shown


@given(st.text(min_size=4, max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_what_is_left_never_holds_the_secret(secret: str, before: str, after: str) -> None:
    if secret in MASK:
        return

    assert secret not in Mask([secret]).text(before + secret + after).replace(MASK, "\0")


def test_json_values_are_masked_with_their_names_and_shape_kept() -> None:
    mask = Mask(["hunter22"])

    assert mask.value({"a": ["hunter22", 1, None, True], "hunter22": {"b": "x hunter22 y"}}) == {
        "a": [MASK, 1, None, True],
        MASK: {"b": f"x {MASK} y"},
    }


def test_short_values_are_no_secrets() -> None:
    assert Mask(["", "abc"]).text("abc") == "abc"


@pytest.mark.parametrize(
    "name",
    ["Authorization", "PROXY-AUTHORIZATION", "Cookie", "Set-Cookie", "X-Api-Key", "X-Auth-Token", "apikey",
     "X-Hub-Signature", "X-Vault-Token", "X-Amz-Security-Token", "Client-Secret"],
)  # fmt: skip
def test_headers_that_carry_credentials_are_secret(name: str) -> None:
    assert is_secret_header(name)


@pytest.mark.parametrize("name", ["Content-Type", "Idempotency-Key", "Accept", "Rr-Fence", "Etag"])
def test_other_headers_are_not(name: str) -> None:
    assert not is_secret_header(name)


def test_the_parts_of_a_secret_header_are_secrets_of_their_own() -> None:
    pair = base64.b64encode(b"user:opensesame").decode()
    found = header_secrets(
        {"Authorization": f"Basic {pair}", "Cookie": "sid=abcd1234; theme=dark", "Accept": "text/html"}
    )

    assert {"opensesame", "user:opensesame", pair, "abcd1234"} <= set(found)
    assert "Basic" not in found
    assert "text/html" not in found
