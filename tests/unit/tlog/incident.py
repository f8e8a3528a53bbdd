"""An incident's bundle, built from the worked log, and ways to bend it."""

import dataclasses
from collections.abc import Iterable
from hashlib import sha256

from msgspec.structs import replace

from libs.tlog.bundle import Bundled, Content, build, head_of, statement
from libs.tlog.chain import Control
from libs.tlog.checkpoint import Checkpoint, sign_checkpoint
from libs.tlog.dsse import seal
from libs.tlog.leaf import Ref
from libs.tlog.manifest import ENVELOPE, MANIFEST, Manifest
from libs.tlog.note import Signer
from libs.tlog.profile import encode
from tests.unit.tlog.vectors import LOG, WITNESS, naive_hashes
from tests.unit.tlog.worked import INCIDENT, ORIGIN, Store, message

SEALER = Signer(f"{ORIGIN}/bundles", sha256(b"rr test bundle key 1").digest())
KEYS = [LOG.verifier, WITNESS.verifier, SEALER.verifier]
OUTPUT = b"the step's output"
SPEC = b"the runbook"
OUTPUT_REF = Ref("output", sha256(OUTPUT).hexdigest(), len(OUTPUT))
SPEC_REF = Ref("spec", sha256(SPEC).hexdigest(), len(SPEC))
GONE = "0192f0c2-0000-7000-8000-000000000005"


def logged() -> Store:
    """Nine leaves: seven events of the incident and one of another, and a redaction of the fifth."""
    store = Store()
    with_refs = message(3)
    with_refs = replace(with_refs, event=replace(with_refs.event, refs=(OUTPUT_REF, SPEC_REF)))
    other = message(4)
    other = replace(other, event=replace(other.event, incident_id="another", aggregate_id="another"))
    store.append(message(1), message(2), with_refs, other, *(message(seq) for seq in range(5, 9)))
    store.append(Control({"type": "redaction", "of": "4", "id": GONE}))
    store.entries[4] = dataclasses.replace(store.entries[4], payload=None, salt=None)
    return store


def checkpoint(store: Store) -> bytes:
    said = Checkpoint(ORIGIN, store.tree.size, store.tree.root())
    return sign_checkpoint(said, [LOG])


def content(store: Store, wanted: Iterable[int] = (0, 1, 2, 4, 5, 6, 7, 8)) -> Content:
    rows = [store.entries[index] for index in wanted]
    entries = [Bundled(row.index, row.leaf, row.payload, row.salt) for row in rows]
    head = head_of(entries, ("incident", INCIDENT))
    assert head is not None
    return Content(
        incident=INCIDENT,
        checkpoint=checkpoint(store),
        entries=entries,
        heads={("incident", INCIDENT): head},
        evidence=[OUTPUT],
        absent={SPEC_REF.sha256: "not kept"},
        policy="3f1a",
        specs=[SPEC_REF.sha256],
    )


def bundled(told: Content | None = None) -> dict[str, bytes]:
    store = logged()
    hashes = naive_hashes([entry.event_hash for entry in store.entries])
    return build(told or content(store), hashes, [LOG.verifier, SEALER.verifier], SEALER)


def resealed(files: dict[str, bytes], manifest: Manifest | None = None) -> dict[str, bytes]:
    """The files as somebody would seal them who has the bundle key, but not the log's."""
    files = {name: raw for name, raw in files.items() if name != ENVELOPE}
    manifest = manifest or Manifest.parse(files[MANIFEST])
    files[MANIFEST] = encode(manifest.value())
    return {**files, ENVELOPE: seal(statement(files, manifest.value()), SEALER)}
