"""Placement groups: which servers of a project shall not share a host."""

from __future__ import annotations

import re
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from hosts.services import leave_spread, take_spread
from vpspanel.accounts.models import Project, Role
from vpspanel.accounts.scopes import Scope
from vpspanel.actions.models import OPEN_STATES, Action
from vpspanel.actions.services import record_done
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.events.services import record_event
from vpspanel.labels import check_labels
from vpspanel.servers.access import get_project, get_server, visible_projects
from vpspanel.servers.models import Lifecycle, PlacementGroup, Server
from vpspanel.servers.states import Verb

GROUPS_PER_PROJECT = 50
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def visible_groups(actor: Actor) -> QuerySet[PlacementGroup]:
    """Those of the projects that the actor sees; none for a token that is for some servers only."""
    if actor.token is not None and actor.token.server_ids:
        return PlacementGroup.objects.none()
    return PlacementGroup.objects.filter(project__in=visible_projects(actor))


def get_group(actor: Actor, group_id: int) -> PlacementGroup:
    """One of them. Raises `NotFound`."""
    group = visible_groups(actor).select_related("project").filter(pk=group_id).first()
    if group is None:
        raise NotFound("placement group")
    return group


def named_group(actor: Actor, project: Project, name: str) -> PlacementGroup:
    """The project's group of that name, made if there is none. Raises `Refused`."""
    project = get_project(actor, project.pk, Role.ADMIN, Scope.PLACEMENT_GROUPS)
    clean = _clean_name(name, "placement_group")
    group, _ = PlacementGroup.objects.get_or_create(project=project, name=clean)
    return group


@transaction.atomic
def create_group(
    actor: Actor, *, project: Project, name: str, labels: Any = None
) -> PlacementGroup:
    """A new group. Raises `NotFound`, `Refused`."""
    project = get_project(actor, project.pk, Role.ADMIN, Scope.PLACEMENT_GROUPS)
    if project.account.suspended_at is not None:
        raise Refused("forbidden", "The account is suspended. Please contact support.")
    if project.placement_groups.count() >= GROUPS_PER_PROJECT:
        message = f"A project may have {GROUPS_PER_PROJECT} placement groups."
        raise Refused("resource_limit_exceeded", message)
    group = PlacementGroup(
        project=project, name=_clean_name(name), labels=check_labels(labels or {})
    )
    _save(group)
    _say(actor, group, "created", "made")
    return group


@transaction.atomic
def change_group(actor: Actor, group_id: int, **changes: Any) -> PlacementGroup:
    """Another `name` or other `labels`. Raises `NotFound`, `Refused`."""
    group = get_group(actor, group_id)
    get_project(actor, group.project_id, Role.ADMIN, Scope.PLACEMENT_GROUPS)
    if "name" in changes:
        group.name = _clean_name(changes["name"])
    if "labels" in changes:
        group.labels = check_labels(changes["labels"])
    _save(group)
    _say(actor, group, "changed", "changed")
    return group


@transaction.atomic
def delete_group(actor: Actor, group_id: int) -> None:
    """Forget an empty group. Raises `NotFound`, `Refused` while servers are in it."""
    group = get_group(actor, group_id)
    get_project(actor, group.project_id, Role.ADMIN, Scope.PLACEMENT_GROUPS)
    members = group.servers.exclude(lifecycle=Lifecycle.DELETED)
    if members.exists():
        names = ", ".join(members.order_by("name").values_list("name", flat=True)[:3])
        raise Refused("resource_in_use", f"There are servers in it ({names}). Take them out first.")
    group.servers.update(placement_group=None)
    _say(actor, group, "deleted", "deleted")
    group.delete()


@transaction.atomic
def join_group(actor: Actor, server_id: int, group: PlacementGroup) -> Action:
    """Put a server into the group, where it stays where it is; an action that is done already.

    Raises `NotFound`, and `Refused("placement_error")` if a member is on its host.
    """
    server = _changeable(actor, server_id)
    if group.project_id != server.project_id:
        raise NotFound("placement group")
    if server.placement_group_id is not None:
        raise Refused("conflict", "It is in a placement group already. Take it out first.")
    if not take_spread(server.uuid, group.uuid):
        message = f"A server of the group {group.name} is on the same host."
        raise Refused("placement_error", message)
    _set(server, group)
    return _done(actor, server, "add_to_placement_group", f"was put into the group {group.name}")


@transaction.atomic
def leave_group(actor: Actor, server_id: int) -> Action:
    """Take a server out of its group; an action that is done already."""
    server = _changeable(actor, server_id)
    if server.placement_group is None:
        raise Refused("conflict", "It is in no placement group.")
    name = server.placement_group.name
    leave_spread(server.uuid)
    _set(server, None)
    return _done(actor, server, "remove_from_placement_group", f"left the group {name}")


def _changeable(actor: Actor, server_id: int) -> Server:
    """The server, if its group may be changed now: nothing is being done to it."""
    server = get_server(actor, server_id, Verb.RENAME)
    server = Server.objects.select_for_update().get(pk=server.pk)
    if server.is_suspended:
        raise Refused("forbidden", "It is suspended. Please contact support.")
    if server.lifecycle == Lifecycle.DELETED:
        raise NotFound("server")
    busy = Action.objects.filter(
        resource_type="server", resource_id=server.pk, state__in=OPEN_STATES
    )
    if busy.exists():
        raise Refused("locked", "Something is being done to the server. Try again afterwards.")
    return server


def _set(server: Server, group: PlacementGroup | None) -> None:
    server.placement_group = group
    server.save(update_fields=["placement_group"])


def _done(actor: Actor, server: Server, command: str, what: str) -> Action:
    resource, project_id = ("server", server.pk), server.project_id
    record_event(
        f"server.{command}",
        f"{server.name} {what}",
        resource=resource,
        project_id=project_id,
        actor=actor,
    )
    return record_done(command, resource=resource, actor=actor, project_id=project_id)


def _clean_name(name: str, field: str = "name") -> str:
    clean = name.strip()
    if not _NAME.fullmatch(clean):
        raise Refused(
            "invalid_input",
            "The name of a group has 1 to 63 letters, digits, dots, hyphens and underscores.",
            field=field,
        )
    return clean


def _save(group: PlacementGroup) -> None:
    try:
        with transaction.atomic():
            group.save()
    except IntegrityError:
        message = f"Another placement group is called “{group.name}”."
        raise Refused("uniqueness_error", message, field="name") from None


def _say(actor: Actor, group: PlacementGroup, kind: str, what: str) -> None:
    record_event(
        f"placement_group.{kind}",
        f"Placement group {group.name} was {what}",
        resource=("placement_group", group.pk),
        project_id=group.project_id,
        actor=actor,
    )
