"""Approvals: requests, decisions, quorum, expiry. The process and its contracts stand; the flow comes next.

Today it owns the substrate (outbox, inbox, dead letters, answered commands) and nothing else, consumes nothing,
publishes nothing and answers no verb. A step that needs an approval stays blocked in the executor until the flow is
here: without a grant nothing runs.

It will own requests, decisions and grants; consume `runbook.blocked` (reason `approval`), `runbook.failed` and
`runbook.aborted`; publish `approval.requested`, `granted`, `rejected`, `expired` and `revoked`, whose payloads stand in
`libs/common/contracts/approval.py` and whose rows enter the choreography with the flow.

It will promise: an approval is for one plan, one action, one time; the requester is not the approver; silence is a
rejection; a revocation is confirmed only when the executor has it.
"""
