"""The URL map."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from vpspanel.health import healthz

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", healthz, name="healthz"),
    path("admin/", admin.site.urls),
    path("api/", include("vpspanel.api.urls")),
    path("accounts/", include("allauth.account.urls")),
    path("", include("vpspanel.consoles.urls")),
    path("", include("vpspanel.pages.urls")),
]
