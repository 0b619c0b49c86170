"""The copies of images on hosts for staff: what each is kept for, and removal of the rest."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html
from django.utils.safestring import SafeString

import hosts.admin  # noqa: F401 registers the page that is replaced here
from hosts.models import StagedImage
from vpspanel.errors import Refused
from vpspanel.events.staff import STYLE, ActingAdmin, staff_actor, word
from vpspanel.servers import copies

admin.site.unregister(StagedImage)


class UnusedFilter(admin.SimpleListFilter):
    """Whether anything needed it when its host was last looked at."""

    title = "use"
    parameter_name = "unused"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Either of the two."""
        return [("yes", "unused"), ("no", "in use")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[StagedImage]
    ) -> QuerySet[StagedImage]:
        """As it was seen."""
        if self.value() not in ("yes", "no"):
            return queryset
        return queryset.filter(unused_since__isnull=self.value() == "no")


@admin.register(StagedImage)
class StagedImageAdmin(ActingAdmin):
    """Copies of images on hosts. What nothing has needed for an hour goes by itself."""

    list_display = ("image", "use", "size", "host", "pool_name", "staged_at")
    list_filter = (UnusedFilter, "pool__host")
    search_fields = ("sha256", "volume")
    list_select_related = ("pool__host",)
    fields = ("volume", "sha256", "pool", "size", "use", "seen_at", "staged_at")
    readonly_fields = fields
    actions = ("remove",)

    class Media:
        css = STYLE

    def has_change_hosts_permission(self, request: HttpRequest) -> bool:
        """Who may change hosts."""
        return request.user.has_perm("hosts.change_host")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Why each stays, for all rows of the page at once."""
        changelist = super().get_changelist_instance(request)
        for one in copies.shown(list(changelist.result_list)):
            one.copy.shown = one  # type: ignore[attr-defined]
        return changelist

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        """The same, for the page of one."""
        copy = super().get_object(request, object_id, from_field)
        if copy is not None:
            copy.shown = copies.shown([copy])[0]
        return copy

    @admin.display(ordering="volume")
    def image(self, copy: Any) -> SafeString:
        """Its name, if the library still has it, and that of its file."""
        return format_html('{}<span class="detail">{}</span>', copy.shown.image, copy.volume)

    @admin.display(ordering="pool__host__name")
    def host(self, copy: StagedImage) -> str:
        """Where it lies."""
        return str(copy.pool.host)

    @admin.display(description="pool", ordering="pool__name")
    def pool_name(self, copy: StagedImage) -> str:
        """And in which pool there."""
        return copy.pool.name

    @admin.display(ordering="size_bytes")
    def size(self, copy: StagedImage) -> str:
        """What its removal frees."""
        return filesizeformat(copy.size_bytes) if copy.seen_at else ""

    @admin.display(ordering="unused_since")
    def use(self, copy: Any) -> SafeString:
        """What it is kept for, or since when nothing needs it."""
        if copy.shown.why:
            return format_html(
                '{}<span class="detail">{}</span>', word("kept", "good"), copy.shown.why
            )
        since = copy.unused_since.strftime("since %Y-%m-%d %H:%M") if copy.unused_since else ""
        return format_html('{}<span class="detail">{}</span>', word("unused", "warn"), since)

    @admin.action(description="Remove from their hosts", permissions=["change_hosts"])
    def remove(self, request: HttpRequest, chosen: QuerySet[StagedImage]) -> HttpResponse | None:
        """Those that nothing needs, after asking once more."""
        rows = copies.shown(list(chosen.select_related("pool__host")))
        if "confirmed" not in request.POST:
            context = {
                **self.admin_site.each_context(request),
                "title": "Remove copies of images",
                "list_url": "admin:hosts_stagedimage_changelist",
                "list_name": "Staged images",
                "chosen": rows,
                "freed": sum(one.copy.size_bytes for one in rows if not one.why),
                "act": "remove",
                "danger": True,
                "checkbox": ACTION_CHECKBOX_NAME,
            }
            return render(request, "admin/servers/remove_copies.html", context)
        for one in rows:
            try:
                action = copies.remove_copy(staff_actor(request), one.copy)
            except Refused as refusal:
                self.message_user(request, f"{one.copy} stays: {refusal.message}", messages.WARNING)
            else:
                said = f"{one.copy} is removed from {one.copy.pool.host}, action #{action.pk}."
                self.message_user(request, said, messages.SUCCESS)
        return None
