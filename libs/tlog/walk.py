"""Reads leaves in the order of the log and names the first thing that does not hold.

Everything is computed anew: hashes, canonical form, commitments, chains, sequences, the tree. A walk may begin within
a log (`tree` is the frontier before its first leaf): what a leaf says of the leaves before that is then believed, as
is what it says of leaves that are withheld, of which only the hash is shown. Both are counted.

Memory: about 200 bytes an event (ids, to find repetitions) and a chain; leaves are not kept.
"""

from hashlib import sha256
from typing import Any, Final, cast

from libs.tlog.errors import BrokenLog, LeafError, ProfileError
from libs.tlog.hashing import commit, genesis
from libs.tlog.heads import ChainKey, Head
from libs.tlog.profile import parse
from libs.tlog.shape import CONFLICT, CONTROL, DUPLICATE, EVENT, GAP, MAX_LEAF, Leaf, check
from libs.tlog.tree import Frontier
from libs.tlog.usual import Event, Link, event_of, usual_event

_KINDS: Final = ("incident", "execution", "runbook")
_UNTIMED: Final = frozenset({CONTROL, GAP})


class Walk:
    """What the leaves so far consist of; `add` each, in order.

    `withhold` allows leaves without their payload that no redaction explains. `kinds` counts leaves, `redacted` has
    the indexes of events whose payload was deleted, `withheld` and `bare` the numbers of leaves and payloads that were
    not shown, `last` the last leaf with a time, and its index.
    """

    def __init__(self, origin: str, tree: Frontier | None = None, *, withhold: bool = False) -> None:
        self.origin = origin
        self.tree = tree or Frontier()
        self.start = self.tree.size
        self.kinds: dict[str, int] = {}
        self.redacted: list[int] = []
        self.last: tuple[int, bytes] | None = None
        self._withhold = withhold
        self._log = origin.encode()
        self._heads: dict[str, dict[bytes, tuple[int, bytes]]] = {kind: {} for kind in _KINDS}
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
        if index != self.tree.size:
            raise BrokenLog(self.displaced(index), index=index)
        digest = sha256(b"\0" + leaf).digest()  # event_hash, without the call
        if stored is not None and stored != digest:
            raise BrokenLog("stored leaf does not match its stored hash", **names(index, leaf))
        event = usual_event(leaf)
        if event is None:
            kind = self._with_care(index, leaf, digest, payload, salt)
        else:
            kind = EVENT
            self._event(index, leaf, event, digest, payload, salt)
        self.tree.append(digest)
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if kind not in _UNTIMED:
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
        return {
            (kind, chain_id.decode()): Head(n, bytes.fromhex(digest.decode()))
            for kind, heads in self._heads.items()
            for chain_id, (n, digest) in heads.items()
        }

    def finish(self) -> None:
        """Raise BrokenLog for the first payload that is missing though nothing says why."""
        if not self._withhold:
            for index, leaf in self._bare.items():
                raise BrokenLog("stored payload or salt is missing and no redaction says so", **names(index, leaf))

    def _with_care(self, index: int, leaf: bytes, digest: bytes, payload: bytes | None, salt: bytes | None) -> str:
        read = read_leaf(index, leaf)
        if read["log"] != self.origin:
            raise BrokenLog(f"leaf belongs to another log, {read['log']}", **names(index, leaf))
        kind: str = read["kind"]
        if kind != EVENT and payload is not None:
            raise BrokenLog("a payload stands beside a leaf that is no event", **names(index, leaf))
        if kind == EVENT:
            self._event(index, leaf, event_of(read), digest, payload, salt)
        elif kind == CONTROL:
            self._control(index, read["body"])
        else:
            src, body = read["src"], read["body"]
            first, last = (body["from"], body["to"]) if kind == GAP else (src["seq"], src["seq"])
            self._sequence(index, leaf, src["stream"].encode(), src["epoch"].encode(), int(first), int(last))
            if kind in {DUPLICATE, CONFLICT}:
                self._repetition(index, leaf, read)
        return kind

    def _event(
        self, index: int, leaf: bytes, event: Event, digest: bytes, payload: bytes | None, salt: bytes | None
    ) -> None:
        event_id, source, log, commitment, length, epoch, seq, stream, links = event
        if log != self._log:
            raise BrokenLog(f"leaf belongs to another log, {log.decode()}", **names(index, leaf))
        number = int(seq)
        self._sequence(index, leaf, stream, epoch, number, number)
        place = event_id + b"\0" + source
        if self._places.setdefault(place, index) != index:
            raise BrokenLog(f"the event stands at leaf {self._places[place]} already", **names(index, leaf))
        self._sources.add(source)
        if payload is None or salt is None:
            self._bare[index] = b"" if self._withhold else leaf
        else:
            self._commitment(index, leaf, commitment, length, payload, salt)
        here = digest.hex().encode()
        for kind, chain_id, n, prev in links:
            heads = self._heads[kind]
            head = heads.get(chain_id)
            now = int(n)
            if head is None or now != head[0] + 1 or prev != head[1]:
                self._link(index, leaf, (kind, chain_id, n, prev), head)
            heads[chain_id] = (now, here)

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
            raise BrokenLog(_sequence_words(first, expected), **names(index, leaf))
        self._seq, self._since_hidden = last, False

    def _commitment(
        self, index: int, leaf: bytes, commitment: bytes, length: bytes, payload: bytes, salt: bytes
    ) -> None:
        try:
            found = commit(payload, salt).hex()
        except LeafError as error:
            raise BrokenLog(f"stored {error}", **names(index, leaf)) from None
        if found != commitment.decode():
            raise BrokenLog("stored payload does not match its commitment", **names(index, leaf))
        if len(payload) != int(length):
            raise BrokenLog("stored payload does not have its stated length", **names(index, leaf))

    def _link(self, index: int, leaf: bytes, link: Link, head: tuple[int, bytes] | None) -> None:
        """A link that does not simply follow the head that is known: the chain's first, or a finding."""
        kind, chain_id, n, prev = link
        known, now = head[0] if head else 0, int(n)
        if now > known + 1 and (self._hidden or (self.start and not head)):
            return
        if now != known + 1:
            reason = f"is number {now} of {kind} {chain_id.decode()}'s chain, expected {known + 1}"
            raise BrokenLog(reason, **names(index, leaf))
        before = head[1].decode() if head else genesis(self.origin, kind, chain_id.decode()).hex()
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
        known = of.isdecimal() and (int(of) < self.start or int(of) in self._hidden)
        if not known and (not of.isdecimal() or self._bare.pop(int(of), None) is None):
            raise BrokenLog("redaction names no event whose payload is gone", index=index)
        self.redacted.append(int(of))


def read_leaf(index: int, leaf: bytes) -> Leaf:
    """The parsed leaf, canonical and holding every rule of its kind. Raises BrokenLog."""
    if len(leaf) > MAX_LEAF:
        raise BrokenLog(f"leaf is longer than {MAX_LEAF} bytes", index=index)
    try:
        read = cast("Leaf", parse(leaf))
        check(read)
    except ProfileError as error:
        raise BrokenLog(f"leaf is not canonical: {error}", index=index) from None
    except (LeafError, AttributeError) as error:
        raise BrokenLog(f"leaf is malformed: {error}", index=index) from None
    return read


def names(index: int, leaf: bytes) -> dict[str, Any]:
    """What identifies a leaf in a finding; one that cannot be trusted is still read for its names."""
    found: dict[str, Any] = {"index": index}
    try:
        read = read_leaf(index, leaf)
    except BrokenLog:
        return found
    if read["kind"] == EVENT:
        found |= {"event_id": read["ev"]["id"], "event_type": read["ev"]["type"]}
    elif read["kind"] in {DUPLICATE, CONFLICT}:
        found["event_id"] = read["body"]["id"]
    if "seq" in read.get("src", {}):
        found["sequence"] = int(read["src"]["seq"])
    return found


def _words(stream: bytes, epoch: bytes) -> str:
    return f"{stream.decode()} epoch {int(epoch)}"


def _sequence_words(first: int, expected: int) -> str:
    if first < expected:
        return f"stream sequence {first} has its outcome already, expected {expected}"
    missing = f"sequence {expected} has" if first == expected + 1 else f"sequences {expected} to {first - 1} have"
    return f"stream {missing} no outcome before it"
