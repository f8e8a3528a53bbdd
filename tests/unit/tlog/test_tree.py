import base64
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.tlog.errors import TlogError
from libs.tlog.leaf import event_hash
from libs.tlog.tree import EMPTY_ROOT, Frontier, node_hash

# The leaves and roots of the reference implementation's test of RFC 6962 (certificate-transparency).
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def recursive_root(hashes: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as it is written."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << ((len(hashes) - 1).bit_length() - 1)
    return node_hash(recursive_root(hashes[:split]), recursive_root(hashes[split:]))


def test_the_roots_of_the_public_vectors_come_out() -> None:
    tree = Frontier()
    roots = []

    for leaf in LEAVES:
        tree.append(event_hash(bytes.fromhex(leaf)))
        roots.append(tree.root().hex())

    assert roots == ROOTS


def test_an_empty_tree_has_the_hash_of_nothing() -> None:
    assert Frontier().root() == EMPTY_ROOT
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_the_worked_example_of_three_leaves_has_its_checkpoints_root() -> None:
    tree = Frontier()

    tree.append(base64.b64decode("W6mzb6x6ousFPKCYaDPwV1gfVJMJtmOwsovZckcYdwE="))
    tree.append(bytes.fromhex("1ea3d6e3174c193154c67ab14ee7edb9fe2170c3d033935774a9bc86e6555312"))
    tree.append(base64.b64decode("GMUqcksvfVVJr/Vys3+h9c5VDZ/7GZ47pt7b3EoFq/0="))

    assert base64.b64encode(tree.root()) == b"aOugu5/WT0wSHAVx2VFnmrQnVqOBKAqzLuOMrBfGklU="


@given(st.integers(0, 300))
def test_the_frontier_agrees_with_the_recursive_definition(size: int) -> None:
    hashes = [event_hash(b"%d" % number) for number in range(size)]
    tree = Frontier()

    for item in hashes:
        tree.append(item)

    assert tree.root() == recursive_root(hashes)


@given(st.integers(0, 200), st.integers(0, 50))
def test_a_frontier_read_back_grows_as_if_it_had_never_stopped(before: int, after: int) -> None:
    straight = Frontier()
    for number in range(before):
        straight.append(event_hash(b"%d" % number))

    stored = Frontier.from_bytes(straight.size, straight.to_bytes())
    for number in range(after):
        straight.append(event_hash(b"then %d" % number))
        stored.append(event_hash(b"then %d" % number))

    assert (stored.size, stored.root()) == (straight.size, straight.root())


def test_a_copy_grows_apart() -> None:
    tree = Frontier(1, [event_hash(b"")])

    tree.copy().append(event_hash(b"x"))

    assert (tree.size, tree.root().hex()) == (1, ROOTS[0])


@pytest.mark.parametrize(("size", "raw"), [(1, b""), (3, b"x" * 32), (1, b"x" * 31), (0, b"x" * 32), (-1, b"x" * 32)])
def test_a_frontier_that_does_not_fit_its_size_is_refused(size: int, raw: bytes) -> None:
    with pytest.raises(TlogError):
        Frontier.from_bytes(size, raw)


def test_a_hash_of_another_length_is_refused() -> None:
    with pytest.raises(TlogError):
        Frontier(1, [b"x" * 31])
