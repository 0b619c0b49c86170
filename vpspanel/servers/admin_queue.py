"""The queue of actions with the names of servers and hosts, which the engine does not know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import CharField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Cast, Coalesce
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from hosts.models import Host
from vpspanel.actions.admin import ActionAdmin
from vpspanel.actions.models import OPEN_STATES, Action, ActionState
from vpspanel.servers.models import Server

OLDEST_OPEN = "oldest"
PARKED_READ = 1000  # how many that are parked are read for the list of reasons

Choices = Iterable[tuple[str, str]]


class OpenFilter(admin.SimpleListFilter):
    """What has not ended; the oldest first if wanted."""

    title = "order"
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Open ones, from either end."""
        return ((OLDEST_OPEN, "open, oldest first"), ("newest", "open, newest first"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Action]) -> QuerySet[Action]:
        """`QueueAdmin.get_ordering` sorts them."""
        return queryset.filter(state__in=OPEN_STATES) if self.value() else queryset


class HostFilter(admin.SimpleListFilter):
    """At which host an action works, or waits for its turn."""

    title = "host"
    parameter_name = "at_host"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """All hosts by name."""
        return [(str(pk), name) for pk, name in Host.objects.values_list("pk", "name")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Action]) -> QuerySet[Action]:
        """Those of the host's group, and those of no group whose server is there."""
        value = self.value()
        if not value or not value.isdecimal():
            return queryset
        there = Server.objects.filter(host_id=int(value)).values("pk")
        groupless = Q(group="", resource_type="server", resource_id__in=there)
        return queryset.filter(Q(group=value) | Q(group=f"drift-{value}") | groupless)


class ParkedFilter(admin.SimpleListFilter):
    """Why actions are parked, by the code that their reason begins with."""

    title = "reason for attention"
    parameter_name = "parked_for"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """The codes of those that are parked now."""
        parked = Action.objects.filter(state=ActionState.PARKED).order_by("-pk")
        reasons = parked.values_list("detail", flat=True)[:PARKED_READ]
        codes = {reason.partition(":")[0] for reason in reasons if ":" in reason}
        return [(code, code) for code in sorted(codes)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Action]) -> QuerySet[Action]:
        """Parked for exactly that code."""
        if not (code := self.value()):
            return queryset
        return queryset.filter(state=ActionState.PARKED, detail__startswith=f"{code}:")


class QueueAdmin(ActionAdmin):
    """The engine's page, and what an action works on by name: in one query for all rows."""

    list_display = (
        "id",
        "shown_state",
        "asked",
        "resource",
        "host",
        "doing",
        "error",
        "since",
    )
    list_filter = (OpenFilter, "state", ParkedFilter, HostFilter, "command", "created")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Newest first, unless the oldest open ones are asked for."""
        oldest = request.GET.get(OpenFilter.parameter_name) == OLDEST_OPEN
        return ("id",) if oldest else ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Action]:
        """With the names of server and host."""
        server = Server.objects.filter(pk=OuterRef("resource_id"))
        by_key = Host.objects.annotate(key=Cast("pk", CharField()))
        rows: QuerySet[Action] = super().get_queryset(request)
        return rows.annotate(
            server_name=Subquery(server.values("name")[:1]),
            host_name=Coalesce(
                Subquery(by_key.filter(key=OuterRef("group")).values("name")[:1]),
                Subquery(server.values("host__name")[:1]),
            ),
        )

    @admin.display(ordering="resource_id")
    def resource(self, action: Action) -> SafeString | str:
        """The server by name, with a link to its page; anything else by type and number."""
        name = getattr(action, "server_name", None)
        if action.resource_type != "server" or not name:
            return super().resource(action)
        page = reverse("admin:servers_server_change", args=[action.resource_id])
        return format_html(
            '<a href="{}">{}</a><span class="detail">server {}</span>',
            page,
            name,
            action.resource_id,
        )

    @admin.display(ordering="host_name")
    def host(self, action: Action) -> str:
        """The host whose turn it takes, or where its server is."""
        if action.group or action.resource_type == "server":
            return getattr(action, "host_name", None) or ""
        return ""


admin.site.unregister(Action)
admin.site.register(Action, QueueAdmin)
