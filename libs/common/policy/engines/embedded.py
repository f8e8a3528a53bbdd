"""Rego in this process, by regopy; its known defects are kept out here, in `inputs` and in `lint`.

Input goes in as JSON text wherever anything in it has to be escaped, as the library does not escape the strings of
values; where nothing has to be, as values, which spares a parser and a third of the time. An interpreter belongs to one
thread, and is thrown away after any failure, or it would answer the question before. Every entrypoint is resolved when
it is loaded: a rule that does not compile is silently undefined. Only exactly one expression counts as an answer.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import threading
from typing import TYPE_CHECKING, Any, Final

from libs.common.policy.bundle import ENTRYPOINTS, PolicyBundle
from libs.common.policy.engines.base import EngineFailed, Evaluated
from libs.common.policy.engines.terms import ask, give
from libs.common.policy.inputs import VERSION, Document, canonical

if TYPE_CHECKING:
    from regopy import Bundle, Interpreter

LINKED: Final = "libatomic.so.1"
"""What the library wants of the machine and does not bring along."""
_PROBE: Final[Document] = {"v": VERSION, "action": "policy.probe"}
"""Nobody may do it: a package that gives anything but a denial is not the one that is wanted."""
_ESCAPE: Final = "\\"


def _entrypoints(name: str) -> list[str]:
    return [f"{name.replace('.', '/')}/{entrypoint}" for entrypoint in ENTRYPOINTS]


def _compiled(bundle: PolicyBundle, name: str) -> tuple[Interpreter, Bundle]:
    from regopy import Interpreter  # 14 MB and 0.1 s: not before the first decision

    interpreter = Interpreter()
    for module, source in bundle.needed(name).items():
        interpreter.add_module(module, source)
    interpreter.add_data_json(json.dumps(bundle.data, ensure_ascii=False))
    compiled = interpreter.build(None, _entrypoints(name))
    if not compiled.ok():
        raise EngineFailed(f"{name} does not compile")
    return interpreter, compiled


def _denies(found: Any) -> bool:
    return isinstance(found, dict) and found.get("allow") is False


class Package:
    """One package, compiled with what it imports; of one thread alone."""

    def __init__(self, bundle: PolicyBundle, name: str) -> None:
        """Compile it.

        Raises:
            EngineFailed: it does not compile, or an entrypoint is missing or gives something else than it should.
        """
        try:
            self._interpreter, self._bundle = _compiled(bundle, name)
            denied = [_denies(self.evaluate(entrypoint, _PROBE)) for entrypoint in _entrypoints(name)]
        except EngineFailed:
            raise
        except Exception as error:  # the library raises several kinds, and prints JSON that is none
            raise EngineFailed(f"{name} does not compile: {type(error).__name__}") from error
        if not all(denied):
            raise EngineFailed(f"{name} allows what is not there")

    def evaluate(self, entrypoint: str, document: Document) -> Any:
        """The one value that the entrypoint has for this input.

        Raises:
            EngineFailed: there is none, or more than one.
            RegoError, ValueError: the engine's own, or the input is no JSON; the package may not be used any more.
        """
        self._give(document)
        found = ask(self._interpreter, self._bundle, entrypoint)
        if len(found) != 1:
            raise EngineFailed(f"{entrypoint} is undefined, or not one value")
        return found[0]

    def _give(self, document: Document) -> None:
        term = canonical(document)
        if _ESCAPE in term:
            self._interpreter.set_input_term(term)
        else:  # so that every string stands in the text as it is
            give(self._interpreter, document)


class LibraryMissing(RuntimeError):
    """The engine cannot be loaded here; the text says what to install."""


def check_library() -> None:
    """See that the engine could be loaded, without loading it where that is plain: it is 14 MB, and may not be needed.

    Raises:
        LibraryMissing: it cannot.
    """
    try:
        ctypes.CDLL(LINKED)
    except OSError:
        try:
            importlib.import_module("regopy")  # elsewhere it links against other names
        except OSError as error:
            raise LibraryMissing(
                f"the embedded engine cannot be loaded ({error}); install what it links against"
                " (`apt-get install libatomic1`), or let an OPA judge (RR_POLICY_ENGINE=opa)"
            ) from None


class _Own(threading.local):
    """This thread's packages."""

    def __init__(self) -> None:
        self.packages: dict[str, Package] = {}


class EmbeddedRego:
    """The default engine. A package is compiled at a thread's first question to it, in about ten milliseconds."""

    name = "embedded"

    def __init__(self, bundle: PolicyBundle) -> None:
        self._policies = bundle
        self._own = _Own()

    @property
    def revision(self) -> str:
        """Of the bundle that it was given."""
        return self._policies.revision

    async def evaluate(self, entrypoint: str, document: Document) -> Evaluated:
        """As the protocol says; it takes less than a thread's start would, so it is done where it is asked for."""
        return Evaluated(self.value(entrypoint, document), self.revision)

    def value(self, entrypoint: str, document: Document) -> Any:
        """The value, from whichever thread.

        Raises:
            EngineFailed: there is none. This thread's interpreter for it is made anew.
        """
        name = entrypoint.rpartition("/")[0].replace("/", ".")
        try:
            package = self._own.packages.get(name)
            if package is None:
                package = self._own.packages[name] = Package(self._policies, name)
            return package.evaluate(entrypoint, document)
        except EngineFailed:
            self._own.packages.pop(name, None)
            raise
        except Exception as error:  # whatever it was, the interpreter cannot be trusted with the next question
            self._own.packages.pop(name, None)
            raise EngineFailed(f"{entrypoint}: {type(error).__name__}") from error

    async def close(self) -> None:
        """Let go of this thread's interpreters."""
        self._own.packages.clear()
