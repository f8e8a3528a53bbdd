"""Reads leaves in the order of the log and names the first thing that does not hold.

Everything is computed anew: hashes, canonical form, commitments, chains, sequences, the tree. A walk may begin within
a log (`tree` is the frontier before its first leaf): what a leaf says of the leaves before that is then believed, as
is what it says of leaves that are withheld, of which only the hash is shown. Both are counted.

Memory: about 200 bytes an event (ids, to find repetitions) and a chain; leaves are not kept.
"""

from hashlib import sha256
from typing import Final

from libs.tlog.errors import BrokenLog, FormatError, Unexplained
from libs.tlog.findings import names, read_leaf, sequence_words
from libs.tlog.hashing import SALT_BYTES, genesis
from libs.tlog.heads import ChainKey, Head
from libs.tlog.note import Verifier
from libs.tlog.profile import is_decimal
from libs.tlog.shape import CONFLICT, CONTROL, DUPLICATE, EVENT, GAP, Leaf
from libs.tlog.tree import Frontier
from libs.tlog.usual import Event, event_of, usual_event

_NOWHERE: Final = (0, b"")  # where a chain stands that no leaf has named


class Walk:
    """What the leaves so far consist of; `add` each, in order.

    `withhold` allows leaves without their payload that no redaction explains; `exported` allows payloads that a later
    redaction names, which were copied before: `kept` has their indexes. `kinds` counts leaves, `redacted` has
    the indexes of events whose payload was deleted, `announced` the keys that key_rotation leaves name, `withheld` and
    `bare` the numbers of leaves and payloads that were not shown, `last` the last leaf with a time, and its index.
    """

    def __init__(
        self, origin: str, tree: Frontier | None = None, *, withhold: bool = False, exported: bool = False
    ) -> None:
        self.origin = origin
        self.tree = tree or Frontier()
        self.start = self.tree.size
        self.kinds: dict[str, int] = {}
        self.redacted: list[int] = []
        self.kept: list[int] = []
        self.announced: list[tuple[int, Verifier]] = []
        self.last: tuple[int, bytes] | None = None
        self._withhold = withhold
        self._exported = exported
        self._log = origin.encode()
        self._incidents: dict[bytes, tuple[int, bytes]] = {}  # a chain's last number, and that leaf's hash in hex
        self._executions: dict[bytes, tuple[int, bytes]] = {}
        self._runbooks: dict[bytes, tuple[int, bytes]] = {}
        self._places: dict[bytes, int] = {}
        self._sources: set[bytes] = set()
        self._stream: tuple[bytes, bytes] | None = None
        self._seq = 0
        self._bare: dict[int, bytes] = {}
        self._hidden: set[int] = set()
        self._since_hidden = False

    def add(
        self,
        index: int,
        leaf: bytes,
        payload: bytes | None = None,
        salt: bytes | None = None,
        stored: bytes | None = None,
    ) -> None:
        """Verify the next leaf against all before it; payload and salt are None where they were deleted.

        `stored` is what a store says is its hash.

        Raises:
            BrokenLog: with the first thing that does not hold.
        """
        event = usual_event(leaf)
        if event is not None:
            self.add_event(index, leaf, event, payload, salt, stored)
            return
        digest = self._hash(index, leaf, stored)
        read = read_leaf(index, leaf)
        if read["kind"] == EVENT:
            self.add_event(index, leaf, event_of(read), payload, salt, stored)
            return
        self._other(index, leaf, read, payload)
        self.tree.append(digest)
        self.kinds[read["kind"]] = self.kinds.get(read["kind"], 0) + 1

    def add_event(
        self,
        index: int,
        leaf: bytes,
        event: Event,
        payload: bytes | None = None,
        salt: bytes | None = None,
        stored: bytes | None = None,
    ) -> None:
        """As `add`, of an event's leaf that was found to hold every rule. Raises BrokenLog."""
        (
            execution, execution_n, execution_prev, incident, incident_n, incident_prev,
            runbook, runbook_n, runbook_prev,
            event_id, source, _, _, log, commitment, length, epoch, seq, stream,
        ) = event  # fmt: skip
        digest = self._hash(index, leaf, stored)
        if log != self._log:
            raise BrokenLog(f"leaf belongs to another log, {log.decode()}", **names(index, leaf))
        number = int(seq)
        if number != self._seq + 1 or (stream, epoch) != self._stream or self._since_hidden:
            self._sequence(index, leaf, stream, epoch, number, number)
        self._seq = number
        if self._places.setdefault(event_id + b"\0" + source, index) != index:
            raise BrokenLog(self._again(event_id + b"\0" + source), **names(index, leaf))
        self._sources.add(source)
        if payload is None or salt is None:
            self._bare[index] = b"" if self._withhold else leaf
        elif _commitment(payload, salt) != commitment or len(payload) != int(length):
            raise BrokenLog(_payload_words(payload, salt, commitment), **names(index, leaf))
        here = digest.hex().encode()
        for heads, kind, chain_id, n, prev in (
            (self._executions, "execution", execution, execution_n, execution_prev),
            (self._incidents, "incident", incident, incident_n, incident_prev),
            (self._runbooks, "runbook", runbook, runbook_n, runbook_prev),
        ):
            if chain_id:
                head, now = heads.get(chain_id, _NOWHERE), int(n)
                if prev != head[1] or now != head[0] + 1:
                    self._link(index, leaf, (kind, chain_id, now, prev), head)
                heads[chain_id] = (now, here)
        self.tree.append(digest)
        self.kinds[EVENT] = self.kinds.get(EVENT, 0) + 1
        self.last = (index, leaf)

    def hide(self, index: int, digest: bytes) -> None:
        """The next leaf, of which only the hash is shown. Raises BrokenLog."""
        if not self._withhold:
            raise BrokenLog("the leaf is withheld from a log that is said to be whole", index=index)
        if index != self.tree.size:
            raise BrokenLog(self.displaced(index), index=index)
        self.tree.append(digest)
        self._hidden.add(index)
        self._since_hidden = True

    def displaced(self, index: int) -> str:
        """What is wrong with a leaf of this index that comes next."""
        expected = self.tree.size
        if index < expected:
            return f"the index occurs twice or out of order, expected {expected}"
        missing = f"leaf {expected} is" if index == expected + 1 else f"leaves {expected} to {index - 1} are"
        return f"{missing} missing before it"

    @property
    def withheld(self) -> int:
        """How many leaves were not shown."""
        return len(self._hidden)

    @property
    def bare(self) -> int:
        """How many payloads were not shown though no redaction leaf says that they are gone."""
        return len(self._bare)

    @property
    def position(self) -> tuple[str, int, int] | None:
        """Stream, epoch and sequence of the last outcome; None before any."""
        return None if self._stream is None else (self._stream[0].decode(), int(self._stream[1]), self._seq)

    def heads(self) -> dict[ChainKey, Head]:
        """Where the chains stand whose leaves were shown."""
        chains = {"incident": self._incidents, "execution": self._executions, "runbook": self._runbooks}
        return {
            (kind, chain_id.decode()): Head(n, bytes.fromhex(digest.decode()))
            for kind, heads in chains.items()
            for chain_id, (n, digest) in heads.items()
        }

    def finish(self) -> None:
        """Raise BrokenLog for the first payload that is missing though nothing says why."""
        if not self._withhold:
            for index, leaf in self._bare.items():
                raise Unexplained("stored payload or salt is missing and no redaction says so", **names(index, leaf))

    def _hash(self, index: int, leaf: bytes, stored: bytes | None) -> bytes:
        """The hash of the leaf that comes next."""
        if index != self.tree.size:
            raise BrokenLog(self.displaced(index), index=index)
        digest = sha256(b"\0" + leaf).digest()
        if stored is not None and stored != digest:
            raise BrokenLog("stored leaf does not match its stored hash", **names(index, leaf))
        return digest

    def _other(self, index: int, leaf: bytes, read: Leaf, payload: bytes | None) -> None:
        """A leaf that is no event."""
        kind: str = read["kind"]
        if read["log"] != self.origin:
            raise BrokenLog(f"leaf belongs to another log, {read['log']}", **names(index, leaf))
        if payload is not None:
            raise BrokenLog("a payload stands beside a leaf that is no event", **names(index, leaf))
        if kind == CONTROL:
            self._control(index, read["body"])
            return
        src, body = read["src"], read["body"]
        first, last = (body["from"], body["to"]) if kind == GAP else (src["seq"], src["seq"])
        self._sequence(index, leaf, src["stream"].encode(), src["epoch"].encode(), int(first), int(last))
        if kind in {DUPLICATE, CONFLICT}:
            self._repetition(index, leaf, read)
        if kind != GAP:
            self.last = (index, leaf)

    def _again(self, place: bytes) -> str:
        return f"the event stands at leaf {self._places[place]} already"

    def _sequence(self, index: int, leaf: bytes, stream: bytes, epoch: bytes, first: int, last: int) -> None:
        expected = self._seq + 1
        if self._stream is None:
            self._stream = (stream, epoch)
            expected = first if self.start or self._since_hidden else expected
        elif self._stream != (stream, epoch):
            if not self._since_hidden:
                reason = f"{_words(stream, epoch)} follows {_words(*self._stream)} without a stream_reset"
                raise BrokenLog(f"stream {reason}", **names(index, leaf))
            self._stream, expected = (stream, epoch), first
        if first != expected and not (self._since_hidden and first > expected):
            raise BrokenLog(sequence_words(first, expected), **names(index, leaf))
        self._seq, self._since_hidden = last, False

    def _link(self, index: int, leaf: bytes, link: tuple[str, bytes, int, bytes], head: tuple[int, bytes]) -> None:
        """A link that does not simply follow the head that is known: the chain's first, or a finding."""
        kind, chain_id, now, prev = link
        known = head[0]
        if now > known + 1 and (self._hidden or (self.start and not known)):
            return
        if now != known + 1:
            reason = f"is number {now} of {kind} {chain_id.decode()}'s chain, expected {known + 1}"
            raise BrokenLog(reason, **names(index, leaf))
        before = head[1].decode() if known else genesis(self.origin, kind, chain_id.decode()).hex()
        if prev.decode() != before:
            reason = f"does not follow the leaf before it in {kind} {chain_id.decode()}'s chain"
            raise BrokenLog(reason, **names(index, leaf))

    def _repetition(self, index: int, leaf: bytes, read: Leaf) -> None:
        of, event_id = int(read["body"]["of"]), read["body"]["id"]
        name = event_id.encode() + b"\0"
        if any(self._places.get(name + source) == of for source in self._sources):
            return
        if not (of < self.start or of in self._hidden):
            raise BrokenLog(f"{read['kind']} names leaf {of}, which is no event {event_id}", **names(index, leaf))

    def _control(self, index: int, body: Leaf) -> None:
        if body["type"] == "stream_reset":
            self._reset(index, body)
        elif body["type"] == "redaction":
            self._redaction(index, body)
        elif body["type"] == "key_rotation" and "vkey" in body:
            self._rotation(index, body["vkey"])

    def _reset(self, index: int, body: Leaf) -> None:
        try:
            stream, epoch, was, last = body["stream"], int(body["epoch"]), int(body["was"]), int(body["last"])
        except (KeyError, ValueError):
            raise BrokenLog("stream_reset does not name stream, epoch, was and last", index=index) from None
        before = self.position or (stream, was, last if self.start or self._hidden else 0)
        if not self._since_hidden and ((stream, was, last) != before or epoch <= was):
            reason = f"stream_reset does not continue {before[0]} epoch {before[1]} sequence {before[2]}"
            raise BrokenLog(reason, index=index)
        self._stream, self._seq, self._since_hidden = (stream.encode(), str(epoch).encode()), 0, False

    def _redaction(self, index: int, body: Leaf) -> None:
        of = body.get("of", "")
        known = is_decimal(of) and (int(of) < self.start or int(of) in self._hidden)
        gone = known or (is_decimal(of) and self._bare.pop(int(of), None) is not None)
        if not gone and not (self._exported and is_decimal(of) and int(of) in self._places.values()):
            raise BrokenLog("redaction names no event whose payload is gone", index=index)
        (self.redacted if gone else self.kept).append(int(of))

    def _rotation(self, index: int, vkey: str) -> None:
        try:
            key = Verifier.parse(vkey)
        except FormatError as error:
            raise BrokenLog(f"key_rotation names no key: {error}", index=index) from None
        if key.name != self.origin:
            raise BrokenLog(f"key_rotation names a key of {key.name}", index=index)
        self.announced.append((index, key))


def _commitment(payload: bytes, salt: bytes) -> bytes:
    """In hex; nothing where the salt cannot be one."""
    if len(salt) != SALT_BYTES:
        return b""
    return sha256(b"rr/payload/v1\0" + salt + payload).hexdigest().encode()


def _payload_words(payload: bytes, salt: bytes, commitment: bytes) -> str:
    if len(salt) != SALT_BYTES:
        return f"stored salt is not {SALT_BYTES} bytes"
    if _commitment(payload, salt) != commitment:
        return "stored payload does not match its commitment"
    return "stored payload does not have its stated length"


def _words(stream: bytes, epoch: bytes) -> str:
    return f"{stream.decode()} epoch {int(epoch)}"
