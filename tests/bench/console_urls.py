"""The panel's addresses and one more: a view that makes one database call of 100 ms."""

from __future__ import annotations

import time

from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

SLOW = "/bench-slow/"
SECONDS = 0.1


def slow(request: HttpRequest) -> HttpResponse:
    """SQLite waits in a function of ours, as a query waits for its database: without the GIL."""
    with connection.cursor() as cursor:
        connection.connection.create_function("wait", 1, time.sleep)
        cursor.execute("SELECT wait(%s)", [SECONDS])
    return HttpResponse("ok")


urlpatterns = [path(SLOW.strip("/") + "/", slow), path("", include("vpspanel.urls"))]
