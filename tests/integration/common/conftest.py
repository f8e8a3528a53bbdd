"""A lab on a clean stack."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.common.lab import Lab, laboratory
from tests.support.servers import Servers, StackEnv


@pytest.fixture
async def lab(stack_env: StackEnv, servers: Servers, tmp_path: Path) -> AsyncIterator[Lab]:
    """Everything real; nothing runs yet."""
    async with laboratory(stack_env, servers, tmp_path) as found:
        yield found
