# ruff: noqa: INP001 -- a script of its own, not part of a package
"""Make every secret of a compose installation: `python3 deploy/make_secrets.py [FOLDER]`, by default deploy/secrets.

Runs once and needs Python's standard library only. The folder is closed to everybody else on the machine (0700); the
files in it are readable (0444), because compose mounts them as they are and no process in a container is root. A
folder that holds anything is left alone: passwords that the servers' stores already know must not change by accident.

The keys of the bus can be changed while everything runs. `--renew NAME …` gives identities a new key and lets the old
one in as well, `--retire` shuts the old ones out; `--complete` adds what the folder of an older version lacks: keys,
and what signs links to approvals and URLs of evidence. After each, the bus has to read its users again: docs/deploy.md,
Secrets.
"""

import argparse
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from runbook_ranger.stack import keyring, logkeys  # noqa: E402 -- found through the line above
from runbook_ranger.stack.nkeys import new_seed, public_key  # noqa: E402 -- as above
from runbook_ranger.stack.roles import service_url  # noqa: E402 -- as above

FIRST = {"actor": "operator", "tenants": ["*"], "roles": ["admin"], "clearance": 3}
"""Whom the first token speaks for; the gateway is given its hash alone."""
SERVICES = ("gateway", "incident", "catalog", "executor", "approvals", "timeline", "exporter")
USERS = "nats_users"
SIGNING = ("link_secret", "evidence_secret")
LOG_KEYS = {"timeline_key": logkeys.log_name, "bundle_key": logkeys.bundle_name}
GRANTS = 'include "../../etc/nats/permissions.conf"'  # relative to /run/secrets: that is where the file stands
READABLE = 0o444

VALKEY_USERS = """\
user default off
user ranger on >{ranger} ~rr:* resetchannels +@all -@dangerous
user health on >health resetkeys resetchannels -@all +ping
"""


def contents(origin: str) -> dict[str, str]:
    """A fresh set: file name to content. `origin` is the log's name."""
    role_secret, admin, valkey, operator = (secrets.token_hex(24) for _ in range(4))
    database = f"postgresql://postgres:{admin}@postgres:5432/ranger"
    keys = {identity: new_seed() for identity in keyring.IDENTITIES}
    return {
        "role_secret": role_secret,
        "postgres_admin_password": admin,
        "postgres_admin_url": database,
        **{f"postgres_url_{service}": service_url(database, service, role_secret) for service in SERVICES},
        **{key_name(identity): seed for identity, seed in keys.items()},
        USERS: users({identity: [seed] for identity, seed in keys.items()}),
        "valkey_users": VALKEY_USERS.format(ranger=valkey),
        "redis_url": f"redis://ranger:{valkey}@valkey:6379/0",
        "notify_channels": "{}",
        **{name: secrets.token_hex(32) for name in SIGNING},
        **{name: logkeys.new_key(named(origin)) for name, named in LOG_KEYS.items()},
        "operator_token": operator,
        "tokens": json.dumps({f"sha256:{hashlib.sha256(operator.encode()).hexdigest()}": FIRST}, indent=1),
    }


def key_name(identity: str, *, old: bool = False) -> str:
    """The file of a key of the bus."""
    return f"nats_key_{identity}{'.old' if old else ''}"


def users(seeds: dict[str, list[str]]) -> str:
    """Who the bus lets in, by public key."""
    return keyring.authorization({name: [public_key(seed) for seed in those] for name, those in seeds.items()}, GRANTS)


def write(folder: Path, origin: str = logkeys.ORIGIN) -> None:
    """Write a fresh set into a folder that is missing or empty; it appears whole or not at all.

    Raises:
        SystemExit: the folder holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise SystemExit(f"{folder} is not empty; secrets that servers already know are not made anew")
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
    fresh.mkdir(mode=0o700, parents=True)
    for name, content in contents(origin).items():
        put(fresh / name, content)
    fresh.replace(folder)


def put(file: Path, content: str) -> None:
    """Write in place: what is mounted in a container is this very file, not whatever has its name later."""
    if file.exists():
        file.chmod(0o600)
    file.write_text(f"{content.rstrip()}\n")
    file.chmod(READABLE)


def renew(folder: Path, identities: Iterable[str]) -> None:
    """Give these identities a new key; the old one is let in until `retire`.

    Raises:
        SystemExit: an old key is still let in: a third one would shut out whoever has it.
    """
    for identity in identities:
        current, old = folder / key_name(identity), folder / key_name(identity, old=True)
        if old.exists():
            raise SystemExit(f"{old} is there already: --retire first")
        current.rename(old)
        put(current, new_seed())
    put_users(folder)


def retire(folder: Path) -> None:
    """Let nobody in any more with an old key."""
    for identity in keyring.IDENTITIES:
        (folder / key_name(identity, old=True)).unlink(missing_ok=True)
    put_users(folder)


def complete(folder: Path, origin: str = logkeys.ORIGIN) -> None:
    """Make the keys that are missing, and what signs links, URLs and the log; what is there stays."""
    for identity in keyring.IDENTITIES:
        if not (folder / key_name(identity)).exists():
            put(folder / key_name(identity), new_seed())
    for service in SERVICES:
        made = folder / f"postgres_url_{service}"
        if not made.exists() and (folder / "postgres_admin_url").exists():
            admin, secret = (folder / name for name in ("postgres_admin_url", "role_secret"))
            put(made, service_url(admin.read_text().strip(), service, secret.read_text().strip()))
    for name in SIGNING:
        if not (folder / name).exists():
            put(folder / name, secrets.token_hex(32))
    for name, named in LOG_KEYS.items():
        if not (folder / name).exists():
            put(folder / name, logkeys.new_key(named(origin)))
    put_users(folder)


def put_users(folder: Path) -> None:
    """Write down who is let in, by the keys that are there."""
    files = {
        identity: [folder / key_name(identity), folder / key_name(identity, old=True)]
        for identity in keyring.IDENTITIES
    }
    put(folder / USERS, users({name: [f.read_text() for f in those if f.exists()] for name, those in files.items()}))


def main() -> None:
    """Do with the folder what the command line says."""
    parser = argparse.ArgumentParser(description="Make every secret of a compose installation, once.")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "deploy" / "secrets")
    parser.add_argument("--renew", nargs="+", choices=keyring.IDENTITIES, metavar="NAME", help="new keys of the bus")
    parser.add_argument("--retire", action="store_true", help="shut out the keys that --renew replaced")
    parser.add_argument("--complete", action="store_true", help="add the keys of the bus that the folder lacks")
    origin = os.environ.get("RR_TIMELINE_ORIGIN") or logkeys.ORIGIN
    parser.add_argument("--origin", default=origin, help="the log's name, as in RR_TIMELINE_ORIGIN")
    given = parser.parse_args()
    folder = given.folder.absolute()
    if given.renew:
        renew(folder, given.renew)
    elif given.retire:
        retire(folder)
    elif given.complete:
        complete(folder, given.origin)
    else:
        write(folder, given.origin)
        sys.stdout.write(f"secrets are in {folder}; the operator's token is in {folder.name}/operator_token\n")


if __name__ == "__main__":
    main()
