"""Approvals: a person's yes or no to one plan, one action, one time.

Owns: `approval`, `execution` (which have ended), `timer`.
Consumes: from EVENTS, through its durable `approvals`: `runbook.blocked` (reason `approval`; other reasons are left),
`runbook.completed`, `runbook.failed` and `runbook.aborted`.
Publishes: `approval.requested`, `granted`, `rejected`, `expired`, `revoked` and `withdrawn`.
Answers: `rpc.approvals.list`, `get`, `grant`, `reject`, `revoke`, and the dead letters' four verbs.
Asks: `rpc.executor.revoke_approval`, inside the transaction of a revocation.

Promises: however often an execution says that it waits for an approval, a person is asked once for each (visit of a
step, plan, action); the requester does not grant it; whoever grants names the hashes that were looked at, and other
hashes grant nothing; a request is decided once, whoever races; silence until `expires_at` is a no, by a durable timer
and at the decision itself; a grant is good until `valid_until` and for one use, which the executor checks; a
revocation is told only after the executor has confirmed it; what an ended execution asked for is withdrawn, in
whichever order its facts are handled; facts of an approval have versions 1, 2, 3 without gaps.
"""
