"""The one door to customers' things.

Pages, API, consoles and sockets look things up here and nowhere else. To a
stranger, what he may not see does not exist: same error, same words.
"""

from __future__ import annotations

from django.db.models import QuerySet

from vpspanel.accounts.models import Project, Role
from vpspanel.accounts.roles import acts_as_root, role_in
from vpspanel.actions.models import Action
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.servers.models import Lifecycle, Server
from vpspanel.servers.states import RULES, Verb

_RANK = {Role.READER: 0, Role.OPERATOR: 1, Role.ADMIN: 2, Role.OWNER: 3}


def includes(role: str, needed: Role) -> bool:
    """True if `role` may do what `needed` may."""
    return _RANK[Role(role)] >= _RANK[needed]


def visible_projects(actor: Actor) -> QuerySet[Project]:
    """The projects that the actor is a member of, or the one that its token is for."""
    projects = Project.objects.select_related("account")
    if actor.token is not None:
        return projects.filter(pk=actor.token.project_id)
    if actor.user is None or not actor.user.is_active:
        return projects.none()
    return projects.filter(members__user=actor.user)


def visible_servers(actor: Actor) -> QuerySet[Server]:
    """The servers of those projects that are not deleted."""
    return _servers_of(actor).exclude(lifecycle=Lifecycle.DELETED)


def _servers_of(actor: Actor) -> QuerySet[Server]:
    """Those that the actor may know of."""
    if actor.token is not None:
        return Server.objects.filter(project_id=actor.token.project_id)
    if actor.user is None or not actor.user.is_active:
        return Server.objects.none()
    return Server.objects.filter(project__members__user=actor.user)


def get_project(actor: Actor, project_id: int, role: Role = Role.READER) -> Project:
    """The project. Raises `NotFound` to strangers, `Refused("forbidden")` to a smaller role."""
    project = visible_projects(actor).filter(pk=project_id).first()
    if project is None:
        raise NotFound("project")
    _need_role(actor, project.pk, role)
    return project


def get_server(actor: Actor, server_id: int, verb: Verb | None = None) -> Server:
    """The server, deleted ones included, if the actor may see it (and do `verb` to it).

    Raises `NotFound` to strangers, `Refused("forbidden")` to a smaller role.
    The staff's way in is the admin, where model permissions were checked.
    """
    servers = Server.objects.all() if _is_staff_way(actor) else _servers_of(actor)
    servers = servers.select_related("project__account", "server_type", "image", "location", "host")
    server = servers.filter(pk=server_id).first()
    if server is None:
        raise NotFound("server")
    if verb is not None:
        _need_role(actor, server.project_id, RULES[verb].role)
    return server


def get_action(actor: Actor, action_id: int) -> Action:
    """An action of a project that the actor sees. Raises `NotFound`."""
    actions = Action.objects.filter(pk=action_id)
    if not _is_staff_way(actor):
        actions = actions.filter(project_id__in=visible_projects(actor).values("pk"))
    action = actions.first()
    if action is None:
        raise NotFound("action")
    return action


def role_of(actor: Actor, project_id: int) -> Role | None:
    """The actor's role in a project."""
    return role_in(actor, project_id)


def may(actor: Actor, server: Server, verb: Verb) -> bool:
    """Whether the actor's role allows the verb; says nothing about the server's state."""
    if _is_staff_way(actor):
        return True
    role = role_of(actor, server.project_id)
    return role is not None and includes(role, RULES[verb].role)


def need_staff(actor: Actor) -> None:
    """Raises `Refused("forbidden")` unless it is staff in the admin, a command, or the system."""
    if not _is_staff_way(actor):
        raise Refused("forbidden", "Only the staff of the panel may do that.")


def _is_staff_way(actor: Actor) -> bool:
    """The admin has checked model permissions; commands and the system itself act as root."""
    if actor.via == "admin":
        return actor.user is not None and actor.user.is_active and actor.user.is_staff
    return acts_as_root(actor)


def _need_role(actor: Actor, project_id: int, needed: Role) -> None:
    if _is_staff_way(actor):
        return
    role = role_of(actor, project_id)
    if role is None:
        raise NotFound("project")
    if not includes(role, needed):
        raise Refused(
            "forbidden", f"Your role in this project is {role.label}; this needs {needed.label}."
        )
