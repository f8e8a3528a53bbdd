"""`rangerctl` run in this process, against a gateway of the test's own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from runbook_ranger.cli import main
from tests.unit.cli.gateway import TOKEN, FakeGateway, serving


@dataclass(frozen=True)
class Ran:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run one command line; nothing of the environment is taken along."""
    for name in ("RR_URL", "RR_TOKEN", "RR_TENANT", "RR_DATA_DIR", "RR_TRACE_FILE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Ran:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        code = ended.value.code
        captured = capsys.readouterr()
        return Ran(code if isinstance(code, int) else int(code is not None), captured.out, captured.err)

    return run


@pytest.fixture
def gateway(run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:  # noqa: ARG001 — `run` clears first
    """A gateway that the environment names."""
    with serving() as gateway:
        monkeypatch.setenv("RR_URL", gateway.url)
        monkeypatch.setenv("RR_TOKEN", TOKEN)
        yield gateway
