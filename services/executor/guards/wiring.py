"""What guards hang on the executor's process: their questions, the reset of a breaker, and the queue."""

from libs.common.clock import utc_now
from libs.common.outbox import Outbox
from libs.common.process import Runtime
from services.executor.guards import questions, views
from services.executor.guards.queue import Queue
from services.executor.guards.resets import Resets
from services.executor.hints import Hints
from services.executor.settings import ExecutorSettings


def hang(runtime: Runtime, outbox: Outbox, hints: Hints, settings: ExecutorSettings) -> None:
    """Hang them on the process."""
    rpc = runtime.rpc
    rpc.query("locks", questions.GetLocks, views.get_locks)
    rpc.query("breakers", questions.GetBreakers, views.get_breakers)
    rpc.command("reset_breaker", questions.ResetBreaker, Resets(outbox, hints, utc_now).reset, hints.flush)
    runtime.add("queue", Queue(runtime.database, outbox, hints, settings, clock=utc_now))
