"""Three hashes, each SHA-256 in hex over a prefix of its own, so that none can stand for another.

`spec_hash`    over the canonical JSON of the spec *as written*: keys that the author left out stay out. A default
               is part of `ranger/v1` and never changes, so a later version of the language that knows more keys
               computes the same hash for the same published text.
`plan_hash`    over spec_hash, the resolved inputs and the step graph: what an approval of a plan is for.
`action_hash`  over the rendered bytes of one action: later steps depend on earlier outputs, so a plan cannot know it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from libs.runbook.canonical import canonical

SPEC_PREFIX: Final = b"rr.spec/1\n"
PLAN_PREFIX: Final = b"rr.plan/1\n"
ACTION_PREFIX: Final = b"rr.action/1\n"


def spec_hash(spec_json: Mapping[str, Any]) -> str:
    """The name of a spec's content; `spec_json` is `Runbook.to_json()`.

    Raises:
        OutsideProfile: the data holds a float or anything else that is not hashed.
    """
    return _digest(SPEC_PREFIX, canonical(spec_json))


def plan_hash(spec_digest: str, inputs: Mapping[str, Any], graph: Sequence[Mapping[str, Any]]) -> str:
    """The name of a plan.

    Raises:
        OutsideProfile: as `spec_hash`.
    """
    return _digest(PLAN_PREFIX, canonical({"spec": spec_digest, "inputs": inputs, "graph": list(graph)}))


def action_hash(rendered: bytes) -> str:
    """The name of one rendered action, over its bytes as they are."""
    return _digest(ACTION_PREFIX, rendered)


def _digest(prefix: bytes, data: bytes) -> str:
    return hashlib.sha256(prefix + data).hexdigest()
