"""Makes golden files anew after a contract has got an optional field: `python -m tests.contracts.golden`.

Only files that are missing or differ are written; what was sent before is kept beside them and read ever after.
"""

from __future__ import annotations

from pathlib import Path

import orjson

from libs.common.contracts.fact import Fact
from tests.contracts.samples import FACTS, envelope, sample

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "contracts"


def golden_bytes(fact: type[Fact]) -> bytes:
    """The file of a fact: {"payload", "headers"} as a message stands on the wire."""
    content = {"payload": sample(fact).encode().decode(), "headers": envelope(fact).to_headers()}
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def main() -> None:
    """Write what differs, and keep the file that it replaces under the next free number."""
    for fact in FACTS:
        path = GOLDEN / f"{fact.subject}.v{fact.version}.json"
        if path.exists() and path.read_bytes() == golden_bytes(fact):
            continue
        if path.exists():
            earlier = len(list(GOLDEN.glob(f"{path.stem}.before_*.json")))
            path.rename(path.with_name(f"{path.stem}.before_{earlier + 1}.json"))
        path.write_bytes(golden_bytes(fact))


if __name__ == "__main__":
    main()
