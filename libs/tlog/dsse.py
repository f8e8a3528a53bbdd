"""DSSE envelopes (secure-systems-lab/dsse): a statement and signatures over its exact bytes and type.

    PAE = "DSSEv1 " len(type) " " type " " len(body) " " body

Ours are canonical JSON, as leaves are; a signature's `keyid` is the name and id of the vkey that verifies it.
"""

from collections.abc import Iterable
from typing import Any, Final

from libs.tlog.errors import FormatError, ProfileError, SignatureError
from libs.tlog.note import ED25519, Signer, Verifier
from libs.tlog.profile import encode, parse
from libs.tlog.spelling import base64_bytes, base64_text, shown

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MAX_SIGNATURES: Final = 16


def pae(payload_type: str, body: bytes) -> bytes:
    """The bytes that are signed."""
    name = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(body), body)


def seal(body: bytes, signer: Signer) -> bytes:
    """The envelope of an in-toto statement. Sealing twice gives the same bytes."""
    signature = signer.sign_bytes(pae(PAYLOAD_TYPE, body))
    return encode(
        {
            "payload": base64_text(body),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": key_id(signer.verifier), "sig": base64_text(signature)}],
        }
    )


def unseal(raw: bytes, verifiers: Iterable[Verifier]) -> tuple[bytes, tuple[Verifier, ...]]:
    """The statement's bytes, and those of the keys that signed it.

    Raises:
        FormatError: it is no such envelope.
        SignatureError: a signature of one of the keys does not hold, or none is there.
    """
    body, signatures = _parse(raw)
    known = {key_id(key): key for key in verifiers if key.kind == ED25519}
    signed = pae(PAYLOAD_TYPE, body)
    found = {}
    for whose, signature in signatures:
        if whose in known:
            known[whose].verify_bytes(signed, signature)
            found[whose] = known[whose]
    if not found:
        names, wanted = ", ".join(whose for whose, _ in signatures), ", ".join(known) or "nobody"
        raise SignatureError(f"no signature of a known key: signed by {names}, known is {wanted}")
    return body, tuple(found.values())


def key_id(key: Verifier) -> str:
    """How an envelope names a key: as its vkey does, without the key itself."""
    return f"{key.name}+{key.key_id.hex()}"


def _parse(raw: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    try:
        found: Any = parse(raw)
    except ProfileError as error:
        raise FormatError(f"the envelope is not canonical JSON: {error}") from None
    if not isinstance(found, dict) or found.keys() != {"payload", "payloadType", "signatures"}:
        raise FormatError("the envelope does not have exactly payload, payloadType and signatures")
    if found["payloadType"] != PAYLOAD_TYPE:
        raise FormatError(f"the envelope's type is {shown(found['payloadType'])}, not {PAYLOAD_TYPE}")
    signatures = found["signatures"]
    if not isinstance(signatures, list) or not 1 <= len(signatures) <= MAX_SIGNATURES:
        raise FormatError(f"the envelope does not have 1 to {MAX_SIGNATURES} signatures")
    return base64_bytes(_text(found["payload"]), "the envelope's payload"), [_signature(item) for item in signatures]


def _signature(found: Any) -> tuple[str, bytes]:
    if not isinstance(found, dict) or found.keys() != {"keyid", "sig"}:
        raise FormatError("a signature of the envelope does not have exactly keyid and sig")
    return _text(found["keyid"]), base64_bytes(_text(found["sig"]), "a signature of the envelope", length=64)


def _text(found: Any) -> str:
    if not isinstance(found, str):
        raise FormatError("a field of the envelope is not text")
    return found
