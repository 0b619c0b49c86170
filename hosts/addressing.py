"""Pools of addresses: what makes one valid, and how it is made."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from hosts.models import Family, IPPool, Location

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
SERVER_PREFIX = 64  # bits of the IPv6 network that each server gets


class BadPool(ValueError):
    """The pool cannot be sold from; `field` is the one to correct."""

    def __init__(self, field: str, message: str):
        super().__init__(message)
        self.field = field


def parse_network(text: str, family: int) -> Network:
    """The network in CIDR form. Raises `BadPool`."""
    try:
        network = ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise BadPool("network", f"{error}. Write it like 192.0.2.0/24.") from error
    if network.version != family:
        raise BadPool("network", f"{network} is not {Family(family).label}.")
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen > SERVER_PREFIX:
        raise BadPool("network", "Each server gets a /64: the network must hold at least one.")
    return network


def slots(network: Network) -> int:
    """How many addresses, or /64 networks, there are, sellable or not."""
    if isinstance(network, ipaddress.IPv6Network):
        return 1 << (SERVER_PREFIX - network.prefixlen)
    return network.num_addresses


def default_range(network: Network) -> tuple[int, int]:
    """First and last index that make sense to sell.

    IPv4: without the network's own address, the usual gateway and the
    broadcast address. IPv6: without the first /64, where the gateway is.
    """
    if isinstance(network, ipaddress.IPv6Network):
        return (1, slots(network) - 1) if slots(network) > 1 else (0, 0)
    return 2, network.num_addresses - 2


def check_pool(
    *,
    family: int,
    network: str,
    gateway: str,
    first_index: int,
    last_index: int,
    others: Iterable[IPPool] = (),
) -> Network:
    """The pool's network, if all of it fits together. Raises `BadPool`.

    The gateway may lie outside of the network (an on-link or link-local
    router), but never among what is sold.
    """
    parsed = parse_network(network, family)
    router = ipaddress.ip_address(gateway)
    if router.version != family:
        raise BadPool("gateway", f"{gateway} is not {Family(family).label}.")
    if first_index > last_index:
        raise BadPool("last_index", "The last index is before the first.")
    if last_index >= slots(parsed):
        raise BadPool("last_index", f"{parsed} ends at {slots(parsed) - 1}.")
    if router in parsed and first_index <= index_of(parsed, gateway) <= last_index:
        raise BadPool("gateway", "The gateway would be sold to a server: move the range past it.")
    for other in others:
        if other.family == family and parsed.overlaps(ipaddress.ip_network(other.network)):
            raise BadPool("network", f"{parsed} overlaps with the pool {other}.")
    return parsed


def index_of(network: Network, address: str) -> int:
    """Which address, or which /64, of the network `address` is in."""
    distance = int(ipaddress.ip_address(address)) - int(network.network_address)
    return distance >> SERVER_PREFIX if network.version == 6 else distance


def ensure_ip_pool(
    location: Location,
    name: str,
    *,
    network: str,
    gateway: str,
    dns_servers: Iterable[str] = (),
    first_index: int | None = None,
) -> IPPool:
    """The pool of that name; a new one sells what `default_range` says, from `first_index` on.

    Raises `BadPool`.
    """
    known = IPPool.objects.filter(name=name).first()
    if known is not None:
        return known
    family = Family(ipaddress.ip_network(network).version)
    first, last = default_range(parse_network(network, family))
    first = first_index or first
    check_pool(
        family=family,
        network=network,
        gateway=gateway,
        first_index=first,
        last_index=last,
        others=IPPool.objects.filter(family=family),
    )
    return IPPool.objects.create(
        location=location,
        name=name,
        family=family,
        network=network,
        gateway=gateway,
        first_index=first,
        last_index=last,
        next_index=first,
        dns_servers=list(dns_servers),
    )


def size(pool: IPPool) -> int:
    """How many the pool may sell in all."""
    return pool.last_index - pool.first_index + 1
