"""Peers for the API: a server as the plainest views of Django REST framework would answer it."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from vpspanel.servers.models import PrimaryIP, Server


class Plain(serializers.ModelSerializer[Server]):
    """The columns of the row, and nothing else."""

    class Meta:
        model = Server
        fields = ("id", "name", "created", "labels", "vcpus", "memory_mib", "disk_gib")


class OpenView(APIView):
    """No token, no budget, no right is looked at."""

    authentication_classes = ()
    permission_classes = ()


class PlainServer(OpenView):
    """The plainest view: one row, a serializer, JSON."""

    def get(self, request: Request, pk: int) -> Response:
        """It."""
        return Response({"server": Plain(Server.objects.get(pk=pk)).data})


class RowByRow(OpenView):
    """A list whose every row looks up what belongs to it, as panels of this kind often do."""

    def get(self, request: Request) -> Response:
        """The first page."""
        servers = Server.objects.order_by("pk")[:25]
        return Response({"servers": [_looked_up(server) for server in servers]})


def _looked_up(server: Server) -> dict[str, Any]:
    return {
        **Plain(server).data,
        "server_type": server.server_type.name,
        "location": server.location.name,
        "image": server.image.name if server.image is not None else None,
        "host": server.host.name if server.host is not None else None,
        "ips": [ip.address.address for ip in PrimaryIP.objects.filter(server=server)],
    }
