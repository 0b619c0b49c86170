"""Programs of Alice's project, and of Charlie's."""

from __future__ import annotations

import pytest

from tests.api.asking import Api, program, project_of_charlie
from tests.world import World, make_world


@pytest.fixture
def world(db: None) -> World:
    """The cast, a host, plans and images."""
    return make_world()


@pytest.fixture
def api(world: World) -> Api:
    """A program that may do everything in Alice's project."""
    return program(world.project)


@pytest.fixture
def reader(world: World) -> Api:
    """A program that may only look."""
    return program(world.project, may_write=False, name="reader")


@pytest.fixture
def stranger(world: World) -> Api:
    """A program of another customer."""
    return program(project_of_charlie(world))
