"""`python -m libs.common.policy [FOLDER]`: name policies by their content, and show that every package compiles."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from libs.common.policy.actions import PACKAGES
from libs.common.policy.bundle import BundleRefused, PolicyBundle, folder, stamp
from libs.common.policy.engines.base import EngineFailed
from libs.common.policy.engines.embedded import Package


def main(words: list[str] | None = None) -> int:
    """Write the manifest; 1 when the policies cannot be used, which is said."""
    parser = argparse.ArgumentParser(prog="python -m libs.common.policy", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=folder(), help="where they are; the product's own")
    asked = parser.parse_args(words)
    try:
        revision = stamp(asked.folder)
        bundle = PolicyBundle.read(asked.folder)
        for package in PACKAGES:
            Package(bundle, package)
    except (BundleRefused, EngineFailed, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{asked.folder}: revision {revision}, {len(PACKAGES)} packages\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
