"""Announcements for staff."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from vpspanel.events.staff import STYLE, RecordedAdmin, word
from vpspanel.servers.models_announcement import Announcement


@admin.register(Announcement)
class AnnouncementAdmin(RecordedAdmin):
    """What customers are told on their pages, and how many have put it away."""

    list_display = ("title", "state", "severity", "target", "begins", "ends", "read_by")
    list_filter = ("severity", "location", "begins")
    search_fields = ("title", "text", "host__name", "account__name")
    list_select_related = ("location", "host", "account")
    autocomplete_fields = ("host", "account")

    class Media:
        css = STYLE

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(read_count=Count("dismissals"))

    @admin.display
    def state(self, announcement: Announcement) -> SafeString:
        now = timezone.now()
        if announcement.begins > now:
            return word("planned", "plain")
        if announcement.ends is not None and announcement.ends <= now:
            return word("over", "plain")
        return word("shown", "good")

    @admin.display(description="for")
    def target(self, announcement: Announcement) -> str:
        if announcement.location is not None:
            return f"servers in {announcement.location}"
        if announcement.host is not None:
            return f"servers on {announcement.host}"
        return str(announcement.account or "everybody")

    @admin.display(description="put away by", ordering="read_count")
    def read_by(self, announcement: Any) -> int:
        return int(announcement.read_count)
