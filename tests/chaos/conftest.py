"""One running stack and one target for the tests of a module; each test leaves them healed."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.chaos.lab import Lab
from tests.support.demo_target import DemoTarget
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Three workers: while one that crashed is started again, another takes over."""
    found = Stack(workers=3)
    try:
        found.up()
        yield found
        found.down()
    finally:
        shutil.rmtree(found.root, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DemoTarget]:
    """A target that tells nobody when it is ill: the tests post alerts themselves."""
    folder: Path = tmp_path_factory.mktemp("target")
    async with DemoTarget(folder) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(stack: Stack, target: DemoTarget) -> AsyncIterator[Lab]:
    """The stack with the runbooks that the tests need."""
    found = Lab(stack, target)
    await found.publish()
    yield found
    stack.close()
