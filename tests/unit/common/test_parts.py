"""Parts of a process: each ends when it is told to, and a failure of one is the process's."""

import asyncio
import contextlib

import pytest

from libs.common import process


async def forever() -> None:
    """What a part does until it is cancelled."""
    await asyncio.Event().wait()


async def test_a_part_that_has_dropped_one_cancellation_still_ends() -> None:
    async def deaf_once() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await forever()
        await forever()

    part = asyncio.create_task(process._part("deaf", deaf_once))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    part.cancel()

    done, _ = await asyncio.wait({part}, timeout=5)

    assert done
    assert part.cancelled()


async def test_a_part_that_fails_raises_what_it_failed_with() -> None:
    async def broken() -> None:
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        await process._part("broken", broken)


async def test_a_part_that_ends_by_itself_is_a_failure() -> None:
    async def brief() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="brief ended by itself"):
        await process._part("brief", brief)
