"""Small things that templates show again and again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.forms import BoundField
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from vpspanel.pages import shown
from vpspanel.pages.shell import Shell, shell_of
from vpspanel.servers.reading import ServerRow
from vpspanel.servers.states import Verb

register = template.Library()

_OS_ICONS = {
    "alma": "almalinux",
    "alpine": "alpinelinux",
    "arch": "archlinux",
    "rocky": "rockylinux",
}
_BRANDS = frozenset(
    {
        "almalinux",
        "alpinelinux",
        "archlinux",
        "debian",
        "fedora",
        "opensuse",
        "rockylinux",
        "ubuntu",
    }
)


@register.simple_tag(takes_context=True)
def shell(context: template.Context) -> Shell:
    """The frame around the page."""
    request: HttpRequest | None = context.get("request")
    return shell_of(request)


@register.simple_tag
def icon(name: str, extra: str = "") -> SafeString:
    """A drawing from the sprite. It says nothing to a screen reader: a word stands beside it."""
    return format_html(
        '<svg class="icon {}" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        extra,
        static("vendor/icons.svg"),
        name,
    )


@register.simple_tag
def os_icon(flavor: str, extra: str = "") -> SafeString:
    """The brand of an operating system, in its colour."""
    brand = _OS_ICONS.get(flavor, flavor)
    if brand not in _BRANDS:
        brand = "linux"
    return icon(f"os-{brand}", f"os os-{brand} {extra}".strip())


@register.simple_tag
def copy_button(text: str, what: str, key: str) -> SafeString:
    """Copies exactly `text`. `key` makes its id, by which it keeps the focus over a renewal."""
    return format_html(
        '<button type="button" class="btn-copy only-js" data-copy="{}" id="copy-{}" '
        'title="Copy {}">{}<span class="visually-hidden">Copy {}</span></button>',
        text,
        key,
        what,
        icon("copy"),
        what,
    )


@register.simple_tag
def verb_button(row: ServerRow, verb: str, drawing: str, label: str) -> SafeString:
    """A small button of the list that posts the page's one form to the verb's address.

    A tag and no template: fifty rows have a hundred and fifty of them.
    """
    server, why = row.server, row.allowed[Verb(verb)]
    return format_html(
        '<button class="btn btn-icon btn-ghost-secondary" type="submit" form="verbs" '
        'formaction="{}" id="{}-{}" title="{}"{}>{}<span class="visually-hidden">{} {}</span>'
        "</button>",
        reverse(f"servers:{verb}", kwargs={"server_id": server.pk}),
        verb,
        server.pk,
        why or label,
        mark_safe(" disabled") if why else "",
        icon(drawing),
        label,
        server.name,
    )


@register.inclusion_tag("parts/field.html")
def field(bound: BoundField, hint: str = "", mono: bool = False) -> dict[str, Any]:
    """A labelled field with its errors beside it."""
    widget = bound.field.widget
    kind = getattr(widget, "input_type", "textarea")
    css = {"select": "form-select", "checkbox": "form-check-input"}.get(kind, "form-control")
    attrs: dict[str, str | bool] = {
        "class": f"{css} {'is-invalid' if bound.errors else ''} {'mono' if mono else ''}"
    }
    described = [
        f"{bound.auto_id}_{part}"
        for part, present in (("hint", hint or bound.help_text), ("error", bound.errors))
        if present
    ]
    if described:
        attrs["aria-describedby"] = " ".join(described)
    if bound.errors:
        attrs["aria-invalid"] = "true"
    return {"bound": bound, "kind": kind, "hint": hint, "input": bound.as_widget(attrs=attrs)}


@register.simple_tag
def moment(at: datetime | None, mode: str = "ago") -> SafeString | str:
    """A time that a script keeps current: "ago" counts up, "elapsed" counts a duration.

    Without scripts it is the time itself, which stays true on a page left open.
    """
    if at is None:
        return "never"
    local = timezone.localtime(at)
    shown = local.strftime("%Y-%m-%d %H:%M:%S %Z")
    return format_html(
        '<time datetime="{}" title="{}" data-time="{}">{}</time>',
        at.isoformat(timespec="milliseconds"),
        shown,
        mode,
        shown,
    )


@register.filter
def money(micros: int) -> str:
    """A price as text."""
    return shown.price(micros)


@register.filter
def mib(value: int) -> str:
    """Memory as text."""
    return shown.memory(value)


@register.filter
def traffic(gib: int) -> str:
    """Included traffic as text."""
    return shown.traffic(gib)
