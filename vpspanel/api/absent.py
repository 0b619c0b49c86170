"""What hcloud has and this panel does not: empty lists, and a clear word to whoever wants more.

Clients list these to find out what a server is connected to. Nothing is, and
saying so lets them go on.
"""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.api.errors import unsupported
from vpspanel.api.listing import whole
from vpspanel.api.view import ApiView
from vpspanel.errors import NotFound

COLLECTIONS = {
    "certificates": "certificates",
    "firewalls": "firewalls",
    "floating_ips": "floating IPs",
    "load_balancer_types": "load balancers",
    "load_balancers": "load balancers",
    "networks": "private networks",
    "volumes": "volumes",
    "zones": "DNS zones",
}


class AbsentList(ApiView):
    """A collection that is always empty."""

    def get(self, request: Request, collection: str) -> Response:
        """No entries."""
        return Response(whole(collection, []))

    def post(self, request: Request, collection: str) -> Response:
        """None can be made."""
        raise unsupported(COLLECTIONS[collection])


class AbsentActions(ApiView):
    """The actions of such a collection."""

    counted = False

    def get(self, request: Request, collection: str) -> Response:
        """None."""
        return Response(whole("actions", []))


class AbsentOne(ApiView):
    """Whatever would be in such a collection."""

    def handle(self, request: Request, **_: Any) -> Response:
        """It is not there."""
        raise NotFound

    get = put = delete = post = handle
