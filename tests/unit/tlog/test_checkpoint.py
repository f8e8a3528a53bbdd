import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from libs.tlog.errors import FormatError, SignatureError, TlogError
from libs.tlog.note import Signer, cosigned, sign_note
from libs.tlog.tree import EMPTY_ROOT
from tests.unit.tlog.vectors import CHECKPOINT, LOG, NOTE, ORIGIN, ROOT, SEEN, WITNESS, flip

TEXT = f"{ORIGIN}\n3\naOugu5/WT0wSHAVx2VFnmrQnVqOBKAqzLuOMrBfGklU=\n"
ALONE = sign_checkpoint(CHECKPOINT, [LOG])


def test_the_worked_examples_checkpoint_comes_out_to_the_byte() -> None:
    assert CHECKPOINT.text() == TEXT
    assert Checkpoint.parse(TEXT) == CHECKPOINT
    assert cosigned(ALONE, [WITNESS.sign(TEXT, SEEN)]) == NOTE


def test_a_signed_checkpoint_says_who_signed_and_which_witness_saw_it_when() -> None:
    signed = open_checkpoint(NOTE, [LOG.verifier, WITNESS.verifier])

    assert signed.checkpoint == CHECKPOINT
    assert [found.key for found in signed.signers] == [LOG.verifier]
    assert [(found.key.name, found.time) for found in signed.witnesses] == [(WITNESS.name, SEEN)]
    assert signed.raw == NOTE


def test_a_checkpoint_that_only_a_witness_signed_is_nobodys_promise() -> None:
    with pytest.raises(SignatureError, match=f"the log {ORIGIN} has not signed its checkpoint"):
        open_checkpoint(NOTE, [WITNESS.verifier])


def test_a_key_of_another_name_does_not_sign_for_the_log() -> None:
    other = Signer("rr.example/other", LOG.seed)

    with pytest.raises(FormatError, match="not one of the log"):
        sign_checkpoint(CHECKPOINT, [other])
    with pytest.raises(SignatureError, match="has not signed its checkpoint"):
        open_checkpoint(sign_note(TEXT, [other]), [other.verifier])


def test_both_keys_sign_while_one_is_changed_for_the_other() -> None:
    new = Signer(ORIGIN, bytes(32))

    raw = sign_checkpoint(CHECKPOINT, [LOG, new])

    assert open_checkpoint(raw, [LOG.verifier]).checkpoint == CHECKPOINT
    assert open_checkpoint(raw, [new.verifier]).checkpoint == CHECKPOINT
    assert len(open_checkpoint(raw, [LOG.verifier, new.verifier]).signers) == 2


def test_an_empty_log_has_a_checkpoint() -> None:
    empty = Checkpoint(ORIGIN, 0, EMPTY_ROOT)

    assert Checkpoint.parse(empty.text()) == empty
    with pytest.raises(FormatError, match="not that of an empty log"):
        Checkpoint(ORIGIN, 0, ROOT)


def test_extension_lines_of_other_logs_are_kept() -> None:
    assert Checkpoint.parse(f"{TEXT}more\n").extensions == ("more",)
    assert Checkpoint.parse(f"{TEXT}more\n").text() == f"{TEXT}more\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TEXT[:-1], "each ended by a newline"),
        (f"{ORIGIN}\n3\n", "each ended by a newline"),
        ("", "each ended by a newline"),
        (f"{TEXT}\n", "lines are not empty"),
        (TEXT.replace(ORIGIN, ""), "lines are not empty"),
        (TEXT.replace("\n3\n", "\n03\n"), "size is not a decimal number: '03'"),
        (TEXT.replace("\n3\n", "\n-3\n"), "size is not a decimal number"),
        (TEXT.replace("\n3\n", "\n+3\n"), "size is not a decimal number"),
        (TEXT.replace("\n3\n", "\n3 \n"), "size is not a decimal number"),
        (TEXT.replace("\n3\n", "\n\n"), "size is not a decimal number"),
        (TEXT.replace("\n3\n", "\n\u0663\n"), "size is not a decimal number"),
        (TEXT.replace("\n3\n", "\n9223372036854775808\n"), "size is not a decimal number"),
        (TEXT.replace("\n3\n", "\n0\n"), "not that of an empty log"),
        (TEXT.replace("klU=", "klV="), "not canonical base64"),
        (TEXT.replace("klU=", "klU"), "not base64"),
        (TEXT.replace("aOug", ""), "29 bytes, not 32"),
        (TEXT.replace("aOug", "aOugaOug"), "35 bytes, not 32"),
        (TEXT.replace("\n", "\r\n"), "size is not a decimal number"),
    ],
)
def test_any_other_spelling_is_refused(text: str, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        Checkpoint.parse(text)


@given(st.integers(0, len(ALONE) * 8 - 1))
def test_no_bit_of_a_signed_checkpoint_can_change(bit: int) -> None:
    with pytest.raises(TlogError):
        open_checkpoint(flip(ALONE, bit), [LOG.verifier, WITNESS.verifier])
