"""Another plan for a server that is off: what fits, and the one transaction that takes the room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from hosts.errors import NoCapacity
from hosts.placement import Need, tags_of
from hosts.services import grow_claim, room_of
from vpspanel.actions.models import Action
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.servers.access import get_server
from vpspanel.servers.models import Server, ServerType, ServerTypePrice
from vpspanel.servers.services import act_on
from vpspanel.servers.states import Verb

_NO_ROOM = "Its host has no room for {plan} at the moment."


@dataclass(frozen=True, slots=True)
class Choice:
    """A plan that the server may change to. `why_not` is "" or the sentence that says why not.

    `grows` says whether its disk could grow, which can never be taken back.
    """

    price: ServerTypePrice
    why_not: str
    current: bool
    grows: bool

    @property
    def server_type(self) -> ServerType:
        """The plan."""
        return self.price.server_type


def plan_choices(server: Server) -> Sequence[Choice]:
    """Every plan that is sold where the server is, with what speaks against it. Two queries."""
    prices = (
        ServerTypePrice.objects.filter(
            location=server.location_id, server_type__deprecated__isnull=True
        )
        .select_related("server_type")
        .order_by("server_type__position", "server_type__memory_mib")
    )
    room = room_of(server.uuid)
    return [_choice(server, price, room) for price in prices]


def _choice(server: Server, price: ServerTypePrice, room: Need) -> Choice:
    plan = price.server_type
    current, grows = plan.pk == server.server_type_id, plan.disk_gib > server.disk_gib
    why_not = "It has this plan." if current and not grows else _unfit(server, plan)
    if not why_not and not _need(server, plan, keep_disk=not current).is_within(room):
        why_not = _full(plan)
    return Choice(price, why_not, current, grows)


def change_type(
    actor: Actor, server_id: int, *, server_type: ServerType, keep_disk: bool
) -> Action:
    """Give it the vCPUs, the memory and, unless `keep_disk`, the disk of another plan.

    Only while it is off. A disk grows and never shrinks: with `keep_disk` the
    way back to a smaller plan stays open. What it needs more is taken here;
    what it needs less goes back when its host has confirmed the change.
    """
    server = get_server(actor, server_id, Verb.CHANGE_TYPE)
    _check_plan(server, server_type)
    need = _need(server, server_type, keep_disk=keep_disk)
    if server_type.pk == server.server_type_id and need.disk_gib == server.disk_gib:
        raise Refused("invalid_input", "This is the plan that it has.", field="server_type")
    args = {
        "server_type": server_type.pk,
        "vcpus": need.vcpus,
        "memory_mib": need.memory_mib,
        "disk_gib": need.disk_gib,
    }
    said = f": {server_type.name}"
    try:
        return act_on(
            actor,
            server,
            Verb.CHANGE_TYPE,
            args=args,
            said=said,
            also=partial(grow_claim, server.uuid, need),
        )
    except NoCapacity:
        raise Refused("resource_unavailable", _full(server_type), field="server_type") from None


def _check_plan(server: Server, plan: ServerType) -> None:
    """What does not depend on who else takes room at this moment. Raises `Refused`."""
    prices = ServerTypePrice.objects.filter(server_type=plan, location=server.location_id)
    if plan.deprecated is not None:
        sentence = "This plan is no longer sold."
    elif not prices.exists():
        sentence = "This plan is not sold in this location."
    else:
        sentence = _unfit(server, plan)
    if sentence:
        raise Refused("invalid_input", sentence, field="server_type")


def _unfit(server: Server, plan: ServerType) -> str:
    """Why a plan that is sold does not suit this server; "" if it does."""
    if plan.architecture != server.server_type.architecture:
        return f"This plan is for {plan.architecture} systems."
    if plan.disk_gib < server.disk_gib:
        return (
            f"Its disk has {server.disk_gib} GiB and cannot shrink to the {plan.disk_gib} GiB "
            "of this plan."
        )
    if server.host is not None and tags_of(plan.host_tags) - tags_of(server.host.tags):
        return "Its host is not one for this plan."
    image = server.image
    if image is not None and plan.memory_mib < image.min_memory_mib:
        return f"{image.description} needs {image.min_memory_mib} MiB of memory."
    return ""


def _need(server: Server, plan: ServerType, *, keep_disk: bool) -> Need:
    disk_gib = server.disk_gib if keep_disk else plan.disk_gib
    return Need(plan.vcpus, plan.memory_mib, disk_gib)


def _full(plan: ServerType) -> str:
    return _NO_ROOM.format(plan=plan.description or plan.name)
