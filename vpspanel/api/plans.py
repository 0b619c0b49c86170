"""Server types and prices."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.api.auth import Whose
from vpspanel.api.describing import answers, lists
from vpspanel.api.listing import named, ordered, page_of
from vpspanel.api.shapes.plain import priced
from vpspanel.api.shapes.plans import ServerTypeShape, type_shapes
from vpspanel.api.view import ApiView
from vpspanel.errors import NotFound
from vpspanel.servers.models import ServerType


class ServerTypes(ApiView):
    """All plans, those that are no longer sold included: servers may still have them."""

    whose = Whose.ANYBODY

    @lists(
        "List plans",
        "server_types",
        ServerTypeShape,
        sort=("id", "name"),
        filters={"name": ()},
    )
    def get(self, request: Request) -> Response:
        """A page of them."""
        rows = ordered(request, named(request, _types()), {"id": "id", "name": "name"})
        return page_of(request, "server_types", rows, type_shapes)


class OneServerType(ApiView):
    """A plan."""

    whose = Whose.ANYBODY

    @answers("Get a plan", server_type=ServerTypeShape)
    def get(self, request: Request, pk: int) -> Response:
        """It."""
        found = type_shapes(_types().filter(pk=pk))
        if not found:
            raise NotFound("server type")
        return Response({"server_type": found[0]})


class Pricing(ApiView):
    """All prices at once."""

    whose = Whose.ANYBODY

    @answers("Get all prices", pricing=dict[str, Any])
    def get(self, request: Request) -> Response:
        """What there is a price for; the panel charges for nothing else."""
        types = type_shapes(_types().filter(deprecated__isnull=True))
        per_month = {"price_per_gb_month": priced(0)}
        pricing = {
            "currency": settings.CURRENCY,
            "vat_rate": "0.000000",
            "image": per_month,
            "volume": per_month,
            "server_backup": {"percentage": "0.000000"},
            "server_types": [
                {"id": shown["id"], "name": shown["name"], "prices": shown["prices"]}
                for shown in types
            ],
            "primary_ips": [],
            "floating_ip": {"price_monthly": priced(0)},
            "floating_ips": [],
            "load_balancer_types": [],
            "traffic": {"price_per_tb": priced(0)},
        }
        return Response({"pricing": pricing})


def _types() -> QuerySet[ServerType]:
    return ServerType.objects.all()
