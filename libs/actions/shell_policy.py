"""Which commands `shell.run` may start, and what they may see of the worker's environment."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from libs.actions.errors import CommandRefused

SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BASE_ENVIRONMENT = {"PATH": SAFE_PATH, "LANG": "C.UTF-8"}

# Names that change which code a permitted program runs would make the allow-list worthless; RR_ is ours.
FORBIDDEN_NAMES = re.compile(
    r"(?:RR_|LD_|DYLD_|PYTHON|PERL5|RUBY|NODE_|JAVA_|JDK_|_JAVA_|GIT_|BASH_|LUA_|GCONV_|GLIBC_|MALLOC_).*"
    r"|PATH|LANG|IFS|ENV|SHELLOPTS|PS4|PAGER|EDITOR|VISUAL|IDEMPOTENCY_KEY|FENCE|TRACEPARENT",
    re.DOTALL,
)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class ShellPolicy:
    """`executables`: absolute paths, or names found on a fixed PATH; empty allows nothing.

    `environment`: names that a step may borrow from the worker's environment; names beginning with RR_ never are.
    """

    executables: frozenset[str] = frozenset()
    environment: frozenset[str] = frozenset()

    @classmethod
    def of(cls, executables: str = "", environment: str = "") -> ShellPolicy:
        """From the comma lists of RR_SHELL_ALLOW and RR_SHELL_ENV."""
        return cls(_comma(executables), _comma(environment))

    def resolve(self, program: str) -> str:
        """The absolute path that will be executed, or CommandRefused."""
        if not self.executables:
            raise CommandRefused(
                "shell_not_allowed",
                "shell.run may start nothing here: set RR_SHELL_ALLOW to a comma list of executables"
                f" (for this step: {program})",
            )
        path = program if program.startswith("/") else _found(program)
        if path is None:
            raise CommandRefused("executable_not_found", f"{program!r} is not a program on {SAFE_PATH}")
        by_name = {found for name in self.executables if not name.startswith("/") if (found := _found(name))}
        if path not in self.executables and path not in by_name:
            raise CommandRefused("executable_not_allowed", f"{program!r} is not in RR_SHELL_ALLOW")
        return path

    def environ(self, given: Mapping[str, str], borrowed: tuple[str, ...], worker: Mapping[str, str]) -> dict[str, str]:
        """The command's whole environment: PATH, LANG, what the step gives, what it borrows by permission."""
        for name in (*given, *borrowed):
            if NAME.fullmatch(name) is None or FORBIDDEN_NAMES.fullmatch(name):
                raise CommandRefused("environment_not_allowed", f"the variable {name!r} may not be set by a step")
        missing = [name for name in borrowed if name not in self.environment]
        if missing:
            raise CommandRefused("environment_not_allowed", f"RR_SHELL_ENV does not lend {', '.join(missing)}")
        return BASE_ENVIRONMENT | {name: worker[name] for name in borrowed if name in worker} | dict(given)


def _found(name: str) -> str | None:
    return None if os.sep in name else shutil.which(name, path=SAFE_PATH)


def _comma(text: str) -> frozenset[str]:
    return frozenset(part for raw in text.split(",") if (part := raw.strip()))
