"""The smallest service that a supervisor can look after: ready at once, ends on SIGTERM, and as it is told to."""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import FrameType
from typing import Any


class Page(BaseHTTPRequestHandler):
    """200 to everything; `/exit` ends the process with code 7."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status": "ready", "checks": {}}')
        if self.path == "/exit":
            os._exit(7)

    def log_request(self, code: Any = "-", size: Any = "-") -> None:  # noqa: ARG002 -- quiet, as the base class calls it
        return


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.stdout.write("asked to stop\n")
    sys.exit(0)


def main() -> None:
    """Serve until asked to stop."""
    signal.signal(signal.SIGTERM, _end)
    sys.stdout.write(f"{os.environ['RR_INSTANCE']} began below {os.getppid()}\n")
    HTTPServer(("127.0.0.1", int(os.environ["RR_HEALTH_PORT"])), Page).serve_forever()


if __name__ == "__main__":
    main()
