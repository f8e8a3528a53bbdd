"""A layout that the servers' account of root can reach as well."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook_ranger.stack.layout import Layout


@pytest.fixture
def layout() -> Iterator[Layout]:
    root = Path(tempfile.mkdtemp(prefix="rr-unit-", dir="/tmp"))
    root.chmod(0o711)
    yield Layout.open(root)
    shutil.rmtree(root)
