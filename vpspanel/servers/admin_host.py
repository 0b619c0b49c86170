"""The page of one host in the admin, and the graphs of hosts and servers for staff."""

from __future__ import annotations

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from hosts.models import Host
from vpspanel.servers.admin_fleet import need_host_right
from vpspanel.servers.graph_pages import asked_range, figures_answer, graph_context
from vpspanel.servers.graphs import host_series, server_series
from vpspanel.servers.host_detail import host_detail
from vpspanel.servers.maintenance import going_on
from vpspanel.servers.models import Server


@require_safe
def host_page(request: HttpRequest, host_id: int) -> HttpResponse:
    """Everything about one host."""
    need_host_right(request)
    host = get_object_or_404(Host.objects.select_related("location"), pk=host_id)
    words = request.GET.get("q", "").strip()[:63]
    figures = reverse("admin:servers_host_figures", args=[host.pk])
    context = {
        **admin.site.each_context(request),
        **graph_context(host_series(host, asked_range(request)), figures),
        "title": f"Host {host.name}",
        "host": host,
        "maintenance": going_on(host),
        "words": words,
        "detail": host_detail(host, page=request.GET.get("page", "1"), words=words),
    }
    return render(request, "admin/servers/host.html", context)


@require_safe
def host_figures(request: HttpRequest, host_id: int) -> HttpResponse:
    """The points of a host's graphs."""
    need_host_right(request)
    host = get_object_or_404(Host, pk=host_id)
    return figures_answer(request, lambda of: host_series(host, of))


@require_safe
def server_graphs(request: HttpRequest, server_id: int) -> HttpResponse:
    """The graphs of one server, for staff."""
    server = _server(request, server_id)
    figures = reverse("admin:servers_server_figures", args=[server.pk])
    context = {
        **admin.site.each_context(request),
        **graph_context(server_series(server, asked_range(request)), figures),
        "title": f"Graphs of {server.name}",
        "server": server,
    }
    return render(request, "admin/servers/server_graphs.html", context)


@require_safe
def server_figures(request: HttpRequest, server_id: int) -> HttpResponse:
    """The points of a server's graphs, for staff."""
    server = _server(request, server_id)
    return figures_answer(request, lambda of: server_series(server, of))


def _server(request: HttpRequest, server_id: int) -> Server:
    if not request.user.has_perm("servers.view_server"):
        raise PermissionDenied
    return get_object_or_404(Server, pk=server_id)
