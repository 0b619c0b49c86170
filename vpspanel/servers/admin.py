"""Servers and plans for staff. What the engine writes is shown; verbs go through the services."""

from __future__ import annotations

import ipaddress
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from vpspanel.actions.models import OPEN_STATES, Action
from vpspanel.events.models import Event
from vpspanel.events.staff import (
    STYLE,
    ActingAdmin,
    ReadOnlyAdmin,
    ReadOnlyInline,
    RecordedAdmin,
    TabularInline,
    facts,
    word,
)
from vpspanel.servers import (
    admin_announcements,  # noqa: F401 registers its page
    admin_copies,  # noqa: F401 - the same
    admin_drift,  # noqa: F401 - the same
    admin_loss,  # noqa: F401 - its pages register themselves
    admin_queue,  # noqa: F401 - the same
)
from vpspanel.servers.admin_host import server_figures, server_graphs
from vpspanel.servers.admin_hosts import record_changes
from vpspanel.servers.admin_moves import move_page
from vpspanel.servers.admin_placement import placement_page
from vpspanel.servers.admin_suspending import SuspendServers, offer_suspension_of_accounts
from vpspanel.servers.admin_verbs import VerbActions
from vpspanel.servers.models import (
    MICROS,
    PrimaryIP,
    Server,
    ServerType,
    ServerTypePrice,
)
from vpspanel.servers.services import facts_of
from vpspanel.servers.states import shown_status

TONES = {"green": "good", "blue": "busy", "yellow": "warn", "red": "bad"}
LATEST = 15  # actions and events that a server's page shows

record_changes()
offer_suspension_of_accounts()


class PrimaryIPInline(ReadOnlyInline):
    """Its addresses."""

    model = PrimaryIP
    fields = ("address", "name", "auto_delete", "protect_delete", "created")
    readonly_fields = fields


@admin.register(Server)
class ServerAdmin(SuspendServers, VerbActions, ActingAdmin):
    """All servers, deleted ones included."""

    actions = (*VerbActions.actions, *SuspendServers.actions)

    list_display = (
        "name",
        "status",
        "customer",
        "host",
        "server_type",
        "image",
        "addresses",
        "seen",
        "created",
    )
    list_filter = (
        "lifecycle",
        "power_seen",
        ("suspended_at", admin.EmptyFieldListFilter),
        "location",
        "host",
        "server_type",
        "image",
    )
    list_select_related = ("project__account", "host", "server_type", "image")
    search_fields = (
        "name",
        "mac",
        "primary_ips__address__address__startswith",
        "project__name",
        "project__account__name",
    )
    search_help_text = "A name, a UUID, an IPv4 or IPv6 address, a MAC, a project, an account."
    show_full_result_count = False
    ordering = ("-id",)
    inlines = (PrimaryIPInline,)
    fieldsets = (
        (None, {"fields": ("name", "uuid", "project", "status", "failed_reason", "labels")}),
        (
            "Ordered as",
            {"fields": ("server_type", "image", "vcpus", "memory_mib", "disk_gib", "user_keys")},
        ),
        (
            "Where",
            {
                "fields": (
                    "location",
                    "host",
                    "pool",
                    "mac",
                    "disk_generation",
                    "domain",
                    "console",
                    "graphs",
                    "moving",
                )
            },
        ),
        (
            "State",
            {
                "fields": (
                    "lifecycle",
                    "power_wanted",
                    "power_seen",
                    "seen_at",
                    "protect_delete",
                    "protect_rebuild",
                    "suspended_at",
                    "suspended_reason",
                    "suspender",
                    "suspended_by",
                    "seed_secret_since",
                )
            },
        ),
        ("Time", {"fields": ("created", "deleted_at")}),
        ("Latest", {"fields": ("latest_actions", "latest_events")}),
    )

    class Media:
        css = STYLE

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("<int:server_id>/graphs/", view(server_graphs), name="servers_server_graphs"),
            path("<int:server_id>/figures/", view(server_figures), name="servers_server_figures"),
            path("<int:server_id>/move/", view(move_page), name="servers_move"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> Any:
        """With the open action in the same query: it decides the shown word."""
        actions = Action.objects.filter(
            resource_type="server", resource_id=OuterRef("pk"), state__in=OPEN_STATES
        ).order_by()
        servers = super().get_queryset(request)
        return servers.prefetch_related("primary_ips__address").annotate(
            open_action=Subquery(actions.values("pk")[:1]),
            open_command=Subquery(actions.values("command")[:1]),
            open_state=Subquery(actions.values("state")[:1]),
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """A UUID or an address is looked up exactly; anything else as words."""
        exact = exact_lookup(search_term.strip())
        if exact:
            return queryset.filter(**exact), False
        return super().get_search_results(request, queryset, search_term)

    @admin.display(ordering="lifecycle")
    def status(self, server: Any) -> SafeString:
        known = Action(command=server.open_command, state=server.open_state)
        shown = shown_status(facts_of(server, known if server.open_action else None))
        label = word(shown.label, TONES.get(shown.color, "plain"))
        if not server.open_action:
            return label
        url = reverse("admin:actions_action_change", args=[server.open_action])
        doing = f"{server.open_command} ({server.open_state})"
        return format_html('{} <a class="detail" href="{}">{}</a>', label, url, doing)

    @admin.display(ordering="project__account__name")
    def customer(self, server: Server) -> SafeString:
        detail = '{}<span class="detail">{}</span>'
        return format_html(detail, server.project.account, server.project)

    @admin.display
    def addresses(self, server: Server) -> SafeString:
        rows = ((ip.address.address,) for ip in server.primary_ips.all())
        return format_html_join("", '<span class="detail nowrap">{}</span>', rows)

    @admin.display(description="seen", ordering="seen_at")
    def seen(self, server: Server) -> str:
        if server.seen_at is None:
            return "never"
        return f"{server.get_power_seen_display()}, {timesince(server.seen_at)} ago"

    @admin.display(description="SSH keys")
    def user_keys(self, server: Server) -> SafeString:
        return facts(server.authorized_keys)

    @admin.display(description="on its host")
    def domain(self, server: Server) -> SafeString:
        return facts(
            {
                "domain": server.domain_name,
                "disk": server.disk_volume(),
                "seed": server.seed_volume,
                "filter": server.filter_name,
            }
        )

    @admin.display(description="serial console")
    def console(self, server: Server) -> SafeString:
        url = reverse("consoles:staff", args=[server.pk])
        words = "Watch it: the customer sees that, and it is recorded"
        return format_html('<a href="{}" target="_blank">{}</a>', url, words)

    @admin.display
    def graphs(self, server: Server) -> SafeString:
        url = reverse("admin:servers_server_graphs", args=[server.pk])
        return format_html('<a href="{}">{}</a>', url, "CPU, disk and network over time")

    @admin.display(description="move")
    def moving(self, server: Server) -> SafeString:
        url = reverse("admin:servers_move", args=[server.pk])
        return format_html('<a href="{}">{}</a>', url, "To another host, running or off")

    @admin.display(description="actions")
    def latest_actions(self, server: Server) -> SafeString:
        actions = Action.objects.filter(resource_type="server", resource_id=server.pk)
        rows = (
            (
                reverse("admin:actions_action_change", args=[action.pk]),
                action.command,
                action.get_state_display(),
                action.error_code,
                f"{action.created:%Y-%m-%d %H:%M:%S}",
            )
            for action in actions.order_by("-pk")[:LATEST]
        )
        return format_html_join("", '<p><a href="{}">{}</a> {} {} {}</p>', rows)

    @admin.display(description="events")
    def latest_events(self, server: Server) -> SafeString:
        events = Event.objects.filter(resource_type="server", resource_id=server.pk)
        rows = (
            (f"{event.at:%Y-%m-%d %H:%M:%S}", event.message, event.actor_name)
            for event in events.order_by("-pk")[:LATEST]
        )
        return format_html_join("", "<p>{} {} ({})</p>", rows)


def exact_lookup(term: str) -> dict[str, Any]:
    """The filter for a whole UUID or address; empty for anything else."""
    try:
        if len(term) >= 32:
            return {"uuid": UUID(term)}
    except ValueError:
        pass
    try:
        address = ipaddress.ip_address(term.partition("/")[0])
    except ValueError:
        return {}
    text = str(address)
    if address.version == 6:  # a server has a whole /64
        text = str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
    return {"primary_ips__address__address": text}


class PriceInline(TabularInline):
    """What the plan costs where; only in these locations it is sold."""

    model = ServerTypePrice
    extra = 1


@admin.register(ServerType)
class ServerTypeAdmin(RecordedAdmin):
    """Plans. Servers keep what they were ordered with."""

    list_display = (
        "name",
        "description",
        "vcpus",
        "memory_mib",
        "disk_gib",
        "prices_shown",
        "position",
        "deprecated",
    )
    list_filter = ("category", "architecture", ("deprecated", admin.EmptyFieldListFilter))
    search_fields = ("name", "description")
    inlines = (PriceInline,)

    def get_urls(self) -> list[Any]:
        page = self.admin_site.admin_view(placement_page)
        return [path("placement/", page, name="servers_placement"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("prices__location")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # set "deprecated" instead: servers and invoices refer to it

    @admin.display(description="per month")
    def prices_shown(self, server_type: ServerType) -> str:
        return ", ".join(
            f"{price.location}: {price.monthly_micros / MICROS:.2f}"
            for price in server_type.prices.all()
        )


@admin.register(PrimaryIP)
class PrimaryIPAdmin(ReadOnlyAdmin):
    """Public addresses that servers own."""

    list_display = ("address", "name", "server", "project", "auto_delete", "created")
    list_filter = ("address__family", "auto_delete")
    search_fields = ("address__address", "name", "server__name", "project__name")
    list_select_related = ("address", "server", "project")
