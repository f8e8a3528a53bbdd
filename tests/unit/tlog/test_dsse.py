from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from libs.tlog.dsse import PAYLOAD_TYPE, key_id, pae, seal, unseal
from libs.tlog.errors import FormatError, SignatureError, TlogError
from libs.tlog.note import Signer
from libs.tlog.profile import encode
from tests.unit.tlog.incident import SEALER
from tests.unit.tlog.vectors import LOG, WITNESS, flip

BODY = b'{"_type":"https://in-toto.io/Statement/v1"}'
SEALED = seal(BODY, SEALER)


def oracle_key(signer: Signer) -> SSlibKey:
    public = {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": signer.verifier.public.hex()}}
    return SSlibKey.from_dict(key_id(signer.verifier), public)


@given(st.text(max_size=20), st.binary(max_size=100))
def test_what_is_signed_is_what_the_oracle_signs(payload_type: str, body: bytes) -> None:
    try:
        payload_type.encode()
    except UnicodeEncodeError:
        return
    assert pae(payload_type, body) == Envelope(body, payload_type, {}).pae()


def test_the_example_of_the_specification_comes_out() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_the_oracle_verifies_what_is_sealed() -> None:
    envelope = Envelope.from_dict(orjson.loads(SEALED))

    assert envelope.payload == BODY
    assert envelope.verify([oracle_key(SEALER)], 1)
    with pytest.raises(VerificationError):
        envelope.verify([oracle_key(LOG)], 1)


def test_what_the_oracle_signs_is_unsealed() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    signer = CryptoSigner(Ed25519PrivateKey.from_private_bytes(SEALER.seed), oracle_key(SEALER))
    envelope = Envelope(BODY, PAYLOAD_TYPE, {})
    envelope.sign(signer)

    assert encode(envelope.to_dict()) == SEALED


def test_a_sealed_statement_is_unsealed_by_its_key() -> None:
    assert unseal(SEALED, [LOG.verifier, SEALER.verifier]) == (BODY, (SEALER.verifier,))


def test_a_witness_does_not_seal() -> None:
    with pytest.raises(SignatureError, match="known is nobody"):
        unseal(SEALED, [WITNESS.verifier])


def bent(**changed: Any) -> bytes:
    return encode({**orjson.loads(SEALED), **changed})


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not canonical JSON"),
        (SEALED + b"\n", "not canonical JSON"),
        (b"[]", "exactly payload, payloadType and signatures"),
        (bent(more="x"), "exactly payload, payloadType and signatures"),
        (bent(payloadType="application/json"), "type is 'application/json'"),
        (bent(payload=["x"]), "not text"),
        (bent(payload="e31="), "canonical base64"),
        (bent(signatures=[]), "1 to 16 signatures"),
        (bent(signatures=["x"] * 17), "1 to 16 signatures"),
        (bent(signatures="x"), "1 to 16 signatures"),
        (bent(signatures=["x"]), "exactly keyid and sig"),
        (bent(signatures=[{"keyid": "x", "sig": "AA=="}]), "is 1 bytes, not 64"),
    ],
)
def test_any_other_envelope_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        unseal(raw, [SEALER.verifier])


@given(st.integers(0, len(SEALED) * 8 - 1))
def test_no_bit_of_an_envelope_can_change(bit: int) -> None:
    with pytest.raises(TlogError):
        unseal(flip(SEALED, bit), [SEALER.verifier])
