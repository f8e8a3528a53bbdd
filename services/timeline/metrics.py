"""What the log shows of itself. A conflict is worth an alert: somebody published other content under a known id."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

APPENDED: Final = Counter("ranger_timeline_appended_total", "Leaves appended, by kind", ["kind"])
SKEWED: Final = Counter(
    "ranger_timeline_skewed_total", "Events whose own time is over an hour from when the stream stored them", ["clock"]
)
BATCH: Final = Histogram(
    "ranger_timeline_batch_size", "Leaves a transaction appended", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
)
LAG: Final = Gauge("ranger_timeline_lag", "Messages of the stream that were not delivered yet at the last append")
LAST_APPEND: Final = Gauge("ranger_timeline_last_append_seconds", "When the log last grew, Unix seconds")
WRITER: Final = Gauge("ranger_timeline_writer", "1 where this process is the log's writer, 0 where it stands by")
FROZEN: Final = Gauge("ranger_timeline_frozen", "1 while stream and log contradict each other and nothing is appended")
SIGNING: Final = Gauge("ranger_timeline_signing", "1 where this process signs checkpoints, 0 without a key that may")
CHECKPOINT: Final = Gauge("ranger_timeline_checkpoint_size", "Leaves that the newest checkpoint signs")
PUBLISHED: Final = Gauge("ranger_timeline_published_size", "Leaves that the newest published checkpoint signs")
PUBLISHING: Final = Gauge("ranger_timeline_publishing", "1 where the object store took the last checkpoint")
ARTEFACTS_DELETED: Final = Counter(
    "ranger_timeline_artefacts_deleted_total", "Artefacts that were deleted as their retention ended", ["kind"]
)
ARTEFACTS_SWAPPED: Final = Counter(
    "ranger_timeline_artefacts_swapped_total", "Objects that were not what the log names when a bundle was made of them"
)
SPLIT_VIEWS: Final = Counter(
    "ranger_timeline_split_views_total", "Cosigned checkpoints of this log's name with another root: look at once"
)
ARTEFACTS_REDACTED: Final = Counter(
    "ranger_timeline_artefacts_redacted_total", "Artefacts that were deleted with a redaction", ["kind"]
)
BUNDLES: Final = Histogram(
    "ranger_timeline_bundle_seconds", "How long a bundle took to make", buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15, 60)
)
