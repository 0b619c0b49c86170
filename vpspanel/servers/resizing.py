"""Another plan for a server that is off: what fits, and the one transaction that takes the room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from hosts.errors import NoCapacity
from hosts.placement import Need
from hosts.services import grow_claim, has_room_for
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
    """Every plan that is sold where the server is, with what speaks against it."""
    prices = (
        ServerTypePrice.objects.filter(
            location=server.location_id, server_type__deprecated__isnull=True
        )
        .select_related("server_type")
        .order_by("server_type__position", "server_type__memory_mib")
    )
    return [_choice(server, price) for price in prices]


def _choice(server: Server, price: ServerTypePrice) -> Choice:
    plan = price.server_type
    current, grows = plan.pk == server.server_type_id, plan.disk_gib > server.disk_gib
    return Choice(price, _why_not(server, plan, current=current, grows=grows), current, grows)


def _why_not(server: Server, plan: ServerType, *, current: bool, grows: bool) -> str:
    if current and not grows:
        return "It has this plan."
    try:
        _check_plan(server, plan)
    except Refused as refusal:
        return refusal.message
    has_room = has_room_for(server.uuid, _need(server, plan, keep_disk=not current))
    return "" if has_room else _full(plan)


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
    if plan.deprecated is not None:
        _refuse("This plan is no longer sold.")
    if not ServerTypePrice.objects.filter(server_type=plan, location=server.location_id).exists():
        _refuse("This plan is not sold in this location.")
    if plan.architecture != server.server_type.architecture:
        _refuse(f"This plan is for {plan.architecture} systems.")
    if plan.disk_gib < server.disk_gib:
        _refuse(
            f"Its disk has {server.disk_gib} GiB and cannot shrink to the {plan.disk_gib} GiB "
            "of this plan."
        )
    if server.image is not None and plan.memory_mib < server.image.min_memory_mib:
        _refuse(f"{server.image.description} needs {server.image.min_memory_mib} MiB of memory.")


def _refuse(sentence: str) -> None:
    raise Refused("invalid_input", sentence, field="server_type")


def _need(server: Server, plan: ServerType, *, keep_disk: bool) -> Need:
    disk_gib = server.disk_gib if keep_disk else plan.disk_gib
    return Need(plan.vcpus, plan.memory_mib, disk_gib)


def _full(plan: ServerType) -> str:
    return _NO_ROOM.format(plan=plan.description or plan.name)
