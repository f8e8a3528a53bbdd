"""The named crash points, one or more for every row of the crash tables, and what makes a process come there.

| row | points |
| --- | --- |
| producer, before commit | `command_before_commit` |
| producer, after commit, before publish | `command_after_commit`, `relay_before_publish` |
| producer, after publish, before acknowledgement or mark | `relay_after_publish`, `alert_after_store` |
| consumer, before commit | `consumer_before_commit`, `timeline_before_commit` |
| consumer, after commit, before acknowledgement | `consumer_after_commit`, `…_before_ack`, `timeline_after_commit` |
| log, between what it signs and publishes | `timeline_control_asked`, `timeline_checkpoint_…`, `timeline_tiles_…` |
| worker, before the claim's commit | `before_claim` |
| worker, after it, before or after the effect | `after_claim`, `before_effect`, `after_effect`, `before_settle` |
| worker, after the settling commit | `after_settle` |
| timers, sweeper and queue, on either side of their commit | `timer_…`, `sweeper_…`, `queue_…`, `approvals_…` |
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Stimulus(StrEnum):
    """What brings a process to a point."""

    ALERT = "an alert"
    GUARDED = "a step that needs an approval"
    REVOKED = "a grant that is taken back"
    SILENT = "a question that nobody answers"
    TIMED = "a step that waits"
    LOST = "a worker that dies after its claim"
    QUEUED = "an execution that waits for another one's end"


@dataclass(frozen=True, slots=True)
class Point:
    """One point, and the process that is to die there."""

    name: str
    process: str
    stimulus: Stimulus = Stimulus.ALERT


WORKER: Final = "worker"
POINTS: Final = (
    Point("before_claim", WORKER),
    Point("relay_before_publish", "incident"),
    Point("consumer_before_commit", "catalog"),
    Point("timeline_before_commit", "timeline"),
    Point("command_before_commit", "approvals", Stimulus.GUARDED),
    Point("timer_before_commit", "executor", Stimulus.TIMED),
    Point("alert_after_store", "gateway"),
    Point("after_claim", WORKER),
    Point("relay_after_publish", "incident"),
    Point("consumer_after_commit", "catalog"),
    Point("timeline_after_commit", "timeline"),
    Point("command_after_commit", "approvals", Stimulus.GUARDED),
    Point("timer_after_commit", "executor", Stimulus.TIMED),
    Point("before_effect", WORKER),
    Point("consumer_before_ack", "incident"),
    Point("timeline_before_ack", "timeline"),
    Point("timeline_control_asked", "timeline"),
    Point("timeline_checkpoint_signed", "timeline"),
    Point("timeline_tiles_published", "timeline"),
    Point("timeline_checkpoint_kept", "timeline"),
    Point("timeline_checkpoint_published", "timeline"),
    Point("after_effect", WORKER),
    Point("relay_after_publish", "catalog"),
    Point("queue_before_commit", "executor", Stimulus.QUEUED),
    Point("approvals_revocation_confirmed", "approvals", Stimulus.REVOKED),
    Point("approvals_vote_counted", "approvals", Stimulus.GUARDED),
    Point("before_settle", WORKER),
    Point("sweeper_before_commit", "executor", Stimulus.LOST),
    Point("after_settle", WORKER),
    Point("approvals_timer_fired", "approvals", Stimulus.SILENT),
    Point("queue_after_commit", "executor", Stimulus.QUEUED),
    Point("sweeper_after_commit", "executor", Stimulus.LOST),
)
"""Spread over the processes, since one that dies again and again is started later and later."""
APART: Final = frozenset(
    {
        "export_marks_written", "export_segment_written", "gateway_redaction_untold", "rebuild_before_commit",
        "timeline_bundle_kept", "timeline_object_shredded",
    }
)  # fmt: skip
"""Which nothing in a run comes by: copying the log, making it again, bundles, redaction. Their own tests die there."""
