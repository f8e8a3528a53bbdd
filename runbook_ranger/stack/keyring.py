"""The bus's keys in a folder, one file an identity, and the server's authorization made of them.

`incident.nk` is the seed that the incident service signs in with, `admin.nk` that of provisioning and people. A further
key of the same identity, `incident.<anything>.nk`, is let in as well: so keys are changed while everything runs
(docs/operators.md). Standard library only, as `deploy/make_secrets.py` needs it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from runbook_ranger.stack.files import write_atomically
from runbook_ranger.stack.nkeys import new_seed, public_key

SERVICES: Final = ("gateway", "incident", "catalog", "executor", "approvals", "timeline", "worker", "exporter")
"""As `choreography.IDENTITIES`, which needs more than the standard library; a test compares them."""
ADMIN: Final = "admin"
IDENTITIES: Final = (*SERVICES, ADMIN)
SUFFIX: Final = ".nk"
GRANTS: Final = Path(__file__).with_name("servers") / "permissions.conf"


def ensure(folder: Path) -> None:
    """Make the folder and the keys that are missing; those that are there stay."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in IDENTITIES:
        if not path(folder, name).exists():
            write_atomically(path(folder, name), new_seed())


def path(folder: Path, identity: str) -> Path:
    """The file of the key that an identity signs in with."""
    return folder / f"{identity}{SUFFIX}"


def seed(folder: Path, identity: str) -> str:
    """The key that an identity signs in with.

    Raises:
        OSError: there is no such file.
    """
    return path(folder, identity).read_text().strip()


def public_keys(folder: Path) -> dict[str, list[str]]:
    """Every public key that is let in, by identity.

    Raises:
        MalformedSeed: a file holds no user's seed.
    """
    found: dict[str, list[str]] = {}
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        identity = file.name.partition(".")[0]
        if identity in IDENTITIES:
            found.setdefault(identity, []).append(public_key(file.read_text()))
    return found


def authorization(keys: Mapping[str, Sequence[str]], grants: str, more: Sequence[str] = ()) -> str:
    """A server's block `authorization`: these public keys by identity, with `grants` (text, or what includes it).

    The administrator may do everything: who may make a stream can read all that goes through it anyway. `more` are
    further users in the server's own notation.
    """
    users = [
        f"{{ nkey: {key}{'' if identity == ADMIN else f', permissions: ${identity}'} }}"
        for identity in IDENTITIES
        for key in keys.get(identity, ())
    ]
    listed = "\n".join(f"    {user}" for user in (*users, *more))
    return f"authorization {{\n{grants.rstrip()}\n  users: [\n{listed}\n  ]\n}}\n"


def open_user(name: str, password: str) -> str:
    """A user with a password who may do everything: who tests and benches speak for services as."""
    return f"{{ user: {json.dumps(name)}, password: {json.dumps(password)} }}"
