"""A server that speaks OPA's data API and answers with the same bundle, evaluated by the embedded engine.

What it shows is that the client asks rightly and reads rightly; that OPA itself agrees only a real OPA can show.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from libs.common.policy.engines.base import EngineFailed
from libs.common.policy.engines.embedded import EmbeddedRego


@dataclass
class OpaServer:
    """What it says of itself may be changed; `asked` are the paths and bodies that came."""

    engine: EmbeddedRego
    version: str = "1.4.2"
    url: str = ""
    status: int = 200
    body: bytes | None = None
    delay: float = 0.0
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def answer(self, target: str, body: bytes) -> tuple[int, bytes]:
        """As OPA would: an undefined document is an answer without a result."""
        found, question = urlsplit(target), json.loads(body)
        self.asked.append((found.path, question))
        if self.body is not None or self.status != 200:
            return self.status, self.body or b"{}"
        answer: dict[str, Any] = {"decision_id": "d-1"}
        if parse_qs(found.query).get("provenance") == ["true"]:
            revision = {"revision": self.engine.revision}
            answer["provenance"] = {"version": self.version, "bundles": {"policies": revision}}
        with suppress(EngineFailed):
            answer["result"] = self.engine.value(found.path.removeprefix("/v1/data/"), question["input"])
        return 200, json.dumps(answer).encode()


@contextmanager
def serving(server: OpaServer) -> Iterator[OpaServer]:
    """The server on a free port of its own, until the way out."""
    gone = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet, or the client would wait for the second

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            gone.wait(server.delay)
            status, content = server.answer(self.path, body)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the framework's own word for it
            del format, args

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    server.url = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        gone.set()
        listening.shutdown()
        listening.server_close()
        thread.join(10)
