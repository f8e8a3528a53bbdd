"""Checkpoints beside a walk: the one that ends it, and an older one that the auditor holds."""

from libs.tlog.checkpoint import Signed
from libs.tlog.errors import BrokenLog
from libs.tlog.walk import Walk


def compare(signed: Signed, walk: Walk) -> None:
    """Raise BrokenLog unless the checkpoint is of exactly the leaves so far."""
    said, root = signed.checkpoint, walk.tree.root()
    if said.origin != walk.origin:
        raise BrokenLog(f"the leaves are of {walk.origin}, the checkpoint of {said.origin}")
    if said.size != walk.tree.size:
        raise BrokenLog(f"there are {walk.tree.size} leaves, the checkpoint says {said.size}")
    if said.root != root:
        raise BrokenLog(f"the leaves' root is {root.hex()}, the checkpoint says {said.root.hex()}")


class Held:
    """The auditor's own checkpoint, if any: what is shown must continue it.

    `compare` when the walk has come to `size`, which is -1 without one, and `finish` at its end. `compared` says that
    it was, or that there is none.
    """

    def __init__(self, old: Signed | None) -> None:
        self.old = old
        self.size = old.checkpoint.size if old else -1
        self.compared = old is None

    def compare(self, walk: Walk) -> None:
        """Raise BrokenLog when the log had another root at this size."""
        if self.old is None or self.size != walk.tree.size:
            return
        said, root = self.old.checkpoint, walk.tree.root()
        if (said.origin, said.root) != (walk.origin, root):
            raise BrokenLog(
                f"at size {self.size} the log {walk.origin} has the root {root.hex()}, where the older checkpoint "
                f"of {said.origin} says {said.root.hex()}: two histories were shown"
            )
        self.compared = True

    def finish(self, walk: Walk) -> None:
        """Raise BrokenLog also where the walk never came by the checkpoint's size."""
        self.compare(walk)
        if self.compared:
            return
        if self.size < walk.start:
            reason = (
                f"begins at leaf {walk.start}: to compare a checkpoint of size {self.size}, bring the leaves before"
            )
        else:
            reason = (
                f"ends at {walk.tree.size} leaves, before the checkpoint of size {self.size} that is held: it is stale"
            )
        raise BrokenLog(f"what is shown {reason}")
