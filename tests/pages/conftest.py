"""The cast in front of their browsers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from tests.world import World, make_world
from vpspanel.events.actor import Actor

SignIn = Callable[[Actor], Client]


@pytest.fixture
def world(db: None) -> World:
    """Alice owns a project, Olga operates in it, Bob reads it, Charlie is a stranger."""
    return make_world()


@pytest.fixture
def sign_in() -> SignIn:
    """A browser that is signed in as somebody."""

    def signed_in(actor: Actor) -> Client:
        assert actor.user is not None
        client = Client()
        client.force_login(actor.user)
        return client

    return signed_in


@pytest.fixture
def alice(world: World, sign_in: SignIn) -> Client:
    """Alice's browser."""
    return sign_in(world.alice)


@pytest.fixture
def bob(world: World, sign_in: SignIn) -> Client:
    """Bob's browser."""
    return sign_in(world.bob)


@pytest.fixture
def charlie(world: World, sign_in: SignIn) -> Client:
    """Charlie's browser."""
    return sign_in(world.charlie)
