"""What the approvals service measures. Observed before the commit: a transaction that is lost after that and done
again is observed twice; the records in the database are not.
"""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_SECONDS: Final = (1, 5, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 14400, 86400)

OPEN: Final = Gauge("approvals_open", "Questions that wait for a person, seen at the last look", ["risk"])
DECISIONS: Final = Counter("approval_decisions_total", "How questions and grants ended", ["outcome"])
LATENCY: Final = Histogram(
    "approval_latency_seconds", "From the question to its end, by outcome", ["outcome"], buckets=_SECONDS
)
