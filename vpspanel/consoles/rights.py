"""Who may hear of, watch and type into which server: many pairs of people and servers at once."""

from __future__ import annotations

from vpspanel.accounts.models import Member, Role
from vpspanel.events.guard import Checks, Loss, Pair
from vpspanel.servers.access import includes
from vpspanel.servers.models import Lifecycle
from vpspanel.servers.states import RULES, Verb

TYPE_ROLE = Role.OPERATOR


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


DELETED = Loss(4404, "The server was deleted.")
SUSPENDED = Loss(4403, "The server is suspended. Please contact support.")
MEMBERS = Checks(may_watch, why_not)


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
