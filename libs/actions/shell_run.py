"""`shell.run`: one program with a list of arguments, under a guard that lets nothing outlive the step."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator

from libs.actions.api import NOT_STOPPED, Action, ActionContext, ActionResult, Arguments, Effect, Lease
from libs.actions.errors import CommandRefused
from libs.actions.guarded import PATIENCE_SECONDS, GuardedCommand, Report
from libs.actions.masking import Mask

Word = Annotated[str, Field(max_length=32 * 1024, pattern=r"^[^\x00]*$")]


class ShellArguments(Arguments):
    """`argv[0]` is an absolute path or a name on a fixed PATH; no shell reads any of it."""

    argv: Annotated[list[Word], Field(min_length=1, max_length=256)]
    cwd: Annotated[Word, Field(max_length=4096)] = "/"
    env: Annotated[dict[str, Word], Field(max_length=64)] = Field(default_factory=dict)
    borrow_env: Annotated[list[str], Field(max_length=32)] = Field(default_factory=list)
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    expect_exit: Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=1, max_length=16)] = Field(
        default_factory=lambda: [0]
    )
    tags_url: Annotated[str, Field(max_length=4096)] | None = None

    @field_validator("argv")
    @classmethod
    def _names_a_program(cls, argv: list[str]) -> list[str]:
        if not argv[0] or ("/" in argv[0] and not argv[0].startswith("/")):
            raise ValueError("the first word is a program's name or absolute path")
        return argv

    @field_validator("cwd")
    @classmethod
    def _is_absolute(cls, cwd: str) -> str:
        if not PurePosixPath(cwd).is_absolute():
            raise ValueError("the working directory is an absolute path")
        return cwd


class ShellRun(Action[ShellArguments]):
    """Run a program.

    Outputs: `exit_code`, `stdout`, `stderr`. The command sees PATH, LANG, IDEMPOTENCY_KEY, FENCE, TRACEPARENT and what
    the step gives it; its standard input is empty. Whatever it leaves behind is stopped with it.
    """

    name: ClassVar[str] = "shell.run"
    summary: ClassVar[str] = "Run a permitted program, without a shell, under a guard"
    arguments = ShellArguments

    def effects(self, arguments: ShellArguments) -> tuple[Effect, ...]:
        """The author's word counts: nobody can tell from its arguments what a program does."""
        del arguments
        return (Effect.UNSAFE, Effect.KEYED, Effect.IDEMPOTENT, Effect.READ)

    def tags_url(self, arguments: ShellArguments) -> str | None:
        """Where the target's tags are read, if the step names a target."""
        return arguments.tags_url

    async def run(self, arguments: ShellArguments, context: ActionContext) -> ActionResult:
        """Run the program to its end; `deadline`, `lease_lost`, `cancelled`, `stopped` say why it was ended."""
        started = time.monotonic()
        try:
            path = context.shell.resolve(arguments.argv[0])
            environ = context.shell.environ(arguments.env, tuple(arguments.borrow_env), os.environ)
        except CommandRefused as error:
            return ActionResult.failed(error.code, str(error), effect_possible=False)
        environ |= {"IDEMPOTENCY_KEY": context.idem_key, "FENCE": str(context.fence)}
        if context.traceparent:
            environ["TRACEPARENT"] = context.traceparent
        deadline = min(context.deadline, started + arguments.timeout_seconds)
        command = await GuardedCommand.start(
            path, arguments.argv, environ, cwd=arguments.cwd, limit=min(deadline, context.lease.until)
        )
        report = await _attended(command, context.lease, deadline)
        stopped = _stopped_by(report, context.lease, deadline)
        return _judged(arguments, command, report, stopped, context, started)


async def _attended(command: GuardedCommand, lease: Lease, deadline: float) -> Report:
    """Wait for the end; pass renewals and cancellations on to the guard. Never leaves the command alive."""
    waiting = asyncio.ensure_future(command.wait())
    change: asyncio.Future[object] = asyncio.ensure_future(lease.changed())
    try:
        while not waiting.done():
            limit = min(deadline, lease.until)
            command.extend(limit)
            if lease.cancelled:
                command.cancel()
            patience = limit + PATIENCE_SECONDS - time.monotonic()
            if patience <= 0:
                break
            either: set[asyncio.Future[Any]] = {waiting, change}
            await asyncio.wait(either, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if change.done():
                change = asyncio.ensure_future(lease.changed())
    except asyncio.CancelledError:
        command.cancel()
        await asyncio.wait({waiting}, timeout=PATIENCE_SECONDS)
        command.report.stopped = command.report.stopped or "cancel"
    finally:
        change.cancel()
        if not waiting.done():
            command.close()
            waiting.cancel()
    return command.report


def _stopped_by(report: Report, lease: Lease, deadline: float) -> str | None:
    if report.stopped is None:
        return None
    if lease.cancelled or report.stopped == "cancel":
        return "cancelled"
    if report.stopped == "orphaned":
        return "stopped"  # somebody ended the guard itself
    return "deadline" if deadline <= lease.until else "lease_lost"


def _judged(
    arguments: ShellArguments,
    command: GuardedCommand,
    report: Report,
    stopped: str | None,
    context: ActionContext,
    started: float,
) -> ActionResult:
    outputs, evidence = _shown(command, report, Mask(context.secrets), started)
    if report.refused is not None:
        number, what = report.refused
        message = f"the program could not be started ({what}): {os.strerror(number)}"
        return ActionResult.failed("not_started", message, effect_possible=False, evidence=evidence)
    code: str | None = None
    message = ""
    if stopped:
        code, message = stopped, f"the command was stopped: {context.lease.cancelled or stopped}"
    elif not report.complete:
        code, message = "guard_lost", "the guard ended before it could report"
    elif report.exit_code not in arguments.expect_exit:
        code = "exit_code"
        message = f"exit code {report.exit_code}" if report.ended_by is None else f"ended by signal {report.ended_by}"
    if report.unstopped:
        code, message = NOT_STOPPED, f"could not be stopped: processes {', '.join(map(str, report.unstopped))}"
    printed = bool(outputs["stdout"] or outputs["stderr"])
    if code is None:
        return replace(ActionResult.succeeded(outputs, evidence), printed=printed)
    # Without a pid the guard never got to start the command.
    failed = ActionResult.failed(
        code,
        message,
        effect_possible=report.pid is not None or not report.complete,
        retryable=code in {"deadline", "lease_lost", "exit_code"},
        outputs=outputs,
        evidence=evidence,
    )
    return replace(failed, printed=printed)


def _shown(
    command: GuardedCommand, report: Report, mask: Mask, started: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    out, err = command.stdout.done(mask), command.stderr.done(mask)
    outputs: dict[str, Any] = {"exit_code": report.exit_code, "stdout": out.text, "stderr": err.text}
    evidence: dict[str, Any] = {
        "exit_code": report.exit_code,
        "signal": report.ended_by,
        "duration_ms": round((time.monotonic() - started) * 1000, 3),
        "stdout_bytes": out.length,
        "stdout_sha256": out.sha256,
        "stderr_bytes": err.length,
        "stderr_sha256": err.sha256,
        "leftover": report.leftover,
        "unstopped": list(report.unstopped),
    }
    cut = [name for name, part in (("stdout", out), ("stderr", err)) if part.truncated]
    return (outputs | {"truncated": cut} if cut else outputs), evidence
