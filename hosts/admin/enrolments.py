"""Adding a host: what staff want, what was found, what they confirm. The monitor asks machines."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse
from django.utils.safestring import SafeString

from hosts import enrolment as enrolments
from hosts.admin.parts import STYLE, ModelAdmin, ModelForm, ReadOnlyAdmin, word
from hosts.keys import panel_key, write_known_hosts
from hosts.models_fleet import Enrolment, EnrolmentState, KnownHostKey
from hosts.virt.registry import driver_for
from hosts.virt.ssh import HostKey

TONES = {
    EnrolmentState.LOOKING: "busy",
    EnrolmentState.CONFIRM: "warn",
    EnrolmentState.FOUND: "plain",
    EnrolmentState.ENROLLING: "busy",
    EnrolmentState.ENROLLED: "good",
}
STEP_TONES = {"good": "good", "note": "warn", "missing": "bad"}
STEP_WORDS = {"good": "ok", "note": "note", "missing": "missing"}


class EnrolmentForm(ModelForm):
    """What can be known to be wrong before the machine is asked."""

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("network") and data.get("bridge"):
            raise ValidationError("Give either a bridge or a libvirt network, not both.")
        if data.get("network") and not (data.get("network_ipv4") and data.get("network_ipv6")):
            raise ValidationError("A network needs the addresses of the host on it, IPv4 and IPv6.")
        return data

    def clean_uri(self) -> str:
        uri = str(self.cleaned_data["uri"]).strip()
        try:
            driver_for(uri)
        except ValueError as error:
            raise ValidationError(str(error)) from error
        return uri


@admin.register(Enrolment)
class EnrolmentAdmin(ModelAdmin):
    """Machines on their way to being hosts."""

    form = EnrolmentForm
    add_form_template = "admin/hosts/enrolment/add_form.html"
    change_form_template = "admin/hosts/enrolment/change_form.html"
    list_display = ("name", "location", "uri", "shown_state", "created")
    list_filter = ("state", "location")
    search_fields = ("name", "uri")
    list_select_related = ("location",)
    actions = ("confirm_key", "look_again", "enrol")
    fieldsets = (
        (None, {"fields": ("name", "location", "uri")}),
        (
            "Where guests are connected",
            {"fields": ("bridge", "network", "network_bridge", "network_ipv4", "network_ipv6")},
        ),
        ("Where disks lie", {"fields": ("pool_name", "pool_path")}),
        (
            "What may be sold",
            {"fields": ("vcpus_per_cpu", "memory_reserve_mib", "disk_reserve_gib")},
        ),
    )

    class Media:
        css = STYLE

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        if obj is None:
            return []
        return [name for _, options in self.fieldsets for name in options["fields"]]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="state", ordering="state")
    def shown_state(self, enrolment: Enrolment) -> SafeString:
        return word(enrolment.get_state_display(), TONES[EnrolmentState(enrolment.state)])

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **options: Any
    ) -> Any:
        enrolment = options.get("obj")
        context["panel_key"] = panel_key()
        if enrolment is not None:
            context.update(self._shown(request, enrolment))
        return super().render_change_form(request, context, *args, **options)

    def _shown(self, request: HttpRequest, enrolment: Enrolment) -> dict[str, Any]:
        """What the page of one enrolment shows besides its fields."""
        waits = enrolment.state == EnrolmentState.CONFIRM
        return {
            "checkbox": ACTION_CHECKBOX_NAME,
            "offered": self._offered(request, enrolment),
            "state_word": self.shown_state(enrolment),
            "working": enrolment.state in enrolments.WORK,
            "fingerprint": HostKey(enrolment.shown_key).fingerprint if waits else "",
            "steps": [
                {**step, "word": word(STEP_WORDS[step["outcome"]], STEP_TONES[step["outcome"]])}
                for step in enrolment.steps
            ],
            "show_save": False,
            "show_save_and_continue": False,
            "show_save_and_add_another": False,
        }

    def _offered(self, request: HttpRequest, enrolment: Enrolment) -> list[tuple[str, str]]:
        """The buttons that do something now."""
        wanted = {
            EnrolmentState.CONFIRM: ["confirm_key", "look_again"],
            EnrolmentState.FOUND: ["look_again"],
        }.get(EnrolmentState(enrolment.state), [])
        if enrolments.is_ready(enrolment):
            wanted = ["enrol", *wanted]
        offered: Any = self.get_actions(request)
        return [(name, offered[name][2]) for name in wanted if name in offered]

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> Any:
        return HttpResponseRedirect(reverse("admin:hosts_enrolment_change", args=[obj.pk]))

    @admin.action(
        description="The fingerprint is right: trust this host key", permissions=["change"]
    )
    def confirm_key(self, request: HttpRequest, rows: QuerySet[Enrolment]) -> Any:
        by = getattr(request.user, "email", str(request.user))
        for row in rows:
            with transaction.atomic():
                said = f"Confirmed the host key {row.shown_key[:80]}"
                self._tell(request, row, enrolments.confirm(row, by=by), said)
        return self._back(rows)

    @admin.action(description="Look it over again", permissions=["change"])
    def look_again(self, request: HttpRequest, rows: QuerySet[Enrolment]) -> Any:
        for row in rows:
            self._tell(request, row, enrolments.look_again(row), "Looks it over again")
        return self._back(rows)

    @admin.action(description="Enrol it", permissions=["change"])
    def enrol(self, request: HttpRequest, rows: QuerySet[Enrolment]) -> Any:
        for row in rows:
            self._tell(request, row, enrolments.enrol(row), "Enrols it")
        return self._back(rows)

    def _tell(self, request: HttpRequest, row: Enrolment, done: bool, said: str) -> None:
        if done:
            self.log_change(request, row, said)
        else:
            self.message_user(request, f"{row}: that cannot be done now.", messages.WARNING)

    def _back(self, rows: QuerySet[Enrolment]) -> Any:
        """To the page of the one that was pressed; to the list if there were several."""
        picked = list(rows.values_list("pk", flat=True)[:2])
        if len(picked) != 1:
            return None
        return HttpResponseRedirect(reverse("admin:hosts_enrolment_change", args=picked))


@admin.register(KnownHostKey)
class KnownHostKeyAdmin(ReadOnlyAdmin):
    """SSH host keys that staff confirmed. One that is deleted has to be confirmed anew."""

    list_display = ("place", "fingerprint", "confirmed_by", "confirmed_at")
    search_fields = ("place", "fingerprint")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super(ReadOnlyAdmin, self).has_delete_permission(request, obj)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        super().delete_model(request, obj)
        transaction.on_commit(write_known_hosts)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        super().delete_queryset(request, queryset)
        transaction.on_commit(write_known_hosts)
