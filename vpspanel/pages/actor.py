"""Who a page's request comes from."""

from __future__ import annotations

from django.http import HttpRequest

from vpspanel.accounts.models import User
from vpspanel.events.actor import Actor


class SignedInRequest(HttpRequest):
    """A request whose user is known to be signed in."""

    user: User
    actor: Actor


def actor_from(request: HttpRequest) -> Actor:
    """The actor for the services; a visitor who is not signed in is nobody."""
    user = request.user if isinstance(request.user, User) else None
    return Actor(user=user, via="page", ip=request.META.get("REMOTE_ADDR") or None)
