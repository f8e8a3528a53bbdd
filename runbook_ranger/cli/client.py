"""The way to the gateway: URL and token, one request at a time, and every refusal as an error with its exit code.

Where: `RR_URL` and `RR_TOKEN`, else `client.json` in the data directory, which `rangerctl up` writes (`RR_TOKEN`
alone replaces its token). A request that
was not answered, or was answered 503, is repeated twice with the same `Idempotency-Key`: a change happens once.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx

from runbook_ranger.cli.errors import CliError, NotAuthorised, NotReachable, WrongUsage

DEFAULT_DATA_DIR: Final = ".ranger"
TIMEOUT_SECONDS: Final = 15.0
ATTEMPTS: Final = 3
MAX_WAIT_SECONDS: Final = 5.0
START: Final = "`rangerctl up` starts it; `rangerctl status` shows what runs."
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_PROBLEMS_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Address:
    """Where the gateway is, and how to be let in; the token is not shown."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"Address({self.url!r})"

    @classmethod
    def find(cls, data_dir: Path | None, environment: Mapping[str, str] = os.environ) -> Self:
        """The address in the environment, else the one in the data directory.

        Raises:
            NotReachable: there is none.
            WrongUsage: `client.json` cannot be read, or the URL is none.
        """
        url, token = environment.get("RR_URL", ""), environment.get("RR_TOKEN", "")
        if url and not token:
            # The stored token belongs to the stored gateway, and is not to be sent to any other.
            raise WrongUsage("RR_URL needs RR_TOKEN.", fix="Set both, or neither to use the stack's client.json.")
        if not url:
            found = cls._stored(data_dir or Path(environment.get("RR_DATA_DIR") or DEFAULT_DATA_DIR))
            url, token = found.url, token or found.token
        if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
            raise WrongUsage("The gateway's URL is not http(s)://host:port.", fix="Set RR_URL, or start a stack.")
        return cls(url.rstrip("/"), token)

    @classmethod
    def _stored(cls, data_dir: Path) -> Self:
        path = data_dir / "client.json"
        try:
            content = json.loads(path.read_text())
            return cls(str(content["url"]), str(content["token"]))
        except FileNotFoundError:
            fix = "`rangerctl up` starts one here; --data-dir, or RR_URL and RR_TOKEN, name another."
            raise NotReachable(f"There is no stack in {data_dir}.", fix=fix) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WrongUsage(f"{path} cannot be used: {type(error).__name__}.", fix="Start the stack anew.") from None


class Client:
    """One command's conversation with the gateway; a context manager."""

    def __init__(self, address: Address, *, tenant: str = "", transport: httpx.BaseTransport | None = None) -> None:
        headers = {"Authorization": f"Bearer {address.token}", "Accept": "application/json"}
        if tenant:
            headers["Rr-Tenant"] = tenant
        local = urlsplit(address.url).hostname in _LOOPBACK
        self._address = address
        self._http = httpx.Client(
            base_url=address.url, headers=headers, timeout=TIMEOUT_SECONDS, transport=transport, trust_env=not local
        )

    @classmethod
    def open(cls, data_dir: Path | None) -> Self:
        """A client for the stack that the environment or the data directory names; `RR_TENANT` picks a tenant."""
        return cls(Address.find(data_dir), tenant=os.environ.get("RR_TENANT", ""))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def at(self, path: str) -> str:
        """The address of a path, for somebody else's browser."""
        return f"{self._address.url.rstrip('/')}{path}"

    def get(self, path: str, **parameters: Any) -> Any:
        """The answer to a question; parameters that are None are left out."""
        given = {name: value for name, value in parameters.items() if value is not None}
        return self._send(self._http.build_request("GET", path, params=given))

    def post(self, path: str, body: Mapping[str, Any], *, whole: bool = False) -> Any:
        """The answer to a change; fields that are None are left out, unless the body is sent `whole`."""
        given = {name: value for name, value in body.items() if whole or value is not None}
        return self._send(self._http.build_request("POST", path, json=given, headers=_fresh_key()))

    def post_text(self, path: str, content: bytes, content_type: str, **parameters: Any) -> Any:
        """As `post`, for a body that is sent as it is."""
        headers = {"Content-Type": content_type, **_fresh_key()}
        given = {name: value for name, value in parameters.items() if value is not None}
        return self._send(self._http.build_request("POST", path, content=content, headers=headers, params=given))

    @contextmanager
    def lines(self, path: str, *, after: str, silence: float, **parameters: Any) -> Iterator[Iterator[str]]:
        """The lines of a stream after an id, as they come; `silence` seconds without any end it.

        Raises:
            NotReachable: nobody answers, or the stream broke off or fell silent; what was read is good.
        """
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
        try:
            given = {name: value for name, value in parameters.items() if value is not None}
            with self._http.stream("GET", path, headers=headers, params=given, timeout=silence) as response:
                if not response.is_success:
                    response.read()
                    _content(response)
                yield response.iter_lines()
        except httpx.TransportError as error:
            text = f"{self._address.url} broke off ({type(error).__name__})."
            raise NotReachable(text, fix=START) from None

    @contextmanager
    def chunks(self, path: str, *, silence: float, **parameters: Any) -> Iterator[Iterator[bytes]]:
        """The bytes of an answer as they come; `silence` seconds without any end it.

        Raises:
            CliError: it is refused.
            NotReachable: nobody answers, or it broke off; what was read is good.
        """
        given = {name: value for name, value in parameters.items() if value is not None}
        try:
            with self._http.stream("GET", path, params=given, headers={"Accept": "*/*"}, timeout=silence) as response:
                if not response.is_success:
                    response.read()
                    _content(response)
                yield response.iter_bytes()
        except httpx.TransportError as error:
            text = f"{self._address.url} broke off ({type(error).__name__})."
            raise NotReachable(text, fix="Run the same command again: it goes on behind what it has.") from None

    @contextmanager
    def download(self, url: str) -> Iterator[Iterator[bytes]]:
        """The bytes behind a URL that needs no token (a path at this gateway, or somebody else's URL); none is sent.

        Raises:
            CliError: it is refused.
            NotReachable: nobody answers, or it broke off.
        """
        whole = self.at(url) if url.startswith("/") else url
        host = urlsplit(whole).hostname
        try:
            with (
                httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=host not in _LOOPBACK) as bare,
                bare.stream("GET", whole) as response,
            ):
                if not response.is_success:
                    response.read()
                    _content(response)
                yield response.iter_raw()
        except httpx.TransportError as error:
            raise NotReachable(f"{host} did not answer whole ({type(error).__name__}).", fix="Try again.") from None

    def _send(self, request: httpx.Request) -> Any:
        for left in reversed(range(ATTEMPTS)):
            try:
                response = self._http.send(request)
            except httpx.ConnectError:
                raise NotReachable(f"Nobody answers at {self._address.url}.", fix=START) from None
            except httpx.TransportError as error:
                if not left:
                    text = f"{self._address.url} did not answer ({type(error).__name__})."
                    raise NotReachable(text, fix=START) from None
                continue
            if response.status_code == httpx.codes.SERVICE_UNAVAILABLE and left:
                time.sleep(_wait(response))
                continue
            return _content(response)
        raise AssertionError  # the last attempt returned or raised


def segment(text: str) -> str:
    """A part of a path, which the gateway takes only if it needs no escaping.

    Raises:
        WrongUsage: it does.
    """
    if not text or text in {".", ".."} or not all(c.isascii() and (c.isalnum() or c in "_.:~@-") for c in text):
        raise WrongUsage(f"{text!r} is no id or name.", fix="Copy it from the list that shows it.")
    return text


def step_path(text: str) -> str:
    """A step's path as a part of a path: the ids and numbers in it, divided by slashes.

    Raises:
        WrongUsage: one of them is none.
    """
    return "/".join(segment(part) for part in text.split("/"))


def _fresh_key() -> dict[str, str]:
    return {"Idempotency-Key": os.urandom(16).hex()}


def _wait(response: httpx.Response) -> float:
    told = response.headers.get("Retry-After", "")
    return min(float(told), MAX_WAIT_SECONDS) if told.isdigit() else 1.0


def _content(response: httpx.Response) -> Any:
    try:
        content = response.json()
    except ValueError:
        content = None
    if response.is_success and content is not None:
        return content
    problem = content if isinstance(content, dict) else {}
    raise _error(response.status_code)(
        _sentence(response, problem), fix=str(problem.get("fix", "")), trace=str(problem.get("trace_id", ""))
    )


def _error(status: int) -> type[CliError]:
    if status in {401, 403}:
        return NotAuthorised
    return NotReachable if status in {502, 503, 504} else CliError


def _sentence(response: httpx.Response, problem: Mapping[str, Any]) -> str:
    if "title" not in problem:
        return f"This is no answer of a gateway: HTTP {response.status_code} from {response.request.url.host}."
    lines = [f"{problem['title']} ({problem.get('code', '')}): {problem.get('detail', '')}"]
    listed = (problem.get("data") or {}).get("problems") or []
    lines += [f"  {_place(item)}{item.get('path', '')}: {item.get('message', '')}" for item in listed[:_PROBLEMS_SHOWN]]
    return "\n".join(lines)


def _place(item: Mapping[str, Any]) -> str:
    return f"line {item['line']}: " if item.get("line") else ""
