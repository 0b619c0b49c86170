"""What an order would come to, without ordering."""

from __future__ import annotations

from typing import Any, TypedDict

from django.db import transaction

from vpspanel.accounts.models import Project
from vpspanel.api.ordering import order
from vpspanel.api.shapes.plain import PricedMoney, priced
from vpspanel.api.stock import left_of
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.servers.models import Server
from vpspanel.servers.ordering import Offer, offers


class WouldBeShape(TypedDict):
    """An order that would be taken now. `available` is how many of these fit, with this one."""

    name: str
    server_type: str
    location: str
    image: str | None
    price_hourly: PricedMoney
    price_monthly: PricedMoney
    available: int


def would_be(actor: Actor, project: Project, asked: dict[str, Any]) -> WouldBeShape:
    """Order what was asked for and take all of it back, so that nothing is checked otherwise.

    Raises what the order raises. Nothing is told to anybody: what waits for a commit is dropped.
    """
    with transaction.atomic():
        server = order(actor, project, asked).server
        transaction.set_rollback(True)
    offer = _offer_of(server)
    return WouldBeShape(
        name=server.name,
        server_type=server.server_type.name,
        location=server.location.name,
        image=server.image.name if server.image else None,
        price_hourly=priced(offer.price.hourly_micros),
        price_monthly=priced(offer.price.monthly_micros),
        available=left_of(offer),
    )


def _offer_of(server: Server) -> Offer:
    for offer in offers():
        if (offer.server_type, offer.location) == (server.server_type, server.location):
            return offer
    raise Refused("conflict", "The plan was taken from sale at this moment. Please try again.")
