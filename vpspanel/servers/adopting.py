"""Taking a foreign guest over: it becomes a customer's server and is not stopped.

Its UUID, name, MAC and disk stay, and are recorded as the server's. The one
transaction takes what an order takes; a worker then marks the guest, guards
its addresses and describes it anew, and undoes all of it if that fails.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from django.db import IntegrityError, transaction

from hosts.chosen_address import take_chosen
from hosts.errors import NoAddress, NoCapacity
from hosts.models import Family, Host, Image, IPAddress, StoragePool
from hosts.services import claim_in, take_address
from vpspanel.accounts.models import Project
from vpspanel.accounts.services import claim_server_slot
from vpspanel.actions.models import Action
from vpspanel.actions.services import submit
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.events.services import record_event
from vpspanel.servers.access import need_staff
from vpspanel.servers.adoptable import Guest, guest_of, obstacles, unfit
from vpspanel.servers.audit_look import Look
from vpspanel.servers.images import check_image_is_usable
from vpspanel.servers.models import PowerSeen, PowerWanted, PrimaryIP, Server, ServerType
from vpspanel.servers.models import ServerTypePrice as Price
from vpspanel.servers.ordering import check_image_fits, check_name, need_of

_NOT_SOLD = "This plan is not sold in the location of the host."


@dataclass(frozen=True, slots=True)
class Adopted:
    """The server that is to be, and the action that makes it so."""

    server: Server
    action: Action


def adopt_guest(
    actor: Actor,
    host: Host,
    guest: Guest,
    *,
    project: Project,
    name: str,
    server_type: ServerType,
    ipv4: str,
    ipv6: str = "",
    image: Image | None = None,
) -> Adopted:
    """Make the guest a server of that project, with a plan that is at least as large.

    `ipv4` is the address that it uses; of IPv6 it gets the next free /64 unless
    one is named. `image` says what system is on it, for those who look; its
    disk stands on none. Touches no host. Raises `Refused`.
    """
    need_staff(actor)
    name = check_name(name)
    found = obstacles(guest, host, pool_names(host))
    if found:
        raise Refused("conflict", " ".join(found))
    _check_plan(server_type, host, guest)
    if image is not None:
        check_image_is_usable(image, project.pk)
        check_image_fits(image, server_type.disk_gib, server_type.memory_mib)
    with _refusing(name, host), transaction.atomic():
        server = _take_room(project, name, server_type, image, host, guest)
        _address(server, ipv4, ipv6)
        action = submit(
            "adopt",
            resource=("server", server.pk),
            actor=actor,
            project_id=project.pk,
            group=str(host.pk),
            group_limit=host.action_limit,
        )
        record_event(
            "server.adopting",
            f"{server.name} is being taken over with all that is on it: {server_type.name}",
            resource=("server", server.pk),
            project_id=project.pk,
            action_id=action.pk,
            actor=actor,
        )
    return Adopted(server, action)


def pool_names(host: Host) -> list[str]:
    """The storage pools that the panel has on the host."""
    return list(StoragePool.objects.filter(host=host).values_list("name", flat=True))


def _check_plan(server_type: ServerType, host: Host, guest: Guest) -> None:
    too_small = unfit(server_type, guest)
    if too_small:
        raise Refused("invalid_input", too_small, field="server_type")
    if not Price.objects.filter(server_type=server_type, location=host.location_id).exists():
        raise Refused("invalid_input", _NOT_SOLD, field="server_type")


@contextlib.contextmanager
def _refusing(name: str, host: Host) -> Iterator[None]:
    """Turn what the machine room and the database say into a sentence for staff."""
    try:
        yield
    except NoCapacity:
        sentence = f"{host} takes no new servers, or has no room for this plan."
        raise Refused("resource_unavailable", sentence, field="server_type") from None
    except IntegrityError as error:
        said = str(error)
        if "server_name_in_project" in said or "servers_server.project_id" in said:
            sentence = f"The project already has a server called {name}."
            raise Refused("uniqueness_error", sentence, field="name") from error
        sentence = "A server with its UUID or its MAC address is recorded already."
        raise Refused("conflict", sentence) from error


def _take_room(
    project: Project,
    name: str,
    server_type: ServerType,
    image: Image | None,
    host: Host,
    guest: Guest,
) -> Server:
    """The row, with a slot of the account and room on the host, taken in the order of an order."""
    (card,), disk = guest.definition.nics, guest.disk
    if disk is None:
        raise ValueError("a guest without a disk is not taken over")
    pool_name, _, volume = disk.place.partition("/")
    is_on = guest.power == PowerSeen.RUNNING
    server = Server(
        uuid=guest.definition.uuid,
        project=project,
        name=name,
        server_type=server_type,
        image=image,
        location=host.location,
        host=host,
        vcpus=server_type.vcpus,
        memory_mib=server_type.memory_mib,
        disk_gib=server_type.disk_gib,
        mac=card.mac,
        pool=pool_name,
        adopted_name=guest.definition.name,
        adopted_disk=volume,
        power_wanted=PowerWanted.ON if is_on else PowerWanted.OFF,
    )
    claim_server_slot(project.account_id)
    claim_in(StoragePool.objects.get(host=host, name=pool_name), server.uuid, need_of(server_type))
    server.save()
    return server


def _address(server: Server, ipv4: str, ipv6: str) -> None:
    _own(server, _chosen(server, Family.V4, ipv4, "ipv4"))
    if ipv6.strip():
        _own(server, _chosen(server, Family.V6, ipv6, "ipv6"))
        return
    try:
        _own(server, take_address(server.uuid, location=server.location, family=Family.V6))
    except NoAddress:
        sentence = f"{server.location} has no free IPv6 network. Name the one that it uses."
        raise Refused("resource_unavailable", sentence, field="ipv6") from None


def _chosen(server: Server, family: Family, address: str, field: str) -> IPAddress:
    try:
        return take_chosen(server.uuid, location=server.location, family=family, address=address)
    except NoAddress as error:
        raise Refused("invalid_input", str(error), field=field) from None


def _own(server: Server, address: IPAddress) -> None:
    PrimaryIP.objects.create(
        project_id=server.project_id,
        server=server,
        address=address,
        name=f"primary-ip-{address.pk}",
    )


def find_guest(host: Host, look: Look, named: str) -> Guest:
    """The foreign guest of that name or UUID. Raises `Refused`."""
    for domain in look.domains:
        if named in (domain.name, str(domain.uuid)):
            if domain.ours:
                raise Refused("conflict", f"{domain.name} is the panel's already.")
            guest = guest_of(look, domain)
            if guest is not None:
                return guest
    raise Refused("not_found", f"{host} has no guest called {named}.")
