import base64
import dataclasses
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.tlog.archive import pack, unpack
from libs.tlog.bundle import Bundled, build, head_of, sealed_digest
from libs.tlog.chain import Control
from libs.tlog.errors import BrokenLog, FormatError, SignatureError, TlogError
from libs.tlog.hashing import event_hash
from libs.tlog.heads import Head
from libs.tlog.inspection import Inspected, verify_bundle
from libs.tlog.manifest import ENVELOPE, MANIFEST, SALTS, Manifest, payload_names
from libs.tlog.note import Signer
from libs.tlog.profile import encode
from tests.unit.tlog.incident import (
    GONE,
    KEYS,
    OUTPUT,
    OUTPUT_REF,
    SEALER,
    SPEC_REF,
    bundled,
    content,
    logged,
    resealed,
)
from tests.unit.tlog.vectors import LOG, flip, naive_hashes
from tests.unit.tlog.worked import INCIDENT, ORIGIN, Store, message

Files = dict[str, bytes]
THIRD = "0192f0c2-0000-7000-8000-000000000003"
EVIDENCE = f"evidence/{OUTPUT_REF.sha256}"


def verified(files: Files) -> Inspected:
    return verify_bundle(files, KEYS)


def finding(files: Files, kind: type[TlogError] = BrokenLog) -> str:
    with pytest.raises(kind) as caught:
        verified(files)
    return str(caught.value)


def without(files: Files, *names: str) -> Files:
    assert set(names) <= files.keys()
    return {name: raw for name, raw in files.items() if name not in names}


def manifest_of(files: Files, **changed: Any) -> Manifest:
    return dataclasses.replace(Manifest.parse(files[MANIFEST]), **changed)


def test_a_bundle_has_the_files_that_its_description_says() -> None:
    names = set(bundled())

    assert {"checkpoint", "vkeys", "salts.json", "manifest.json", "bundle.dsse.json", EVIDENCE} <= names
    assert {f"leaves/{index}" for index in (0, 1, 2, 4, 5, 6, 7, 8)} <= names
    assert {f"proofs/{index}.tlog-proof" for index in (0, 1, 2, 4, 5, 6, 7, 8)} <= names
    assert f"payloads/{THIRD}" in names
    assert f"payloads/{GONE}" not in names
    assert "leaves/3" not in names


def test_a_bundle_verifies_with_what_was_redacted_and_what_is_absent_said() -> None:
    report = verified(bundled())

    assert (report.manifest.incident, report.manifest.leaves, report.manifest.size) == (INCIDENT, 8, 9)
    assert report.manifest.redacted == (4,)
    assert report.manifest.absent == {SPEC_REF.sha256: "not kept"}
    assert report.manifest.sequences == (("EVENTS", 1, 1), ("EVENTS", 1, 8))
    assert report.sealed_by == SEALER.verifier
    assert report.last == (7, logged().entries[7].leaf)


def test_building_twice_gives_the_same_bytes() -> None:
    assert pack(bundled()) == pack(bundled())
    assert len(sealed_digest(bundled())) == 64


def test_entries_may_come_in_any_order() -> None:
    told = content(logged())

    assert bundled(dataclasses.replace(told, entries=told.entries[::-1])) == bundled()


def test_the_statement_is_one_of_in_toto() -> None:
    envelope = orjson.loads(bundled()[ENVELOPE])
    said = orjson.loads(base64.b64decode(envelope["payload"]))

    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert {"digest": {"sha256": OUTPUT_REF.sha256}, "name": EVIDENCE} in said["subject"]
    assert said["predicate"]["chains"][0]["n"] == "7"


def bend_file(name: str) -> Callable[[Files], Files]:
    return lambda files: {**files, name: flip(files[name], 9)}


def swap(one: str, other: str) -> Callable[[Files], Files]:
    return lambda files: {**files, one: files[other], other: files[one]}


@pytest.mark.parametrize(
    ("bend", "words"),
    [
        (bend_file("leaves/2"), "leaves/2 is not the file that was sealed"),
        (bend_file(f"payloads/{THIRD}"), f"payloads/{THIRD} is not the file that was sealed"),
        (bend_file(EVIDENCE), f"{EVIDENCE} is not the file that was sealed"),
        (swap("leaves/1", "leaves/2"), "leaves/1 is not the file that was sealed"),
        (lambda files: without(files, "leaves/2"), "leaves/2 was sealed and is missing"),
        (lambda files: {**files, "leaves/3": b"{}"}, "leaves/3 was not sealed"),
    ],
)
def test_files_other_than_those_that_were_sealed_are_named(bend: Callable[[Files], Files], words: str) -> None:
    assert finding(bend(bundled())) == f"bundle.dsse.json: {words}"


@pytest.mark.parametrize(
    ("bend", "words"),
    [
        (bend_file(f"payloads/{THIRD}"), f"leaf 2 (event {THIRD}, incident.created, stream sequence 3): payloads/"),
        (bend_file("leaves/2"), "leaf 2"),
        (swap("leaves/1", "leaves/2"), "proofs/1.tlog-proof: leaf 1 of 9 leads to root"),
        (swap("proofs/1.tlog-proof", "proofs/2.tlog-proof"), "it is of another index or checkpoint"),
        (lambda files: without(files, "proofs/2.tlog-proof"), "has no proof"),
        (lambda files: without(files, "leaves/2", "proofs/2.tlog-proof"), "is number 4 of incident"),
        (lambda files: without(files, "leaves/7", "proofs/7.tlog-proof", f"payloads/{THIRD[:-1]}8"), "salt for"),
        (lambda files: without(files, f"payloads/{THIRD}"), "is missing and no redaction leaf of the bundle says so"),
        (lambda files: without(files, "leaves/8", "proofs/8.tlog-proof"), f"payloads/{GONE} or its salt is missing"),
        (lambda files: without(files, EVIDENCE), f"{EVIDENCE}, which it names, is missing"),
        (lambda files: {**files, EVIDENCE: OUTPUT + b"!"}, f"{EVIDENCE} has the SHA-256"),
        (lambda files: {**files, f"evidence/{'0' * 64}": b"x"}, "belongs to no leaf of the bundle"),
        (lambda files: {**files, f"payloads/{GONE}": b"{}"}, f"payloads/{GONE} belongs to no leaf of the bundle"),
        (lambda files: {**files, "leaves/3": logged().entries[3].leaf}, "has no proof"),
    ],
)
def test_what_the_bundle_key_alone_cannot_make_true_is_named(bend: Callable[[Files], Files], words: str) -> None:
    assert words in finding(resealed(bend(bundled())))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"leaves": 7}, "the bundle has 8 leaves, its manifest says 7"),
        ({"size": 8}, "at 8, the checkpoint of"),
        ({"origin": "rr.example/other"}, "the manifest is of rr.example/other"),
        ({"redacted": ()}, "redactions are not those"),
        ({"sequences": None}, "sequences are not those"),
        ({"absent": {}}, "which it names, is missing"),
        ({"chains": {}}, f"does not say where the chain of incident {INCIDENT} ends"),
        ({"chains": {("incident", INCIDENT): Head(7, bytes(32))}}, "ends at number 7"),
        ({"chains": {("incident", INCIDENT): Head(9, bytes(32))}}, "the manifest says number 9"),
        ({"incident": "another"}, "where the chain of incident another ends"),
    ],
)
def test_a_manifest_that_says_something_else_is_found(changed: dict[str, Any], words: str) -> None:
    files = bundled()

    assert words in finding(resealed(files, manifest_of(files, **changed)))


def test_a_chain_that_has_no_leaf_in_the_bundle_is_found() -> None:
    files = bundled()
    chains = {**manifest_of(files).chains, ("runbook", "rb"): Head(1, bytes(32))}

    assert "the chain of runbook rb has no leaf" in finding(resealed(files, manifest_of(files, chains=chains)))


def test_a_chain_whose_ancestor_was_never_in_the_tree_is_found() -> None:
    """A head that is in the tree does not prove the leaves before it: each is proven by itself.

    The log's own key has signed a tree whose fifth leaf follows a leaf that the tree does not hold, and the rest of the
    chain follows that: the chain is whole to its head, and nothing but the forged leaf's own proof tells.
    """
    store, real = Store(), logged().entries[2]
    forged = real.leaf.replace(b"usr_7f3a", b"usr_evil")
    told = logged()
    store.entries, store.heads = told.entries[:4], {("incident", INCIDENT): Head(3, event_hash(forged))}
    for entry in store.entries:
        store.tree.append(entry.event_hash)
    store.append(*(message(seq) for seq in range(5, 9)), Control({"type": "redaction", "of": "4", "id": GONE}))
    store.entries[4] = dataclasses.replace(store.entries[4], payload=None, salt=None)
    shown = content(store)
    entries = [dataclasses.replace(one, leaf=forged) if one.index == 2 else one for one in shown.entries]

    files = build(
        dataclasses.replace(shown, entries=entries),
        naive_hashes([entry.event_hash for entry in store.entries]),
        [LOG.verifier, SEALER.verifier],
        SEALER,
    )

    assert finding(files).startswith(
        f"leaf 2 (event {THIRD}, incident.created, stream sequence 3): proofs/2.tlog-proof: leaf 2 of 9 leads to root"
    )


def test_a_bundle_of_another_key_is_refused() -> None:
    files = bundled()

    with pytest.raises(SignatureError, match=r"bundle.dsse.json: no signature of a known key: signed by .*/bundles"):
        verify_bundle(files, [LOG.verifier])
    with pytest.raises(SignatureError, match="checkpoint: no signature of a known key"):
        verify_bundle(files, [SEALER.verifier])
    with pytest.raises(SignatureError, match="checkpoint: no signature of a known key"):
        verify_bundle(files, [Signer(ORIGIN, bytes(32)).verifier, SEALER.verifier])


def test_the_logs_own_key_does_not_seal_bundles() -> None:
    same = Signer(SEALER.name, LOG.seed)
    store = logged()
    files = build(content(store), naive_hashes([entry.event_hash for entry in store.entries]), [], same)

    with pytest.raises(SignatureError, match="known is nobody"):
        verify_bundle(files, [LOG.verifier, same.verifier])


@pytest.mark.parametrize("name", ["checkpoint", "vkeys", "salts.json", "manifest.json", "bundle.dsse.json"])
def test_a_bundle_without_one_of_its_fixed_files_is_refused(name: str) -> None:
    assert finding(without(bundled(), name), FormatError) == f"{name} is missing"


@pytest.mark.parametrize(
    ("name", "raw", "words"),
    [
        (MANIFEST, b"{}", "manifest.json: it is not rr.bundle/1"),
        (MANIFEST, b"x", "manifest.json: not JSON"),
        (SALTS, b"[]", "salts.json: not an object"),
        (SALTS, b'{"x":"%"}', "salts.json: the salt of x is not base64"),
        (SALTS, b'{"x": "y"}', "salts.json: not in canonical form"),
        ("vkeys", b"x\n", "vkeys: not a verifier key"),
        ("leaves/x", b"", "leaves/x is not a decimal number"),
        ("leaves/01", b"", "leaves/01 is not a decimal number"),
        ("../x", b"", "no file of a bundle has the name '../x'"),
    ],
)
def test_a_file_that_is_none_is_refused_by_its_name(name: str, raw: bytes, words: str) -> None:
    files = {**bundled(), name: raw}
    if name != MANIFEST:
        files = resealed(files, manifest_of(bundled()))

    assert words in finding(files, FormatError)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", "09"),
        ("leaves", "x"),
        ("chains", [{"head": "x", "id": "a", "k": "incident", "n": "1"}]),
        ("chains", [{"head": "0" * 64, "id": "a", "k": "incident"}]),
        ("chains", "x"),
        ("sequences", [{"epoch": "1", "seq": "1", "stream": "EVENTS"}]),
        ("sequences", ["x"]),
        ("absent", []),
        ("absent", {"x": "y"}),
        ("absent", {"0" * 64: ["y"]}),
        ("specs", ["x"]),
        ("redacted", ["x"]),
        ("v", "rr.bundle/2"),
        ("more", "x"),
    ],
)
def test_a_manifest_in_another_spelling_is_refused(key: str, value: Any) -> None:
    said = {**orjson.loads(bundled()[MANIFEST]), key: value}

    with pytest.raises(FormatError, match=r"^manifest\.json: "):
        Manifest.parse(encode(said))


def test_ids_that_are_no_names_of_files_are_named_by_their_index() -> None:
    names = payload_names([(1, "plain"), (2, "../../etc"), (3, "twice"), (4, "twice"), (5, ".hidden"), (6, "a" * 201)])

    assert names == {
        1: "payloads/plain",
        2: "payloads/@2",
        3: "payloads/@3",
        4: "payloads/@4",
        5: "payloads/@5",
        6: "payloads/@6",
    }


def test_a_payload_without_its_salt_is_not_bundled() -> None:
    told = content(logged())
    entries = [Bundled(entry.index, entry.leaf, entry.payload) for entry in told.entries]

    with pytest.raises(FormatError, match="leaf 0 has a payload without its salt"):
        bundled(dataclasses.replace(told, entries=entries))
    assert head_of(entries, ("runbook", "rb")) is None


ONE_FILE = pack(bundled())
NAMES = sorted(bundled())


@given(st.integers(0, len(ONE_FILE) * 8 - 1))
def test_no_bit_of_a_bundle_can_change(bit: int) -> None:
    with pytest.raises(TlogError):
        verified(unpack(flip(ONE_FILE, bit)))


@given(st.sampled_from(NAMES), st.integers(0, 2**20))
def test_no_bit_of_a_file_in_a_folder_can_change(name: str, bit: int) -> None:
    files = bundled()
    with pytest.raises(TlogError):
        verified({**files, name: flip(files[name], bit)})


@given(st.sampled_from([name for name in NAMES if name.startswith(("leaves", "proofs", "payloads", "evidence"))]),
       st.integers(0, 2**20))  # fmt: skip
def test_no_bit_of_what_is_logged_can_change_though_it_is_sealed_again(name: str, bit: int) -> None:
    files = bundled()
    with pytest.raises(TlogError):
        verified(resealed({**files, name: flip(files[name], bit)}))
