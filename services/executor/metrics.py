"""What the executor and its workers count. Labels are names from the code and from runbooks' actions, never ids."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)

EXECUTIONS: Final = Counter("runbook_executions_total", "Executions ended, by state", ["state"])
EXECUTION_SECONDS: Final = Histogram(
    "runbook_execution_duration_seconds", "From the plan to the end", ["state"], buckets=_SECONDS
)
STEPS: Final = Counter("runbook_steps_total", "Attempts settled, by action and outcome", ["action", "outcome"])
STEP_SECONDS: Final = Histogram("runbook_step_seconds", "Carrying an action out", ["action"], buckets=_SECONDS)
CLAIMS: Final = Counter("runbook_claims_total", "Claims, by what became of them", ["outcome"])
LATE: Final = Counter("runbook_late_results_total", "Results that came under an older fence")
LEASES_LOST: Final = Counter("runbook_leases_lost_total", "Leases that ran out, by effect", ["effect"])
REHINTS: Final = Counter("runbook_rehints_total", "Ready actions that needed another hint")
GUARDS: Final = Counter("runbook_guard_decisions_total", "What guards across executions decided", ["guard", "decision"])
QUEUED: Final = Gauge("runbook_executions_queued", "Executions that wait for a place, as this executor last saw")
RUNNING: Final = Gauge("runbook_actions_running", "Actions that this worker carries out now")
"""The gauges and counters of one process; sum them over processes."""
