"""A server that speaks S3, for one test session; each test gets a bucket of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

import boto3
import pytest

from runbook_ranger.stack.ports import Ports, is_free

ACCESS_KEY: Final = "AKEXAMPLE"
SECRET: Final = "a-secret-key-that-no-text-may-hold"
_numbers: Final = count(1)


@dataclass
class S3Server:
    """moto's server, as a process; what it holds is gone with it."""

    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "RR_"))}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        until = time.monotonic() + 60
        while is_free(self.port):
            assert self.process.poll() is None, "the S3 server ended"
            assert time.monotonic() < until, "the S3 server does not listen"
            time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def client(self) -> Any:
        """Somebody else's client, to look with from outside."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET,
        )

    def bucket(self) -> str:
        """A new bucket's URL, for `RR_OBJECTS_URL`."""
        name = f"ranger-{next(_numbers)}"
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}/kept?region=us-east-1&endpoint={self.endpoint}"


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running server."""
    folder: Path = tmp_path_factory.mktemp("s3")
    found = S3Server(Ports.load(folder / "ports.json").claim("s3"))
    try:
        found.start()
        yield found
    finally:
        found.stop()
