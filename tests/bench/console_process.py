"""A process of the panel whose one host has the bench's guests: `… PATH COMMAND [OPTION…]`."""

from __future__ import annotations

import asyncio
import sys
from uuid import UUID

from django.core.management import execute_from_command_line

from hosts.virt import registry

URI = "fake:///bench"


class BenchDriver:
    """As much of a driver as a screen needs: every guest is the same socket."""

    def __init__(self, path: str):
        self._path = path

    async def open_vnc(self, _uuid: UUID, viewer: asyncio.Protocol) -> None:
        """See `Driver`."""
        await asyncio.get_running_loop().create_unix_connection(lambda: viewer, self._path)


if __name__ == "__main__":
    registry._drivers[URI] = BenchDriver(sys.argv[1])  # type: ignore[assignment]
    execute_from_command_line(["manage.py", *sys.argv[2:]])
