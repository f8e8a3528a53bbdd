from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.tlog.errors import FormatError, SignatureError, TlogError
from libs.tlog.note import (
    COSIGNATURE,
    Cosigner,
    Signer,
    Verifier,
    cosigned,
    open_note,
    parse_note,
    sign_note,
)
from tests.unit.tlog.vectors import CHECKPOINT, LOG, NOTE, ORIGIN, SEEN, VKEY, WITNESS, flip

TEXT = CHECKPOINT.text()
BOTH = (LOG.verifier, WITNESS.verifier)


def bent(old: bytes, new: bytes) -> bytes:
    assert old in NOTE
    return NOTE.replace(old, new)


def test_the_worked_examples_note_comes_out_to_the_byte() -> None:
    assert LOG.vkey == VKEY
    assert cosigned(sign_note(TEXT, [LOG]), [WITNESS.sign(TEXT, SEEN)]) == NOTE


def test_the_worked_examples_note_is_opened_by_log_and_witness() -> None:
    note = open_note(NOTE, BOTH)

    assert note.text == TEXT
    assert [(found.key.name, found.time) for found in note.verified] == [(ORIGIN, None), (WITNESS.name, SEEN)]
    assert note.unknown == ()


def test_what_nobody_asked_about_is_kept_as_unknown() -> None:
    note = open_note(NOTE, [LOG.verifier])

    assert [found.name for found in note.unknown] == [WITNESS.name]


def test_a_note_of_the_golang_ecosystem_is_opened() -> None:
    key = Verifier.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    raw = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n\n"
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )

    assert open_note(raw.encode(), [key]).verified[0].key == key


def test_a_note_that_no_known_key_signed_is_refused() -> None:
    with pytest.raises(SignatureError, match="no signature of a known key: signed by rr"):
        open_note(NOTE, [Signer("rr.example/other", LOG.seed).verifier])
    with pytest.raises(SignatureError, match="known is nobody"):
        open_note(NOTE, [])


def test_another_key_under_the_same_name_is_not_the_same_key() -> None:
    other = Signer(ORIGIN, bytes(32))

    with pytest.raises(SignatureError) as refused:
        open_note(NOTE, [other.verifier])
    assert f"signed by {ORIGIN} (483ac58d), " in str(refused.value)
    assert str(refused.value).endswith(f"known is {ORIGIN} ({other.key_id.hex()})")
    with pytest.raises(SignatureError, match="the signature is"):
        other.verifier.verify(TEXT, parse_note(NOTE)[1][0])


def test_a_wrong_signature_of_a_known_key_spoils_the_note_though_another_holds() -> None:
    line = WITNESS.sign(TEXT + "x\n", SEEN)

    with pytest.raises(SignatureError, match=r"the signature of witness.example/w1 \(7d27559a\) does not hold"):
        open_note(cosigned(sign_note(TEXT, [LOG]), [line]), BOTH)


def test_the_time_of_a_cosignature_is_signed() -> None:
    raw = b64decode(NOTE.split()[-1])
    later = raw[:4] + (SEEN + 1).to_bytes(8) + raw[12:]

    with pytest.raises(SignatureError, match="does not hold"):
        open_note(NOTE.replace(b64encode(raw), b64encode(later)), BOTH)


def test_a_key_that_signs_twice_is_refused() -> None:
    with pytest.raises(SignatureError, match="signed twice"):
        open_note(cosigned(sign_note(TEXT, [LOG]), [LOG.sign(TEXT)]), [LOG.verifier])


def test_a_witnesses_signature_is_not_taken_for_a_plain_one() -> None:
    plain = Signer(WITNESS.name, WITNESS.seed)

    assert plain.key_id != WITNESS.verifier.key_id
    with pytest.raises(SignatureError):
        open_note(NOTE, [plain.verifier])


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (NOTE.replace(b"\n", b"\r\n"), "an empty line and signature lines"),
        (bent(b"\n3\n", b"\n3\r\n"), "control character"),
        (bent(b"\n3\n", b"\n3\t\n"), "control character"),
        (bent(b"\n3\n", b"\n3\0\n"), "control character"),
        (NOTE[:-1], "an empty line and signature lines"),
        (NOTE + b"\n", "an empty line and signature lines"),
        (NOTE + b"x", "an empty line and signature lines"),
        (NOTE + b"x\n", "signature line 3 is not"),
        (b"", "an empty line and signature lines"),
        (b"\n\n", "an empty line and signature lines"),
        (TEXT.encode(), "an empty line and signature lines"),
        (TEXT.encode() + b"\n", "an empty line and signature lines"),
        (TEXT.encode() + b"\n\n", "an empty line and signature lines"),
        (b"\n\n" + LOG.sign(TEXT).encode(), "empty"),
        (b"\xff" + NOTE, "not UTF-8 at byte 0"),
        (bent("— ".encode(), b"- "), "signature line 1 is not"),
        (bent("— ".encode(), "—  ".encode()), "no name of a key"),
        (bent(b" SDrF", b"  SDrF"), "is not base64"),
        (bent(b" SDrF", b" SDr"), "is not base64"),
        (bent(b"vpwg=\n", b"vpwh=\n"), "is not canonical base64"),
        (bent(b"vpwg=\n", b"vpwg\n"), "is not base64"),
        (bent(b"vpwg=\n", b"vpwg==\n"), "is not base64"),
        (bent(b"vpwg=\n", b"vpwg= \n"), "is not base64"),
        (bent(b"SDrFjeGo", b"SDrFje_o"), "is not base64"),
        (NOTE + "— w SDrFjQ==\n".encode(), "too short"),
        (NOTE + "— w+1 SDrFjeGo\n".encode(), "no name of a key"),
        (NOTE + "— w\u00a0x SDrFjeGo\n".encode(), "no name of a key"),
        (NOTE + LOG.sign(TEXT).encode() * 99, "at most 100 signatures"),
        (b"x" * 1_000_000 + NOTE, "at most 1000000 bytes"),
    ],
)
def test_any_other_spelling_of_a_note_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        open_note(raw, BOTH)


@pytest.mark.parametrize(
    ("vkey", "words"),
    [
        ("", "not a verifier key"),
        (ORIGIN, "not a verifier key"),
        (VKEY.replace("483ac58d", "483ac58e"), "its key gives 483ac58d"),
        (VKEY.replace("483ac58d", "483AC58D"), "its key gives 483ac58d"),
        (VKEY.replace("prod-1", "prod-2"), "but its key gives"),
        (VKEY[:-1], "is not base64"),
        (VKEY + "\n", "is not base64"),
        (VKEY[:-4], "is 29 bytes, not 32"),
        (VKEY.replace("+ASiz", "+AyizB"), "is not base64"),
        (VKEY.replace("+ASiz", "+Ayiz"), "has type 3"),
        (f"{ORIGIN}+483ac58d+", "has type 0"),
        ("+483ac58d+ASizBRLYSKFXCtPH60ED1uV8rSrBWeeyzESJsziJAt51", "no name of a key"),
        (f"a {VKEY}", "no name of a key"),
    ],
)
def test_a_vkey_that_is_not_whole_is_refused(vkey: str, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        Verifier.parse(vkey)


def test_a_vkey_is_read_back() -> None:
    assert Verifier.parse(VKEY) == LOG.verifier
    assert Verifier.parse(WITNESS.vkey).kind == COSIGNATURE


@pytest.mark.parametrize("text", ["", "\n", "no newline", "a\tb\n", "a\r\n"])
def test_what_cannot_be_a_notes_text_is_not_signed(text: str) -> None:
    with pytest.raises(FormatError):
        sign_note(text, [LOG])


def test_keys_and_times_that_cannot_be_are_refused() -> None:
    with pytest.raises(FormatError, match="31 bytes, not 32"):
        Signer(ORIGIN, bytes(31))
    with pytest.raises(FormatError, match="no name of a key"):
        Cosigner("a+b", bytes(32))
    with pytest.raises(FormatError, match="no time"):
        WITNESS.sign(TEXT, -1)
    with pytest.raises(FormatError, match="at least one signature"):
        sign_note(TEXT, [])


def test_a_seed_is_not_shown() -> None:
    assert LOG.seed.hex()[:8] not in repr(LOG)
    assert "seed" not in repr(WITNESS)


def test_a_signature_of_another_length_is_refused() -> None:
    short = b64encode(LOG.key_id + bytes(63)).decode()

    with pytest.raises(SignatureError, match="63 bytes after the key id"):
        open_note(f"{TEXT}\n— {ORIGIN} {short}\n".encode(), BOTH)


@given(st.integers(0, len(NOTE) * 8 - 1))
def test_no_bit_of_a_note_can_change(bit: int) -> None:
    """Where a change makes a signer unknown, it is not among those whose signature holds any more."""
    try:
        note = open_note(flip(NOTE, bit), BOTH)
    except TlogError:
        return
    assert len(note.verified) < 2
    assert note.text == TEXT


@given(st.integers(0, len(VKEY) * 8 - 1))
def test_no_bit_of_a_vkey_can_change(bit: int) -> None:
    try:
        changed = flip(VKEY.encode(), bit).decode()
    except UnicodeDecodeError:
        return
    with pytest.raises(FormatError):
        Verifier.parse(changed)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_raise_anything_else(raw: bytes) -> None:
    try:
        parse_note(raw)
    except FormatError:
        return
