"""The verbs as actions of the staff's server list: checked, confirmed, reported one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from vpspanel.actions.models import Action
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.events.staff import ModelAdmin, staff_actor
from vpspanel.servers import services
from vpspanel.servers.models import Server
from vpspanel.servers.states import Verb

AT_ONCE = 25  # servers that one click may touch: a slip of the hand stays small

Act = Callable[[Actor, int], Action]
AdminAction = Callable[[Any, HttpRequest, QuerySet[Server]], HttpResponse | None]

VERBS: dict[Verb, tuple[Act, str, str]] = {
    Verb.POWER_ON: (services.power_on, "Start", ""),
    Verb.SHUTDOWN: (services.shutdown, "Shut down (asks the guest)", ""),
    Verb.REBOOT: (services.reboot, "Reboot (asks the guest)", ""),
    Verb.POWER_OFF: (
        services.power_off,
        "Power off (pulls the plug)",
        "The servers stop at once, as if the plug was pulled. What was not written is lost.",
    ),
    Verb.RESET: (
        services.reset,
        "Reset (presses the button)",
        "The servers restart at once without shutting down. What was not written is lost.",
    ),
    Verb.DELETE: (
        services.delete,
        "Delete with disk and addresses",
        "The servers, their disks and all that is on them are destroyed. Nobody can undo this.",
    ),
}


def _make(verb: Verb) -> AdminAction:
    """The admin action of a verb; one with a warning asks first."""
    act, label, warning = VERBS[verb]

    def action(
        self: VerbActions, request: HttpRequest, servers: QuerySet[Server]
    ) -> HttpResponse | None:
        chosen = list(servers.order_by("name")[: AT_ONCE + 1])
        if len(chosen) > AT_ONCE:
            self.message_user(request, f"At most {AT_ONCE} servers at once.", messages.ERROR)
            return None
        if warning and "confirmed" not in request.POST:
            return self.ask(request, verb, label, warning, chosen)
        self.act_on_each(request, act, label, chosen)
        return None

    action.__name__ = f"verb_{verb.value}"
    action.short_description = label  # type: ignore[attr-defined]
    action.allowed_permissions = (  # type: ignore[attr-defined]
        ("destroy",) if verb is Verb.DELETE else ("operate",)
    )
    return action


class VerbActions(ModelAdmin):
    """Adds the verbs to a list of servers."""

    actions = tuple(_make(verb) for verb in VERBS)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Who may start and stop: whoever may change servers."""
        return request.user.has_perm("servers.change_server")

    def has_destroy_permission(self, request: HttpRequest) -> bool:
        """Who may delete: whoever may delete servers."""
        return request.user.has_perm("servers.delete_server")

    def act_on_each(
        self, request: HttpRequest, act: Act, label: str, servers: list[Server]
    ) -> None:
        """Ask the service for each server; say what was accepted and what was refused."""
        actor = staff_actor(request)
        for server in servers:
            try:
                action = act(actor, server.pk)
            except Refused as refusal:
                self.message_user(
                    request, f"Server {server.name}: {refusal.message}", messages.ERROR
                )
            else:
                said = f"Server {server.name}: {label}, action #{action.pk}."
                self.message_user(request, said, messages.SUCCESS)

    def ask(
        self, request: HttpRequest, verb: Verb, label: str, warning: str, servers: list[Server]
    ) -> TemplateResponse:
        """The page that says what will happen and asks once more."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.model._meta,
            "title": label,
            "warning": warning,
            "list_url": "admin:servers_server_changelist",
            "list_name": "Servers",
            "chosen": servers,
            "act": f"verb_{verb.value}",
            "danger": True,
            "checkbox": ACTION_CHECKBOX_NAME,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/servers/confirm.html", context)
