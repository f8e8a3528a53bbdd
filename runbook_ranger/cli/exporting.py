"""`rangerctl audit export`: the log into a file, or file after file into a folder, that anybody can verify elsewhere.

A file is only ever added to: one that was cut off is computed anew, loses a torn last line, and goes on where the log
says that its leaves belong. Memory is that of a line, however long the log is.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.errors import CliError, NotReachable, WrongUsage
from runbook_ranger.cli.moments import moment
from runbook_ranger.cli.options import DataDir

if TYPE_CHECKING:
    from libs.tlog.exportlines import Head
    from libs.tlog.tally import Place
    from runbook_ranger.cli.client import Client

BLOCK: Final = 64 * 1024
PRIVATE: Final = 0o600
TRIES: Final = 5
WAIT_SECONDS: Final = 0.5
SILENCE: Final = 60.0
SUFFIX: Final = ".jsonl"
AGAIN: Final = "Run the same command again: it goes on behind what it has."


def export(
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="A file, or a folder that each run adds one to; both are gone on with."),
    ],
    since: Annotated[
        str | None,
        typer.Option(help="Begin with what was stored since: a moment (2026-03-01T10:00:00Z), or so long ago (7d)."),
    ] = None,
    first: Annotated[int | None, typer.Option("--from", min=0, help="Begin at this index.")] = None,
    to: Annotated[
        int | None, typer.Option(min=1, help="End at the first checkpoint that covers so many leaves.")
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(help="Only what you may view of this tenant, although you may have all of the log.")
    ] = None,
    keys: Annotated[
        list[str] | None, typer.Option("--vkey", help="The log's public key, or a file of keys: it must have signed.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Write the log, as far as you may view it, with the checkpoint that proves it whole; `audit verify` checks it."""
    from runbook_ranger.cli.client import Address, Client

    if since is not None and first is not None:
        raise WrongUsage("--since and --from are one or the other.")
    asked: dict[str, Any] = {"first": first, "to": to, "whole": None if tenant is None else "false"}
    asked["since"] = None if since is None else moment(since, now=datetime.now(UTC))
    with Client(Address.find(data_dir), tenant=tenant or os.environ.get("RR_TENANT", "")) as client:
        written = _folder(client, out, asked) if out.is_dir() else _file(client, out, asked)
    if written is None:
        typer.echo(f"{out} has everything to the newest checkpoint")
        return
    _tell(*written, keys or [])


def _file(client: "Client", path: Path, asked: dict[str, Any]) -> "tuple[Path, Place]":
    with _exclusive(path) as file:
        return path, _Writing(client, asked, lambda _: file, known=_known(path, file)).finish()


def _folder(client: "Client", folder: Path, asked: dict[str, Any]) -> "tuple[Path, Place] | None":
    """Go on with the last file, or behind it with a new one; None where there is nothing new."""
    before, made = None, list[Path]()
    files = sorted((path for path in folder.glob(f"*{SUFFIX}") if path.stat().st_size), key=_first)
    if files:
        with _exclusive(files[-1]) as file:
            before = _known(files[-1], file)
            if before is not None and before.closing is None:
                return files[-1], _Writing(client, asked, lambda _: file, known=before).finish()
    with ExitStack() as stack:

        def opened(first: int) -> BinaryIO:
            made.append(folder / f"{first:020d}{SUFFIX}")
            return stack.enter_context(_exclusive(made[0]))

        place = _Writing(client, asked, opened, before=before).finish()
    return (made[0], place) if made else None


def _first(path: Path) -> tuple[int, str]:
    from libs.tlog.errors import FormatError
    from libs.tlog.exportlines import MAX_LINE, first_of

    with path.open("rb") as file:
        try:
            return first_of(file.readline(MAX_LINE)), path.name
        except FormatError as error:
            raise CliError(f"{path}: {show.harmless(str(error))}.", fix="Take it out of the folder.") from None


class _Writing:
    """One export on its way into a file, which is `opened` once it is known with which leaf it begins.

    `known` is what the file has of it already, `before` the file that it continues.
    """

    def __init__(
        self,
        client: "Client",
        asked: dict[str, Any],
        opened: Callable[[int], BinaryIO],
        *,
        known: "Place | None" = None,
        before: "Place | None" = None,
    ) -> None:
        from libs.tlog.tally import Tally

        self._client = client
        self._asked = asked
        self._opened = opened
        self._file: BinaryIO | None = None
        self._tally = Tally()
        self._tally.place = known
        self._before = before
        self._nothing_new = False

    def finish(self) -> "Place":
        """Write until the file is whole; a stream that breaks off is gone on with while it gets any further.

        Raises:
            CliError: it cannot be; what stands in the file is good, and the next run goes on behind it.
        """
        left, reason = TRIES, NotReachable("The gateway's answer ended early.", fix=AGAIN)
        while (place := self._tally.place) is None or place.closing is None:
            have = -1 if place is None else place.tree.size
            try:
                self._stream()
                if self._nothing_new and self._before is not None:
                    return self._before
            except NotReachable as error:
                reason = error
            now = self._tally.place
            left = TRIES if now is not None and now.tree.size > have else left - 1
            if not left:
                raise reason
            if left < TRIES - 1:
                time.sleep(WAIT_SECONDS)
        return place

    def _stream(self) -> None:
        from libs.tlog.errors import TlogError
        from libs.tlog.exportlines import parse_header

        place = self._tally.place or self._before
        asked = self._asked if place is None else self._behind(place)
        with self._client.chunks("/timeline/export", silence=SILENCE, **asked) as blocks:
            lines = _whole_lines(blocks)
            try:
                text = next(lines, b"")
                head = parse_header(text)
                if place is not None:
                    _continues(head, place)
                if self._tally.place is None:
                    lines = self._begin(text, lines)
                for one in lines:
                    self._write(one, head.tree.size)
            except TlogError as error:
                raise CliError(f"NOT VERIFIED: the gateway's answer: {show.harmless(str(error))}.") from None

    def _behind(self, place: "Place") -> dict[str, Any]:
        return {"first": place.tree.size, "to": self._asked["to"], "whole": None if place.whole else "false"}

    def _begin(self, first: bytes, lines: Iterator[bytes]) -> Iterator[bytes]:
        """The lines with the first one; none at all where a folder would get a file without leaves."""
        from libs.tlog.exportlines import index_of

        second = next(lines, b"")
        self._nothing_new = self._before is not None and bool(second) and index_of(second) is None
        if second and not self._nothing_new:
            yield from (first, second)
            yield from lines

    def _write(self, text: bytes, first: int) -> None:
        if self._file is None:
            self._file = self._opened(first)
        self._tally.take(text)
        self._file.write(text)


def _continues(head: "Head", place: "Place") -> None:
    """Raise CliError unless the log has what the file has, up to there."""
    if (head.origin, head.tree.size, head.tree.to_bytes()) != (
        place.origin, place.tree.size, place.tree.to_bytes(),
    ):  # fmt: skip
        raise CliError(
            f"NOT VERIFIED: the file's {place.tree.size} leaves are not the beginning of the log {head.origin}.",
            fix="One of the two was changed: keep the file, and verify it with `rangerctl audit verify`.",
        )
    if (head.shows == "all") != place.whole:
        raise CliError("You may see another part of the log than when this was begun.", fix="Begin another file.")


@contextmanager
def _exclusive(path: Path) -> Iterator[BinaryIO]:
    """A file, made where there is none, that nobody else of us writes to; what was written is on disk afterwards."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE)
    except OSError as error:
        raise WrongUsage(f"{path} cannot be written: {error.strerror}.") from None
    with os.fdopen(descriptor, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WrongUsage(f"Another export writes to {path}.") from None
        try:
            yield file
        finally:
            file.flush()
            os.fsync(file.fileno())
            if not os.fstat(file.fileno()).st_size:
                path.unlink(missing_ok=True)


def _known(path: Path, file: BinaryIO) -> "Place | None":
    """How far an export that is there goes, computed anew; a torn last line is cut. None for an empty file."""
    from libs.tlog.errors import TlogError
    from libs.tlog.tally import Tally

    tally = Tally()
    try:
        for _ in tally.read(iter(partial(file.read, BLOCK), b"")):
            pass
    except TlogError as error:
        raise CliError(f"NOT VERIFIED: {path}: {show.harmless(str(error))}.", fix="Nothing was added to it.") from None
    whole = tally.place.bytes if tally.place else 0
    file.truncate(whole)
    file.seek(whole)
    return tally.place


def _whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        *whole, rest = (rest + block).split(b"\n")
        yield from (text + b"\n" for text in whole)


def _tell(path: Path, place: "Place", keys: list[str]) -> None:
    from libs.tlog.checkpoint import open_checkpoint
    from libs.tlog.errors import TlogError
    from runbook_ranger.cli.proofs import verifiers

    assert place.closing is not None
    by = "signature not checked"
    if keys:
        try:
            signed = open_checkpoint(place.closing.checkpoint, verifiers(keys))
        except TlogError as error:
            raise CliError(f"NOT VERIFIED: {path}: {show.harmless(str(error))}.") from None
        by = f"signed by {', '.join(one.key.key_id.hex() for one in signed.signers)}"
    shows = "all is shown" if place.whole else "what you may not view is there by its hash"
    typer.echo(f"{path}: leaves {place.first} to {place.tree.size}, root {place.tree.root().hex()}, {by}; {shows}")
