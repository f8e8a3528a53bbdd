"""Which revision a service's schema is at, and which one its code needs: checked at start without Alembic.

Only the migration job changes schemas. A schema that is behind refuses the start; one that is ahead (a revision that
this code does not know yet) is accepted, since migrations expand first and contract only when no old process is left.
"""

import ast
import importlib.util
from pathlib import Path
from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

VERSION_TABLE = "alembic_version"


class SchemaBehindError(RuntimeError):
    """The schema lacks migrations that this code needs."""

    def __init__(self, schema: str, current: str | None, head: str) -> None:
        self.schema, self.current, self.head = schema, current, head
        super().__init__(f"schema {schema} is at {current or 'nothing'}, this code needs {head}: `rangerctl migrate`")


def versions_folder(service: str) -> Path | None:
    """A service's `migrations/versions`, without importing the service; None when it has none."""
    spec = importlib.util.find_spec(f"services.{service}")
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / "migrations" / "versions"
        if any(folder.glob("*.py")):
            return folder
    return None


def revisions(versions: Path) -> dict[str, set[str]]:
    """Each revision in a folder with those it follows, read from the files' `revision` and `down_revision`."""
    found: dict[str, set[str]] = {}
    for path in sorted(versions.glob("*.py")):
        names = _assignments(path)
        revision, parents = names.get("revision"), names.get("down_revision")
        if isinstance(revision, str):
            several = parents if isinstance(parents, tuple | list) else (parents,)
            found[revision] = {str(parent) for parent in several if parent}
    return found


def head_of(versions: Path) -> str:
    """The one revision that none follows.

    Raises:
        ValueError: when the history has no single end.
    """
    known = revisions(versions)
    heads = set(known) - set().union(*known.values())
    if len(heads) != 1:
        raise ValueError(f"{versions} has {len(heads)} heads: {sorted(heads)}")
    return heads.pop()


async def current_of(connection: Connection, schema: str) -> str | None:
    """The revision a schema is at; None before its first migration. Needs to read that schema."""
    if await connection.fetchval("select to_regclass($1)", f"{schema}.{VERSION_TABLE}") is None:
        return None
    found: str | None = await connection.fetchval(f'select version_num from "{schema}".{VERSION_TABLE}')
    return found


async def current_and_head(connection: Connection, service: str) -> tuple[str | None, str | None]:
    """(the schema's revision, the code's head) of a service; the head is None when it has no migrations."""
    folder = versions_folder(service)
    return await current_of(connection, service), head_of(folder) if folder else None


async def check_schema(connection: Connection, service: str) -> None:
    """Return when the schema has all that this code needs.

    Raises:
        SchemaBehindError: when the migration job has to run first.
    """
    current, head = await current_and_head(connection, service)
    folder = versions_folder(service)
    behind = current is None or (folder is not None and current in revisions(folder))
    if head is not None and current != head and behind:
        raise SchemaBehindError(service, current, head)


def _assignments(path: Path) -> dict[str, object]:
    """Module-level names bound to literals."""
    names: dict[str, object] = {}
    for node in ast.parse(path.read_text()).body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ) if name in {"revision", "down_revision"}:
                names[name] = ast.literal_eval(value)
            case _:
                pass
    return names
