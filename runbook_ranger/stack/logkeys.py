"""The keys that sign the log and its evidence bundles, made once. `libs.tlog.secretkey` says how they are spelled.

Standard library only, as `deploy/make_secrets.py` needs it.
"""

import base64
import hashlib
import secrets
from pathlib import Path
from typing import Final

from runbook_ranger.stack.files import write_atomically
from runbook_ranger.stack.nkeys import BYTES, ed25519_public

ORIGIN: Final = "ranger.local/timeline/main"
"""As `TimelineSettings.timeline_origin`, which needs more than the standard library; a test compares them."""
_ED25519: Final = b"\x01"


def log_name(origin: str) -> str:
    """The name of the key that signs checkpoints: a key is the log's when it has its name."""
    return origin


def bundle_name(origin: str) -> str:
    """The name of the key that seals bundles."""
    return f"{origin}/bundles"


def new_key(name: str) -> str:
    """A fresh private key, on one line."""
    seed = secrets.token_bytes(BYTES)
    key_id = hashlib.sha256(name.encode() + b"\n" + _ED25519 + ed25519_public(seed)).hexdigest()[:8]
    return f"PRIVATE+KEY+{name}+{key_id}+{base64.b64encode(_ED25519 + seed).decode()}"


def keep(path: Path, name: str) -> Path:
    """The file that holds a key of this name, made (0600) where there is none; what is there stays."""
    if not path.exists():
        write_atomically(path, f"{new_key(name)}\n")
    return path
