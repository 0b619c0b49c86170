"""What stands in an API token: checked, and in its usual form."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import datetime

from django.utils import timezone

from vpspanel.accounts.scopes import OF_THE_PROJECT, Scope
from vpspanel.errors import Refused

NETWORKS_PER_TOKEN = 20
SERVERS_PER_TOKEN = 100
NAME_LENGTH = 80


def clean_end(expires: datetime | None) -> datetime | None:
    """A moment that is still to come, or None for no end. Raises `Refused`."""
    if expires is not None and expires <= timezone.now():
        raise Refused("invalid_input", "The end lies in the past.", field="expires")
    return expires


def clean_name(name: str) -> str:
    """Without needless spaces. Raises `Refused`."""
    name = " ".join(name.split())
    if not 0 < len(name) <= NAME_LENGTH or not name.isprintable():
        message = f"A token's name has 1 to {NAME_LENGTH} characters."
        raise Refused("invalid_input", message, field="name")
    return name


def clean_scopes(scopes: Iterable[str], *, for_servers: bool) -> list[str]:
    """In the order of the table. Raises `Refused` for what is none, or none for single servers."""
    wanted = set(scopes)
    for scope in sorted(wanted):
        if scope not in list(Scope):
            message = f"“{scope[:60]}” is no scope. There are: {', '.join(Scope)}."
            raise Refused("invalid_input", message, field="scopes")
        if for_servers and scope in OF_THE_PROJECT:
            message = f"{scope} is about the whole project; this token is for some servers only."
            raise Refused("invalid_input", message, field="scopes")
    return [scope.value for scope in Scope if scope in wanted]


def clean_networks(networks: Iterable[str]) -> list[str]:
    """In their usual form, without repetitions. Raises `Refused` for what is none."""
    found: list[str] = []
    for text in networks:
        try:
            network = str(ipaddress.ip_network(text.strip(), strict=False))
        except ValueError:
            message = f"“{text[:60]}” is not an address or network such as 192.0.2.0/24."
            raise Refused("invalid_input", message, field="networks") from None
        if network not in found:
            found.append(network)
    if len(found) > NETWORKS_PER_TOKEN:
        message = f"A token may have {NETWORKS_PER_TOKEN} networks."
        raise Refused("invalid_input", message, field="networks")
    return found


def name_taken(name: str) -> Refused:
    """The refusal of a name that another token has."""
    message = f"Another token is called “{name}”."
    return Refused("uniqueness_error", message, field="name")
