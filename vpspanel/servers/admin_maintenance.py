"""Work on a host, for staff: what draining it would do, its progress, and its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from hosts.models import Host
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.events.staff import STYLE, ReadOnlyAdmin, staff_actor, word
from vpspanel.servers import maintenance as service
from vpspanel.servers.models_maintenance import Maintenance, MaintenanceState

TONES = {
    MaintenanceState.DRAINING: "busy",
    MaintenanceState.DRAINED: "good",
    MaintenanceState.RESTORING: "busy",
}


class Moment(forms.DateTimeInput):
    """The browser's own field for a date and a time."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%dT%H:%M")


class MaintenanceForm(forms.Form):
    """What staff say of it."""

    reason = forms.CharField(max_length=200, help_text="Customers read it, for example: new disks.")
    begins = forms.DateTimeField(
        required=False, widget=Moment(), help_text="Empty: at once. Then the host is drained."
    )
    ends = forms.DateTimeField(widget=Moment())
    shuts_down = forms.BooleanField(
        required=False,
        label="Shut down what cannot move while it runs",
        help_text="Only within this time; it is started again on its new host.",
    )
    bandwidth_mib = forms.IntegerField(
        required=False, min_value=1, label="MiB/s for each", help_text="Empty: no limit."
    )
    at_once = forms.IntegerField(
        initial=2, min_value=1, max_value=service.MOST_AT_ONCE, label="How many move at a time"
    )
    announce = forms.BooleanField(
        required=False, initial=True, label="Tell the customers of its servers, on every page"
    )


def _plan(actor: Actor, host: Host, form: MaintenanceForm) -> str:
    said = {**form.cleaned_data, "bandwidth_mib": form.cleaned_data["bandwidth_mib"] or 0}
    begins = said.pop("begins")
    if begins is None or begins <= timezone.now():
        service.drain(actor, host, **said)
        return "Its servers begin to leave."
    service.plan_maintenance(actor, host, begins=begins, **said)
    return "The maintenance is planned."


ACTS: dict[str, tuple[Callable[[Actor, Maintenance], object], str]] = {
    "begin": (service.begin, "Its servers begin to leave."),
    "cancel": (service.cancel, "It does not take place."),
    "finish": (
        lambda actor, row: service.finish(actor, row, restore=False),
        "It is over. Its servers stay where they are now.",
    ),
    "restore": (
        lambda actor, row: service.finish(actor, row, restore=True),
        "It is over. Its servers come back.",
    ),
    "again": (service.try_again, "They are tried again at once."),
}


def need_moving_rights(request: HttpRequest) -> None:
    """Raises `PermissionDenied` for staff who may not change both hosts and servers."""
    if not request.user.has_perms(("hosts.change_host", "servers.change_server")):
        raise PermissionDenied


def maintenance_page(request: HttpRequest, host_id: int) -> HttpResponse:
    """Plan one, follow it, end it."""
    need_moving_rights(request)
    host = get_object_or_404(Host.objects.select_related("location"), pk=host_id)
    act = request.POST.get("act", "")
    form = MaintenanceForm(request.POST if act == "plan" else None)
    if request.method == "POST" and (act in ACTS or form.is_valid()):
        try:
            said = _act(request, host, act, form)
        except Refused as refusal:
            if act == "plan":
                form.add_error(refusal.field, refusal.message)
            else:
                messages.error(request, refusal.message)
        else:
            messages.success(request, said)
            return redirect("admin:servers_maintenance", host.pk)
    current = service.going_on(host)
    context = {
        **admin.site.each_context(request),
        **_state(host, current),
        "title": f"Maintenance of {host.name}",
        "form": form,
        "planned": service.planned_for(host),
        "prospects": None if current else service.prospects(host),
    }
    return render(request, "admin/servers/maintenance.html", context)


def _act(request: HttpRequest, host: Host, act: str, form: MaintenanceForm) -> str:
    """What has been done. Raises `Refused`."""
    actor = staff_actor(request)
    if act == "plan":
        return _plan(actor, host, form)
    number = request.POST.get("maintenance", "")
    rows = Maintenance.objects.filter(host=host)
    row = rows.filter(pk=int(number)).first() if number.isdecimal() else None
    if row is None:
        raise Refused("not_found", "There is no such maintenance any more.")
    do, said = ACTS[act]
    do(actor, row)
    return said


@require_safe
def maintenance_rows_page(request: HttpRequest, host_id: int) -> HttpResponse:
    """How far it is, fetched again every few seconds."""
    need_moving_rights(request)
    host = get_object_or_404(Host, pk=host_id)
    context = _state(host, service.going_on(host))
    return render(request, "admin/servers/maintenance_rows.html", context)


def _state(host: Host, current: Maintenance | None) -> dict[str, Any]:
    """The maintenance that is going on, and each of its servers."""
    context: dict[str, Any] = {"host": host, "current": current}
    if current is not None:
        rows = list(current.departures.select_related("server__host", "action"))
        context["rows"] = rows
        context["done"] = sum(row.state == "done" for row in rows)
        context["stuck"] = any(row.state == "failed" or row.reason for row in rows)
        context["late"] = current.ends < timezone.now()
    return context


@admin.register(Maintenance)
class MaintenanceAdmin(ReadOnlyAdmin):
    """All of them, those that are over as well; they are planned from a host's page."""

    list_display = ("__str__", "status", "reason", "ends", "drained_at", "finished_at")
    list_filter = ("state", "host__location")
    list_select_related = ("host",)
    search_fields = ("host__name", "reason")

    class Media:
        css = STYLE

    @admin.display(description="state", ordering="state")
    def status(self, row: Maintenance) -> SafeString:
        return word(row.get_state_display(), TONES.get(MaintenanceState(row.state), "plain"))
