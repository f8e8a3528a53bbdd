"""The command line starts fast, since it loads only what a command needs, and says what its exit codes mean."""

import subprocess
import sys
import time

from tests.unit.cli.conftest import Run

HEAVY = ("httpx", "rich", "pydantic", "fastapi", "sqlalchemy", "asyncpg", "nats", "redis", "opentelemetry", "structlog")


def test_help_loads_nothing_heavy() -> None:
    program = "import sys, runbook_ranger.cli; print([m for m in sys.argv[1:] if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", program, *HEAVY], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_help_takes_less_than_four_tenths_of_a_second_of_the_processor() -> None:
    def spent() -> float:
        program = (
            "import resource, sys; from runbook_ranger.cli import app\ntry: app(['--help'])\nexcept SystemExit: pass\n"
        )
        program += "u = resource.getrusage(resource.RUSAGE_SELF); sys.stderr.write(str(u.ru_utime + u.ru_stime))"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert "Usage: " in done.stdout
        return float(done.stderr)

    began = time.monotonic()
    assert min(spent() for _ in range(3)) < 0.4
    assert time.monotonic() - began < 30


def test_help_names_every_exit_code(run: Run) -> None:
    ran = run("--help")

    assert ran.code == 0
    text = " ".join(ran.out.split())
    for meaning in ("0 done", "1 the answer is no", "2 wrong usage", "3 not reachable", "4 not authorised"):
        assert meaning in text


def test_every_command_has_help(run: Run) -> None:
    for line in (
        "alert post",
        "runbook publish",
        "execution watch",
        "kill-switch on",
        "audit verify",
        "dlq retry",
        "trace",
    ):
        assert "Usage: " in run(*line.split(), "--help").out


def test_the_version_is_said(run: Run) -> None:
    assert run("version").out.strip()
    assert '"version"' in run("version", "-o", "json").out
