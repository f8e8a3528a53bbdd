"""The directory: what is known of people besides their credential. Groups, who is on call now, clearance, who is out.

One file until groups and rotations have an owner. What it says of somebody holds for every credential of theirs, from
the moment it is read: a person who is disabled there is let in by none.
"""

import hashlib
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from libs.common.policy import SYSTEM_TENANTS, Principal
from services.gateway.principals.watched import Watched, document
from services.gateway.tokens import ROLES, Actor, TenantName

VARIABLE: Final = "RR_DIRECTORY_FILE"
CLEARANCES: Final = ("public", "internal", "confidential", "restricted")
_WHAT: Final = "a directory is a mapping of groups, rotations and principals"
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)")

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Names = Annotated[frozenset[Name], Field(max_length=100)]
Clearance = Literal["public", "internal", "confidential", "restricted"]
EVERYWHERE: Final = frozenset({"*"})


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shift(_Part):
    """Who is on call from a moment until another (RFC 3339, with an offset; the second excluded)."""

    begin: Annotated[datetime, Field(alias="from")]
    end: Annotated[datetime, Field(alias="to")]
    actor: Actor

    @field_validator("begin", "end", mode="before")
    @classmethod
    def _moment(cls, value: Any) -> Any:
        if not isinstance(value, str) or _MOMENT.fullmatch(value) is None:
            raise ValueError("write a moment such as 2026-03-01T08:00:00Z")
        return value

    def covers(self, now: float) -> bool:
        """Whether it is on at that moment (Unix seconds)."""
        return self.begin.timestamp() <= now < self.end.timestamp()


class Rotation(_Part):
    """Whoever a shift names while it is on; `members` whenever none is."""

    members: frozenset[Actor] = frozenset()
    shifts: Annotated[tuple[Shift, ...], Field(max_length=1000)] = ()

    def on_call(self, now: float) -> frozenset[str]:
        """Who is on call at that moment."""
        return frozenset(shift.actor for shift in self.shifts if shift.covers(now)) or self.members


class Entry(_Part):
    """What holds for one principal. `roles` and `tenants` are the most that any credential of theirs gives."""

    disabled: bool = False
    clearance: Clearance | None = None
    environments: Annotated[frozenset[Name | Literal["*"]], Field(min_length=1, max_length=100)] | None = None
    roles: frozenset[str] | None = None
    tenants: Annotated[frozenset[TenantName], Field(max_length=1000)] | None = None

    @field_validator("roles")
    @classmethod
    def _known(cls, value: frozenset[str] | None) -> frozenset[str] | None:
        if value is not None and value - ROLES:
            raise ValueError(f"roles are {', '.join(sorted(ROLES))}")
        return value

    @field_validator("environments", "tenants")
    @classmethod
    def _all_or_some(cls, value: frozenset[str] | None) -> frozenset[str] | None:
        if value is not None and "*" in value and len(value) > 1:
            raise ValueError("`*` stands alone")
        return value


class DirectoryFile(_Part):
    """The file as it is written."""

    groups: Mapping[Name, frozenset[Actor]] = {}
    rotations: Mapping[Name, Rotation] = {}
    principals: Mapping[Actor, Entry] = {}


@dataclass(slots=True)
class Directory:
    """What a file says, ready to be asked at every request."""

    file: DirectoryFile = field(default_factory=DirectoryFile)
    _groups: dict[str, frozenset[str]] = field(default_factory=dict)
    _second: int = -1
    _on_call: dict[str, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Turn groups around, once: requests ask by person."""
        self._groups = _by_member(self.file.groups)

    @classmethod
    def parse(cls, content: bytes) -> "Directory":
        """The directory in a file.

        Raises:
            FileRefused: it holds none.
        """
        return cls(document(content, DirectoryFile, what=_WHAT))

    def enriched(self, base: Principal, now: float) -> Principal | None:
        """The principal with what is known of it now; None when it is disabled."""
        entry = self.file.principals.get(base.actor, _UNKNOWN)
        if entry.disabled:
            return None
        groups = self._groups.get(base.actor, frozenset())
        on_call = self.on_call(now).get(base.actor, frozenset())
        if entry is _UNKNOWN and not groups and not on_call:
            return base
        return replace(
            base,
            tenants=_within(base.tenants, entry.tenants),
            roles=base.roles if entry.roles is None else base.roles & entry.roles,
            clearance=base.clearance if entry.clearance is None else CLEARANCES.index(entry.clearance),
            environments=base.environments if entry.environments is None else entry.environments,
            groups=base.groups | groups,
            on_call=on_call,
            epoch=_epoch(entry, groups, on_call),
        )

    def on_call(self, now: float) -> dict[str, frozenset[str]]:
        """The rotations that each actor is on call for; worked out at most once a second."""
        if self._second != int(now):
            found = {name: rotation.on_call(now) for name, rotation in self.file.rotations.items()}
            self._on_call, self._second = _by_member(found), int(now)
        return self._on_call


class Directories:
    """The directory as the file has it now."""

    def __init__(self, path: str, clock: Callable[[], float] = time.time) -> None:
        self.watched = Watched(VARIABLE, path, Directory.parse, Directory())
        self._clock = clock

    def enriched(self, base: Principal) -> Principal | None:
        """As `Directory.enriched`, now."""
        return self.watched.value.enriched(base, self._clock())

    @property
    def now(self) -> tuple[DirectoryFile, dict[str, frozenset[str]]]:
        """The file, and who is on call for what."""
        directory = self.watched.value
        return directory.file, directory.on_call(self._clock())


_UNKNOWN: Final = Entry()


def _by_member(found: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    turned: dict[str, set[str]] = defaultdict(set)
    for name, members in found.items():
        for member in members:
            turned[member].add(name)
    return {member: frozenset(names) for member, names in turned.items()}


def _within(tenants: frozenset[str], most: frozenset[str] | None) -> frozenset[str]:
    if most is None or most == SYSTEM_TENANTS:
        return tenants
    return most if tenants == SYSTEM_TENANTS else tenants & most


def _epoch(entry: Entry, groups: frozenset[str], on_call: frozenset[str]) -> int:
    """Another number for other rights, the same in every process; what was decided under one is not used under another.

    48 bits, so that JSON's numbers hold it.
    """
    known = [None if found is None else sorted(found) for found in (entry.environments, entry.roles, entry.tenants)]
    said = repr((entry.clearance, known, sorted(groups), sorted(on_call)))
    return int.from_bytes(hashlib.sha256(said.encode()).digest()[:6])
