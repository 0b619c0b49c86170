"""The staff's page on which a foreign guest becomes a customer's server."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from hosts.models import Host, Image, ImageStatus
from vpspanel.accounts.finding import project_named
from vpspanel.errors import Refused
from vpspanel.events.staff import staff_actor
from vpspanel.servers.adoptable import Guest, guest_from, notes, obstacles, unfit
from vpspanel.servers.adopting import adopt_guest, pool_names
from vpspanel.servers.models import ServerType
from vpspanel.servers.models_drift import PRESENT, Difference

NEEDED = ("servers.add_server", "servers.change_server", "hosts.change_host")


class AdoptionForm(forms.Form):
    """What only people know of a guest."""

    project = forms.CharField(
        max_length=254, help_text="Its number, or the mail address of its owner"
    )
    name = forms.CharField(max_length=63, help_text="What the customer sees; the guest keeps its")
    server_type = forms.ModelChoiceField(
        ServerType.objects.none(), label="Plan", help_text="At least as large as the guest"
    )
    ipv4 = forms.CharField(
        label="IPv4 address", max_length=15, help_text="The one that it uses; no other will work"
    )
    ipv6 = forms.CharField(
        label="IPv6 network",
        max_length=64,
        required=False,
        help_text="The /64 that it uses, or an address in it; empty: the next free one",
    )
    image = forms.ModelChoiceField(
        Image.objects.none(),
        label="System",
        required=False,
        help_text="What is on it, as far as you know; its disk is not touched",
    )

    def __init__(self, host: Host, guest: Guest, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        plans = ServerType.objects.filter(prices__location=host.location_id).distinct()
        fit = [plan.pk for plan in plans if not unfit(plan, guest)]
        choice, system = self.fields["server_type"], self.fields["image"]
        choice.queryset = ServerType.objects.filter(pk__in=fit)  # type: ignore[attr-defined]
        system.queryset = Image.objects.filter(  # type: ignore[attr-defined]
            owner=None, status=ImageStatus.AVAILABLE
        )


def adoption_page(request: HttpRequest, row_id: int) -> HttpResponse:
    """What the guest is and what stands in the way; with the form, it is taken over."""
    if not request.user.has_perms(NEEDED):
        raise PermissionDenied
    rows = Difference.objects.select_related("host__location")
    row = get_object_or_404(rows, pk=row_id, code="domain_foreign", state__in=PRESENT)
    guest = guest_from(row.facts)
    if guest is None or row.host is None:
        raise Http404
    name = guest.definition.name.lower().replace("_", "-")
    form = AdoptionForm(row.host, guest, request.POST or None, initial={"name": name})
    if request.method == "POST" and form.is_valid():
        done = _adopt(request, row.host, guest, form)
        if done is not None:
            return done
    context = {
        **admin.site.each_context(request),
        "title": f"Take over {guest.definition.name}",
        "row": row,
        "guest": guest,
        "obstacles": obstacles(guest, row.host, pool_names(row.host)),
        "notes": notes(guest),
        "form": form,
    }
    return render(request, "admin/servers/adopt.html", context)


def _adopt(
    request: HttpRequest, host: Host, guest: Guest, form: AdoptionForm
) -> HttpResponse | None:
    """Begin, or say in the form why not."""
    given = dict(form.cleaned_data)
    try:
        given["project"] = project_named(given["project"])
        adopted = adopt_guest(staff_actor(request), host, guest, **given)
    except Refused as refusal:
        form.add_error(refusal.field, refusal.message)
        return None
    messages.success(request, f"It is being taken over: action #{adopted.action.pk}.")
    return redirect("admin:servers_server_change", adopted.server.pk)
