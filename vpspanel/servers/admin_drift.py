"""The staff's screen of differences: what records and hosts do not agree on, and what to do."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from vpspanel.errors import Refused
from vpspanel.events.models import Event
from vpspanel.events.staff import STYLE, ActingAdmin, staff_actor, word
from vpspanel.servers import drift
from vpspanel.servers.admin_adopt import adoption_page
from vpspanel.servers.models_drift import PRESENT, Difference, DifferenceState

AT_ONCE = 100
HISTORY = 50
TONES = {
    DifferenceState.SUSPECTED: "plain",
    DifferenceState.OPEN: "bad",
    DifferenceState.IGNORED: "plain",
    DifferenceState.REPAIRED: "good",
    DifferenceState.GONE: "good",
}


class PresentFilter(admin.SimpleListFilter):
    """What is there now, unless somebody asks for what was."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Every state, and all of them."""
        return [*DifferenceState.choices, ("all", "all, also what is gone")]

    def choices(self, changelist: Any) -> Any:
        """The first choice is not "all" but what is there."""
        first, *rest = super().choices(changelist)
        yield {**first, "display": "there now"}
        yield from rest

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those in the chosen state."""
        if self.value() == "all":
            return queryset
        return queryset.filter(state__in=[self.value()] if self.value() else PRESENT)


@admin.register(Difference)
class DifferenceAdmin(ActingAdmin):
    """One row for each. The finder only lists them: what is done about one is done by staff."""

    list_display = ("code", "about", "shown_state", "grave", "host", "remedy", "last_seen")
    list_filter = (PresentFilter, "level", "host", "code")
    list_select_related = ("host",)
    search_fields = ("subject", "message", "server__name")
    fields = ("code", "subject", "message", "shown_state", "reason", "grave", "remedy", "host",
              "server", "first_seen", "last_seen", "state_since", "history")  # fmt: skip
    readonly_fields = ("shown_state", "grave", "history")
    actions = ("repair", "ignore", "watch_again", "take_over")

    class Media:
        css = STYLE

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Who may change servers and hosts."""
        return request.user.has_perms(("servers.change_server", "hosts.change_host"))

    def get_urls(self) -> list[Any]:
        page = self.admin_site.admin_view(adoption_page)
        return [
            path("<int:row_id>/adopt/", page, name="servers_adopt"),
            *super().get_urls(),
        ]

    @admin.display(description="what", ordering="subject")
    def about(self, row: Difference) -> str:
        """What it is about, and what is wrong."""
        return f"{row.subject}: {row.message}"

    @admin.display(description="state", ordering="state")
    def shown_state(self, row: Difference) -> SafeString:
        """What was decided."""
        state = DifferenceState(row.state)
        return word(state.label, TONES[state])

    @admin.display(description="matters", ordering="level")
    def grave(self, row: Difference) -> SafeString:
        """Whether an invariant is broken, or it is only worth knowing."""
        return word("wrong", "bad") if row.level == "error" else word("worth knowing", "plain")

    def history(self, row: Difference) -> SafeString:
        """What happened to it, the newest first."""
        events = Event.objects.filter(resource_type="difference", resource_id=row.pk)[:HISTORY]
        lines = [
            (f"{event.at:%Y-%m-%d %H:%M}", event.actor_name, event.message) for event in events
        ]
        return format_html_join("", "<div>{} · {} · {}</div>", lines)

    @admin.action(description="Repair", permissions=["operate"])
    def repair(self, request: HttpRequest, chosen: QuerySet[Difference]) -> HttpResponse | None:
        """Set the chosen ones right, after showing what that means."""
        return self._confirmed(request, chosen, "repair", "Repair")

    @admin.action(description="Ignore until it changes", permissions=["operate"])
    def ignore(self, request: HttpRequest, chosen: QuerySet[Difference]) -> HttpResponse | None:
        """Let them be, with a reason."""
        return self._confirmed(request, chosen, "ignore", "Ignore")

    @admin.action(description="Watch again", permissions=["operate"])
    def watch_again(self, request: HttpRequest, chosen: QuerySet[Difference]) -> None:
        """Take ignored ones up again."""
        for row in chosen[:AT_ONCE]:
            self._try(request, row, "watch_again")

    @admin.action(description="Take over as a server", permissions=["operate"])
    def take_over(self, request: HttpRequest, chosen: QuerySet[Difference]) -> HttpResponse | None:
        """Make a customer's server of one foreign guest, on a page of its own."""
        rows = list(chosen[:2])
        if len(rows) != 1 or not rows[0].facts:
            self.message_user(request, "Choose one guest that is not ours.", messages.ERROR)
            return None
        return redirect("admin:servers_adopt", rows[0].pk)

    def _confirmed(
        self, request: HttpRequest, chosen: QuerySet[Difference], act: str, title: str
    ) -> HttpResponse | None:
        rows = list(chosen.select_related("host", "server__host")[:AT_ONCE])
        if "confirmed" in request.POST:
            for row in rows:
                self._try(request, row, act)
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "list_url": "admin:servers_difference_changelist",
            "list_name": "Differences",
            "chosen": rows,
            "act": act,
            "danger": act == "repair",
            "checkbox": ACTION_CHECKBOX_NAME,
        }
        return render(request, "admin/servers/drift_confirm.html", context)

    def _try(self, request: HttpRequest, row: Difference, act: str) -> None:
        actor = staff_actor(request)
        try:
            if act == "repair":
                action = drift.repair(actor, row)
                said = f"{row.subject}: is being repaired, action #{action.pk}."
            elif act == "ignore":
                drift.ignore(actor, row, request.POST.get("reason", ""))
                said = f"{row.subject}: is ignored until it changes."
            else:
                drift.watch_again(actor, row)
                said = f"{row.subject}: is watched again."
        except Refused as refusal:
            self.message_user(request, f"{row.subject}: {refusal.message}", messages.ERROR)
        else:
            self.message_user(request, said, messages.SUCCESS)
