"""Asking a process whether it is ready, without ever waiting for it."""

import json
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

SILENCE = 5.0  # the processes give each of their own checks 2.5
ANSWER_LIMIT = 65536
LOOK = 0.005


class Probe:
    """One GET at a time over a non-blocking socket; a process that hangs costs nothing but its own answer."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.path = parts.path or "/"
        self._socket: socket.socket | None = None
        self._asked = 0.0
        self._sent = False
        self._answer = b""

    def step(self) -> str | None:
        """None while there is no answer yet, "" when ready, otherwise what is missing in a few words."""
        try:
            return self._step()
        except (BlockingIOError, InterruptedError):
            return self._silent()
        except ConnectionRefusedError:
            return self._end("it does not listen yet")
        except OSError as error:
            return self._end(f"{self.path[1:]}: {error.strerror or error}")

    def close(self) -> None:
        """Give up the question that is under way."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._answer, self._sent = None, b"", False

    def _step(self) -> str | None:
        if self._socket is None:
            self._socket = socket.socket()
            self._socket.settimeout(0)
            self._asked = time.monotonic()
            with suppress(BlockingIOError):
                self._socket.connect(self.address)
        if not self._sent:
            host, port = self.address
            self._socket.sendall(
                f"GET {self.path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()
            )
            self._sent = True
        while data := self._socket.recv(ANSWER_LIMIT):
            self._answer += data
        return self._end(self._verdict())

    def _silent(self) -> str | None:
        if time.monotonic() - self._asked < SILENCE:
            return None
        return self._end(f"{self.path[1:]} does not answer")

    def _end(self, verdict: str) -> str:
        self.close()
        return verdict

    def _verdict(self) -> str:
        head, _, body = self._answer.partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1:2]
        return "" if status == [b"200"] else f"{self.path[1:]} says {complaint(body)}"


def asked_now(urls: Mapping[str, str]) -> dict[str, str]:
    """What each says at this moment, as `Probe.step` does; takes as long as the slowest."""
    probes, said = {name: Probe(url) for name, url in urls.items()}, dict[str, str]()
    while probes:
        for name, verdict in [(name, probe.step()) for name, probe in probes.items()]:
            if verdict is not None:
                said[name] = verdict
                del probes[name]
        if probes:
            time.sleep(LOOK)
    return said


def complaint(body: bytes) -> str:
    """What a readiness answer complains about: the failing checks of its JSON, or its first line."""
    with suppress(ValueError):
        answer = json.loads(body)
        checks = answer.get("checks", {}) if isinstance(answer, dict) else {}
        states = {
            key: value["status"] for key, value in checks.items() if isinstance(value, dict) and "status" in value
        }
        bad = [f"{key} {state}" for key, state in states.items() if state != "ok"]
        if bad:
            return ", ".join(bad)
    return body.decode(errors="replace").strip().partition("\n")[0][:200] or "nothing"
