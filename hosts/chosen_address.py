"""An address that staff name, because a machine uses it already: taken like any other."""

from __future__ import annotations

import ipaddress
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from hosts.addressing import SERVER_PREFIX
from hosts.errors import NoAddress
from hosts.models import Family, IPAddress, IPPool, Location


def take_chosen(owner: UUID, *, location: Location, family: Family, address: str) -> IPAddress:
    """This very IPv4 address, or the /64 that this IPv6 address is in, for `owner` alone.

    It has to lie in a pool of the location; whether that pool sells it does not
    matter. Must run inside the transaction that wants it. Raises `NoAddress`
    with a sentence that says why not.
    """
    text = _spelled(address, family)
    pool = _pool_of(text, location, family)
    now = timezone.now()
    row, created = IPAddress.objects.get_or_create(
        address=text,
        defaults={"pool": pool, "family": family, "owner": owner, "taken_at": now},
    )
    if created:
        return row
    rested = Q(free_after__lte=now) | Q(free_after__isnull=True)
    free = IPAddress.objects.filter(rested, pk=row.pk, owner__isnull=True)
    if not free.update(owner=owner, taken_at=now, free_after=None):
        held = "belongs to another server" if row.owner else "rests after its last use"
        raise NoAddress(f"{text} {held}.")
    row.refresh_from_db()
    return row


def _spelled(address: str, family: Family) -> str:
    """As the pools spell it. Raises `NoAddress`."""
    text = address.strip()
    try:
        if family == Family.V4:
            return str(ipaddress.IPv4Address(text))
        interface = ipaddress.IPv6Interface(text)
    except ValueError:
        raise NoAddress(f"{text or 'Nothing'} is not an {Family(family).label} address.") from None
    return str(ipaddress.IPv6Network((int(interface.ip), SERVER_PREFIX), strict=False))


def _pool_of(text: str, location: Location, family: Family) -> IPPool:
    wanted = ipaddress.ip_network(text)
    for pool in IPPool.objects.filter(location=location, family=family):
        network = ipaddress.ip_network(pool.network)
        if not (int(network[0]) <= int(wanted[0]) <= int(network[-1])):
            continue
        ends = (network[0], network[-1]) if family == Family.V4 else ()
        if ipaddress.ip_address(pool.gateway) in wanted or wanted[0] in ends:
            raise NoAddress(f"{text} is the network's own in the pool {pool.name}.")
        return pool
    raise NoAddress(f"{text} lies in no pool of {location}. Add the pool first.")
