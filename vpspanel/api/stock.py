"""Stock: how many more servers of each plan there is room for."""

from __future__ import annotations

from typing import TypedDict

from django.conf import settings
from django.core.cache import cache
from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.api.auth import Whose
from vpspanel.api.describing import answers
from vpspanel.api.view import ApiView
from vpspanel.servers.ordering import Offer, offers

KEPT = 5  # seconds: shops ask often, and it reads every host
_KEY = "api-stock"


class Named(TypedDict):
    """A thing by number and name."""

    id: int
    name: str


class StockShape(TypedDict):
    """A plan in a location. `sold_out` says why there is none."""

    server_type: Named
    location: Named
    available: int
    sold_out: str | None


class Stock(ApiView):
    """Each plan in each location that it is sold in."""

    whose = Whose.ANYBODY

    @answers("Get how many more servers fit", stock=list[StockShape])
    def get(self, request: Request) -> Response:
        """All of them, a few seconds old at most."""
        stock = cache.get_or_set(_KEY, _stock, KEPT)
        return Response({"stock": stock})


def left_of(offer: Offer) -> int:
    """How many more may be sold, less the reserve of the site."""
    return 0 if offer.sold_out else max(0, offer.left - settings.STOCK_MARGIN)


def _stock() -> list[StockShape]:
    """Every plan alone: what one takes, the others cannot have as well."""
    shapes = []
    for offer in offers():
        left = left_of(offer)
        plan, place = offer.server_type, offer.location
        sold_out = offer.sold_out or ("" if left else "Only the reserve of the site is left.")
        shapes.append(
            StockShape(
                server_type=Named(id=plan.pk, name=plan.name),
                location=Named(id=place.pk, name=place.name),
                available=left,
                sold_out=sold_out or None,
            )
        )
    return shapes
