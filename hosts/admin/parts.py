"""What the admin pages of the machine room have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

if TYPE_CHECKING:  # the stubs know these as generic, Django itself does not
    ModelAdmin = admin.ModelAdmin[Any]
    ModelForm = forms.ModelForm[Any]
else:
    ModelAdmin = admin.ModelAdmin
    ModelForm = forms.ModelForm


STYLE = {"all": ("css/admin.css",)}


class ReadOnlyAdmin(ModelAdmin):
    """Rows that only services write: staff see them."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class CarefulAdmin(ModelAdmin):
    """Writes only the columns that the form changed.

    A whole-row save would put back counters and states that services have
    changed since the page was opened.
    """

    def save_model(self, request: HttpRequest, obj: Model, form: ModelForm, change: bool) -> None:
        if change:
            obj.save(update_fields=form.changed_data)
        else:
            obj.save()


def meter(used: int, limit: int, unit: str) -> SafeString:
    """A bar and the two numbers; more than nine tenths is shown as high."""
    return format_html(
        '<meter class="capacity" min="0" max="{}" high="{}" optimum="0" value="{}"></meter> '
        '<span class="nowrap">{} of {} {}</span>',
        max(limit, 1),
        limit * 9 / 10,
        min(used, limit),
        used,
        limit,
        unit,
    )


def progress(percent: int) -> SafeString:
    """A progress bar with its number."""
    return format_html('<progress max="100" value="{}"></progress> {} %', percent, percent)


def word(text: str, tone: str) -> SafeString:
    """A status word. `tone`: good, busy, warn, bad or plain."""
    return format_html('<span class="word word-{}">{}</span>', tone, text)
