"""How a worker learns that there is something to do.

The database holds the truth; a transport only wakes. Losing every wake-up
costs no action: workers also look by themselves, at the latest every
`IDLE_SECONDS`. On one machine the bell does it; a site with many workers puts
a broker behind the same two functions.
"""

from __future__ import annotations

from typing import Protocol

from django.db import transaction

from vpspanel.events.bell import Bell, ring

IDLE_SECONDS = 1.0


class Waiter(Protocol):
    """The worker's side."""

    def wait(self, timeout: float) -> bool:
        """True when woken, False after `timeout` seconds."""

    def close(self) -> None:
        """Stop listening."""


def waiter() -> Waiter:
    """A new listener for this worker process."""
    return Bell("worker")


def wake_on_commit() -> None:
    """Wake the workers once the transaction in hand has committed."""
    transaction.on_commit(wake, robust=True)


def wake() -> None:
    """Wake the workers now."""
    ring("worker")
