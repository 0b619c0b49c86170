"""Which public addresses a new server gets, and how an address changes hands."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from django.db.models import Q

from hosts.models import Family, Location
from hosts.services import free_addresses, hand_over_address, take_address
from vpspanel.errors import NotFound, Refused
from vpspanel.servers.models import Leaving, PrimaryIP, Server


@dataclass(frozen=True, slots=True)
class PublicNet:
    """For each family: a fresh address, none, or one that the project has already."""

    ipv4: PrimaryIP | bool = True
    ipv6: PrimaryIP | bool = True

    def by_family(self) -> tuple[tuple[Family, PrimaryIP | bool], ...]:
        """In the order in which addresses are taken."""
        return (Family.V4, self.ipv4), (Family.V6, self.ipv6)

    def own(self) -> list[PrimaryIP]:
        """Those that the project has already."""
        return [wish for _, wish in self.by_family() if isinstance(wish, PrimaryIP)]

    def as_words(self) -> list[str]:
        """What tells it from another; empty for a fresh address of each family."""
        words = [
            str(wish.pk if isinstance(wish, PrimaryIP) else wish) for _, wish in self.by_family()
        ]
        return [] if words == ["True", "True"] else words


def check_public_net(net: PublicNet, project_id: int, location: Location) -> None:
    """Raises `Refused` for what no server of the project in that location can have."""
    if not net.ipv4 and not net.ipv6:
        sentence = "Without any address it could not be reached: choose IPv4, IPv6 or both."
        raise Refused("invalid_input", sentence, field="public_net")
    for family, wish in net.by_family():
        if not isinstance(wish, PrimaryIP):
            continue
        field = f"public_net.ipv{family}"
        if wish.project_id != project_id:
            raise NotFound("primary IP")
        if wish.address.family != family:
            sentence = f"{wish} is no {family.label} address."
            raise Refused("primary_ip_version_mismatch", sentence, field=field)
        if wish.server_id is not None:
            sentence = f"{wish} belongs to a server already. Take it from that one first."
            raise Refused("primary_ip_assigned", sentence, field=field)
        check_place(wish, location, "primary_ip_datacenter_mismatch", field)


def check_place(ip: PrimaryIP, location: Location, code: str, field: str) -> None:
    """Raises `Refused(code)` unless the address is one of the location."""
    if ip.address.pool.location_id != location.pk:
        place = ip.address.pool.location.name
        sentence = f"{ip} is an address of {place}, and the server is in {location.name}."
        raise Refused(code, sentence, field=field)


def take_public_net(server: Server, net: PublicNet) -> None:
    """Give the new server its addresses. Raises `NoAddress`, and `Refused` if one is gone."""
    for family, wish in net.by_family():
        if isinstance(wish, PrimaryIP):
            give_to_server(wish, server)
        elif wish:
            address = take_address(server.uuid, location=server.location, family=family)
            PrimaryIP.objects.create(
                project_id=server.project_id, server=server, address=address, name=fresh_name()
            )


def fresh_name() -> str:
    """A name that no other address has."""
    return f"primary-ip-{secrets.token_hex(6)}"


def give_to_server(ip: PrimaryIP, server: Server) -> None:
    """The free address is the server's. Raises `Refused` if somebody was quicker."""
    free = PrimaryIP.objects.filter(pk=ip.pk, server__isnull=True, leaving="")
    if not free.update(server=server) or not hand_over_address(ip.address_id, ip.uuid, server.uuid):
        raise Refused("conflict", "The address changed at the same moment. Please try again.")


def take_from_server(ip: PrimaryIP, server: Server) -> None:
    """The address is the project's and no server's. Of one that it has not, nothing changes."""
    mine = PrimaryIP.objects.filter(pk=ip.pk, server=server)
    if mine.update(server=None, leaving=Leaving.NOT):
        hand_over_address(ip.address_id, server.uuid, ip.uuid)


def let_go_of_addresses(server: Server, *, keep: list[int] | None = None) -> None:
    """The end of a server: those that go with it go back, the others stay the project's.

    What is protected stays, and so do those of `keep`, which are ids.
    """
    stays = Q(auto_delete=False) | Q(protect_delete=True) | Q(pk__in=keep or [])
    addresses = PrimaryIP.objects.filter(server=server)
    for ip in addresses.filter(stays).order_by("address__family", "pk"):
        take_from_server(ip, server)
    addresses.delete()
    free_addresses(server.uuid)
