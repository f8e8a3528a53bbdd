# ruff: noqa: INP001 -- a script of its own, not part of a package
"""Make every secret of a compose installation: `python3 deploy/make_secrets.py [FOLDER]`, by default deploy/secrets.

Runs once and needs Python's standard library only. The folder is closed to everybody else on the machine (0700); the
files in it are readable (0444), because compose mounts them as they are and no process in a container is root. A
folder that holds anything is left alone: passwords that the servers' stores already know must not change by accident.
"""

import argparse
import json
import os
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from runbook_ranger.stack.roles import service_url  # noqa: E402 -- found through the line above

SERVICES = ("gateway", "incident", "catalog", "executor", "approvals", "timeline")
ADMIN_ONLY = ("STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE", "STREAM.PURGE", "STREAM.RESTORE", "CONSUMER.DELETE")
"""Management requests that only provisioning may make: each can throw messages or positions away."""

NATS_USERS = """\
authorization {{
  users: [
    {{ user: admin, password: "{admin}" }}
    {{ user: ranger, password: "{ranger}", permissions: {{ publish: {{ deny: {denied} }} }} }}
  ]
}}
"""
VALKEY_USERS = """\
user default off
user ranger on >{ranger} ~rr:* resetchannels +@all -@dangerous
user health on >health resetkeys resetchannels -@all +ping
"""


def contents() -> dict[str, str]:
    """A fresh set: file name to content."""
    role_secret, admin, nats_admin, nats, valkey, operator = (secrets.token_hex(24) for _ in range(6))
    database = f"postgresql://postgres:{admin}@postgres:5432/ranger"
    denied = json.dumps([f"$JS.API.{request}.>" for request in ADMIN_ONLY])
    return {
        "role_secret": role_secret,
        "postgres_admin_password": admin,
        "postgres_admin_url": database,
        **{f"postgres_url_{service}": service_url(database, service, role_secret) for service in SERVICES},
        "nats_users": NATS_USERS.format(admin=nats_admin, ranger=nats, denied=denied),
        "nats_admin_url": f"nats://admin:{nats_admin}@nats:4222",
        "nats_url": f"nats://ranger:{nats}@nats:4222",
        "valkey_users": VALKEY_USERS.format(ranger=valkey),
        "redis_url": f"redis://ranger:{valkey}@valkey:6379/0",
        "notify_channels": "{}",
        "operator_token": operator,
        "tokens": json.dumps({operator: {"actor": "operator", "tenants": ["*"], "roles": ["admin"]}}, indent=1),
    }


def write(folder: Path) -> None:
    """Write a fresh set into a folder that is missing or empty; it appears whole or not at all.

    Raises:
        SystemExit: the folder holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise SystemExit(f"{folder} is not empty; secrets that servers already know are not made anew")
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
    fresh.mkdir(mode=0o700, parents=True)
    for name, content in contents().items():
        path = fresh / name
        path.write_text(f"{content.rstrip()}\n")
        path.chmod(0o444)
    fresh.replace(folder)


def main() -> None:
    """Write the folder that the command line names."""
    parser = argparse.ArgumentParser(description="Make every secret of a compose installation, once.")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "deploy" / "secrets")
    folder = parser.parse_args().folder.absolute()
    write(folder)
    sys.stdout.write(f"secrets are in {folder}; the operator's token is in {folder.name}/operator_token\n")


if __name__ == "__main__":
    main()
