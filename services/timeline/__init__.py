"""The log: every fact once, in order, provably.

Owns: `log_state`, `leaf`, `payload`, `entry`, `chain_head`, `control`, `checkpoint`, `tile`, `fork`; its role can only
insert into `leaf`, `payload`, `entry`, `checkpoint`, `fork`. Signs the log and publishes it to the object store.
Consumes: all of EVENTS, through its durable `timeline` (acknowledges all up to the last one committed).
Publishes: no facts; `timeline.position` notes on core NATS, which tell the outboxes how far the log has come.
Answers: `rpc.timeline.list`, `provenance`, `artefacts`, `artefact`, `leaves`, `payload`, `heads`, `state`, `proof`,
`consistency`, `checkpoint`, `export`, `export_part`.

`exporter` copies the log for long keeping, in a process of its own; `rebuild` makes a lost one again from there.

Promises: every stream sequence gets exactly one outcome (event, duplicate, conflict, reject, or part of a gap); leaf
bytes are a pure function of the stream, so a crash and a replay write the same log; one writer at a time, fenced by a
compare-and-set in the append itself. When stream and log contradict each other it stops appending, stays alive and
says why on /readyz.
"""
