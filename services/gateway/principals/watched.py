"""A file of settings as a value that follows the file: read again when it changes, refused loudly when it is wrong.

What is wrong at the start ends the process: something else than was meant is never served. What becomes wrong later
is refused with its place, and what held before holds on.
"""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from libs.common.contracts.fact import describe
from libs.common.rounds import until_next
from libs.common.telemetry import log
from libs.runbook.problems import RunbookInvalid
from libs.runbook.text import read
from services.gateway import metrics

LOOK_SECONDS: Final = 1.0
T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
_Stamp = tuple[int, int, int]


class FileRefused(ValueError):
    """A file's content is not what it should be; the text says where and never quotes a value."""


class Watched(Generic[T]):
    """The value of a file, or `empty` without one. `name` is the variable that names the file."""

    def __init__(self, name: str, path: str, parse: Callable[[bytes], T], empty: T) -> None:
        self._name, self._path, self._parse = name, Path(path) if path else None, parse
        self.value = empty
        self._stamp: _Stamp | None = None
        if self._path is not None:
            try:
                self._read(self._path)
            except FileRefused as error:
                raise SystemExit(f"settings: {name}: {error}") from None

    async def run(self) -> None:
        """Follow the file for as long as the process lives."""
        if self._path is None:
            await asyncio.Event().wait()
        while True:
            await asyncio.sleep(until_next(LOOK_SECONDS))
            self.look()

    def look(self) -> None:
        """Take in what the file has become; never raises."""
        if self._path is None or _stamp(self._path) == self._stamp:
            return
        try:
            self._read(self._path)
        except FileRefused as error:
            metrics.FILE_REFUSED.labels(self._name).set(1)
            log.error("settings_file_refused", file=self._name, error=str(error), fix="what held before holds on")

    def _read(self, path: Path) -> None:
        self._stamp = _stamp(path)  # before the content: a change in between is seen at the next look
        try:
            content = path.read_bytes()
        except OSError as error:
            raise FileRefused(f"it cannot be read: {error.strerror}") from None
        self.value = self._parse(content)
        metrics.FILE_REFUSED.labels(self._name).set(0)
        log.info("settings_file_read", file=self._name)


def document(content: bytes, model: type[M], *, what: str, secret: bool = False) -> M:
    """YAML or JSON as a model, within the limits of `libs.runbook.text`: no anchors, no tags, no second document.

    Of a `secret` file no character is quoted, only where it goes wrong.

    Raises:
        FileRefused: naming the line or the field.
    """
    try:
        data: Any = read(content, what=what).data
    except RunbookInvalid as error:
        problem = error.problems[0]
        message = "this is not accepted; quote texts" if secret else problem.message
        raise FileRefused(f"line {problem.line}: {message}") from None
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise FileRefused(describe(error)) from None


def _stamp(path: Path) -> _Stamp | None:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino
    return None
