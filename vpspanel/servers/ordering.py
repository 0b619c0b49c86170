"""Ordering a server: what is on offer, and the one transaction that sells it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction

from hosts.errors import NoAddress, NoCapacity
from hosts.models import Family, Image, Location
from hosts.placement import Need, how_many, tags_of
from hosts.room import candidates
from hosts.services import addresses_left, claim_capacity
from vpspanel.accounts.models import Project, Role, SSHKey
from vpspanel.accounts.scopes import Scope
from vpspanel.accounts.services import claim_server_slot
from vpspanel.actions.models import Action
from vpspanel.actions.services import submit
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.events.services import record_event
from vpspanel.labels import check_labels
from vpspanel.sealing import seal
from vpspanel.servers.access import get_project
from vpspanel.servers.images import check_image_is_usable
from vpspanel.servers.models import (
    PlacementGroup,
    PowerWanted,
    Server,
    ServerType,
    ServerTypePrice,
)
from vpspanel.servers.models_order import OrderKey
from vpspanel.servers.passwords import crypt_hash, new_password
from vpspanel.servers.periods import begin_period
from vpspanel.servers.public_net import PublicNet, check_public_net, take_public_net
from vpspanel.servers.userdata import validate_user_data

KEY_LENGTH = 255
BOTH = PublicNet()
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class Ordered:
    """What an order answers. `root_password` only the first time, and only if one was made."""

    server: Server
    action: Action
    root_password: str | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A plan in a location. `sold_out` is "" or the sentence that says why.

    `left` is how many more the hosts have room for.
    """

    price: ServerTypePrice
    sold_out: str
    left: int

    @property
    def server_type(self) -> ServerType:
        """The plan."""
        return self.price.server_type

    @property
    def location(self) -> Location:
        """The place."""
        return self.price.location


def offers() -> list[Offer]:
    """Every plan in every location that has a price for it. Four queries."""
    prices = list(
        ServerTypePrice.objects.filter(server_type__deprecated__isnull=True)
        .select_related("server_type", "location")
        .order_by("location__name", "server_type__position", "server_type__memory_mib")
    )
    places = {price.location.pk: price.location for price in prices}
    left = addresses_left(places.values())
    room = {pk: candidates(location) for pk, location in places.items()}
    offered = []
    for price in prices:
        fit = how_many(room[price.location.pk], need_of(price.server_type))
        offered.append(Offer(price, _sold_out(price, fit, left), fit))
    return offered


def _sold_out(price: ServerTypePrice, fit: int, left: dict[tuple[int, int], bool]) -> str:
    place = price.location
    if not place.accepting:
        return f"{place.city or place.name} takes no new servers at the moment."
    if not fit:
        return f"No host in {place.city or place.name} has room for it at the moment."
    for family in Family:
        if not left.get((place.pk, family)):
            return f"{place.city or place.name} has no free {family.label} address at the moment."
    return ""


def need_of(server_type: ServerType) -> Need:
    """What a plan takes of a host."""
    return Need(
        server_type.vcpus,
        server_type.memory_mib,
        server_type.disk_gib,
        tags_of(server_type.host_tags),
    )


def check_name(name: str) -> str:
    """The host name in lower case. Raises `Refused`."""
    clean = name.strip().lower()
    if len(clean) > 63 or not _NAME.fullmatch(clean):
        raise Refused(
            "invalid_input",
            "A name has 1 to 63 letters, digits, hyphens and dots, and begins and ends with a "
            "letter or digit (RFC 1123).",
            field="name",
        )
    return clean


def order_server(
    actor: Actor,
    *,
    project: Project,
    name: str,
    server_type: ServerType,
    image: Image,
    location: Location,
    ssh_keys: Sequence[SSHKey] = (),
    user_data: str = "",
    protect: bool = False,
    labels: dict[str, str] | None = None,
    placement_group: PlacementGroup | None = None,
    public_net: PublicNet = BOTH,
    start: bool = True,
    idempotency_key: str = "",
) -> Ordered:
    """Sell a server: quota, room, addresses, server and action in one transaction, or nothing.

    Touches no host: a worker builds it, and starts it if it is to `start`. With
    an `idempotency_key`, the same request again answers with the same server.
    Raises `Refused`.
    """
    name = check_name(name)
    labels = check_labels(labels or {})
    project = get_project(actor, project.pk, Role.ADMIN, Scope.CREATE)
    plan, keys = server_type.pk, [key.pk for key in ssh_keys]
    more = [*([placement_group.pk] if placement_group else []), *public_net.as_words()]
    request_hash = _hash(
        name, plan, image.pk, location.pk, keys, user_data, protect, labels, start, *more
    )
    earlier = _bought_with(project, idempotency_key, request_hash)
    if earlier is not None:
        return earlier
    _check(project, server_type, image, location, ssh_keys)
    _check_group(project, placement_group)
    check_public_net(public_net, project.pk, location)
    validate_user_data(user_data)
    with _refusing(name, server_type, location, placement_group), transaction.atomic():
        earlier = _take_key(project, idempotency_key, request_hash)
        if earlier is not None:
            return earlier
        password = None if ssh_keys else new_password()
        server = _sell(project, name, server_type, image, location, placement_group)
        _personalise(server, ssh_keys, user_data, password, protect=protect, labels=labels)
        server.power_wanted = PowerWanted.ON if start else PowerWanted.OFF
        server.save()
        begin_period(server)
        take_public_net(server, public_net)
        action = _submit(actor, server, public_net, start=start)
        _settle_key(project, idempotency_key, server, action)
        _tell(actor, server, action)
    return Ordered(server, action, password)


def _tell(actor: Actor, server: Server, action: Action) -> None:
    bought = server.server_type.name
    if server.image is not None:
        bought += f" with {server.image.description}"
    record_event(
        "server.ordered",
        f"{server.name} was ordered: {bought}",
        resource=("server", server.pk),
        project_id=server.project_id,
        action_id=action.pk,
        actor=actor,
    )


@contextlib.contextmanager
def _refusing(
    name: str, server_type: ServerType, location: Location, group: PlacementGroup | None
) -> Iterator[None]:
    """Turn what the machine room and the database say into a sentence for the customer."""
    place = location.city or location.name
    try:
        yield
    except NoCapacity:
        if group is not None:
            raise Refused(
                "placement_error",
                f"Every host in {place} with room for {server_type.name} has a server of the "
                f"group {group.name} already.",
                field="placement_group",
            ) from None
        sentence = f"{server_type.name} is sold out in {place}. Choose another plan or location."
        raise Refused("resource_unavailable", sentence, field="server_type") from None
    except NoAddress:
        sentence = f"{place} has no free address at the moment. Choose another location."
        raise Refused("resource_unavailable", sentence, field="location") from None
    except IntegrityError as error:
        raise _name_taken(name, error) from error


def _check(
    project: Project,
    server_type: ServerType,
    image: Image,
    location: Location,
    ssh_keys: Sequence[SSHKey],
) -> None:
    """What does not depend on who else orders at this moment."""
    check_image_is_usable(image, project.pk)
    if server_type.deprecated is not None:
        raise Refused("invalid_input", "This plan is no longer sold.", field="server_type")
    if not ServerTypePrice.objects.filter(server_type=server_type, location=location).exists():
        raise Refused("invalid_input", "This plan is not sold in this location.", field="location")
    check_image_fits(image, server_type.disk_gib, server_type.memory_mib)
    if any(key.project_id != project.pk for key in ssh_keys):
        raise Refused("invalid_input", "Unknown SSH key.", field="ssh_keys")


def _check_group(project: Project, group: PlacementGroup | None) -> None:
    if group is not None and group.project_id != project.pk:
        raise Refused("invalid_input", "Unknown placement group.", field="placement_group")


def check_image_fits(image: Image, disk_gib: int, memory_mib: int) -> None:
    """Raises `Refused` if the image needs more disk or memory."""
    if disk_gib < image.min_disk_gib or memory_mib < image.min_memory_mib:
        raise Refused(
            "invalid_input",
            f"{image.description} needs {image.min_memory_mib} MiB of memory and "
            f"{image.min_disk_gib} GiB of disk. Choose a larger plan or another image.",
            field="image",
        )


def _sell(
    project: Project,
    name: str,
    server_type: ServerType,
    image: Image,
    location: Location,
    group: PlacementGroup | None,
) -> Server:
    """Take a slot of the account and room on a host, in this order; the server is not saved yet."""
    server = Server(
        project=project,
        name=name,
        server_type=server_type,
        image=image,
        location=location,
        placement_group=group,
        vcpus=server_type.vcpus,
        memory_mib=server_type.memory_mib,
        disk_gib=server_type.disk_gib,
        mac=new_mac(),
    )
    claim_server_slot(project.account_id)
    if not Project.objects.filter(pk=project.pk, deleted_at=None).exists():
        raise NotFound("project")  # it was deleted while that row was waited for
    claim = claim_capacity(
        server.uuid,
        need_of(server_type),
        location=location,
        image=image,
        spread=group.uuid if group else None,
    )
    server.host, server.pool = claim.host, claim.pool.name
    return server


def _personalise(
    server: Server,
    ssh_keys: Sequence[SSHKey],
    user_data: str,
    password: str | None,
    *,
    protect: bool,
    labels: dict[str, str],
) -> None:
    server.authorized_keys = [f"{key.public_key} {key.name}" for key in ssh_keys]
    server.user_data_sealed = seal(user_data) if user_data else b""
    server.protect_delete = server.protect_rebuild = protect
    server.labels = labels
    if password is not None:
        server.root_password_sealed = seal(password)
        server.root_password_hash = crypt_hash(password)


def _submit(actor: Actor, server: Server, public_net: PublicNet, *, start: bool) -> Action:
    if server.host is None:
        raise ValueError("a server without a host cannot be created")
    args: dict[str, Any] = {"start": start}
    if own := public_net.own():
        args["own_addresses"] = [ip.pk for ip in own]
    return submit(
        "create",
        resource=("server", server.pk),
        actor=actor,
        args=args,
        project_id=server.project_id,
        group=str(server.host_id),
        group_limit=server.host.action_limit,
    )


def _bought_with(project: Project, key: str, request_hash: str) -> Ordered | None:
    """What the idempotency key was used for, if it was."""
    if len(key) > KEY_LENGTH:
        raise Refused("invalid_input", f"An idempotency key may have {KEY_LENGTH} characters.")
    if not key:
        return None
    used = OrderKey.objects.select_related("server", "action").filter(project=project, key=key)
    for order in used:
        if order.request_hash != request_hash:
            raise Refused("idempotency_key_reused", "This key was used for a different order.")
        if order.server is None or order.action is None:
            raise Refused("conflict", "This order is being placed already.")
        return Ordered(order.server, order.action)
    return None


def _take_key(project: Project, key: str, request_hash: str) -> Ordered | None:
    """Hold the idempotency key, or answer what somebody bought with it at this moment."""
    if not key:
        return None
    try:
        with transaction.atomic():
            OrderKey.objects.create(project=project, key=key, request_hash=request_hash)
    except IntegrityError:
        return _bought_with(project, key, request_hash)
    return None


def _settle_key(project: Project, key: str, server: Server, action: Action) -> None:
    if key:
        OrderKey.objects.filter(project=project, key=key).update(server=server, action=action)


def _name_taken(name: str, error: IntegrityError) -> Refused:
    if "server_name_in_project" in str(error) or "servers_server.project_id" in str(error):
        return Refused(
            "uniqueness_error", f"The project already has a server called {name}.", field="name"
        )
    return Refused("conflict", "Somebody ordered at the same moment. Please try again.")


def new_mac() -> str:
    """A MAC address with KVM's customary locally administered prefix, unused so far."""
    while True:
        tail = secrets.token_bytes(4)
        mac = "52:54:" + ":".join(f"{byte:02x}" for byte in tail)
        if not Server.objects.filter(mac=mac).exists():
            return mac


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
