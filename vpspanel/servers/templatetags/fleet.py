"""How the staff's pages of the fleet show shares, words and amounts."""

from __future__ import annotations

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from hosts.admin.machines import HOST_TONES
from hosts.admin.parts import meter, word
from hosts.models import Host, HostStatus
from vpspanel.servers.fleet import Share
from vpspanel.servers.states import Status

register = template.Library()

_TONES = {"green": "good", "blue": "busy", "yellow": "warn", "red": "bad"}
_STEPS = ("", "k", "M", "G", "T")


@register.simple_tag
def host_word(host: Host) -> SafeString:
    """How the host is, as a word."""
    return word(host.get_status_display(), HOST_TONES[HostStatus(host.status)])


@register.simple_tag
def status_word(status: Status) -> SafeString:
    """The status of a server, as a word."""
    return word(status.label, _TONES.get(status.color, "plain"))


@register.simple_tag
def share_bar(share: Share) -> SafeString:
    """A bar of what is claimed, with how often it is sold and what is really used."""
    return format_html(
        '{}<span class="detail">{} %, sold x{}{}</span>',
        meter(share.claimed, share.limit, share.unit),
        share.percent,
        f"{share.overcommit:g}",
        f"; {share.in_use}" if share.in_use else "",
    )


def scaled(value: float, unit: str) -> str:
    """950 bit/s, 1.2 Mbit/s: decimal steps, three digits at most."""
    for step in _STEPS:
        if abs(value) < 1000 or step == _STEPS[-1]:
            break
        value /= 1000
    return f"{value:.0f} {step}{unit}" if value >= 10 or not step else f"{value:.1f} {step}{unit}"


@register.filter
def bits(bytes_per_second: float) -> str:
    """A rate of bytes as network people say it."""
    return scaled(bytes_per_second * 8, "bit/s")


@register.filter
def amount(value: float | None, unit: str) -> str:
    """A figure with its unit; a question mark where nothing is known."""
    if value is None:
        return "?"
    if unit in ("%", ""):
        return f"{value:.1f} {unit}".rstrip()
    if unit == "MiB":
        return f"{value:.0f} MiB" if value < 1024 else f"{value / 1024:.1f} GiB"
    return scaled(value, unit)
