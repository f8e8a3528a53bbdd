"""The prototype's worker: takes jobs in batches, and says that each is done."""

from __future__ import annotations

import os
from typing import Any

from bench.limits.pipeline.events import decode, encode, event
from bench.limits.pipeline.links import GROUP, JOBS, bus, publish_many, redis


async def run() -> None:
    """Work until ended."""
    client, stream = await bus()
    jobs = redis()
    while True:
        got: Any = await jobs.xreadgroup(GROUP, f"w{os.getpid()}", {JOBS: ">"}, count=128, block=1000)
        if not got:
            continue
        ids, items = [], []
        for entry_id, fields in got[0][1]:
            job = decode(fields[b"b"])
            ids.append(entry_id)
            done = event("step.succeeded", job.incident_id, job.execution_id, job.step_index, "worker")
            items.append((f"{job.execution_id}.{job.step_index}.1", encode(done)))
        await publish_many(client, stream, "ev.result", items)
        await jobs.xack(JOBS, GROUP, *ids)
