"""Reads what outsiders posted on INGRESS.

A post's identity is its place in the stream, given by us: two posts are never the same post because of what their
senders wrote. The tenant comes from `Rr-Tenant`, which the gateway sets from the credential; without it, it is the
installation's own.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from libs.common.consumer import Decoder
from libs.common.contracts.alert import PARSERS, Alert
from libs.common.contracts.envelope import MalformedEnvelope

TENANT_HEADER: Final = "Rr-Tenant"
_TENANT: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def alert_decoder(default_tenant: str) -> Decoder[list[Alert]]:
    """Reads posts of alerts, one or many a message."""

    def decode(message: Any, position: Callable[[], str]) -> tuple[list[Alert], str, str, str, str]:
        headers = message.headers or {}
        tenant = headers.get(TENANT_HEADER) or default_tenant
        if _TENANT.fullmatch(tenant) is None:
            raise MalformedEnvelope(f"header {TENANT_HEADER} is not a tenant's name")
        parse = PARSERS.get(message.subject)
        if parse is None:
            raise MalformedEnvelope(f"no alert is expected on {message.subject}")
        return parse(message.data), position(), "", tenant, headers.get("traceparent", "")

    return decode
