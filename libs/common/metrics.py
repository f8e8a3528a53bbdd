"""Prometheus metrics that every process has. Labels are names from the code, never ids, tenants or subjects' tails."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

CONSUMED: Final = Counter("ranger_consumed_total", "Messages applied, by outcome", ["consumer", "outcome"])
BATCH: Final = Histogram(
    "ranger_consume_batch_size", "Messages a transaction took", ["consumer"], buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
DEAD_LETTERS: Final = Counter("ranger_dead_letters_total", "Messages set aside", ["consumer", "reason"])
PUBLISHED: Final = Counter("ranger_outbox_published_total", "Facts acknowledged by JetStream")
RELAY_ERRORS: Final = Counter("ranger_outbox_errors_total", "Publishes that were refused or not answered")
RELAY_LOST: Final = Counter("ranger_outbox_lost_total", "Facts that the stream lost and that were sent again")
OUTBOX_PENDING: Final = Gauge("ranger_outbox_pending", "Facts that wait for the relay, seen at its last look")
ARTEFACTS_WAITING: Final = Gauge(
    "ranger_artefacts_waiting", "Artefacts that are not in the object store yet; of many, the first 16 are counted"
)
RPC: Final = Histogram("ranger_rpc_seconds", "Commands and questions answered", ["verb", "code"], buckets=_FAST)
DENIALS: Final = Counter("ranger_policy_denials_total", "Decisions that said no", ["action", "reason"])
BUS_DENIALS: Final = Counter(
    "ranger_nats_permission_denials_total", "What the bus's server did not permit", ["operation", "subject"]
)
POLICY: Final = Histogram(
    "ranger_policy_seconds",
    "Decisions, by the engine that was asked; `again` are those that were used once more",
    ["engine"],
    buckets=(0.00005, 0.0001, 0.00025, 0.0005, 0.00075, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1),
)
POLICY_SHADOW: Final = Counter(
    "ranger_policy_shadow_total", "Decisions of a second engine beside the first's: same, different, failed, skipped",
    ["outcome"],
)  # fmt: skip
