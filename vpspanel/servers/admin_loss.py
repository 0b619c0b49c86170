"""What staff do when hosts are lost or come back."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from vpspanel.events.staff import STYLE, ActingAdmin, word
from vpspanel.servers import restarts
from vpspanel.servers.models import Restart


@admin.register(Restart)
class RestartAdmin(ActingAdmin):
    """Servers that wait to be started after the boot of their host, and those that would not."""

    list_display = ("server", "host", "state", "tries", "next_try", "since")
    list_filter = ("given_up", "host")
    list_select_related = ("server", "host")
    search_fields = ("server__name", "host__name")
    actions = ("try_again",)

    class Media:
        css = STYLE

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Who may start servers."""
        return request.user.has_perm("servers.change_server")

    @admin.display(ordering="given_up")
    def state(self, restart: Restart) -> SafeString:
        """Whether it is still tried."""
        return word("did not start", "bad") if restart.given_up else word("waits", "busy")

    @admin.action(description="Try again now", permissions=["operate"])
    def try_again(self, request: HttpRequest, chosen: QuerySet[Restart]) -> None:
        """With as many tries as at first."""
        count = restarts.try_again(chosen)
        self.message_user(request, f"{count} are tried again.", messages.SUCCESS)
