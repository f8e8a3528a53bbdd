"""What JetStream must look like: streams and durable consumers as the server's own JSON, and how that is compared.

Pure: values in, values out.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from libs.common.contracts.choreography import ADVISORY, DLQ, EVENTS, INGRESS, STREAMS, consumers
from runbook_ranger.stack.errors import Difference

Json = dict[str, object]

SECOND = 1_000_000_000  # JetStream counts nanoseconds
DAY = 86_400 * SECOND
GIB = 1 << 30
EPOCH_KEY = "rr.epoch"
LOG_KEEPER = "timeline"  # acknowledges a whole prefix at a time
UNWANTED = ("mirror", "sources", "subject_transform", "republish", "sealed", "no_ack", "template_owner")


@dataclass(frozen=True)
class StreamSettings:
    """What differs between one machine and a cluster."""

    events_max_bytes: int = 8 * GIB
    replicas: int = 1

    @classmethod
    def from_environment(cls) -> "StreamSettings":
        """`RR_EVENTS_MAX_BYTES` (must stay below the disk) and `RR_NATS_REPLICAS`."""
        return cls(
            events_max_bytes=int(os.environ.get("RR_EVENTS_MAX_BYTES") or 8 * GIB),
            replicas=int(os.environ.get("RR_NATS_REPLICAS") or 1),
        )


def streams(settings: StreamSettings) -> dict[str, Json]:
    """Each stream's wanted configuration by name, without its epoch.

    Full streams refuse (discard new): the outbox or the webhook's sender waits and nothing that was accepted is lost.
    Only advisories, which merely echo what dead letters hold, push out the oldest.
    """
    common: Json = {
        "retention": "limits",
        "storage": "file",
        "num_replicas": settings.replicas,
        "discard": "new",
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "max_consumers": -1,
        "duplicate_window": 120 * SECOND,
        "allow_direct": True,
    }
    own: dict[str, Json] = {
        INGRESS: {"max_age": 7 * DAY, "max_bytes": GIB},
        EVENTS: {
            "max_age": 30 * DAY,
            "max_bytes": settings.events_max_bytes,
            "deny_delete": True,
            "deny_purge": True,
            "allow_atomic": True,
        },
        DLQ: {"max_age": 90 * DAY, "max_bytes": GIB // 2},
        ADVISORY: {"max_age": 7 * DAY, "max_bytes": GIB // 16, "discard": "old"},
    }
    return {
        name: {"name": name, "subjects": list(subjects), **common, **own[name]} for name, subjects in STREAMS.items()
    }


def durables(settings: StreamSettings) -> dict[tuple[str, str], Json]:
    """Each durable's wanted configuration by (stream, durable), from the choreography."""
    return {(stream, name): durable(name, subjects, settings) for (stream, name), subjects in consumers().items()}


def durable(name: str, subjects: tuple[str, ...], settings: StreamSettings) -> Json:
    """A pull consumer that never gives up on a message: dead letters are the consumer's own decision."""
    keeper = name == LOG_KEEPER
    return {
        "name": name,
        "durable_name": name,
        "deliver_policy": "all",
        "ack_policy": "all" if keeper else "explicit",
        "ack_wait": 30 * SECOND,
        "max_deliver": -1,
        "max_ack_pending": 10_000 if keeper else 2_000,
        "replay_policy": "instant",
        "filter_subjects": sorted(subjects),
        "num_replicas": settings.replicas,
    }


def stream_differences(wanted: Mapping[str, object], found: Mapping[str, object]) -> list[Difference]:
    """Every field of an existing stream that is not as wanted, with what to do about it."""
    name = str(wanted["name"])
    remedy = f"put it back, or change it on purpose: `rangerctl provision --update {name}`"
    fields = {**dict.fromkeys(("deny_delete", "deny_purge", "allow_atomic", *UNWANTED)), **wanted}
    return _differences(f"stream {name}", fields, found, remedy)


def durable_differences(stream: str, wanted: Mapping[str, object], found: Mapping[str, object]) -> list[Difference]:
    """As for streams. Where a durable started is no drift: a recreated one starts behind its predecessor."""
    name = str(wanted["name"])
    remedy = f"recreate it where it stands: `rangerctl provision --recreate {stream}/{name}`"
    fields = {key: value for key, value in wanted.items() if key not in {"deliver_policy", "num_replicas"}}
    seen = dict(found)
    if "filter_subjects" not in seen and seen.get("filter_subject"):
        seen["filter_subjects"] = [seen["filter_subject"]]
    return _differences(f"consumer {stream}/{name}", {**fields, "deliver_subject": None}, seen, remedy)


def _differences(what: str, wanted: Mapping[str, object], found: Mapping[str, object], remedy: str) -> list[Difference]:
    return [
        Difference(what, field, found.get(field), value, remedy)
        for field, value in wanted.items()
        if field != "metadata" and _plain(found.get(field)) != _plain(value)
    ]


def _plain(value: object) -> object:
    """Absent, false, empty and zero are one to the server; the order of subjects has no meaning."""
    if isinstance(value, list):
        return sorted(map(str, value)) or None
    return value or None
