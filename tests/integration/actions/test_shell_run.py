"""`shell.run` on real programs: arguments stay data, output is bounded, the environment is its own."""

import asyncio
import hashlib
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from libs.actions import ActionContext, Effect, Lease, Outcome, invoke, outcome
from libs.actions.masking import MASK
from libs.actions.shell_policy import ShellPolicy
from libs.actions.shell_run import ShellRun
from tests.support.eventually import eventually
from tests.support.processes import alive, environment, parent

SHELL = ShellRun()
Make = Callable[..., ActionContext]


async def test_a_program_runs_with_its_arguments_and_its_output_comes_back(context: Make) -> None:
    result = await invoke(SHELL, {"argv": ["sh", "-c", 'echo "$1"; echo no >&2', "x", "yes"]}, context())

    assert result.ok
    assert result.outputs == {"exit_code": 0, "stdout": "yes\n", "stderr": "no\n"}
    assert result.evidence["stdout_sha256"] == hashlib.sha256(b"yes\n").hexdigest()
    assert result.evidence["duration_ms"] > 0


@pytest.mark.parametrize(
    "hostile",
    [
        "$(id)",
        "`id`",
        "; id",
        "| id",
        "&& id",
        "> /tmp/x",
        "* ?",
        "'\"\\",
        "$PATH",
        "-n\n",
        "a\nb",
        "é\u2028",
        "--help",
    ],
)
async def test_shell_characters_in_an_argument_stay_data(context: Make, hostile: str) -> None:
    result = await invoke(SHELL, {"argv": ["printf", "%s", hostile]}, context())

    assert result.outputs["stdout"] == hostile


@pytest.mark.parametrize("argv", [[], [""], ["./tool"], ["a/b"], "echo hi", ["echo", "a\0b"], ["echo", 1]])
async def test_what_is_no_argument_list_is_refused(context: Make, argv: object) -> None:
    result = await invoke(SHELL, {"argv": argv}, context())

    assert (result.error_code, result.effect_possible) == ("arguments_invalid", False)


async def test_nothing_runs_until_the_setting_allows_it(context: Make) -> None:
    result = await invoke(SHELL, {"argv": ["echo", "hi"]}, context(shell=ShellPolicy()))

    assert (result.error_code, result.effect_possible) == ("shell_not_allowed", False)
    assert "RR_SHELL_ALLOW" in (result.message or "")


async def test_an_exit_code_that_is_not_expected_is_a_failure_in_doubt(context: Make) -> None:
    failed = await invoke(SHELL, {"argv": ["sh", "-c", "exit 3"]}, context())
    expected = await invoke(SHELL, {"argv": ["sh", "-c", "exit 3"], "expect_exit": [0, 3]}, context())

    assert (failed.error_code, failed.outputs["exit_code"], failed.effect_possible) == ("exit_code", 3, True)
    assert outcome(failed, Effect.UNSAFE) is Outcome.UNKNOWN
    assert expected.ok


async def test_a_signal_is_a_failure_that_names_it(context: Make) -> None:
    result = await invoke(SHELL, {"argv": ["sh", "-c", "kill -9 $$"]}, context())

    assert (result.error_code, result.message) == ("exit_code", "ended by signal 9")
    assert result.evidence["signal"] == 9


@pytest.mark.parametrize(
    "arguments", [{"argv": ["echo"], "cwd": "/does/not/exist"}, {"argv": ["echo", "x" * 30_000] * 90}]
)
async def test_a_program_that_could_not_be_started_certainly_had_no_effect(
    context: Make, arguments: dict[str, object]
) -> None:
    result = await invoke(SHELL, arguments, context())

    assert (result.error_code, result.effect_possible) == ("not_started", False)
    assert outcome(result, Effect.UNSAFE) is Outcome.FAILED


async def test_the_environment_is_what_the_step_says_and_no_more(
    context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RR_TOKENS", "canary-token")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-aws")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    given = context(shell=ShellPolicy.of("env", "TZ"), traceparent="00-a-b-01")

    result = await invoke(SHELL, {"argv": ["env"], "env": {"SHARD": "a=b c"}, "borrow_env": ["TZ"]}, given)

    assert sorted(result.outputs["stdout"].splitlines()) == [
        "FENCE=42", "IDEMPOTENCY_KEY=idem-1", "LANG=C.UTF-8",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "SHARD=a=b c", "TRACEPARENT=00-a-b-01", "TZ=Europe/Berlin",
    ]  # fmt: skip


async def test_no_credential_of_ours_stands_in_the_environment_of_command_or_guard(
    context: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RR_POSTGRES_URL", "postgresql://canary")
    lease = Lease()
    pid_file = tmp_path / "pid"
    arguments = {"argv": ["sh", "-c", 'echo $$ > "$0.new"; mv "$0.new" "$0"; exec sleep 60', str(pid_file)]}
    running = asyncio.ensure_future(invoke(SHELL, arguments, context(lease=lease)))
    await eventually(pid_file.exists)
    command = int(pid_file.read_text())
    guard = parent(command)

    assert parent(guard) == os.getpid()
    for pid in (command, guard):
        assert "canary" not in environment(pid)
        assert "RR_" not in environment(pid)
    lease.cancel("enough")
    await running


async def test_the_command_has_no_input_no_extra_descriptors_and_its_own_session(context: Make) -> None:
    code = (
        "import os, sys\n"
        "print(sorted(os.listdir('/proc/self/fd')), os.getsid(0) == os.getpid(), repr(sys.stdin.read()))"
    )

    result = await invoke(SHELL, {"argv": ["python3", "-c", code]}, context())

    # 0, 1, 2 and the one that lists the folder
    assert result.outputs["stdout"].strip() == "['0', '1', '2', '3'] True ''"


async def test_a_flood_of_output_is_bounded_in_memory_and_hashed_whole(context: Make) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = 200 * 1024 * 1024
    code = f"import sys\nfor _ in range({size // 65536}): sys.stdout.buffer.write(b'x' * 65536)\nprint('the end')"

    result = await invoke(SHELL, {"argv": ["python3", "-c", code]}, context(seconds=60))

    assert result.ok
    assert result.evidence["stdout_bytes"] == size + len("the end\n")
    digest = hashlib.sha256()
    for _ in range(size // 65536):
        digest.update(b"x" * 65536)
    digest.update(b"the end\n")
    assert result.evidence["stdout_sha256"] == digest.hexdigest()
    assert result.outputs["stdout"].endswith("the end\n")
    assert result.outputs["truncated"] == ["stdout"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024  # KiB


async def test_secrets_in_the_output_are_masked(context: Make) -> None:
    result = await invoke(SHELL, {"argv": ["echo", "token is opensesame"]}, context(secrets=("opensesame",)))

    assert result.outputs["stdout"] == f"token is {MASK}\n"


async def test_a_command_that_will_not_end_is_stopped_before_its_deadline(context: Make, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    stubborn = 'trap "" TERM; echo $$ >> "$0"; sleep 60; :'
    script = f"(setsid sh -c '{stubborn}' \"$0\" &); {stubborn}"

    result = await invoke(SHELL, {"argv": ["sh", "-c", script, str(pids)], "timeout_seconds": 1.5}, context())

    assert (result.error_code, result.effect_possible, result.evidence["unstopped"]) == ("deadline", True, [])
    assert result.evidence["duration_ms"] < 1500
    found = [int(pid) for pid in pids.read_text().split()]
    assert len(found) == 2
    assert not any(alive(pid) for pid in found)


async def test_a_cancelled_command_is_stopped_with_what_it_started(context: Make, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    lease = Lease()
    script = 'sleep 60 & echo $! >> "$0"; setsid sleep 60 & echo $! >> "$0"; echo $$ >> "$0"; wait'
    running = asyncio.ensure_future(invoke(SHELL, {"argv": ["sh", "-c", script, str(pids)]}, context(lease=lease)))
    await eventually(lambda: pids.exists() and len(pids.read_text().split()) == 3)

    lease.cancel("abort by ann")

    result = await running
    assert (result.error_code, result.effect_possible) == ("cancelled", True)
    assert "abort by ann" in (result.message or "")
    assert not any(alive(int(pid)) for pid in pids.read_text().split())


async def test_what_a_command_leaves_behind_is_stopped_and_counted(context: Make, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = '(setsid sleep 60 >/dev/null 2>&1 & echo $! > "$0")'

    result = await invoke(SHELL, {"argv": ["sh", "-c", script, str(pid_file)]}, context())

    assert result.ok
    assert result.evidence["leftover"] == 1
    assert not alive(int(pid_file.read_text()))


async def test_a_lost_lease_stops_a_command_and_a_renewed_one_lets_it_go_on(context: Make) -> None:
    loop = asyncio.get_running_loop()
    lost = await invoke(SHELL, {"argv": ["sleep", "60"]}, context(lease=Lease(loop.time() + 1.0)))
    lease = Lease(loop.time() + 1.0)
    loop.call_later(0.2, lambda: lease.extend(loop.time() + 30))
    kept = await invoke(SHELL, {"argv": ["sleep", "1.2"]}, context(lease=lease))

    assert lost.error_code == "lease_lost"
    assert lost.evidence["duration_ms"] < 1000
    assert kept.ok


async def test_many_commands_run_at_once(context: Make) -> None:
    results = await asyncio.gather(*(invoke(SHELL, {"argv": ["echo", str(n)]}, context()) for n in range(20)))

    assert [result.outputs["stdout"] for result in results] == [f"{n}\n" for n in range(20)]
