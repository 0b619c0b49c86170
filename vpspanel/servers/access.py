"""The one door to customers' things.

Pages, API, consoles and sockets look things up here and nowhere else. To a
stranger, what he may not see does not exist: same error, same words.
"""

from __future__ import annotations

from django.db.models import Q, QuerySet

from vpspanel.accounts.models import Account, ApiToken, Project, Role
from vpspanel.accounts.roles import acts_as_staff, role_in
from vpspanel.accounts.scopes import Scope, lacks_scope, may_change
from vpspanel.accounts.tree import tree_of
from vpspanel.accounts.tree_events import page_of_tree
from vpspanel.actions.models import Action
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.events.models import Event
from vpspanel.kept import kept
from vpspanel.servers.models import Leaving, Lifecycle, PrimaryIP, Server
from vpspanel.servers.states import RULES, Verb

# A verb that is missing here is not for tokens with scopes or for single servers.
SCOPE_OF = {
    Verb.POWER_ON: Scope.POWER,
    Verb.SHUTDOWN: Scope.POWER,
    Verb.POWER_OFF: Scope.POWER,
    Verb.REBOOT: Scope.POWER,
    Verb.RESET: Scope.POWER,
    Verb.REBUILD: Scope.REBUILD,
    Verb.RESET_PASSWORD: Scope.REBUILD,
    Verb.ATTACH_ISO: Scope.REBUILD,
    Verb.DETACH_ISO: Scope.REBUILD,
    Verb.ENABLE_RESCUE: Scope.REBUILD,
    Verb.DISABLE_RESCUE: Scope.REBUILD,
    Verb.CHANGE_TYPE: Scope.CHANGE,
    Verb.RENAME: Scope.CHANGE,
    Verb.CHANGE_PROTECTION: Scope.CHANGE,
    Verb.ASSIGN_PRIMARY_IP: Scope.CHANGE,
    Verb.UNASSIGN_PRIMARY_IP: Scope.CHANGE,
    Verb.CREATE_IMAGE: Scope.IMAGES,
    Verb.DELETE: Scope.DELETE,
    Verb.CONSOLE: Scope.CONSOLE,
}
_RANK = {Role.READER: 0, Role.OPERATOR: 1, Role.ADMIN: 2, Role.OWNER: 3}


def includes(role: str, needed: Role) -> bool:
    """True if `role` may do what `needed` may."""
    return _RANK[Role(role)] >= _RANK[needed]


def visible_projects(actor: Actor) -> QuerySet[Project]:
    """The projects that the actor is a member of, or the one that its token is for."""
    projects = Project.objects.select_related("account")
    if actor.token is not None:
        return projects.filter(pk=_project_of(actor.token))
    if actor.user is None or not actor.user.is_active:
        return projects.none()
    return projects.filter(members__user=actor.user)


def visible_servers(actor: Actor) -> QuerySet[Server]:
    """The servers of those projects that are not deleted."""
    return _servers_of(actor).exclude(lifecycle=Lifecycle.DELETED)


def _servers_of(actor: Actor) -> QuerySet[Server]:
    """Those that the actor may know of."""
    if actor.token is not None:
        servers = Server.objects.filter(project_id=_project_of(actor.token))
        chosen = actor.token.server_ids
        return servers.filter(pk__in=chosen) if chosen else servers
    if actor.user is None or not actor.user.is_active:
        return Server.objects.none()
    return Server.objects.filter(project__members__user=actor.user)


def servers_with_history(actor: Actor) -> QuerySet[Server]:
    """Deleted ones included; for a reseller's token that acts in no project, all below it."""
    token = actor.token
    if token is None or token.account_id is None or token.project_id is not None:
        return _servers_of(actor)
    accounts = Account.objects.filter(tree_of(token.account_id))
    return Server.objects.filter(project__account__in=accounts)


def visible_actions(actor: Actor) -> QuerySet[Action]:
    """The actions of those projects; of its servers alone, if the token is for some only."""
    actions = Action.objects.filter(_in_projects_of(actor))
    if actor.token is not None and actor.token.server_ids:
        return actions.filter(resource_type="server", resource_id__in=actor.token.server_ids)
    return actions


def visible_primary_ips(actor: Actor) -> QuerySet[PrimaryIP]:
    """The addresses of those projects; of its servers alone, if the token is for some only.

    Without those that are given back as soon as their hosts have let go of them.
    """
    addresses = PrimaryIP.objects.filter(_in_projects_of(actor)).exclude(leaving=Leaving.FOR_GOOD)
    if actor.token is not None and actor.token.server_ids:
        return addresses.filter(server_id__in=actor.token.server_ids)
    return addresses


def visible_events(actor: Actor) -> QuerySet[Event]:
    """What happened in those projects; to its servers alone, if the token is for some only."""
    events = Event.objects.filter(_in_projects_of(actor), public=True)
    if actor.token is not None and actor.token.server_ids:
        return events.filter(resource_type="server", resource_id__in=actor.token.server_ids)
    return events


def page_of_events(actor: Actor, chosen: Q, size: int, *, oldest_first: bool) -> list[Event]:
    """The first `size` that are chosen of those; of its whole tree, for a reseller's token that
    acts in no project.
    """
    token = actor.token
    if token is not None and token.account_id is not None and token.project_id is None:
        events = Event.objects.filter(chosen, public=True)
        return page_of_tree(token.account_id, events, size, oldest_first=oldest_first)
    rows = visible_events(actor).filter(chosen).order_by("pk" if oldest_first else "-pk")
    return list(rows[:size])


def _project_of(token: ApiToken) -> int:
    """The project that a token acts in; 0, which none is, for a reseller's that acts in none."""
    return token.project_id or 0


def _in_projects_of(actor: Actor) -> Q:
    """A token's project by its number: programs poll, and a list of one needs no subquery."""
    if actor.token is not None:
        return Q(project_id=_project_of(actor.token))
    return Q(project_id__in=visible_projects(actor).values("pk"))


def get_project(
    actor: Actor, project_id: int, role: Role = Role.READER, scope: Scope | None = None
) -> Project:
    """The project. Raises `NotFound` to strangers, `Refused("forbidden")` to a smaller role.

    `scope` is what a limited token needs for the change that the role is asked for.
    """
    project = visible_projects(actor).filter(pk=project_id).first()
    if project is None:
        raise NotFound("project")
    _need_role(actor, project.pk, role, scope)
    return project


def get_server(actor: Actor, server_id: int, verb: Verb | None = None) -> Server:
    """The server, deleted ones included, if the actor may see it (and do `verb` to it).

    Raises `NotFound` to strangers, `Refused("forbidden")` to a smaller role.
    The staff's way in is the admin, where model permissions were checked.
    """
    found = _one_server(actor, server_id, to_read=verb is None)
    if not found:
        raise NotFound("server")
    server = found[0]
    if verb is not None:
        _need_verb(actor, server, verb)
    return server


def _one_server(actor: Actor, server_id: int, *, to_read: bool) -> list[Server]:
    """What `_servers_of` finds with this number.

    A program that only reads has just been let in with its project, so that is
    not read again: PostgreSQL plans six joins in half the time of eight.
    """
    if acts_as_staff(actor):
        return _any_server(server_id=server_id)
    token = actor.token
    if token is None:
        if actor.user is None or not actor.user.is_active:
            return []
        return _server_of_member(server_id=server_id, user_id=actor.user.pk)
    if token.project is None or (token.server_ids and server_id not in token.server_ids):
        return []
    project_id = token.project.pk
    if not to_read:
        return _server_of_project(server_id=server_id, project_id=project_id)
    found = _server_of_known_project(server_id=server_id, project_id=project_id)
    for server in found:
        server.project = token.project
    return found


@kept
def _any_server(*, server_id: int) -> QuerySet[Server]:
    return _whole(Server.objects.filter(pk=server_id)).select_related("project__account")


@kept
def _server_of_member(*, server_id: int, user_id: int) -> QuerySet[Server]:
    servers = Server.objects.filter(pk=server_id, project__members__user_id=user_id)
    return _whole(servers).select_related("project__account")


@kept
def _server_of_project(*, server_id: int, project_id: int) -> QuerySet[Server]:
    servers = Server.objects.filter(pk=server_id, project_id=project_id)
    return _whole(servers).select_related("project__account")


@kept
def _server_of_known_project(*, server_id: int, project_id: int) -> QuerySet[Server]:
    return _whole(Server.objects.filter(pk=server_id, project_id=project_id))


def _whole(servers: QuerySet[Server]) -> QuerySet[Server]:
    """With what verbs, pages and shapes look at, but for its project."""
    return servers.select_related(
        "server_type", "image", "iso", "location", "host", "placement_group"
    ).order_by()


def get_action(actor: Actor, action_id: int) -> Action:
    """An action of a project that the actor sees. Raises `NotFound`."""
    actions = Action.objects.all() if acts_as_staff(actor) else visible_actions(actor)
    action = actions.filter(pk=action_id).first()
    if action is None:
        raise NotFound("action")
    return action


def role_of(actor: Actor, project_id: int) -> Role | None:
    """The actor's role in a project."""
    return role_in(actor, project_id)


def may(actor: Actor, server: Server, verb: Verb) -> bool:
    """Whether the actor's role allows the verb; says nothing about the server's state."""
    try:
        _need_verb(actor, server, verb)
    except Refused:
        return False
    return True


def need_staff(actor: Actor) -> None:
    """Raises `Refused("forbidden")` unless it is staff in the admin, a command, or the system."""
    if not acts_as_staff(actor):
        raise Refused("forbidden", "Only the staff of the panel may do that.")


def _need_verb(actor: Actor, server: Server, verb: Verb) -> None:
    """A verb that readers have, such as the console, is still none of a token's other scopes."""
    scope = SCOPE_OF.get(verb)
    token = actor.token
    if token is not None and token.may_write and not may_change(token, scope):
        raise lacks_scope(scope)
    _need_role(actor, server.project_id, RULES[verb].role, scope)


def _need_role(actor: Actor, project_id: int, needed: Role, scope: Scope | None) -> None:
    if acts_as_staff(actor):
        return
    role = role_in(actor, project_id, scope)
    if role is None:
        raise NotFound("project")
    if not includes(role, needed) and actor.token is not None and actor.token.may_write:
        raise lacks_scope(scope)
    if not includes(role, needed):
        raise Refused(
            "forbidden", f"Your role in this project is {role.label}; this needs {needed.label}."
        )
