"""The executor: plans, executions, actions, locks, guards, timers, the kill switch; its workers carry actions out.

Owns      the schema `executor`. Its workers are processes of the same service: they share the schema and the outbox.
Consumes  `runbook.matched` (plan it); `incident.created`, `incident.alert_linked`, `incident.alert_resolved` (whether
          the alert fires: verifies executions, holds back steps that require it).
Publishes `runbook.planned … runbook.completed | failed | aborted`, `runbook.kill_switch_changed`,
          `runbook.lock_broken`, `runbook.breaker_opened | breaker_reset`.
Answers   `get`, `list`, `decide_step`, `abort`, `break_lock`, `kill_switch_get`, `kill_switch_set`,
          `locks`, `breakers`, `reset_breaker`.

Promises  A step takes effect once, or a person is told that nobody knows. *Running* commits before the first byte of an
          effect, with a new fence and a lease by the database's clock; whoever holds an older fence can no longer
          change state. A lease that ran out makes a step that may repeat ready again with the same idempotency key, and
          an unsafe one `unknown`, which only a late result or a person ends. Once the kill switch's toggle is answered,
          no mutation starts. Redis carries hints alone: flushed, stopped or lying, it delays and loses nothing.

Reading order: `libs/runbook/advance.py` (what happens next), `fold.py` (how that becomes rows and facts in one
transaction), `claims.py` and `settlement.py` (a worker's two commits), `guards` (executions among each other),
`sweeper.py` (what died), `timers.py`.
"""
