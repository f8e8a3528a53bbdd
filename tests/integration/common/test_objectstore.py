"""The object store's promises, kept by a folder and by a server that speaks S3 alike."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from libs.common.objectstore import MAX_TTL_SECONDS, ObjectStore, StoreUnavailable
from runbook_ranger.stack.ports import Ports
from tests.support.s3 import ACCESS_KEY, SECRET, S3Server

Opened = Callable[[], ObjectStore]


@pytest.fixture(params=["folder", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Opens the one store of the test, as often as it wants."""
    if request.param == "folder":
        url = (tmp_path / "a folder with blanks").as_uri()
    else:
        url = request.getfixturevalue("s3").bucket()
    return lambda: ObjectStore.open(url, access_key=ACCESS_KEY, secret=SECRET)


async def test_what_is_written_is_read_by_another(opened: Opened) -> None:
    await opened().put("tile/0/x001/234.p/5", b"\x00\xff")

    assert await opened().get("tile/0/x001/234.p/5") == b"\x00\xff"
    assert await opened().size("tile/0/x001/234.p/5") == 2
    assert await opened().get("tile/0/x001/234.p/6") is None
    assert await opened().size("tile/0/x001") is None


async def test_nothing_is_an_object_too(opened: Opened) -> None:
    await opened().put("empty", b"")

    assert await opened().get("empty") == b""
    assert await opened().size("empty") == 0


async def test_what_is_there_is_created_no_second_time(opened: Opened) -> None:
    store = opened()

    assert await store.create("checkpoints/7", b"first")
    assert not await store.create("checkpoints/7", b"second")

    assert await store.get("checkpoints/7") == b"first"


async def test_of_many_who_create_at_once_one_does(opened: Opened) -> None:
    stores = [opened() for _ in range(8)]

    made = await asyncio.gather(*(store.create("one", b"%d" % number) for number, store in enumerate(stores)))

    assert sum(made) == 1
    assert await opened().get("one") == b"%d" % made.index(True)


async def test_what_is_there_can_be_replaced(opened: Opened) -> None:
    store = opened()
    await store.put("checkpoint", b"a longer text")

    await store.put("checkpoint", b"short")

    assert await store.get("checkpoint") == b"short"
    assert [key async for key in store.list()] == ["checkpoint"]


async def test_what_is_there_is_swapped_for_what_was_looked_at_alone(opened: Opened) -> None:
    store = opened()
    assert await store.held("checkpoint") is None
    assert await store.swap("checkpoint", b"0", None)
    assert not await store.swap("checkpoint", b"x", None)
    seen = await store.held("checkpoint")
    assert seen is not None

    # One after the other in the bucket: the tests' server looks and writes in two steps, which S3 itself does not.
    turns = asyncio.Semaphore(8 if store.local else 1)

    async def swap(number: int) -> bool:
        async with turns:
            return await opened().swap("checkpoint", b"by %d" % number, seen)

    swapped = await asyncio.gather(*map(swap, range(8)))

    assert sum(swapped) == 1
    assert await store.get("checkpoint") == b"by %d" % swapped.index(True)
    now = await store.held("checkpoint")
    assert not await store.swap("checkpoint", b"late", seen)
    await store.delete("checkpoint")
    assert not await store.swap("checkpoint", b"to nothing", now)
    assert await store.get("checkpoint") is None
    assert [key async for key in store.list()] == []


async def test_a_list_holds_what_is_below_whole_names(opened: Opened) -> None:
    store = opened()
    for key in ("a/1", "a/b/2", "ab/3", "c"):
        await store.put(key, key.encode())

    assert sorted([key async for key in store.list("a")]) == ["a/1", "a/b/2"]
    assert sorted([key async for key in store.list("a/")]) == ["a/1", "a/b/2"]
    assert sorted([(item.key, item.size) async for item in store.listed()]) == [
        ("a/1", 3),
        ("a/b/2", 5),
        ("ab/3", 4),
        ("c", 1),
    ]
    assert [key async for key in store.list("nothing")] == []


async def test_what_is_deleted_is_gone_and_may_be_deleted_again(opened: Opened) -> None:
    store = opened()
    await store.put("a/1", b"1")

    await store.delete("a/1")
    await store.delete("a/1")

    assert await store.get("a/1") is None
    assert await store.create("a/1", b"2")


async def test_a_large_object_comes_in_parts(opened: Opened) -> None:
    store = opened()
    data = bytes(range(256)) * 8192
    await store.put("large", data)

    parts = [part async for part in store.chunks("large")]

    assert b"".join(parts) == data
    assert await store.get("large") == data
    assert max(map(len, parts)) < len(data)
    assert [part async for part in store.chunks("none")] == []


@pytest.mark.parametrize("key", ["", "/a", "a//b", "a/../b", "..", ".", "a/.", "a b", "a%2fb", "a\n", "é", "a" * 513])
async def test_a_name_that_means_something_elsewhere_is_no_key(opened: Opened, key: str) -> None:
    with pytest.raises(ValueError, match="not an object's key"):
        await opened().put(key, b"")


async def test_a_folder_gives_out_no_urls(tmp_path: Path) -> None:
    store = ObjectStore.open(tmp_path.as_uri())

    assert store.local
    assert await store.signed_url("a", 60) is None


async def test_a_signed_url_opens_one_object_for_its_time(s3: S3Server) -> None:
    store = ObjectStore.open(s3.bucket(), access_key=ACCESS_KEY, secret=SECRET)
    await store.put("a/1", b"what it holds", filename="a-1.bin")

    url = await store.signed_url("a/1", 60)

    assert url is not None
    asked = parse_qs(urlsplit(url).query)
    assert (asked["X-Amz-Expires"], "X-Amz-Signature" in asked) == (["60"], True)
    assert SECRET not in url
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(url)
    assert (answer.status_code, answer.content) == (200, b"what it holds")
    assert answer.headers["content-disposition"] == 'attachment; filename="a-1.bin"'
    for seconds in (0, -1, MAX_TTL_SECONDS + 1):
        with pytest.raises(ValueError, match="a signed URL is good for"):
            await store.signed_url("a/1", seconds)


async def test_others_find_the_object_in_the_bucket_below_the_prefix(s3: S3Server) -> None:
    url = s3.bucket()
    await ObjectStore.open(url, access_key=ACCESS_KEY, secret=SECRET).put("a/1", b"x")

    found = s3.client().get_object(Bucket=urlsplit(url).netloc, Key="kept/a/1", ChecksumMode="ENABLED")

    assert found["Body"].read() == b"x"


async def test_a_store_that_cannot_be_reached_says_so_and_shows_no_secret(tmp_path: Path) -> None:
    port = Ports.load(tmp_path / "ports.json").claim("nobody")
    store = ObjectStore.open(
        f"s3://bucket/kept?region=us-east-1&endpoint=http://127.0.0.1:{port}",
        access_key=ACCESS_KEY,
        secret=SECRET,
        timeout=1.0,
    )

    for work in (store.put("a", b"1"), store.create("a", b"1"), store.get("a"), store.size("a"), store.delete("a")):
        with pytest.raises(StoreUnavailable, match=r"s3://bucket/kept did not \w+( at)? a: ") as found:
            await work
        assert (found.value.reason_code, found.value.status) == ("store_unavailable", 503)
        assert SECRET not in f"{found.value.detail}{found.value.fix}{store!r}"


async def test_a_bucket_that_is_not_there_is_no_empty_one(s3: S3Server) -> None:
    store = ObjectStore.open(
        f"s3://nobody-made-it?region=us-east-1&endpoint={s3.endpoint}", access_key=ACCESS_KEY, secret=SECRET
    )

    for work in (store.put("a", b"1"), store.get("a")):
        with pytest.raises(StoreUnavailable, match="there is no such bucket"):
            await work


async def test_a_file_where_the_folder_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "objects").write_text("in the way")
    store = ObjectStore.open((tmp_path / "objects").as_uri())

    for work in (store.put("a", b"1"), store.create("a", b"1"), store.create("a/b", b"1"), store.get("a")):
        with pytest.raises(StoreUnavailable, match=r"did not (write|open)"):
            await work


async def test_what_a_crash_left_half_is_no_object(tmp_path: Path) -> None:
    store = ObjectStore.open(tmp_path.as_uri())
    await store.put("a/1", b"whole")
    (tmp_path / "a" / "2#71").write_bytes(b"hal")

    assert [key async for key in store.list()] == ["a/1"]
    assert await store.create("a/2", b"whole")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "objects",
        "file://host/folder",
        "file:relative",
        "http://bucket/",
        "s3://",
        "s3://B",
        "s3://bucket/a//b",
        "s3://bucket/../a",
        "s3://key:secret@bucket/a",
        "s3://bucket?endpoint=http://key:secret@host",
        "s3://bucket?endpoint=ftp://host",
        "s3://bucket?secret=x",
    ],
)
def test_what_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="object store") as found:
        ObjectStore.open(url)
    assert "key:secret" not in str(found.value)
