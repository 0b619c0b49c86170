"""Every test here gets a world on demand."""

from __future__ import annotations

import pytest

from tests.world import World, make_world


@pytest.fixture
def world(transactional_db: None) -> World:
    """The cast and one simulated host. Real transactions: the engine's own are under test."""
    return make_world()
