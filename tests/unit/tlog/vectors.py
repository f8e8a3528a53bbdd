"""Public vectors: the worked example's keys, checkpoint and proof, and the reference tree of RFC 6962's first test."""

from base64 import b64decode
from hashlib import sha256
from pathlib import Path

from libs.tlog.checkpoint import Checkpoint
from libs.tlog.leaf import event_hash
from libs.tlog.note import Cosigner, Signer
from libs.tlog.proofs import Hashes
from libs.tlog.tree import node_hash

ORIGIN = "rr.example/timeline/prod-1"
VKEY = f"{ORIGIN}+483ac58d+ASizBRLYSKFXCtPH60ED1uV8rSrBWeeyzESJsziJAt51"
LOG = Signer(ORIGIN, sha256(b"rr test log key 1").digest())
WITNESS = Cosigner("witness.example/w1", sha256(b"rr test witness key 1").digest())
SEEN = 1_772_359_300  # when the witness saw it
ROOT = b64decode("aOugu5/WT0wSHAVx2VFnmrQnVqOBKAqzLuOMrBfGklU=")
CHECKPOINT = Checkpoint(ORIGIN, 3, ROOT)
LEAF_1 = bytes.fromhex("1ea3d6e3174c193154c67ab14ee7edb9fe2170c3d033935774a9bc86e6555312")
PROOF = (Path(__file__).parents[2] / "golden" / "worked.tlog-proof").read_bytes()
NOTE = PROOF[PROOF.index(ORIGIN.encode()) :]

# The reference implementation's tree (certificate-transparency); its proofs count leaves from 1, these from 0.
REFERENCE_LEAVES = [
    event_hash(bytes.fromhex(leaf))
    for leaf in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
REFERENCE_ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    4: "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    6: "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}
_A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
_B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
_C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
_D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
_E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
_F = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
REFERENCE_INCLUSION = {  # (index, size): proof
    (0, 1): [],
    (0, 8): [_A, _B, _C],
    (5, 8): [_D, _E, REFERENCE_ROOTS[4]],
    (2, 3): [REFERENCE_ROOTS[2]],
    (1, 5): [REFERENCE_ROOTS[1], _B, _D],
}
REFERENCE_CONSISTENCY = {  # (old, new): proof
    (1, 1): [],
    (1, 8): [_A, _B, _C],
    (6, 8): [_F, _E, REFERENCE_ROOTS[4]],
    (2, 5): [_B, _D],
}


def decoded(proof: list[str]) -> list[bytes]:
    return [bytes.fromhex(item) for item in proof]


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, as it is written."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = naive_split(len(leaves))
    return node_hash(naive_root(leaves[:k]), naive_root(leaves[k:]))


def naive_split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def naive_hashes(leaves: list[bytes]) -> Hashes:
    """Any perfect subtree's root, computed from its leaves."""

    def hashes(level: int, index: int) -> bytes:
        assert (index + 1) << level <= len(leaves)
        return naive_root(leaves[index << level : (index + 1) << level])

    return hashes


def naive_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = naive_split(len(leaves))
    if m < k:
        return [*naive_path(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(m - k, leaves[k:]), naive_root(leaves[:k])]


def naive_consistency(m: int, leaves: list[bytes], *, whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962, section 2.1.2."""
    if m == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = naive_split(len(leaves))
    if m <= k:
        return [*naive_consistency(m, leaves[:k], whole=whole), naive_root(leaves[k:])]
    return [*naive_consistency(m - k, leaves[k:], whole=False), naive_root(leaves[:k])]


def flip(raw: bytes, bit: int) -> bytes:
    """The bytes with one bit changed; bits count round and round."""
    at, shift = divmod(bit % (len(raw) * 8), 8)
    return raw[:at] + bytes([raw[at] ^ (1 << shift)]) + raw[at + 1 :]
