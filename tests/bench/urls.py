"""The panel's addresses and some more, behind the same middleware: peers to compare with."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from tests.bench.api_views import PlainServer, RowByRow

EMPTY = "/bench-empty/"
PLAIN_SERVER = "/bench-server/"
ROW_BY_ROW = "/bench-servers/"


def empty(request: HttpRequest) -> HttpResponse:
    """As little as a view can do, and the one thing that every page does: know who asks."""
    return HttpResponse("yes" if request.user.is_authenticated else "no")


urlpatterns = [
    path(EMPTY.strip("/") + "/", empty),
    path(PLAIN_SERVER.strip("/") + "/<int:pk>", PlainServer.as_view()),
    path(ROW_BY_ROW.strip("/") + "/", RowByRow.as_view()),
    path("", include("vpspanel.urls")),
]
