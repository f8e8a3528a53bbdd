import stat
from collections.abc import Callable
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.tlog import archive
from libs.tlog.archive import pack, unpack
from libs.tlog.errors import FormatError
from tests.unit.tlog.vectors import flip

FILES = {"checkpoint": b"note\n", "leaves/0": b"{}", "payloads/a-b.c_d": b"", "bundle.dsse.json": b"{}"}


def zipped(
    *entries: tuple[str, bytes], compression: int = ZIP_STORED, mode: int = 0o100644, comment: bytes = b""
) -> bytes:
    """A zip as somebody else would write it."""
    out = BytesIO()
    with ZipFile(out, "w", compression) as made:
        made.comment = comment
        for name, raw in entries:
            entry = ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr, entry.create_system, entry.compress_type = mode << 16, 3, compression
            made.writestr(entry, raw)
    return out.getvalue()


def test_files_come_back_and_equal_files_are_equal_bytes() -> None:
    assert unpack(pack(FILES)) == FILES
    assert pack(dict(reversed(FILES.items()))) == pack(FILES)


def test_any_tool_for_zips_reads_it() -> None:
    with ZipFile(BytesIO(pack(FILES))) as made:
        assert made.testzip() is None
        assert {info.date_time for info in made.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/passwd", "leaves/../x", "leaves/..", "leaves/.hidden", "a\\b", "C:x", "leaves/", "a/b/c", "", ".",
     "x\n", "leaves/\u00e9", "leaves/" + "a" * 201, "A"],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(FormatError):
        pack({name: b""})
    with pytest.raises(FormatError):
        unpack(zipped((name, b"")))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused() -> None:
    with pytest.raises(FormatError, match="two files of one name"):
        unpack(zipped(("checkpoint", b"a"), ("checkpoint", b"b")))


def test_a_bomb_is_refused_before_it_is_read() -> None:
    with pytest.raises(FormatError, match="larger than the zip"):
        unpack(zipped(("checkpoint", bytes(10_000_000)), compression=ZIP_DEFLATED))


def test_a_compressed_file_is_refused() -> None:
    with pytest.raises(FormatError, match="checkpoint is compressed"):
        unpack(zipped(("checkpoint", b"a"), compression=ZIP_DEFLATED))


def test_a_link_is_refused() -> None:
    with pytest.raises(FormatError, match="checkpoint is no plain file"):
        unpack(zipped(("checkpoint", b"/etc/passwd"), mode=stat.S_IFLNK | 0o777))


def test_too_many_files_and_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = pack(FILES)
    monkeypatch.setattr(archive, "MAX_FILES", 3)
    with pytest.raises(FormatError, match="at most 3 files"):
        unpack(raw)
    monkeypatch.setattr(archive, "MAX_BYTES", 3)
    with pytest.raises(FormatError, match="at most 3 bytes"):
        unpack(raw)
    with pytest.raises(FormatError, match="at most 3 bytes"):
        pack({"checkpoint": b"1234"})


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw + b"x",
        lambda raw: b"x" + raw,
        lambda _: zipped(*FILES.items()),
        lambda _: zipped(*sorted(FILES.items()), comment=b"hello"),
        lambda _: b"",
        lambda _: b"PK\x05\x06",
        lambda raw: raw[:-1],
        lambda raw: raw[10:],
    ],
)  # fmt: skip
def test_any_other_spelling_of_the_same_files_is_refused(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(FormatError):
        unpack(change(pack(FILES)))


@given(st.integers(0, len(pack(FILES)) * 8 - 1))
def test_a_zip_with_another_bit_is_refused_or_holds_other_files(bit: int) -> None:
    try:
        found = unpack(flip(pack(FILES), bit))
    except FormatError:
        return
    assert found != FILES


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_raise_anything_else(raw: bytes) -> None:
    with pytest.raises(FormatError):
        unpack(b"PK\x03\x04" + raw)
