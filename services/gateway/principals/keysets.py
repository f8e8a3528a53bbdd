"""A provider's public keys: fetched, bounded in size and time, and fetched again for a key that nobody knows.

At most once in 30 s, whoever asks: made-up key ids cost the provider nothing. Keys are good for an hour after the last
fetch that worked; a provider that is away longer is not believed any more.
"""

import asyncio
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import orjson
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from libs.common.errors import Unavailable
from libs.common.telemetry import log
from services.gateway import metrics
from services.gateway.principals.issuers import Issuer

REFETCH_SECONDS: Final = 30.0
REFRESH_SECONDS: Final = 300.0
GOOD_SECONDS: Final = 3600.0
FETCH_SECONDS: Final = 5.0
MAX_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 100
MIN_RSA_BITS: Final = 2048
_PUBLIC: Final = {"RSA", "EC", "OKP"}
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

PublicKey = RSAKey | ECKey | OKPKey


class KeysUnread(Exception):
    """The keys could not be fetched, or are none; the text says why."""


class KeySet:
    """The keys of one provider by their id."""

    def __init__(self, issuer: Issuer, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._clock = clock
        self._keys: dict[str, PublicKey] = {}
        self._good_at = float("-inf")
        self._tried_at = float("-inf")
        self._turn = asyncio.Lock()

    async def find(self, key_id: str | None) -> PublicKey | None:
        """The key with this id, or the only one where a token names none; None when the provider has no such key.

        Raises:
            Unavailable: the keys could not be had for too long.
        """
        if self._stale() or self._known(key_id) is None:
            async with self._turn:
                if self._stale() or self._known(key_id) is None:
                    await self._fetch_again()
        if self._stale():
            raise Unavailable("The identity provider's keys cannot be had.", fix="Try again, or use an API token.")
        return self._known(key_id)

    async def run(self) -> None:
        """Keep the keys fresh for as long as the process lives: one that the provider withdrew is not good for long."""
        while True:
            async with self._turn:
                await self._fetch_again()
            await asyncio.sleep(REFRESH_SECONDS)

    def _known(self, key_id: str | None) -> PublicKey | None:
        if key_id is not None:
            return self._keys.get(key_id)
        return next(iter(self._keys.values())) if len(self._keys) == 1 else None

    def _stale(self) -> bool:
        return self._clock() - self._good_at > GOOD_SECONDS

    async def _fetch_again(self) -> None:
        """Fetch unless that was tried within `REFETCH_SECONDS`; what cannot be had leaves the keys as they are."""
        if self._clock() - self._tried_at < REFETCH_SECONDS:
            return
        self._tried_at = self._clock()
        try:
            self._keys = parsed(await self._content())
        except KeysUnread as error:
            metrics.KEY_FETCHES.labels("failed").inc()
            log.warning("provider_keys_unread", issuer=self._issuer.issuer, error=str(error))
            return
        self._good_at = self._clock()
        metrics.KEY_FETCHES.labels("ok").inc()

    async def _content(self) -> bytes:
        if self._issuer.jwks_file:
            try:
                return Path(self._issuer.jwks_file).read_bytes()[: MAX_BYTES + 1]  # noqa: ASYNC240 -- small and local
            except OSError as error:
                raise KeysUnread(f"the file cannot be read: {error.strerror}") from None
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                return await _fetched(self._issuer.jwks_url)
        except (httpx.HTTPError, OSError, TimeoutError) as error:
            raise KeysUnread(f"the provider does not answer: {type(error).__name__}") from None


async def _fetched(url: str) -> bytes:
    """The body behind a URL, up to the limit; a redirect is no answer."""
    local = urlsplit(url).hostname in _LOOPBACK
    async with (
        httpx.AsyncClient(follow_redirects=False, trust_env=not local, timeout=FETCH_SECONDS) as client,
        client.stream("GET", url, headers={"Accept": "application/json"}) as answer,
    ):
        if answer.status_code != httpx.codes.OK:
            raise KeysUnread(f"the provider answers {answer.status_code}")
        body = bytearray()
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > MAX_BYTES:
                break
        return bytes(body)


def parsed(content: bytes) -> dict[str, PublicKey]:
    """Public keys for signatures, by id; what else a set holds is passed over.

    Raises:
        KeysUnread: it is no key set, too large, or holds no key that can be used.
    """
    if len(content) > MAX_BYTES:
        raise KeysUnread(f"the key set is larger than {MAX_BYTES} bytes")
    try:
        listed = orjson.loads(content)["keys"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise KeysUnread("this is no key set") from None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise KeysUnread("this is no key set of a sensible size")
    keys = {str(found.get("kid", "")): key for found in listed if (key := _usable(found)) is not None}
    if not keys:
        raise KeysUnread("the key set has no public key for signatures")
    return keys


def _usable(found: Any) -> PublicKey | None:
    """A key that may check signatures. A shared secret in a set would let everybody who reads the set sign."""
    if not isinstance(found, Mapping) or found.get("kty") not in _PUBLIC or found.get("use", "sig") != "sig":
        return None
    public = {name: value for name, value in found.items() if name not in {"d", "p", "q", "dp", "dq", "qi", "oth"}}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SecurityWarning)  # a key that the library warns of is none
            key = import_key(public)
    except (JoseError, SecurityWarning, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAKey):
        return key if key.public_key.key_size >= MIN_RSA_BITS else None
    return key if isinstance(key, ECKey | OKPKey) else None
