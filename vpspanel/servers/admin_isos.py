"""The staff's form for ISOs: "Add" at the list of images fetches one, an action withdraws it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from hosts.models import Image
from vpspanel.errors import Refused
from vpspanel.events.staff import ModelAdmin, staff_actor
from vpspanel.servers import iso_offers

WIDE = {"size": 64}


class IsoForm(forms.Form):
    """What `manage.py iso_fetch` takes."""

    name = forms.SlugField(
        max_length=63, help_text="Small letters, digits and hyphens; one that exists is replaced."
    )
    description = forms.CharField(max_length=200, required=False, help_text="What customers read.")
    url = forms.CharField(
        label="URL",
        max_length=1000,
        help_text="http or https. It is fetched by a worker.",
        widget=forms.TextInput(attrs=WIDE),
    )
    sha256 = forms.CharField(
        label="SHA-256",
        max_length=64,
        help_text="As its maker publishes it.",
        widget=forms.TextInput(attrs=WIDE),
    )


class IsoPages(ModelAdmin):
    """What the shop adds to the machine room's page of images."""

    actions = ("withdraw",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Who may add images: only ISOs are added here."""
        return request.user.has_perm("hosts.add_image")

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The form; asks nobody: the download is an action."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = IsoForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                action = iso_offers.offer_iso(staff_actor(request), **form.cleaned_data)
            except Refused as refusal:
                form.add_error(refusal.field, refusal.message)
            else:
                said = f"{form.cleaned_data['name']} is being fetched, action #{action.pk}."
                messages.success(request, said)
                return redirect("admin:hosts_image_change", action.resource_id)
        context = {**self.admin_site.each_context(request), "title": "Add an ISO", "form": form}
        return render(request, "admin/servers/iso.html", context)

    @admin.action(description="Withdraw ISOs", permissions=["change"])
    def withdraw(self, request: HttpRequest, chosen: QuerySet[Image]) -> None:
        """Nobody can attach them any more."""
        for image in chosen:
            try:
                iso_offers.withdraw_iso(staff_actor(request), image)
            except Refused as refusal:
                self.message_user(request, f"{image}: {refusal.message}", messages.ERROR)
            else:
                self.message_user(request, f"{image} is withdrawn.", messages.SUCCESS)
