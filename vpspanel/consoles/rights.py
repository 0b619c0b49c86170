"""Who may hear of, watch and type into which server: many pairs of people and servers at once."""

from __future__ import annotations

from django.db.models import Q
from django.utils import timezone

from vpspanel.accounts.models import ApiToken, Member, Role, User
from vpspanel.accounts.scopes import Scope, may_change
from vpspanel.consoles.models import ShareLink, Way
from vpspanel.events.guard import Checks, Loss, Owner, Pair
from vpspanel.servers.access import includes
from vpspanel.servers.models import Lifecycle, Server
from vpspanel.servers.states import RULES, Verb

TYPE_ROLE = Role.OPERATOR
LINK_IN_SESSION = "console_link"
STAFF_PERMISSION = "consoles.watch_console"
_PROGRAMS = -(2**40)


def may_hear(pairs: set[Pair]) -> dict[Pair, bool]:
    """The pairs (user, server) whose user is a member; of a deleted server too, for the last poke.

    The value says whether the role may operate it.
    """
    return {pair: types for pair, types, _, _ in _members(pairs)}


def may_watch(pairs: set[Pair]) -> dict[Pair, bool]:
    """The pairs whose user may look at the console now; the value says whether he may type."""
    lifecycles = RULES[Verb.CONSOLE].lifecycles
    return {
        pair: types
        for pair, types, lifecycle, suspended in _members(pairs)
        if lifecycle in lifecycles and not suspended
    }


def why_not(pairs: set[Pair]) -> dict[Pair, Loss]:
    """Why members may not; strangers learn nothing about the server."""
    found = {}
    for pair, _, lifecycle, suspended in _members(pairs):
        if lifecycle in (Lifecycle.DELETING, Lifecycle.DELETED):
            found[pair] = DELETED
        elif suspended:
            found[pair] = SUSPENDED
    return found


def may_watch_as_staff(pairs: set[Pair]) -> dict[Pair, bool]:
    """The pairs whose user is staff with the permission, and whose server has a console."""
    users = User.objects.filter(
        pk__in={user_id for user_id, _ in pairs}, is_active=True, is_staff=True
    )
    staff = {user.pk for user in users if user.has_perm(STAFF_PERMISSION)}
    servers = set(
        Server.objects.filter(
            pk__in={server_id for _, server_id in pairs},
            lifecycle__in=RULES[Verb.CONSOLE].lifecycles,
        ).values_list("pk", flat=True)
    )
    return {pair: False for pair in pairs if pair[0] in staff and pair[1] in servers}


def valid_links(link_ids: set[int]) -> set[int]:
    """Those of these links that open their console now."""
    found = ShareLink.objects.filter(
        pk__in=link_ids,
        revoked=None,
        expires__gt=timezone.now(),
        server__lifecycle__in=RULES[Verb.CONSOLE].lifecycles,
        server__suspended_at=None,
        server__project__account__suspended_at=None,
    )
    return set(found.values_list("pk", flat=True))


def may_watch_by_link(pairs: set[Pair]) -> dict[Pair, bool]:
    """The pairs of a guest (see `guest_id`) and the server of his link, while that is valid."""
    valid = valid_links({-guest for guest, _ in pairs})
    servers = ShareLink.objects.filter(pk__in=valid).values_list("pk", "server_id")
    return {pair: False for pair in pairs if (-pair[0], pair[1]) in set(servers)}


def guest_id(link_id: int) -> int:
    """How guards and rooms know whoever came by this link: no user has such a number."""
    return -link_id


def may_use_by_token(pairs: set[Pair]) -> dict[Pair, bool]:
    """The pairs of a program (see `program_id`) and a server that its token opens now."""
    now = timezone.now()
    tokens = ApiToken.objects.filter(
        Q(expires__isnull=True) | Q(expires__gt=now),
        pk__in={_PROGRAMS - program for program, _ in pairs},
    )
    by_program = {program_id(token.pk): token for token in tokens}
    servers = Server.objects.filter(
        pk__in={server_id for _, server_id in pairs},
        lifecycle__in=RULES[Verb.CONSOLE].lifecycles,
        suspended_at=None,
        project__account__suspended_at=None,
    ).select_related("project__account__parent")
    by_pk = {server.pk: server for server in servers}
    return {
        (program, server_id): True
        for program, server_id in pairs
        if _opens(by_program.get(program), by_pk.get(server_id))
    }


def _opens(token: ApiToken | None, server: Server | None) -> bool:
    """A project's token opens what is in the project, a reseller's what is its own or below."""
    if token is None or server is None:
        return False
    account = server.project.account
    above = (account.pk, account.parent_id, account.parent and account.parent.parent_id)
    is_of_it = (
        token.project_id == server.project_id
        if token.account_id is None
        else token.account_id in above
    )
    return is_of_it and _is_for(token, server.pk)


def _is_for(token: ApiToken, server_id: int) -> bool:
    is_for_it = not token.server_ids or server_id in token.server_ids
    return is_for_it and may_change(token, Scope.CONSOLE)


def program_id(token_id: int) -> int:
    """How guards and rooms know a program with this token: no user or guest has such a number."""
    return _PROGRAMS - token_id


def link_over(pairs: set[Pair]) -> dict[Pair, Loss]:
    """What a guest is told at the end."""
    return dict.fromkeys(pairs, Loss(4403, "This link was revoked or has expired."))


def everybody(owners: set[Owner]) -> set[Owner]:
    """Guests and programs have not signed in: their link or token is what counts."""
    return owners


DELETED = Loss(4404, "The server was deleted.")
SUSPENDED = Loss(4403, "The server is suspended. Please contact support.")
MEMBERS = Checks(may_watch, why_not)
STAFF = Checks(may_watch_as_staff)
GUESTS = Checks(may_watch_by_link, link_over, everybody)
PROGRAMS = Checks(may_use_by_token, signed_in=everybody)
CHECKS = {Way.MEMBER: MEMBERS, Way.STAFF: STAFF, Way.LINK: GUESTS, Way.TOKEN: PROGRAMS}


def _members(pairs: set[Pair]) -> list[tuple[Pair, bool, Lifecycle, bool]]:
    """One query for all."""
    rows = Member.objects.filter(
        user_id__in={user_id for user_id, _ in pairs},
        user__is_active=True,
        project__servers__pk__in={server_id for _, server_id in pairs},
    ).values_list(
        "user_id",
        "project__servers__pk",
        "role",
        "project__servers__lifecycle",
        "project__servers__suspended_at",
        "project__account__suspended_at",
    )
    return [
        (
            (user_id, server_id),
            includes(role, TYPE_ROLE),
            Lifecycle(lifecycle),
            (server_suspended or account_suspended) is not None,
        )
        for user_id, server_id, role, lifecycle, server_suspended, account_suspended in rows
        if (user_id, server_id) in pairs
    ]
