"""The executor's SQL: rows in, rows out, one statement for a batch of each kind.

Every change of an action is guarded by its state and, once it runs, by its fence: zero rows means that somebody else
knows better.
"""

from services.executor.storage.alerts import alerts_fire, set_alerts
from services.executor.storage.attempts import last_attempt, ready_attempts, to_attempt, to_hint
from services.executor.storage.executions import (
    insert_executions,
    keep_spec,
    known_spec,
    live_of_incidents,
    lock,
)
from services.executor.storage.frames import kept_rollbacks, running
from services.executor.storage.writes import LostUpdate, Writes, write

__all__ = [
    "LostUpdate",
    "Writes",
    "alerts_fire",
    "insert_executions",
    "keep_spec",
    "kept_rollbacks",
    "known_spec",
    "last_attempt",
    "live_of_incidents",
    "lock",
    "ready_attempts",
    "running",
    "set_alerts",
    "to_attempt",
    "to_hint",
    "write",
]
