"""Addresses of the console's page."""

from __future__ import annotations

from django.urls import path

from vpspanel.consoles import embed_views, link_views, power, recording_views, shared, staff, views

app_name = "consoles"
urlpatterns = [
    path("servers/<int:server_id>/console/", views.page, name="page"),
    path("servers/<int:server_id>/console/ticket/", views.ticket, name="ticket"),
    path("servers/<int:server_id>/console/status/", views.status, name="status"),
    path("staff/servers/<int:server_id>/console/", staff.page, name="staff"),
    path("staff/servers/<int:server_id>/console/ticket/", staff.ticket, name="staff_ticket"),
    path("servers/<int:server_id>/console/links/", link_views.links, name="links"),
    path(
        "servers/<int:server_id>/console/links/<int:link_id>/revoke/",
        link_views.revoke,
        name="link_revoke",
    ),
    path("embed/ticket/", embed_views.ticket, name="embed_ticket"),
    path("embed/serial/", embed_views.page, {"name": "serial"}, name="embed_serial"),
    path("embed/screen/", embed_views.page, {"name": "screen"}, name="embed_screen"),
    path("embed/serial/watch/", embed_views.watch_page, {"name": "serial"}, name="watch_serial"),
    path("embed/screen/watch/", embed_views.watch_page, {"name": "screen"}, name="watch_screen"),
    path("shared/", shared.entrance, name="shared"),
    path("shared/enter/", shared.enter, name="shared_enter"),
    path("shared/console/", shared.page, name="shared_console"),
    path("shared/ticket/", shared.ticket, name="shared_ticket"),
    path("servers/<int:server_id>/console/power/", power.power, name="power"),
    path(
        "servers/<int:server_id>/console/recordings/",
        recording_views.recordings,
        name="recordings",
    ),
    path(
        "servers/<int:server_id>/console/recordings/<int:recording_id>/",
        recording_views.recording,
        name="recording",
    ),
    path(
        "servers/<int:server_id>/console/recordings/<int:recording_id>/delete/",
        recording_views.delete,
        name="recording_delete",
    ),
]
