"""Whether the process beside us does its work: `python -m libs.common.healthcheck [PATH]`, for containers.

Asks the health port of this environment for `/readyz` (or PATH), prints the answer and ends with 0 when it is 200,
with 1 otherwise. Only the standard library is loaded: it runs every few seconds.
"""

import http.client
import os
import sys
from collections.abc import Sequence

PATIENCE_SECONDS = 4.0


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    path, *_ = [*(sys.argv[1:] if arguments is None else arguments), "/readyz"]
    port = os.environ.get("RR_HEALTH_PORT", "")
    try:
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=PATIENCE_SECONDS)
        connection.request("GET", path)
        answer = connection.getresponse()
        sys.stdout.write(answer.read().decode(errors="replace") + "\n")
    except ValueError:
        sys.stdout.write(f"RR_HEALTH_PORT is {port!r}, not a port\n")
        return 1
    except (OSError, http.client.HTTPException) as error:
        sys.stdout.write(f"port {port} does not answer: {type(error).__name__}\n")
        return 1
    return 0 if answer.status == http.HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.exit(main())
