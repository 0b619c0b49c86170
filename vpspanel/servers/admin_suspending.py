"""Suspending servers and accounts, for staff: with a reason, after asking once more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

import vpspanel.accounts.admin  # noqa: F401 registers the page that is replaced here
from vpspanel.accounts.models import Account
from vpspanel.accounts.suspension import REASON_LENGTH
from vpspanel.errors import Refused
from vpspanel.events.models import Event
from vpspanel.events.staff import ActionButtons, ModelAdmin, staff_actor
from vpspanel.servers import suspending

AT_ONCE = 25  # rows that one click may touch: a slip of the hand stays small
LATEST = 15

Act = Callable[[int, str], object]


class ReasonForm(forms.Form):
    """Why."""

    reason = forms.CharField(
        max_length=REASON_LENGTH,
        help_text="The customer reads it, on the page of the server and in its timeline.",
    )


class SuspendActions(ModelAdmin):
    """Adds suspending and unsuspending to a list of servers or accounts."""

    actions: Any = ("suspend", "unsuspend")
    warning = ""

    def has_suspend_permission(self, request: HttpRequest) -> bool:
        """Whoever may change such rows."""
        name = f"{self.opts.app_label}.change_{self.opts.model_name}"
        return request.user.has_perm(name)

    def suspend_one(self, request: HttpRequest, pk: int, reason: str) -> object:
        """The service. Raises `Refused`."""
        raise NotImplementedError

    def unsuspend_one(self, request: HttpRequest, pk: int) -> object:
        """The service. Raises `Refused`."""
        raise NotImplementedError

    @admin.action(description="Suspend", permissions=["suspend"])
    def suspend(self, request: HttpRequest, chosen: QuerySet[Any]) -> HttpResponse | None:
        """Ask why, then do it to each."""
        rows = list(chosen.order_by("name")[: AT_ONCE + 1])
        if len(rows) > AT_ONCE:
            self.message_user(request, f"At most {AT_ONCE} at once.", messages.ERROR)
            return None
        form = ReasonForm(request.POST if "confirmed" in request.POST else None)
        if not form.is_valid():
            return self._ask(request, rows, form)
        reason = form.cleaned_data["reason"]
        for row in rows:
            self._do(request, row, "suspended", lambda pk: self.suspend_one(request, pk, reason))
        return None

    @admin.action(description="Lift the suspension", permissions=["suspend"])
    def unsuspend(self, request: HttpRequest, chosen: QuerySet[Any]) -> None:
        """Lift it from each."""
        for row in chosen.order_by("name")[:AT_ONCE]:
            self._do(request, row, "unsuspended", lambda pk: self.unsuspend_one(request, pk))

    def _do(self, request: HttpRequest, row: Any, done: str, act: Callable[[int], object]) -> None:
        try:
            act(row.pk)
        except Refused as refusal:
            self.message_user(request, f"{row.name}: {refusal.message}", messages.ERROR)
        else:
            self.message_user(request, f"{row.name}: {done}.", messages.SUCCESS)

    def _ask(self, request: HttpRequest, rows: Sequence[Any], form: ReasonForm) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Suspend",
            "warning": self.warning,
            "list_url": f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist",
            "list_name": str(self.opts.verbose_name_plural).capitalize(),
            "chosen": rows,
            "act": "suspend",
            "danger": True,
            "form": form,
            "checkbox": ACTION_CHECKBOX_NAME,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/servers/suspend.html", context)


class SuspendServers(SuspendActions):
    """For the list of servers."""

    warning = (
        "The servers are shut down, forced after a minute and a half, and kept with all that is "
        "on them. Their customers can look at them and delete them, nothing else."
    )

    def suspend_one(self, request: HttpRequest, pk: int, reason: str) -> object:
        """It."""
        return suspending.suspend_server(staff_actor(request), pk, reason=reason)

    def unsuspend_one(self, request: HttpRequest, pk: int) -> object:
        """It."""
        return suspending.unsuspend_server(staff_actor(request), pk)


class SuspendAccounts(ActionButtons, SuspendActions):
    """For the list of accounts."""

    warning = (
        "All servers of these accounts and of the accounts below them are shut down and kept. "
        "Nothing can be ordered or changed until the suspension is lifted."
    )

    def suspend_one(self, request: HttpRequest, pk: int, reason: str) -> object:
        """It."""
        return suspending.suspend_account(staff_actor(request), pk, reason=reason)

    def unsuspend_one(self, request: HttpRequest, pk: int) -> object:
        """It."""
        return suspending.unsuspend_account(staff_actor(request), pk)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """With what happened to it."""
        return (*super().get_fields(request, obj), "latest_events")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """As before."""
        return (*super().get_readonly_fields(request, obj), "latest_events")

    @admin.display(description="events")
    def latest_events(self, account: Account) -> SafeString:
        """Who did what to it."""
        events = Event.objects.filter(resource_type="account", resource_id=account.pk)
        rows = (
            (f"{event.at:%Y-%m-%d %H:%M:%S}", event.message, event.actor_name)
            for event in events.order_by("-pk")[:LATEST]
        )
        return format_html_join("", "<p>{} {} ({})</p>", rows)


def offer_suspension_of_accounts() -> None:
    """Put a page in place of the registered one of accounts, which knows no servers."""
    pages = type(admin.site.get_model_admin(Account))
    admin.site.unregister(Account)
    admin.site.register(Account, type(pages.__name__, (SuspendAccounts, pages), {}))
