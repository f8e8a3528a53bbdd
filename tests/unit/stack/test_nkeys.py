"""Keys made with the standard library are those of the library that signs with them."""

import nkeys
import pytest

from runbook_ranger.stack.nkeys import MalformedSeed, new_seed, public_key

KNOWN = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"  # a fixed seed: the test's, and nobody's


def test_a_public_key_is_what_the_library_makes_of_the_seed() -> None:
    for seed in (KNOWN, *(new_seed() for _ in range(25))):
        assert public_key(seed) == nkeys.from_seed(bytearray(seed.encode())).public_key.decode()


def test_seeds_are_users_seeds_and_never_the_same() -> None:
    made = {new_seed() for _ in range(50)}

    assert len(made) == 50
    assert all(seed.startswith("SU") and len(seed) == 58 for seed in made)
    assert all(public_key(seed).startswith("U") and len(public_key(seed)) == 56 for seed in list(made)[:5])


def test_the_end_of_a_file_is_no_part_of_a_seed() -> None:
    assert public_key(f" {KNOWN}\n") == public_key(KNOWN)


@pytest.mark.parametrize(
    ("seed", "why"),
    [
        ("", "begins with SU"),
        ("not base 32!", "base 32"),
        (KNOWN[:-1], "base 32|begins with SU"),
        (f"{KNOWN[:20]}A{KNOWN[21:]}", "checksum"),
        (nkeys.encode_seed(bytes(32), nkeys.PREFIX_BYTE_ACCOUNT).decode(), "begins with SU"),
    ],
)
def test_what_is_no_users_seed_is_refused_and_never_shown(seed: str, why: str) -> None:
    with pytest.raises(MalformedSeed, match=why) as refused:
        public_key(seed)
    assert not seed or seed not in str(refused.value)
