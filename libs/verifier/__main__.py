"""`python -m libs.verifier FILE|DIR --vkey VKEY [--vkey VKEY …] [--checkpoint OLD] [--json]`.

Exit codes: 0 verified · 1 not verified, with the event and the reason · 2 nothing could be verified.
"""

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from libs.tlog.errors import TlogError
from libs.verifier.reading import read_checkpoint, read_vkeys, verify_path
from libs.verifier.verdict import Verdict

VERIFIED, BROKEN, UNUSABLE = 0, 1, 2


def main(words: Sequence[str] | None = None) -> int:
    """Verify what the command line names; the exit code."""
    asked = _parser().parse_args(words)
    gc.disable()  # nothing here makes cycles, and looking for them among a million ids costs a tenth of the time
    try:
        keys = read_vkeys(asked.vkey)
        old = read_checkpoint(asked.checkpoint, keys) if asked.checkpoint else None
    except (TlogError, OSError, UnicodeDecodeError) as error:
        return _refuse(UNUSABLE, f"cannot verify: {error}", as_json=asked.json)
    try:
        verdict = verify_path(asked.path, keys, old)
    except TlogError as finding:
        return _refuse(BROKEN, f"NOT VERIFIED: {finding}", as_json=asked.json)
    except OSError as error:
        return _refuse(UNUSABLE, f"cannot verify: {error}", as_json=asked.json)
    sys.stdout.write(_text(verdict, as_json=asked.json))
    return VERIFIED


def harmless(text: str) -> str:
    """Text of a stranger's file for a terminal: what does not print is shown as its escape."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _text(verdict: Verdict, *, as_json: bool) -> str:
    if as_json:
        return f"{orjson.dumps(verdict.as_json(), option=orjson.OPT_INDENT_2).decode()}\n"
    return "".join(f"{harmless(line)}\n" for line in verdict.lines())


def _refuse(code: int, text: str, *, as_json: bool) -> int:
    if as_json:
        sys.stdout.write(f"{orjson.dumps({'verified': False, 'finding': harmless(text)}).decode()}\n")
    sys.stderr.write(f"{harmless(text)}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m libs.verifier",
        description="Verify a bundle, an export, a published log or a proof, offline.",
        epilog="Exit codes: 0 verified, 1 not verified, 2 nothing could be verified.",
    )
    parser.add_argument("path", type=Path, metavar="FILE|DIR", help="what to verify")
    parser.add_argument(
        "--vkey", action="append", required=True, metavar="VKEY",
        help="a key that you trust, or a file with one a line: the log's, the bundles', a witness's; may be repeated",
    )  # fmt: skip
    parser.add_argument("--checkpoint", type=Path, metavar="OLD", help="a checkpoint that you kept: must be continued")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
