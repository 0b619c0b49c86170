"""How amounts and addresses are written. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from django.conf import settings

from hosts.models import Family
from vpspanel.servers.blueprint import guest_address
from vpspanel.servers.models import MICROS, PrimaryIP

_SIGNS = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥"}


@dataclass(frozen=True, slots=True)
class Address:
    """A public address as people need it."""

    id: int
    family: int
    first: str  # what to connect to
    network: str  # the /64 of an IPv6 address; blank for IPv4
    gateway: str


def shown_addresses(addresses: Iterable[PrimaryIP]) -> list[Address]:
    """IPv4 first. The pools must be loaded."""
    shown = []
    for primary in addresses:
        address = primary.address
        network = address.address if address.family == Family.V6 else ""
        own = guest_address(address).partition("/")[0]
        shown.append(Address(primary.pk, address.family, own, network, address.pool.gateway))
    return sorted(shown, key=lambda item: item.family)


def price(micros: int) -> str:
    """Two digits after the point, more for small prices that need them: €0.0062, €3.79."""
    amount = Decimal(micros) / MICROS
    digits = 2
    while digits < 6 and round(amount, digits) != amount and amount < 1:
        digits += 1
    sign = _SIGNS.get(settings.CURRENCY, f"{settings.CURRENCY} ")
    return f"{sign}{amount:.{digits}f}"


def memory(mib: int) -> str:
    """512 MiB, 2 GiB, 1.5 GiB."""
    if mib < 1024:
        return f"{mib} MiB"
    return f"{mib / 1024:g} GiB"


def traffic(gib: int) -> str:
    """500 GiB, 1 TiB, 20 TiB; none included is said as such."""
    if not gib:
        return "no"
    return f"{gib} GiB" if gib < 1024 else f"{gib / 1024:g} TiB"
