"""Primary IPs: the project's public addresses, with a server or without one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.db import transaction
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from hosts.models import Family
from vpspanel.actions.services import record_done
from vpspanel.api.bodies import Body, IdOrName, Nothing, Strict, Text, body_of
from vpspanel.api.describing import answers, lists
from vpspanel.api.errors import unsupported
from vpspanel.api.listing import LARGEST_ID, named, ordered, page_of
from vpspanel.api.ordering import place_of
from vpspanel.api.selecting import selected
from vpspanel.api.shapes.actions import ActionShape, action_shape
from vpspanel.api.shapes.addresses import PrimaryIPShape, primary_ip_shape
from vpspanel.api.view import ApiView, PostView
from vpspanel.errors import NotFound
from vpspanel.events.actor import Actor
from vpspanel.servers.access import visible_primary_ips
from vpspanel.servers.addresses import (
    assign_primary_ip,
    buy_primary_ip,
    change_primary_ip,
    delete_primary_ip,
    get_primary_ip,
    protect_primary_ip,
    unassign_primary_ip,
)
from vpspanel.servers.models import PrimaryIP

COLUMNS = {"id": "id", "name": "name", "created": "created"}
FAMILIES = {"ipv4": Family.V4, "ipv6": Family.V6}

Verb = Callable[[Actor, int, Request], dict[str, Any]]


class NewPrimaryIP(Body):
    """What is bought: for a server, which must be off, or without one in a location."""

    name = Text(max_length=200)
    type = serializers.ChoiceField(list(FAMILIES))
    location = IdOrName(required=False, allow_null=True)
    datacenter = IdOrName(required=False, allow_null=True)
    assignee_id = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=LARGEST_ID
    )
    assignee_type = serializers.ChoiceField(
        ["server", "unassigned"], required=False, allow_null=True
    )
    auto_delete = Strict(required=False, default=False)
    labels = serializers.JSONField(required=False)


class ChangedPrimaryIP(Body):
    """What is to change."""

    name = Text(max_length=200, required=False)
    auto_delete = Strict(required=False)
    labels = serializers.JSONField(required=False)


class Assignee(Body):
    """Which server is to have it."""

    assignee_id = serializers.IntegerField(min_value=1, max_value=LARGEST_ID)
    assignee_type = serializers.ChoiceField(["server"])


class PrimaryIPProtection(Body):
    """What is left out stays as it is."""

    delete = Strict(required=False)


class PrimaryIPs(PostView):
    """The addresses of the project."""

    @lists(
        "List addresses",
        "primary_ips",
        PrimaryIPShape,
        sort=COLUMNS,
        filters={"name": (), "label_selector": (), "ip": ()},
    )
    def get(self, request: Request) -> Response:
        """A page of them."""
        found = visible_primary_ips(self.actor).select_related("address__pool__location")
        rows = selected(request, named(request, found))
        if ip := request.query_params.get("ip"):
            rows = rows.filter(address__address=ip)
        return page_of(request, "primary_ips", ordered(request, rows, COLUMNS), _shapes)

    @answers(
        "Add an address",
        status=201,
        body=NewPrimaryIP,
        primary_ip=PrimaryIPShape,
        action=ActionShape | None,
    )
    def create(self, request: Request, **ids: int) -> Response:
        """Buy one; the action is that of the server which gets it."""
        asked = body_of(request, NewPrimaryIP)
        bought = buy_primary_ip(
            self.actor,
            project=self.project,
            name=asked["name"],
            family=FAMILIES[asked["type"]],
            location=place_of(asked),
            server_id=asked.get("assignee_id"),
            auto_delete=asked["auto_delete"],
            labels=asked.get("labels"),
        )
        shown = primary_ip_shape(get_primary_ip(self.actor, bought.ip.pk))
        action = None if bought.action is None else action_shape(bought.action)
        return Response({"primary_ip": shown, "action": action}, 201)


class OnePrimaryIP(ApiView):
    """An address of the project."""

    @answers("Get an address", primary_ip=PrimaryIPShape)
    def get(self, request: Request, pk: int) -> Response:
        """It."""
        return Response({"primary_ip": primary_ip_shape(get_primary_ip(self.actor, pk))})

    @answers("Rename or label an address", body=ChangedPrimaryIP, primary_ip=PrimaryIPShape)
    def put(self, request: Request, pk: int) -> Response:
        """Change its name, its labels, or whether it goes with its server."""
        ip = get_primary_ip(self.actor, pk)
        ip = change_primary_ip(self.actor, ip.pk, **body_of(request, ChangedPrimaryIP))
        return Response({"primary_ip": primary_ip_shape(ip)})

    @answers("Delete an address")
    def delete(self, request: Request, pk: int) -> Response:
        """Give it back. If a server has it, that one must be off."""
        delete_primary_ip(self.actor, pk)
        return Response(status=204)


class PrimaryIPAction(PostView):
    """One verb on one address."""

    @property
    def verbs(self) -> dict[str, Verb]:
        """Those that can be asked for, for the document."""
        return VERBS

    def create(self, request: Request, **ids: Any) -> Response:
        """Ask for it; the answer is the action to wait for."""
        verb, ip_id = ids["verb"], ids["pk"]
        if verb not in VERBS and verb not in UNSUPPORTED:
            raise NotFound("action")
        get_primary_ip(self.actor, ip_id)
        if verb in UNSUPPORTED:
            raise unsupported(UNSUPPORTED[verb])
        return Response(VERBS[verb](self.actor, ip_id, request), 201)


@answers("Give an address to a server", status=201, body=Assignee, action=ActionShape)
def _assign(actor: Actor, ip_id: int, request: Request) -> dict[str, Any]:
    asked = body_of(request, Assignee)
    return {"action": action_shape(assign_primary_ip(actor, ip_id, asked["assignee_id"]))}


@answers("Take an address from its server", status=201, action=ActionShape)
def _unassign(actor: Actor, ip_id: int, request: Request) -> dict[str, Any]:
    body_of(request, Nothing)
    return {"action": action_shape(unassign_primary_ip(actor, ip_id))}


@answers("Protect an address", status=201, body=PrimaryIPProtection, action=ActionShape)
def _change_protection(actor: Actor, ip_id: int, request: Request) -> dict[str, Any]:
    asked = body_of(request, PrimaryIPProtection)
    with transaction.atomic():
        ip = get_primary_ip(actor, ip_id)
        ip = protect_primary_ip(actor, ip_id, delete=asked.get("delete", ip.protect_delete))
        action = record_done(
            "change_protection",
            resource=("primary_ip", ip.pk),
            actor=actor,
            project_id=ip.project_id,
        )
    return {"action": action_shape(action)}


VERBS: dict[str, Verb] = {
    "assign": _assign,
    "unassign": _unassign,
    "change_protection": _change_protection,
}
UNSUPPORTED = {"change_dns_ptr": "reverse DNS"}


def _shapes(page: Iterable[PrimaryIP]) -> list[PrimaryIPShape]:
    return [primary_ip_shape(row) for row in page]
