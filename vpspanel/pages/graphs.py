"""What a server did, as graphs."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from vpspanel.pages.actor import SignedInRequest
from vpspanel.pages.customer import customer_page
from vpspanel.servers.access import get_server
from vpspanel.servers.graph_pages import asked_range, figures_answer, graph_context
from vpspanel.servers.graphs import server_series


@customer_page
@require_safe
def show(request: SignedInRequest, server_id: int) -> HttpResponse:
    """CPU, disk and network over the range that the address names."""
    server = get_server(request.actor, server_id)
    figures_url = reverse("servers:figures", args=[server.pk])
    context = graph_context(server_series(server, asked_range(request)), figures_url)
    return render(request, "servers/graphs.html", {**context, "server": server})


@customer_page
@require_safe
def figures(request: SignedInRequest, server_id: int) -> HttpResponse:
    """The points of the same graphs, for the page's script."""
    server = get_server(request.actor, server_id)
    return figures_answer(request, lambda of: server_series(server, of))
