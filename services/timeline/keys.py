"""The keys that sign the log, read anew at each use: a key is changed while everything runs.

A file holds one private key a line (`rangerctl audit keygen`). What is wrong with it stops signing, and nothing else.
"""

import os
from pathlib import Path

from libs.tlog.errors import FormatError
from libs.tlog.note import Signer
from libs.tlog.secretkey import parse_private


class KeyTrouble(Exception):
    """There is no key to sign with. `reason` is for the operator, and shows none of a key."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class KeyFiles:
    """The keys of one name: in a file, or in several whose paths stand in `paths` with colons between them."""

    def __init__(self, variable: str, paths: str, *, name: str) -> None:
        self._variable = variable
        self._paths = [Path(path) for path in paths.split(os.pathsep) if path]
        self._name = name

    @property
    def given(self) -> bool:
        """Whether any file is named."""
        return bool(self._paths)

    def signers(self) -> tuple[Signer, ...]:
        """The keys in the order of the files and lines, each once.

        Raises:
            KeyTrouble: no file is named, or one cannot be read, holds no key, or one that has another name.
        """
        if not self._paths:
            raise KeyTrouble(f"{self._variable} names no file: nothing is signed")
        found = {signer.key_id: signer for path in self._paths for signer in self._read(path)}
        return tuple(found.values())

    def _read(self, path: Path) -> list[Signer]:
        try:
            lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
        except OSError as error:
            raise KeyTrouble(f"{self._variable}: {path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise KeyTrouble(f"{self._variable}: {path} is not UTF-8 text") from None
        if not lines:
            raise KeyTrouble(f"{self._variable}: {path} is empty")
        return [self._signer(path, number, line) for number, line in enumerate(lines, 1)]

    def _signer(self, path: Path, number: int, line: str) -> Signer:
        try:
            signer = parse_private(line)
        except FormatError as error:
            raise KeyTrouble(f"{self._variable}: {path}, line {number}: {error}") from None
        if signer.name != self._name:
            raise KeyTrouble(
                f"{self._variable}: {path}, line {number}: the key's name is {signer.name}, it must be {self._name}"
            )
        return signer
