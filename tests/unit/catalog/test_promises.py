import pytest

from tests.unit.catalog.memory import MemoryCatalog
from tests.unit.catalog.promises import PROMISES


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_in_memory(promise: object) -> None:
    await promise(MemoryCatalog())  # type: ignore[operator]
