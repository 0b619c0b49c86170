"""Addresses of the console's page."""

from __future__ import annotations

from django.urls import path

from vpspanel.consoles import power, views

app_name = "consoles"
urlpatterns = [
    path("servers/<int:server_id>/console/", views.page, name="page"),
    path("servers/<int:server_id>/console/ticket/", views.ticket, name="ticket"),
    path("servers/<int:server_id>/console/status/", views.status, name="status"),
    path("servers/<int:server_id>/console/power/", power.power, name="power"),
]
