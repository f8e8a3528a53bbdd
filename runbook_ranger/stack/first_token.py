"""The first administrator's token of an embedded stack: made once, kept in `client.json` (0600) for `rangerctl` alone.

The gateway gets its hash. Deleting the file takes the token away from everybody; the next `up` makes another.
"""

import hashlib
import json
import os
import secrets
from pathlib import Path

from runbook_ranger.stack.files import write_atomically
from runbook_ranger.stack.layout import Layout

ACTOR = "operator"
EVERYTHING = 3  # the highest clearance; its own module would bring the policy engine into the supervisor


def keep(layout: Layout, url: str) -> str:
    """Write where the gateway is beside the token, the one kept there or a fresh one; returns the token.

    Earlier versions kept a copy among the secrets: it goes.
    """
    former = layout.root / "secrets" / "operator-token"
    token = kept(layout) or (former.read_text().strip() if former.exists() else secrets.token_urlsafe(32))
    write_atomically(layout.client, json.dumps({"url": url, "token": token}))
    former.unlink(missing_ok=True)
    return token


def kept(layout: Layout) -> str:
    """The token that `rangerctl` uses; empty where there is none yet."""
    try:
        return str(json.loads(layout.client.read_text())["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def token_map(token: str) -> str:
    """`RR_TOKENS` of the gateway: the first administrator by hash, and whoever the environment names."""
    file = os.environ.get("RR_TOKENS_FILE")
    given = json.loads(Path(file).read_text()) if file else json.loads(os.environ.get("RR_TOKENS") or "{}")
    digest = hashlib.sha256(token.encode()).hexdigest()
    first = {"actor": ACTOR, "tenants": ["*"], "roles": ["admin"], "clearance": EVERYTHING}
    return json.dumps({f"sha256:{digest}": first, **given})
