"""Ordering a server: what a body means, and the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from hosts.models import Location
from vpspanel.accounts.models import Project, SSHKey
from vpspanel.api.bodies import Body, IdOrName, Labels, Strict, Text, pick_or_fail
from vpspanel.api.errors import unsupported
from vpspanel.api.images import shown_images
from vpspanel.api.listing import LARGEST_ID
from vpspanel.api.shapes.places import datacenter_name
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.servers.access import visible_primary_ips
from vpspanel.servers.groups import visible_groups
from vpspanel.servers.models import PlacementGroup, PrimaryIP, ServerType
from vpspanel.servers.ordering import Ordered, offers, order_server
from vpspanel.servers.public_net import PublicNet

MOST_KEYS = 100


class WantedNet(Body):
    """For each family: a fresh address, none, or one of the project's by its id."""

    enable_ipv4 = Strict(required=False, default=True)
    enable_ipv6 = Strict(required=False, default=True)
    ipv4 = serializers.IntegerField(required=False, allow_null=True, max_value=LARGEST_ID)
    ipv6 = serializers.IntegerField(required=False, allow_null=True, max_value=LARGEST_ID)


class NewServer(Body):
    """An order, with every field that clients of hcloud send."""

    name = Text(max_length=253)
    server_type = IdOrName()
    image = IdOrName()
    location = IdOrName(required=False, allow_null=True)
    datacenter = IdOrName(required=False, allow_null=True)
    ssh_keys = serializers.ListField(child=IdOrName(), required=False, max_length=MOST_KEYS)
    user_data = Text(required=False, allow_blank=True, allow_null=True, max_length=1_000_000)
    labels = Labels(required=False)
    start_after_create = Strict(required=False, default=True)
    public_net = WantedNet(required=False, allow_null=True)
    dry_run = Strict(required=False, default=False)
    automount = Strict(required=False, allow_null=True)
    volumes = serializers.JSONField(required=False)
    networks = serializers.JSONField(required=False)
    firewalls = serializers.JSONField(required=False)
    placement_group = IdOrName(required=False, allow_null=True)


_NOT_OFFERED = {
    "volumes": "volumes",
    "networks": "private networks",
    "firewalls": "firewalls",
}


def order(actor: Actor, project: Project, asked: dict[str, Any]) -> Ordered:
    """Order what was asked for. Raises `Refused` and `ValidationError`."""
    _refuse_what_is_not_offered(asked)
    plan = pick_or_fail(ServerType.objects.all(), asked["server_type"], "server_type")
    public_net = _public_net(actor, asked.get("public_net") or {})
    return order_server(
        actor,
        project=project,
        name=asked["name"],
        server_type=plan,
        image=pick_or_fail(shown_images(actor), asked["image"], "image"),
        location=_location(asked, plan, public_net),
        ssh_keys=keys_of(project, asked.get("ssh_keys", ())),
        user_data=asked.get("user_data") or "",
        labels=asked.get("labels"),
        public_net=public_net,
        start=asked["start_after_create"],
        placement_group=_group(actor, asked.get("placement_group")),
    )


def _refuse_what_is_not_offered(asked: dict[str, Any]) -> None:
    for field, words in _NOT_OFFERED.items():
        if asked.get(field):
            raise unsupported(words)


def _public_net(actor: Actor, asked: dict[str, Any]) -> PublicNet:
    wishes = {
        family: _address(actor, family, asked.get(f"enable_{family}", True), asked.get(family))
        for family in ("ipv4", "ipv6")
    }
    return PublicNet(**wishes)


def _address(actor: Actor, family: str, enabled: bool, ip_id: int | None) -> PrimaryIP | bool:
    if ip_id is None:
        return enabled
    if not enabled:
        wrong = [f"enable_{family} is false, and an address is chosen"]
        raise serializers.ValidationError({"public_net": {family: wrong}})
    rows = visible_primary_ips(actor).select_related("address__pool__location")
    return pick_or_fail(rows, ip_id, f"public_net.{family}")


def _group(actor: Actor, reference: int | str | None) -> PlacementGroup | None:
    if reference is None:
        return None
    return pick_or_fail(visible_groups(actor), reference, "placement_group")


def _location(asked: dict[str, Any], plan: ServerType, public_net: PublicNet) -> Location:
    """The place that is named; else that of a chosen address; else the first that has room."""
    if (place := place_of(asked)) is not None:
        return place
    for ip in public_net.own():
        return ip.address.pool.location
    sold = [offer for offer in offers() if offer.server_type == plan]
    for offer in sold:
        if not offer.sold_out:
            return offer.location
    if sold:
        raise Refused("resource_unavailable", sold[0].sold_out, field="server_type")
    raise Refused("invalid_input", "This plan is no longer sold.", field="server_type")


def place_of(asked: dict[str, Any]) -> Location | None:
    """The place that is named, also by its stub data centre; None if none is."""
    if (reference := asked.get("location")) is not None:
        return pick_or_fail(Location.objects.all(), reference, "location")
    if (reference := asked.get("datacenter")) is not None:
        by_name = {datacenter_name(place): place.pk for place in Location.objects.all()}
        return pick_or_fail(
            Location.objects.all(), by_name.get(str(reference), reference), "datacenter"
        )
    return None


def keys_of(project: Project, references: Sequence[int | str]) -> list[SSHKey]:
    """The keys that are meant, each once, in order. Raises `ValidationError`."""
    found = {pick_or_fail(project.ssh_keys.all(), one, "ssh_keys"): None for one in references}
    return list(found)
