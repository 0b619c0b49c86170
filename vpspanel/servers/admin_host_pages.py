"""What the shop adds to the machine room's admin of hosts: the fleet and a host's own page."""

from __future__ import annotations

from typing import Any

from django.urls import path

from vpspanel.events.staff import ModelAdmin
from vpspanel.servers import admin_fleet


class HostPages(ModelAdmin):
    """More addresses below the list of hosts."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("fleet/", view(admin_fleet.fleet_page), name="servers_fleet"),
            path("fleet/rows/", view(admin_fleet.fleet_rows_page), name="servers_fleet_rows"),
            *super().get_urls(),
        ]
