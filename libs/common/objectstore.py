"""Objects in a folder or in an S3 bucket: named bytes that are written whole or not at all.

    file:///var/lib/ranger/objects
    s3://bucket/prefix?region=eu-central-1&endpoint=https://s3.example.org&virtual_host=false

A key is a path of plain names. What was acknowledged is on disk (`folder.py`); a crash leaves an object as it was or as
it is to be, and never half of one.

Every failure is `StoreUnavailable`: asking again may help, and does no harm. No text of ours holds a credential.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import LocalStore, S3Store

from libs.common import folder
from libs.common.errors import Unavailable

if TYPE_CHECKING:
    from obstore import Attributes, PutMode
    from obstore.store import S3Config

T = TypeVar("T")

CHUNK: Final = 256 * 1024
MAX_KEY: Final = 512
MAX_TTL_SECONDS: Final = 7 * 86400
"""S3 signs no URL for longer."""
CONNECT_SECONDS: Final = 3.0
RETRIES: Final = 2
NO_BUCKET: Final = "NoSuchBucket"

_NAME: Final = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._=@:-]+"
_KEY: Final = re.compile(rf"{_NAME}(?:/{_NAME})*")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_OPTIONS: Final = frozenset({"endpoint", "region", "virtual_host"})


class StoreUnavailable(Unavailable):
    """The object store did not do it, now; whether it took effect is unknown until it is repeated."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as a list shows it."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """An object's bytes, and by what a bucket tells them from what may be there later; a folder compares the bytes."""

    data: bytes
    version: str | None


class ObjectStore:
    """One folder, or what a bucket holds below one prefix. Made by `open`; safe to use from many tasks at once."""

    def __init__(self, name: str, *, folder: Path | None = None, bucket: S3Store | None = None) -> None:
        self._name = name
        self._folder = folder
        self._bucket = bucket
        self._found: LocalStore | None = None

    @classmethod
    def open(cls, url: str, *, access_key: str = "", secret: str = "", timeout: float = 10.0) -> Self:
        """The store at `url`; nothing is asked, nor made, before it is used. `timeout` bounds each request, in seconds.

        Without `access_key` S3 is spoken to as the machine itself may: by its role, or by `AWS_…` variables.

        Raises:
            ValueError: the URL names no store; the text shows no credential.
        """
        parts = urlsplit(url)
        if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/") and not parts.query:
            folder = Path(unquote(parts.path))
            return cls(str(folder), folder=folder)
        prefix = parts.path.strip("/")
        if parts.scheme != "s3" or not _BUCKET.fullmatch(parts.netloc) or (prefix and not _KEY.fullmatch(prefix)):
            raise ValueError("an object store is file:///folder or s3://bucket/prefix?region=…&endpoint=…")
        config = _options(parts.query)
        if access_key:
            config |= {"access_key_id": access_key, "secret_access_key": secret}
        bucket = S3Store(
            parts.netloc,
            prefix=prefix or None,
            config=config,
            client_options={
                "allow_http": config.get("endpoint", "").startswith("http:"),
                "timeout": timedelta(seconds=timeout),
                "connect_timeout": timedelta(seconds=min(timeout, CONNECT_SECONDS)),
            },
            retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=timeout)},
        )
        return cls(f"s3://{parts.netloc}/{prefix}", bucket=bucket)

    def __repr__(self) -> str:
        return f"ObjectStore({self._name!r})"

    @property
    def local(self) -> bool:
        """Whether it is a folder, of which nobody but ourselves can give out URLs."""
        return self._folder is not None

    async def create(self, key: str, data: bytes, *, filename: str = "") -> bool:
        """Write an object that is not there yet; False, and nothing is changed, where one is. Of two at once one wins.

        False may also be our own, whose answer was lost and which was sent again: compare what is there.
        `filename`: what a browser that downloads it by a signed URL of S3 calls it.
        """
        return await self._write(key, data, filename, "create")

    async def put(self, key: str, data: bytes, *, filename: str = "") -> None:
        """Write an object, in the place of the one that is there; readers see the one or the other, whole."""
        await self._write(key, data, filename, "overwrite")

    async def get(self, key: str) -> bytes | None:
        """The bytes of an object; None where there is none."""
        found = await self.held(key)
        return None if found is None else found.data

    async def held(self, key: str) -> Held | None:
        """An object for `swap`; None where there is none."""
        store = await self._reached()
        found = await self._tried("read", key, obstore.get_async(store, _checked(key)))
        data = None if found is None else await self._tried("read", key, found.bytes_async())
        return None if found is None or data is None else Held(bytes(data), found.meta["e_tag"])

    async def swap(self, key: str, data: bytes, was: Held | None) -> bool:
        """Write an object in the place of what `held` gave; False, and nothing is changed, where there is another now.

        Of many at once one wins. False may also be our own, whose answer was lost: look again.
        """
        if was is None:
            return await self._write(key, data, "", "create")
        if self._folder is None:
            return await self._write(key, data, "", {"e_tag": was.version})
        try:
            return await asyncio.to_thread(folder.swap, self._folder / _checked(key), data, was.data)
        except OSError as error:
            raise self._failed("write", key, _why(error)) from None

    async def chunks(self, key: str) -> AsyncIterator[bytes]:
        """The bytes of an object as they come; none at all where it is missing: ask `size` first."""
        store = await self._reached()
        found = await self._tried("read", key, obstore.get_async(store, _checked(key)))
        if found is None:
            return
        stream = aiter(found.stream(min_chunk_size=CHUNK))
        while (part := await self._tried("read", key, anext(stream, None))) is not None:
            yield bytes(part)

    async def size(self, key: str) -> int | None:
        """How many bytes an object has; None where there is none."""
        listed = await self.look(key)
        return None if listed is None else listed.size

    async def look(self, key: str) -> Listed | None:
        """An object without its bytes; None where there is none."""
        store = await self._reached()
        meta = await self._tried("look at", key, obstore.head_async(store, _checked(key)))
        return None if meta is None else Listed(key, meta["size"], meta["last_modified"])

    async def list(self, prefix: str = "") -> AsyncIterator[str]:
        """The keys below a prefix of whole names (`tile/0`, not `tile/0/x0`), in no order."""
        async for item in self.listed(prefix):
            yield item.key

    async def listed(self, prefix: str = "") -> AsyncIterator[Listed]:
        """As `list`, with sizes and times."""
        store = await self._reached()
        pages = aiter(obstore.list(store, _checked(prefix.rstrip("/")) if prefix else None))
        while (page := await self._tried("list", prefix, anext(pages, None))) is not None:
            for meta in page:
                yield Listed(meta["path"], meta["size"], meta["last_modified"])

    async def delete(self, key: str) -> None:
        """Take an object away; that there is none is no error."""
        store = await self._reached()
        await self._tried("delete", key, obstore.delete_async(store, _checked(key)))

    async def signed_url(self, key: str, ttl_seconds: int) -> str | None:
        """A URL that reads the object without any credential until its time is over; None: a folder has none.

        Raises:
            ValueError: it would be good for longer than S3 takes, or for no time at all.
        """
        if not 0 < ttl_seconds <= MAX_TTL_SECONDS:
            raise ValueError(f"a signed URL is good for 1 to {MAX_TTL_SECONDS} seconds")
        if self._bucket is None:
            return None
        lasting = timedelta(seconds=ttl_seconds)
        return await self._tried("sign", key, obstore.sign_async(self._bucket, "GET", _checked(key), lasting))

    async def _write(self, key: str, data: bytes, filename: str, mode: "PutMode") -> bool:
        _checked(key)
        try:
            if self._folder is not None:
                return await asyncio.to_thread(folder.write, self._folder / key, data, new=mode == "create")
            assert self._bucket is not None
            named: Attributes = {"Content-Disposition": f'attachment; filename="{_checked(filename or key)}"'}
            await obstore.put_async(
                self._bucket, key, data, mode=mode, attributes=named if filename else None, use_multipart=False
            )
        except (AlreadyExistsError, PreconditionError):
            return False
        except FileNotFoundError as error:
            if isinstance(mode, dict) and NO_BUCKET not in str(error):
                return False  # what was to be replaced is gone
            raise self._failed("write", key, _why(error)) from None
        except (BaseError, OSError) as error:
            raise self._failed("write", key, _why(error)) from None
        return True

    async def _reached(self) -> LocalStore | S3Store:
        """What answers questions; a folder is made where there is none."""
        if self._bucket is not None:
            return self._bucket
        if self._found is None and self._folder is not None:
            try:
                self._found = await asyncio.to_thread(LocalStore, self._folder, mkdir=True)
            except (BaseError, OSError) as error:
                raise self._failed("open", "", _why(error)) from None
        assert self._found is not None
        return self._found

    async def _tried(self, what: str, key: str, asked: Awaitable[T]) -> T | None:
        """What the store answers; None where it says that there is no such object."""
        try:
            return await asked
        except FileNotFoundError as error:
            if NO_BUCKET in str(error):
                raise self._failed(what, key, _why(error)) from None
            return None
        except (BaseError, OSError) as error:
            raise self._failed(what, key, _why(error)) from None

    def _failed(self, what: str, key: str, why: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"The object store {self._name} did not {what} {key or 'anything'}: {why}.",
            fix="Repeat it; `RR_OBJECTS_URL` names the store, and docs/operators.md what it needs.",
            code="store_unavailable",
        )


def _options(query: str) -> "S3Config":
    """What the URL of a bucket says beside its name."""
    given = {name: values[-1] for name, values in parse_qs(query, strict_parsing=True).items()} if query else {}
    if unknown := given.keys() - _OPTIONS:
        raise ValueError(f"an object store's URL takes {', '.join(sorted(_OPTIONS))}, not {', '.join(sorted(unknown))}")
    config: S3Config = {"checksum_algorithm": "SHA256"}  # also what a bucket with Object Lock asks for
    if endpoint := given.get("endpoint"):
        if urlsplit(endpoint).scheme not in {"http", "https"} or "@" in endpoint:
            raise ValueError("the endpoint of an object store is http(s)://host:port")
        config["endpoint"] = endpoint
    if region := given.get("region"):
        config["region"] = region
    if given.get("virtual_host", "false").lower() == "true":
        config["virtual_hosted_style_request"] = True
    return config


def _checked(key: str) -> str:
    if len(key) > MAX_KEY or not _KEY.fullmatch(key):
        raise ValueError(f"not an object's key: {key[:80]!r}")
    return key


def _why(error: Exception) -> str:
    """In a word or two: the library's own text is long, and may hold what a server echoes."""
    match error:
        case FileNotFoundError() if NO_BUCKET in str(error):
            return "there is no such bucket"
        case PermissionDeniedError() | UnauthenticatedError() | PermissionError():
            return "it does not let us"
        case OSError() if error.strerror:
            return error.strerror
        case _:
            found = re.search(r"status code: (\d{3} [A-Za-z ]+)|(error sending request|timed out)", str(error))
            return (found[1] or found[2]).strip() if found else type(error).__name__
