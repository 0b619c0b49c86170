"""Addresses of the console's page."""

from __future__ import annotations

from django.urls import path

from vpspanel.consoles import power, recording_views, views

app_name = "consoles"
urlpatterns = [
    path("servers/<int:server_id>/console/", views.page, name="page"),
    path("servers/<int:server_id>/console/ticket/", views.ticket, name="ticket"),
    path("servers/<int:server_id>/console/status/", views.status, name="status"),
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
