"""What is done to a server: `POST /servers/{id}/actions/{verb}`, a table of verbs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.actions import services as actions
from vpspanel.actions.models import Action
from vpspanel.actions.services import record_done
from vpspanel.api.accounts import Reason
from vpspanel.api.bodies import Body, IdOrName, Labels, Nothing, Strict, Text, body_of, pick_or_fail
from vpspanel.api.describing import answers
from vpspanel.api.errors import unsupported
from vpspanel.api.images import shown_images
from vpspanel.api.ordering import MOST_KEYS, keys_of
from vpspanel.api.servers import existing
from vpspanel.api.shapes.actions import ActionShape, action_shape
from vpspanel.api.shapes.images import ImageShape, image_shape
from vpspanel.api.view import PostView
from vpspanel.consoles.direct import direct_address
from vpspanel.consoles.services import issue_program_ticket
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.servers import services
from vpspanel.servers.groups import join_group, leave_group, visible_groups
from vpspanel.servers.models import PowerSeen, ServerType
from vpspanel.servers.rescue import disable_rescue, enable_rescue
from vpspanel.servers.resizing import change_type
from vpspanel.servers.snapshots import create_image
from vpspanel.servers.suspending import suspend_server, unsuspend_server

Answer = dict[str, Any]
Verb = Callable[[Actor, int, Request], Answer]


class NewImage(Body):
    """What to rebuild from."""

    image = IdOrName()
    user_data = Text(required=False, allow_null=True, allow_blank=True)


class Protection(Body):
    """What is left out stays as it is."""

    delete = Strict(required=False)
    rebuild = Strict(required=False)


class NewType(Body):
    """Which plan to change to, and whether the disk may grow, which can never be taken back."""

    server_type = IdOrName()
    upgrade_disk = Strict()


class RescueKeys(Body):
    """Who may log in to the rescue system; without keys a password is made for it."""

    type = serializers.ChoiceField(["linux64"], required=False, allow_null=True)
    ssh_keys = serializers.ListField(
        child=IdOrName(), required=False, allow_null=True, max_length=MOST_KEYS
    )


class NewSnapshot(Body):
    """How the image will be found again."""

    description = Text(required=False, allow_null=True, allow_blank=True, max_length=1000)
    type = serializers.ChoiceField(["snapshot", "backup"], required=False, allow_null=True)
    labels = Labels(required=False)


class GroupToJoin(Body):
    """Which placement group."""

    placement_group = IdOrName()


class ServerAction(PostView):
    """One verb on one server."""

    @property
    def verbs(self) -> dict[str, Verb]:
        """Those that can be asked for, for the document."""
        return VERBS

    def create(self, request: Request, **ids: Any) -> Response:
        """Ask for it; the answer is the action to wait for."""
        verb, server_id = ids["verb"], ids["pk"]
        if verb not in VERBS and verb not in UNSUPPORTED:
            raise NotFound("action")
        existing(self.actor, server_id)
        if verb in UNSUPPORTED:
            raise unsupported(UNSUPPORTED[verb])
        return Response(VERBS[verb](self.actor, server_id, request), 201)


def _plain(service: Callable[[Actor, int], Action], summary: str) -> Verb:
    """A verb without a body."""

    @answers(summary, status=201, action=ActionShape)
    def ask(actor: Actor, server_id: int, request: Request) -> Answer:
        body_of(request, Nothing)
        return {"action": action_shape(service(actor, server_id))}

    return ask


def _power(
    service: Callable[[Actor, int], Action], wanted: PowerSeen, command: str, summary: str
) -> Verb:
    """A verb that has succeeded already if the server is as wanted: asking twice does no harm."""

    @answers(summary, status=201, action=ActionShape)
    def ask(actor: Actor, server_id: int, request: Request) -> Answer:
        body_of(request, Nothing)
        try:
            action = service(actor, server_id)
        except Refused as refusal:
            server = existing(actor, server_id).server
            about_power = refusal.code in ("conflict", "server_not_running")
            if not about_power or server.power_seen != wanted:
                raise
            action = _done(actor, server_id, server.project_id, command)
        return {"action": action_shape(action)}

    return ask


@answers(
    "Rebuild from an image", status=201, body=NewImage, action=ActionShape, root_password=str | None
)
def _rebuild(actor: Actor, server_id: int, request: Request) -> Answer:
    asked = body_of(request, NewImage)
    if asked.get("user_data"):
        raise unsupported("other user data at a rebuild")
    image = pick_or_fail(shown_images(actor), asked["image"], "image")
    with transaction.atomic():
        action = services.rebuild(actor, server_id, image=image)
        password = services.password_set_by(actor, action)
    return {"action": action_shape(action), "root_password": password}


@answers("Set a new root password", status=201, action=ActionShape, root_password=str | None)
def _reset_password(actor: Actor, server_id: int, request: Request) -> Answer:
    body_of(request, Nothing)
    with transaction.atomic():
        action = services.reset_password(actor, server_id)
        password = services.password_set_by(actor, action)
    return {"action": action_shape(action), "root_password": password}


@answers("Protect from deletion or rebuilding", status=201, body=Protection, action=ActionShape)
def _change_protection(actor: Actor, server_id: int, request: Request) -> Answer:
    asked = body_of(request, Protection)
    server = existing(actor, server_id).server
    with transaction.atomic():
        services.change_protection(
            actor,
            server_id,
            delete=asked.get("delete", server.protect_delete),
            rebuild=asked.get("rebuild", server.protect_rebuild),
        )
        action = _done(actor, server_id, server.project_id, "change_protection")
    return {"action": action_shape(action)}


@answers("Change the plan", status=201, body=NewType, action=ActionShape)
def _change_type(actor: Actor, server_id: int, request: Request) -> Answer:
    asked = body_of(request, NewType)
    plan = pick_or_fail(ServerType.objects.all(), asked["server_type"], "server_type")
    keep_disk = not asked["upgrade_disk"]
    action = change_type(actor, server_id, server_type=plan, keep_disk=keep_disk)
    return {"action": action_shape(action)}


@answers(
    "Enable the rescue system",
    status=201,
    body=RescueKeys,
    action=ActionShape,
    root_password=str | None,
)
def _enable_rescue(actor: Actor, server_id: int, request: Request) -> Answer:
    asked = body_of(request, RescueKeys)
    project = existing(actor, server_id).server.project
    rescue = enable_rescue(actor, server_id, ssh_keys=keys_of(project, asked.get("ssh_keys") or ()))
    return {"action": action_shape(rescue.action), "root_password": rescue.root_password}


@answers(
    "Make an image of the disk", status=201, body=NewSnapshot, image=ImageShape, action=ActionShape
)
def _create_image(actor: Actor, server_id: int, request: Request) -> Answer:
    asked = body_of(request, NewSnapshot)
    if asked.get("type") == "backup":
        raise unsupported("backups")
    snapshot = create_image(
        actor,
        server_id,
        description=asked.get("description") or "",
        labels=asked.get("labels"),
    )
    return {"image": image_shape(snapshot.image), "action": action_shape(snapshot.action)}


@answers("Join a placement group", status=201, body=GroupToJoin, action=ActionShape)
def _join_group(actor: Actor, server_id: int, request: Request) -> Answer:
    asked = body_of(request, GroupToJoin)
    groups = visible_groups(actor)
    group = pick_or_fail(groups, asked["placement_group"], "placement_group")
    return {"action": action_shape(join_group(actor, server_id, group))}


@answers("Request a console", status=201, action=ActionShape, wss_url=str, password=str)
def _request_console(actor: Actor, server_id: int, request: Request) -> Answer:
    """The screen, for any VNC client that speaks over websockets. QEMU asks for no password."""
    body_of(request, Nothing)
    server = existing(actor, server_id).server
    with transaction.atomic():
        ticket = issue_program_ticket(actor, server_id)
        action = _done(actor, server_id, server.project_id, "request_console")
    address = direct_address(ticket, request.build_absolute_uri)
    return {"action": action_shape(action), "wss_url": address, "password": ""}


@answers("Suspend: a reseller's", status=201, body=Reason, action=ActionShape)
def _suspend(actor: Actor, server_id: int, request: Request) -> Answer:
    """The action is its stop, or a receipt if there is nothing to stop now."""
    server = suspend_server(actor, server_id, **body_of(request, Reason))
    stop = actions.open_action("server", server_id)
    if stop is None or stop.command != "suspend":
        stop = _done(actor, server_id, server.project_id, "suspend")
    return {"action": action_shape(stop)}


@answers("Lift the suspension: a reseller's", status=201, action=ActionShape)
def _unsuspend(actor: Actor, server_id: int, request: Request) -> Answer:
    body_of(request, Nothing)
    server = unsuspend_server(actor, server_id)
    return {"action": action_shape(_done(actor, server_id, server.project_id, "unsuspend"))}


def _done(actor: Actor, server_id: int, project_id: int, command: str) -> Action:
    """An action to show for what needed no worker."""
    return record_done(command, resource=("server", server_id), actor=actor, project_id=project_id)


VERBS: dict[str, Verb] = {
    "poweron": _power(services.power_on, PowerSeen.RUNNING, "power_on", "Power on"),
    "shutdown": _power(services.shutdown, PowerSeen.OFF, "shutdown", "Ask the guest to shut down"),
    "poweroff": _power(services.power_off, PowerSeen.OFF, "power_off", "Cut the power"),
    "reboot": _plain(services.reboot, "Ask the guest to reboot"),
    "reset": _plain(services.reset, "Reset: power off and on"),
    "rebuild": _rebuild,
    "reset_password": _reset_password,
    "change_protection": _change_protection,
    "change_type": _change_type,
    "enable_rescue": _enable_rescue,
    "disable_rescue": _plain(disable_rescue, "Disable the rescue system"),
    "create_image": _create_image,
    "request_console": _request_console,
    "add_to_placement_group": _join_group,
    "remove_from_placement_group": _plain(leave_group, "Leave the placement group"),
    "suspend": _suspend,
    "unsuspend": _unsuspend,
}
# What hcloud has besides. A verb moves up when its service is there.
UNSUPPORTED = {
    "enable_backup": "backups",
    "disable_backup": "backups",
    "attach_iso": "ISO images",
    "detach_iso": "ISO images",
    "change_dns_ptr": "reverse DNS",
    "attach_to_network": "private networks",
    "detach_from_network": "private networks",
    "change_alias_ips": "private networks",
}
