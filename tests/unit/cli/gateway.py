"""A gateway of one's own for the command line's tests: a real HTTP server on loopback with answers by path."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

TOKEN = "token-of-the-operator-in-tests"


@dataclass
class Answered:
    """One answer: status, JSON content (bytes as they are; a function of the query is called), more headers."""

    content: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class FakeGateway:
    """Answers in order; the last answer of a path is given again and again."""

    url: str = ""
    answers: dict[str, list[Answered]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    def answer(self, path: str, content: Any, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.setdefault(path, []).append(Answered(content, status, named))

    def next(self, path: str) -> Answered:
        found = self.answers.get(path) or self.answers.get(path.partition("?")[0])
        if not found:
            return Answered({"title": "Not found", "code": "not_found", "detail": path, "fix": "", "trace_id": ""}, 404)
        return found.pop(0) if len(found) > 1 else found[0]

    @property
    def last_body(self) -> Any:
        return json.loads(self.asked[-1][3])


class _Handler(BaseHTTPRequestHandler):
    gateway: ClassVar[FakeGateway]

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.gateway.asked.append((self.command, self.path, headers, self.rfile.read(length)))
        answer = self.gateway.next(self.path)
        content = answer.content(_query(self.path)) if callable(answer.content) else answer.content
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 — the base class's name

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ARG002 — the base class's name
        return


def _query(path: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(path).query))


@contextmanager
def serving() -> Iterator[FakeGateway]:
    """A gateway on a free port until the block ends."""
    gateway = FakeGateway()
    handler = type("Handler", (_Handler,), {"gateway": gateway})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        gateway.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield gateway
        server.shutdown()
        thread.join()
