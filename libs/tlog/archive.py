"""A bundle's files as one: a zip with a single spelling, so that equal files are equal bytes.

Stored, sorted by name, with a fixed date and mode, without comments or extras. What is read must be what would have
been written: that refuses every hostile zip that can be thought of, and any change of a single bit.
"""

import re
from collections.abc import Mapping
from io import BytesIO
from typing import Final
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from libs.tlog.errors import FormatError
from libs.tlog.spelling import shown

MAX_FILES: Final = 200_000
MAX_BYTES: Final = 2**30
_DATE: Final = (1980, 1, 1, 0, 0, 0)
_MODE: Final = 0o100644 << 16
_NAME: Final = re.compile(r"[a-z]+(\.[a-z]+){0,2}|[a-z]+/[A-Za-z0-9@_-][A-Za-z0-9@._-]{0,199}").fullmatch


def pack(files: Mapping[str, bytes]) -> bytes:
    """The zip. Raises FormatError for names and sizes that `unpack` would refuse."""
    check_names(files)
    if sum(map(len, files.values())) > MAX_BYTES:
        raise FormatError(f"a bundle holds at most {MAX_BYTES} bytes")
    out = BytesIO()
    with ZipFile(out, "w", ZIP_STORED) as archive:
        for name in sorted(files):
            entry = ZipInfo(name, _DATE)
            entry.external_attr, entry.create_system = _MODE, 3
            archive.writestr(entry, files[name])
    return out.getvalue()


def unpack(raw: bytes) -> dict[str, bytes]:
    """The files. Raises FormatError unless the bytes are those that `pack` makes of them."""
    if len(raw) > MAX_BYTES:
        raise FormatError(f"a bundle has at most {MAX_BYTES} bytes")
    try:
        with ZipFile(BytesIO(raw)) as archive:
            entries = archive.infolist()
            _check_entries(entries, len(raw))
            files = {entry.filename: archive.read(entry) for entry in entries}
    except (BadZipFile, EOFError, NotImplementedError, OverflowError, RuntimeError, UnicodeError, ValueError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"not a zip that can be read: {error}") from None
    if pack(files) != raw:
        raise FormatError("the zip is not spelled as a bundle's: other headers, order, dates, or bytes between files")
    return files


def check_names(names: Mapping[str, object]) -> None:
    """Raise FormatError for too many files, or a name that no bundle's file has, as those that lead elsewhere."""
    if len(names) > MAX_FILES:
        raise FormatError(f"a bundle has at most {MAX_FILES} files")
    for name in names:
        if _NAME(name) is None:
            raise FormatError(f"no file of a bundle has the name {shown(name)}")


def _check_entries(entries: list[ZipInfo], size: int) -> None:
    """Before anything is read: nothing is compressed, repeated, or said to be larger than the whole."""
    by_name = {entry.filename: entry for entry in entries}
    check_names(by_name)
    if len(by_name) != len(entries):
        raise FormatError("the zip has two files of one name")
    if sum(entry.file_size for entry in entries) > size:
        raise FormatError("the zip's files are said to be larger than the zip")
    for entry in entries:
        if entry.compress_type != ZIP_STORED or entry.file_size != entry.compress_size or entry.flag_bits:
            raise FormatError(f"{entry.filename} is compressed or encrypted")
        if entry.external_attr != _MODE:
            raise FormatError(f"{entry.filename} is no plain file")
