"""What happened, for staff: to be read and searched, never to be changed."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from vpspanel.events.models import Event
from vpspanel.events.staff import STYLE, ReadOnlyAdmin, facts


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """The audit trail."""

    list_display = ("at", "message", "resource", "actor_name", "via", "ip", "public", "kind")
    list_filter = ("via", "public", "resource_type", "at")
    search_fields = ("message", "actor_name", "kind", "=resource_id", "=ip")
    search_help_text = "Words of the message, a person, a kind (server.power_on), an id or an IP."
    fields = (
        "at",
        "kind",
        "message",
        "resource",
        "project_id",
        "action_id",
        "actor_name",
        "via",
        "ip",
        "public",
        "shown_data",
    )
    ordering = ("-id",)
    show_full_result_count = False

    class Media:
        css = STYLE

    @admin.display(ordering="resource_id")
    def resource(self, event: Event) -> str:
        return f"{event.resource_type} {event.resource_id}"

    @admin.display(description="data")
    def shown_data(self, event: Event) -> SafeString:
        return facts(event.data)
