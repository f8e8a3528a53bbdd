"""Runbooks: what was published, under which version and hash, and which of them fits an incident.

Owns: `runbook`, `runbook_draft`, `runbook_version`, `match`; its role can only read and add rows of `runbook_version`.
Consumes: `incident.created` from EVENTS, through its durable `catalog`.
Publishes: `runbook.published`, `runbook.matched`.
Answers: `rpc.catalog.draft`, `publish`, `lint`, `get_version`, `get_draft`, `list`, and the dead letters' four verbs.

Promises: versions of a runbook are 1, 2, 3… without gaps, and a published one never changes; publishing what is
already the latest version, by hash, makes no new one; an incident is matched with at most one runbook, once, however
often its creation is delivered: the one whose trigger is most specific, among equals the one whose id sorts first.
Only what the loader and the lint of `libs.runbook` accept is ever published or kept as a draft; a runbook has at most
one draft, and none once that is published. An incident whose alert no longer fires is not matched.
"""
