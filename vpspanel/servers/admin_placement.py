"""Why this host, why not that one: what an order would choose now, and how many of each fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from hosts.models import Image, ImageStatus, Location
from hosts.placement import Verdict, explain, how_many
from hosts.room import candidates, everybody
from vpspanel.servers.models import PlacementGroup, ServerType
from vpspanel.servers.ordering import need_of

MOST = 200  # hosts on one page


class PlacementForm(forms.Form):
    """What somebody would order."""

    server_type = forms.ModelChoiceField(ServerType.objects.filter(deprecated=None), label="Plan")
    location = forms.ModelChoiceField(Location.objects.all())
    image = forms.ModelChoiceField(
        Image.objects.filter(status=ImageStatus.AVAILABLE), required=False
    )
    group = forms.CharField(required=False, label="Spread group (project id/name)")

    def clean_group(self) -> PlacementGroup | None:
        text: str = self.cleaned_data["group"]
        if not text:
            return None
        project, _, name = text.partition("/")
        found = None
        if project.isdigit():
            found = PlacementGroup.objects.filter(project_id=int(project), name=name).first()
        if found is None:
            raise forms.ValidationError("There is no such group.")
        return found


@dataclass(frozen=True, slots=True)
class Room:
    """How many of a plan fit in each location."""

    server_type: ServerType
    fit: list[int]


def placement_page(request: HttpRequest) -> HttpResponse:
    """For staff who may see hosts. Asks no host: it is what an order would go by."""
    if not request.user.has_perm("hosts.view_host"):
        raise PermissionDenied
    form = PlacementForm(request.GET if "server_type" in request.GET else None)
    locations = list(Location.objects.all())
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Placement",
        "form": form,
        "locations": locations,
        "room": _room(locations),
    }
    if form.is_valid():
        verdicts = _verdicts(form.cleaned_data)
        context |= {"verdicts": verdicts[:MOST], "more": max(0, len(verdicts) - MOST)}
    return render(request, "admin/servers/placement.html", context)


def _verdicts(wanted: dict[str, Any]) -> list[Verdict]:
    group = wanted["group"]
    hosts = everybody(wanted["location"], wanted["image"], group.uuid if group else None)
    return explain(hosts, need_of(wanted["server_type"]))


def _room(locations: list[Location]) -> list[Room]:
    open_hosts = [candidates(location) for location in locations]
    return [
        Room(plan, [how_many(of_place, need_of(plan)) for of_place in open_hosts])
        for plan in ServerType.objects.filter(deprecated=None)
    ]
