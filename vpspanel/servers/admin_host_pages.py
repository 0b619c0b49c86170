"""What the shop adds to the machine room's admin of hosts: the fleet and a host's own page."""

from __future__ import annotations

from typing import Any

from django.urls import path

from vpspanel.events.staff import ModelAdmin
from vpspanel.servers import admin_fleet, admin_host, admin_maintenance


class HostPages(ModelAdmin):
    """More addresses below the list of hosts."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("fleet/", view(admin_fleet.fleet_page), name="servers_fleet"),
            path("fleet/rows/", view(admin_fleet.fleet_rows_page), name="servers_fleet_rows"),
            path("<int:host_id>/overview/", view(admin_host.host_page), name="servers_host"),
            path(
                "<int:host_id>/figures/", view(admin_host.host_figures), name="servers_host_figures"
            ),
            path(
                "<int:host_id>/maintenance/",
                view(admin_maintenance.maintenance_page),
                name="servers_maintenance",
            ),
            path(
                "<int:host_id>/maintenance/rows/",
                view(admin_maintenance.maintenance_rows_page),
                name="servers_maintenance_rows",
            ),
            *super().get_urls(),
        ]
