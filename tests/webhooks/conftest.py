"""Alice's world, and a receiver that her webhooks may reach."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.webhooks.receiver import LOOPBACK, Receiver, receiver
from tests.world import World, make_world


@pytest.fixture
def world(db: None) -> World:
    """The cast, a host, plans and images."""
    return make_world()


@pytest.fixture
def hook(settings: Any) -> Iterator[Receiver]:
    """A receiver in a network that the site allows."""
    settings.WEBHOOK_ALLOWED_NETWORKS = LOOPBACK
    with receiver() as running:
        yield running
