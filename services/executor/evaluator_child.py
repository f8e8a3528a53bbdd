"""The process that evaluates: reads a request, answers it, until the end of file. It has no secrets and opens nothing.

Frames are four bytes of length, then JSON. The first frame says that it is ready. Around each evaluation a timer of
processor time is set, whose action is the system's (to end the process): it also works while the library runs, and
when the parent is gone.
"""

import resource
import signal
import socket
import sys
from typing import Any

import orjson

from libs.runbook.cel import Declarations, compile_expression, run
from libs.runbook.cel_errors import EvaluationFailed
from libs.runbook.expressions import ExpressionError

HEAD = 4


def main() -> None:
    """Serve requests on standard input, which is a socket."""
    memory, limit = int(sys.argv[1]), float(sys.argv[2])
    for kind, amount in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        resource.setrlimit(kind, (amount, amount))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    with socket.socket(fileno=0) as connection, connection.makefile("rwb") as stream:
        _write(stream, {"ready": True})
        while head := stream.read(HEAD):
            request = orjson.loads(stream.read(int.from_bytes(head)))
            signal.setitimer(signal.ITIMER_PROF, limit)
            answer = _answer(request)
            signal.setitimer(signal.ITIMER_PROF, 0)
            _write(stream, answer)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    declarations = Declarations(tuple((name, kind) for name, kind in request["inputs"]))
    try:
        return {"value": run(compile_expression(request["source"], declarations), request["data"])}
    except EvaluationFailed as error:
        return {"failed": error.why}
    except ExpressionError as error:
        return {"refused": str(error)}


def _write(stream: Any, answer: dict[str, Any]) -> None:
    data = orjson.dumps(answer)
    stream.write(len(data).to_bytes(HEAD) + data)
    stream.flush()


if __name__ == "__main__":
    main()
