"""What staff do when hosts are lost or come back."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path
from django.utils.safestring import SafeString

from hosts.models import Host
from vpspanel.errors import Refused
from vpspanel.events.staff import STYLE, ActingAdmin, staff_actor, word
from vpspanel.servers import evacuation, restarts, stale
from vpspanel.servers.models import PowerSeen, Restart, StaleCopy


@admin.register(Restart)
class RestartAdmin(ActingAdmin):
    """Servers that wait to be started after a boot or a suspension, and those that would not."""

    list_display = ("server", "host", "state", "tries", "next_try", "after_suspension", "since")
    list_filter = ("given_up", "after_suspension", "host")
    list_select_related = ("server", "host")
    search_fields = ("server__name", "host__name")
    actions = ("try_again",)

    class Media:
        css = STYLE

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Who may start servers."""
        return request.user.has_perm("servers.change_server")

    def get_urls(self) -> list[Any]:
        page = self.admin_site.admin_view(evacuation_page)
        return [
            path("evacuate/<int:host_id>/", page, name="servers_evacuate"),
            *super().get_urls(),
        ]

    @admin.display(ordering="given_up")
    def state(self, restart: Restart) -> SafeString:
        """Whether it is still tried."""
        return word("did not start", "bad") if restart.given_up else word("waits", "busy")

    @admin.action(description="Try again now", permissions=["operate"])
    def try_again(self, request: HttpRequest, chosen: QuerySet[Restart]) -> None:
        """With as many tries as at first."""
        count = restarts.try_again(chosen)
        self.message_user(request, f"{count} are tried again.", messages.SUCCESS)


@admin.register(StaleCopy)
class StaleCopyAdmin(ActingAdmin):
    """Copies of servers on hosts that they have left. The panel never starts them."""

    list_display = ("server", "host", "lives_on", "state", "evacuated", "found_at", "seen_at")
    list_filter = ("host", "power", "evacuated")
    list_select_related = ("server__host", "host")
    search_fields = ("server__name", "host__name")
    actions = ("clean_up",)

    class Media:
        css = STYLE

    def has_destroy_permission(self, request: HttpRequest) -> bool:
        """Who may delete servers."""
        return request.user.has_perm("servers.delete_server")

    @admin.display(description="lives on")
    def lives_on(self, copy: StaleCopy) -> str:
        """Where the server itself is."""
        return str(copy.server.host)

    @admin.display(ordering="power")
    def state(self, copy: StaleCopy) -> SafeString:
        """What its host says of it."""
        tone = "plain" if copy.power in stale.STOPPED else "bad"
        return word(PowerSeen(copy.power).label, tone)

    @admin.action(description="Clean up", permissions=["destroy"])
    def clean_up(self, request: HttpRequest, chosen: QuerySet[StaleCopy]) -> HttpResponse | None:
        """Remove them from their hosts, after asking once more."""
        copies = list(chosen.select_related("server__host", "host"))
        if "confirmed" not in request.POST:
            context = {
                **self.admin_site.each_context(request),
                "title": "Clean up",
                "list_url": "admin:servers_stalecopy_changelist",
                "list_name": "Stale copies",
                "chosen": copies,
                "act": "clean_up",
                "danger": True,
                "checkbox": ACTION_CHECKBOX_NAME,
            }
            return render(request, "admin/servers/clean_up.html", context)
        for copy in copies:
            try:
                action = stale.clean_up(staff_actor(request), copy)
            except Refused as refusal:
                self.message_user(request, f"{copy.server}: {refusal.message}", messages.ERROR)
            else:
                said = f"{copy.server} is removed from {copy.host}, action #{action.pk}."
                self.message_user(request, said, messages.SUCCESS)
        return None


class FencingForm(forms.Form):
    """What staff have to say before anything moves."""

    confirmed_name = forms.CharField(label="Name of the host", max_length=63)
    fenced = forms.CharField(
        label="How it was fenced",
        max_length=400,
        help_text="For example: power cut at PDU 3, outlet 7. It is recorded.",
    )
    from_copies = forms.BooleanField(
        label="Also restart servers whose disks are lost, from their newest snapshots",
        required=False,
        help_text="What they have written since then stays on the lost disks.",
    )


def evacuation_page(request: HttpRequest, host_id: int) -> HttpResponse:
    """Who can leave a lost host and who cannot; with the confirmation, they leave."""
    if not request.user.has_perms(("hosts.change_host", "servers.change_server")):
        raise PermissionDenied
    host = get_object_or_404(Host, pk=host_id)
    plan = evacuation.plan(host)
    form = FencingForm(request.POST or None)
    if not plan.restores:
        del form.fields["from_copies"]
    if request.method == "POST" and form.is_valid():
        try:
            done = evacuation.evacuate(staff_actor(request), host, **form.cleaned_data)
        except Refused as refusal:
            form.add_error(refusal.field, refusal.message)
        else:
            messages.success(request, f"Being restarted on other hosts: {len(done.actions)}.")
            for stays in done.stays:
                messages.warning(request, f"{stays.server.name} stays: {stays.reason}")
            return redirect("admin:servers_evacuate", host.pk)
    context = {
        **admin.site.each_context(request),
        "title": f"Evacuate {host}",
        "form": form,
        "plan": plan,
    }
    return render(request, "admin/servers/evacuate.html", context)
