"""The keys that sign: read from files at each use, and what is wrong with one said in a sentence."""

import os
from pathlib import Path

import pytest

from libs.tlog.note import Signer
from libs.tlog.secretkey import private_text
from services.timeline.keys import KeyFiles, KeyTrouble

NAME = "ranger.test/timeline"
OLD, NEW = Signer(NAME, bytes(32)), Signer(NAME, bytes([1]) * 32)


def files(*paths: Path) -> KeyFiles:
    return KeyFiles("RR_TIMELINE_KEY_FILE", os.pathsep.join(map(str, paths)), name=NAME)


def test_old_and_new_key_may_stand_in_one_file_or_in_two(tmp_path: Path) -> None:
    one, other, both = tmp_path / "one", tmp_path / "other", tmp_path / "both"
    one.write_text(private_text(OLD))
    other.write_text(f"{private_text(NEW)}\n")
    both.write_text(f"{private_text(OLD)}\n\n{private_text(NEW)}\n{private_text(OLD)}\n")

    assert files(one, other).signers() == (OLD, NEW)
    assert files(both).signers() == (OLD, NEW)


def test_a_file_that_changes_is_read_anew(tmp_path: Path) -> None:
    keys, file = files(tmp_path / "key"), tmp_path / "key"
    file.write_text(private_text(OLD))
    keys.signers()

    file.write_text(private_text(NEW))

    assert keys.signers() == (NEW,)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"PRIVATE+KEY+x", "line 1: not a private key"),
        (private_text(OLD).encode() + b"\n" + private_text(NEW)[:-3].encode(), "line 2: the private key is cut off"),
        (private_text(Signer("other", bytes(32))).encode(), f"the key's name is other, it must be {NAME}"),
    ],
)
def test_what_is_wrong_is_said_without_the_key(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)

    with pytest.raises(KeyTrouble) as trouble:
        files(tmp_path / "key").signers()

    assert words in trouble.value.reason
    assert trouble.value.reason.startswith("RR_TIMELINE_KEY_FILE: ")
    assert private_text(OLD)[-20:] not in trouble.value.reason


def test_without_a_file_nothing_is_signed() -> None:
    assert not files().given
    with pytest.raises(KeyTrouble, match="names no file"):
        files().signers()
