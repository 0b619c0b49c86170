"""What the staff's pages have in common: who acts, what is shown only, what is recorded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Model
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from vpspanel.events.actor import Actor
from vpspanel.events.services import record_event

if TYPE_CHECKING:  # the stubs know these as generic, Django itself does not
    ModelAdmin = admin.ModelAdmin[Any]
    ModelForm = forms.ModelForm[Any]
    TabularInline = admin.TabularInline[Any, Any]
else:
    ModelAdmin = admin.ModelAdmin
    ModelForm = forms.ModelForm
    TabularInline = admin.TabularInline

STYLE = {"all": ("css/admin.css",)}


def staff_actor(request: HttpRequest) -> Actor:
    """Who acts in the admin. Call it only where model permissions were checked."""
    return Actor(user=request.user, via="admin", ip=request.META.get("REMOTE_ADDR") or None)  # type: ignore[arg-type]


class ReadOnlyMixin:
    """Rows that only services and the engine write: staff see them."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(ReadOnlyMixin, ModelAdmin):
    """A list and a page of rows that nobody writes here."""


class ReadOnlyInline(ReadOnlyMixin, TabularInline):
    """A table on another page, of rows that nobody writes here."""

    extra = 0
    can_delete = False


class ActionButtons(ModelAdmin):
    """The actions of the list are buttons on a row's own page."""

    change_form_template = "admin/acting_change_form.html"

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **options: Any
    ) -> Any:
        offered: Any = self.get_actions(request)
        context["page_actions"] = [
            (name, label)
            for _, name, label in offered.values()
            if self.applies_to(name, options.get("obj"))
        ]
        context["checkbox"] = ACTION_CHECKBOX_NAME
        return super().render_change_form(request, context, *args, **options)

    def applies_to(self, action: str, obj: Any) -> bool:
        """Whether that action can do anything to this row now."""
        return True


class ActingAdmin(ActionButtons, ReadOnlyAdmin):
    """Rows that nobody writes here and that staff do things to."""


class Recorded(ModelAdmin):
    """Leaves an event of each change. Django's own log can be edited, events cannot."""

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        return self._record(request, obj, "added", super().log_addition(request, obj, message))

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        return self._record(request, obj, "changed", super().log_change(request, obj, message))

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for obj in queryset:
            self._record(request, obj, "deleted", None)
        return super().log_deletions(request, queryset)

    def _record(self, request: HttpRequest, obj: Model, what: str, entry: Any) -> Any:
        """Leave an event that only staff see, with the words of Django's log `entry`."""
        kind = obj._meta.model_name or "row"
        words = entry.get_change_message() if entry is not None else ""
        record_event(
            f"staff.{kind}_{what}",
            f"{obj._meta.verbose_name} {obj} {what}: {words}".removesuffix(": "),
            resource=(kind, obj.pk),
            actor=staff_actor(request),
            public=False,
        )
        return entry


class RecordedAdmin(Recorded):
    """Writes only the columns that the form changed, and an event that says which.

    A whole-row save would put back what services have changed since the page
    was opened.
    """

    def save_model(self, request: HttpRequest, obj: Model, form: ModelForm, change: bool) -> None:
        if not change:
            obj.save()
            return
        columns = {field.name for field in obj._meta.concrete_fields}
        obj.save(update_fields=[name for name in form.changed_data if name in columns])


def word(text: object, tone: str) -> SafeString:
    """A status word. `tone`: good, busy, warn, bad or plain."""
    return format_html('<span class="word word-{}">{}</span>', tone, text)


def facts(data: object) -> SafeString:
    """JSON, readable."""
    return format_html(
        '<pre class="facts">{}</pre>', json.dumps(data, indent=1, ensure_ascii=False)
    )
