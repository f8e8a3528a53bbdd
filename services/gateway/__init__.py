"""The only public HTTP face: it authenticates, translates, and knows nothing of incidents' rules.

Owns: no tables of its own yet; its schema holds the shared ones.
Consumes: nothing; the live stream reads EVENTS by direct gets, without a consumer. Publishes: no facts; alerts from
outside go to INGRESS as they came, with the credential's tenant.
Asks: every other service, over `rpc.<service>.<verb>`; answers pass through unchanged, and only `GET /incidents/{id}`
is put together from several.

Promises: nothing is routed, read or answered with content before the bearer token is known; identity and tenant come
from the credential alone; an alert is answered 202 only once JetStream has stored it, and 503 otherwise; every
answer carries its `Trace-Id`; neither tokens nor bodies reach logs, spans or error texts. A crash loses nothing that
was answered; a change that was not answered may be repeated with the same `Idempotency-Key`.
"""
