"""Moving one server, for staff: every host it could go to, and what stands in the way."""

from __future__ import annotations

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from hosts.models import Host
from vpspanel.actions.services import open_action
from vpspanel.errors import Refused
from vpspanel.events.staff import staff_actor
from vpspanel.servers.admin_maintenance import need_moving_rights
from vpspanel.servers.models import NO_SECRETS, Server
from vpspanel.servers.moving import cancel_move, move_server, moving_choices
from vpspanel.servers.moving_facts import LIVE, OFFLINE

WAYS = (
    ("auto", "Running if it runs, else off"),
    (LIVE, "Running"),
    (OFFLINE, "Off: it is shut down for it, and started afterwards if it ran"),
)


class MoveForm(forms.Form):
    """Where to, and how."""

    to = forms.ModelChoiceField(Host.objects.none(), required=False, empty_label="the best one")
    how = forms.ChoiceField(choices=WAYS, initial="auto")
    bandwidth_mib = forms.IntegerField(
        required=False, min_value=1, label="MiB/s", help_text="Empty: no limit."
    )

    def __init__(self, server: Server, data: object = None) -> None:
        super().__init__(data)  # type: ignore[arg-type]
        others = Host.objects.filter(location=server.location_id).exclude(pk=server.host_id or 0)
        self.fields["to"].queryset = others  # type: ignore[attr-defined]


def move_page(request: HttpRequest, server_id: int) -> HttpResponse:
    """Begin a move, or call one off."""
    need_moving_rights(request)
    servers = Server.objects.select_related("host", "location", "server_type", "image")
    server = get_object_or_404(servers.defer(*NO_SECRETS), pk=server_id)
    calls_off = request.POST.get("act") == "cancel"
    form = MoveForm(server, request.POST if request.method == "POST" and not calls_off else None)
    if calls_off or form.is_valid():
        try:
            said = _call_off(request, server) if calls_off else _move(request, server, form)
        except Refused as refusal:
            messages.error(request, refusal.message)
        else:
            messages.success(request, said)
            return redirect("admin:servers_move", server.pk)
    action = open_action("server", server.pk)
    moving = action is not None and action.command == "migrate"
    context = {
        **admin.site.each_context(request),
        "title": f"Move {server.name}",
        "server": server,
        "form": form,
        "moving": action if moving else None,
        "choices": [] if moving else moving_choices(server),
    }
    return render(request, "admin/servers/move.html", context)


def _move(request: HttpRequest, server: Server, form: MoveForm) -> str:
    said = form.cleaned_data
    action = move_server(
        staff_actor(request),
        server,
        said["to"],
        how=said["how"],
        bandwidth_mib=said["bandwidth_mib"],
    )
    return f"It is being moved: action #{action.pk}."


def _call_off(request: HttpRequest, server: Server) -> str:
    action = cancel_move(staff_actor(request), server)
    return f"Called off: action #{action.pk}. The server stays where it is."
