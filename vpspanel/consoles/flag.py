"""Something to wait for, for one who waits."""

from __future__ import annotations

import asyncio


class Flag:
    """`asyncio.Event` with room for one waiter only, in a tenth of its 760 bytes.

    Each console has five of them.
    """

    __slots__ = ("_is_set", "_waiter")

    def __init__(self, *, is_set: bool = False) -> None:
        self._is_set = is_set
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Let go whoever waits, and those who will, until it is cleared."""
        self._is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """Make the next one wait."""
        self._is_set = False

    async def wait(self) -> None:
        """Return once it is set."""
        if self._is_set:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
