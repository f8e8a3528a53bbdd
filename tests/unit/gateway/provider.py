"""An identity provider of one's own: keys of each kind, tokens signed or forged, and a key set served over HTTP."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import orjson
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from tests.support.listening import listening

ISSUER: Final = "https://login.example"
AUDIENCE: Final = "runbook-ranger"
RSA: Final = RSAKey.generate_key(2048, {"kid": "rsa-1", "use": "sig"})
EC: Final = ECKey.generate_key("P-256", {"kid": "ec-1"})
ED: Final = OKPKey.generate_key("Ed25519", {"kid": "ed-1"})
FOREIGN: Final = RSAKey.generate_key(2048, {"kid": "rsa-1"})
SHARED: Final = OctKey.generate_key(256, {"kid": "oct-1"})


class _Any(JWSRegistry):
    """Signs with whatever algorithm there is, also those that nobody should."""

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]

    def check_header(self, header: Any) -> None:
        del header


def claims(**more: Any) -> dict[str, Any]:
    """What a good token says, with some of it otherwise; a claim that is None is left out."""
    now = int(time.time())
    said: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ada",
        "iat": now,
        "exp": now + 300,
        "roles": ["operator"],
        "tenants": ["acme"],
        **more,
    }
    return {name: value for name, value in said.items() if value is not None}


def signed(said: Mapping[str, Any], key: Any = RSA, algorithm: str = "RS256", **header: Any) -> str:
    """A token; `header` adds to, or with None takes from, what its header says."""
    head = {"alg": algorithm, "kid": key.kid, **header}
    registry = _Any(strict_check_header=False)
    return jwt.encode(
        {name: value for name, value in head.items() if value is not None}, dict(said), key, registry=registry
    )


def encoded(value: Any) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()


def key_set(*keys: Any, private: bool = False) -> bytes:
    """A key set's JSON."""
    return orjson.dumps(KeySet(list(keys or (RSA, EC, ED))).as_dict(private=private))


def issuer(path: Path | str, **more: Any) -> dict[str, Any]:
    """Settings of this provider, with its keys in a file or behind a URL."""
    where = {"jwks_url": path} if isinstance(path, str) else {"jwks_file": str(path)}
    return {"issuer": ISSUER, "audience": [AUDIENCE], **where, **more}


class KeyServer:
    """Serves `answer` to every request, and counts them."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.status = "200 OK"
        self.location = ""
        self.asked = 0
        self.silent = False
        self.url = ""

    @asynccontextmanager
    async def served(self) -> AsyncIterator["KeyServer"]:
        async with listening(self._handle) as port:
            self.url = f"http://127.0.0.1:{port}/keys"
            yield self

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        if self.silent:
            await reader.read()  # until its client gives up
        location = f"Location: {self.location}\r\n" if self.location else ""
        head = f"HTTP/1.1 {self.status}\r\n{location}Content-Length: {len(self.answer)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + self.answer)
