"""Private keys as text: one spelling, and no refusal shows any of it."""

from hashlib import sha256

import pytest

from libs.tlog.errors import FormatError
from libs.tlog.note import Signer, Verifier
from libs.tlog.secretkey import parse_private, private_text

LOG = Signer("rr.example/timeline/prod-1", sha256(b"rr test log key 1").digest())
TEXT = private_text(LOG)


def test_a_key_comes_back_from_its_text() -> None:
    assert TEXT.startswith("PRIVATE+KEY+rr.example/timeline/prod-1+483ac58d+")
    assert parse_private(TEXT) == LOG
    assert Verifier.parse(parse_private(TEXT).vkey) == LOG.verifier


@pytest.mark.parametrize(
    "text",
    [
        "",
        LOG.vkey,
        TEXT[:-1],
        TEXT[:-2] + "==",
        TEXT.replace("483ac58d", "483ac58e"),
        TEXT.replace("prod-1", "prod-2"),
        TEXT.replace("+Af", "+Bf"),
        f"{TEXT} ",
        TEXT.removeprefix("PRIVATE+KEY+"),
        private_text(Signer("other", bytes(32))).replace("other", "an other"),
    ],
)
def test_whatever_is_spelled_otherwise_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(FormatError) as refused:
        parse_private(text)

    assert TEXT.rpartition("+")[2][:12] not in str(refused.value)
