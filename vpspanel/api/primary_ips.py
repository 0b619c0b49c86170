"""Primary IPs: each server has one of each family, which comes and goes with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.api.describing import answers, lists
from vpspanel.api.errors import unsupported
from vpspanel.api.listing import named, ordered, page_of
from vpspanel.api.selecting import selected
from vpspanel.api.shapes.addresses import PrimaryIPShape, primary_ip_shape
from vpspanel.api.view import ApiView
from vpspanel.errors import NotFound
from vpspanel.events.actor import Actor
from vpspanel.servers.access import visible_primary_ips
from vpspanel.servers.models import PrimaryIP

COLUMNS = {"id": "id", "name": "name", "created": "created"}
NOT_OFFERED = "primary IPs that are bought, moved or kept without a server"


class PrimaryIPs(ApiView):
    """The addresses of the project."""

    @lists(
        "List addresses",
        "primary_ips",
        PrimaryIPShape,
        sort=COLUMNS,
        filters={"name": (), "label_selector": (), "ip": ()},
    )
    def get(self, request: Request) -> Response:
        """A page of them."""
        rows = selected(request, named(request, _of(self.actor)))
        if ip := request.query_params.get("ip"):
            rows = rows.filter(address__address=ip)
        return page_of(request, "primary_ips", ordered(request, rows, COLUMNS), _shapes)

    def post(self, request: Request) -> Response:
        """None can be made."""
        raise unsupported(NOT_OFFERED)


class OnePrimaryIP(ApiView):
    """An address of the project, and whatever hcloud does to one."""

    @answers("Get an address", primary_ip=PrimaryIPShape)
    def get(self, request: Request, pk: int) -> Response:
        """It."""
        return Response({"primary_ip": primary_ip_shape(self._existing(pk))})

    def put(self, request: Request, pk: int) -> Response:
        """It cannot be changed."""
        self._existing(pk)
        raise unsupported(NOT_OFFERED)

    delete = put

    def _existing(self, pk: int) -> PrimaryIP:
        row = _of(self.actor).filter(pk=pk).first()
        if row is None:
            raise NotFound("primary IP")
        return row


class PrimaryIPAction(OnePrimaryIP):
    """A verb on an address of the project."""

    http_method_names = ["post"]

    def post(self, request: Request, pk: int, **_: Any) -> Response:
        """None is there."""
        return self.put(request, pk)


def _of(actor: Actor) -> QuerySet[PrimaryIP]:
    return visible_primary_ips(actor).select_related("address__pool__location")


def _shapes(page: Iterable[PrimaryIP]) -> list[PrimaryIPShape]:
    return [primary_ip_shape(row) for row in page]
