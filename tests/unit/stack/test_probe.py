"""Readiness is asked without waiting and told in few words."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from runbook_ranger.stack import probe
from runbook_ranger.stack.probe import Probe, asked_now, complaint


@contextmanager
def page(status: int, body: bytes) -> Iterator[str]:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: object = "-", size: object = "-") -> None:  # noqa: ARG002 -- quiet
            return

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/readyz"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer(url: str) -> str:
    asked = Probe(url)
    while (verdict := asked.step()) is None:
        pass
    return verdict


def test_two_hundred_is_ready() -> None:
    with page(200, b"{}") as url:
        assert answer(url) == ""


def test_a_refusal_names_what_is_down() -> None:
    body = b'{"status": "not ready", "checks": {"postgres": {"status": "down"}, "nats": {"status": "ok"}}}'
    with page(503, body) as url:
        assert answer(url) == "readyz says postgres down"


def test_several_are_asked_at_once_and_each_answers_for_itself() -> None:
    with page(200, b"{}") as good, page(503, b'{"checks": {"nats": {"status": "down"}}}') as bad:
        assert asked_now({"a": good, "b": bad}) == {"a": "", "b": "readyz says nats down"}


def test_nobody_there_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert answer(f"http://127.0.0.1:{port}/readyz") == "it does not listen yet"


def test_a_process_that_hangs_costs_nobody_any_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asked = Probe(f"http://127.0.0.1:{listener.getsockname()[1]}/readyz")

        assert asked.step() is None
        asked._asked -= probe.SILENCE
        assert asked.step() == "readyz does not answer"


def test_an_answer_that_is_no_json_is_quoted_by_its_first_line() -> None:
    assert complaint(b"database is away\nand more") == "database is away"
    assert complaint(b"") == "nothing"
    assert complaint(b"[1]") == "[1]"
