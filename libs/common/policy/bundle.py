"""The policies as files: read, linted and named by their content before any engine sees them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from libs.common.policy.actions import PACKAGES
from libs.common.policy.lint import faults

MAX_DATA_BYTES: Final = 16_384
"""Each decision pays for what data holds: five thousand keys cost 3 ms."""
ENTRYPOINTS: Final = ("decision", "scope")
_PACKAGE: Final = re.compile(r"^package ([\w.]+)$", re.MULTILINE)
_IMPORT: Final = re.compile(r"^import data\.([\w.]+)$", re.MULTILINE)


class BundleRefused(ValueError):
    """The policies cannot be used; the text says which file and why."""


@dataclass(frozen=True, slots=True)
class PolicyBundle:
    """Policies and their data. `modules`: text by package. `revision`: what the content is called."""

    modules: Mapping[str, str]
    data: Mapping[str, Any]
    revision: str

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The bundle in a folder.

        Raises:
            BundleRefused: it is not whole, not what its manifest says, or breaks a rule that guards the engine.
        """
        try:
            files = {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.rego"))}
            text = (folder / "data.json").read_text()
            data, manifest = json.loads(text), json.loads((folder / ".manifest").read_text())
        except (OSError, ValueError) as error:
            raise BundleRefused(f"the policies in {folder} cannot be read: {error}") from None
        wrong = [*_faults(files, text), *_unlike(manifest, revision_of(files, text))]
        if wrong:
            raise BundleRefused("; ".join(wrong))
        return cls({_package(source): source for source in files.values()}, data, manifest["revision"])

    def needed(self, package: str) -> Mapping[str, str]:
        """A package and all that it imports: what an engine is given, as each module makes every decision dearer."""
        found: dict[str, str] = {}
        waiting = [package]
        while waiting:
            name = waiting.pop()
            if name in self.modules and name not in found:
                found[name] = self.modules[name]
                waiting += _IMPORT.findall(found[name])
        return found


def folder() -> Path:
    """Where the policies are: beside the code that was installed, or at the top of a checkout."""
    installed = Path(__file__).parent / "policies"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[3] / "policies"


def revision_of(files: Mapping[str, str], data: str) -> str:
    """The content's name: sixteen hex digits that change with any of it."""
    parts = [*(part for name in sorted(files) for part in (name, files[name])), data]
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:16]


def stamp(folder: Path) -> str:
    """Write the revision of what stands in a folder into its manifest; the revision."""
    files = {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.rego"))}
    revision = revision_of(files, (folder / "data.json").read_text())
    roots = sorted({"risks", "roles", *(_package(source).replace(".", "/") for source in files.values())})
    manifest = {"revision": revision, "rego_version": 1, "roots": roots}
    (folder / ".manifest").write_text(json.dumps(manifest, indent=2) + "\n")
    return revision


def _package(source: str) -> str:
    found = _PACKAGE.search(source)
    return found[1] if found else ""


def _faults(files: Mapping[str, str], data: str) -> Iterator[str]:
    for name, source in files.items():
        if name.removesuffix(".rego").replace("/", ".") != _package(source):
            yield f"{name}: its package is not called like its path"
        yield from (f"{name}: {fault}" for fault in faults(source))
    yield from (f"{package} is missing" for package in PACKAGES if f"{package.replace('.', '/')}.rego" not in files)
    if len(data) > MAX_DATA_BYTES:
        yield f"data.json: {len(data)} bytes, and each decision pays for them; {MAX_DATA_BYTES} are allowed"


def _unlike(manifest: Mapping[str, Any], revision: str) -> Iterator[str]:
    if manifest.get("revision") != revision:
        yield f".manifest: the revision is not that of the content, {revision}; `make policy-stamp` writes it"
