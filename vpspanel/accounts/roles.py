"""Which role an actor has in which project: a person by membership, a program by its token."""

from __future__ import annotations

from vpspanel.accounts.models import Account, ApiToken, Member, Role
from vpspanel.accounts.scopes import Scope, may_change
from vpspanel.accounts.tree import below, tree_of
from vpspanel.events.actor import Actor


def acts_as_root(actor: Actor) -> bool:
    """True for the system itself and for commands of the operator."""
    return actor.user is None and actor.via in ("command", "system")


def acts_as_staff(actor: Actor) -> bool:
    """True for staff in the admin, where model permissions were checked, and for root."""
    if actor.via == "admin":
        return actor.user is not None and actor.user.is_active and actor.user.is_staff
    return acts_as_root(actor)


def roles_of(actor: Actor) -> dict[int, Role]:
    """The role in each project that the actor has one in; a limited token is a reader."""
    if actor.token is not None:
        project_id = actor.token.project_id
        return {} if project_id is None else {project_id: _role_of_token(actor.token, None)}
    if actor.user is None or not actor.user.is_active:
        return {}
    rows = Member.objects.filter(user=actor.user).values_list("project_id", "role")
    return {project_id: Role(role) for project_id, role in rows}


def role_in(actor: Actor, project_id: int, scope: Scope | None = None) -> Role | None:
    """The actor's role in one project, or None.

    With a limited token it is that for changes of `scope`: whoever asks without one, such as a
    part of the panel that has no scope yet, is told of a reader.
    """
    if actor.token is not None:
        same = actor.token.project_id == project_id
        return _role_of_token(actor.token, scope) if same else None
    if actor.user is None or not actor.user.is_active:
        return None
    member = Member.objects.filter(project_id=project_id, user=actor.user)
    role = member.values_list("role", flat=True).first()
    return Role(role) if role else None


def governs(actor: Actor, account_id: int, *, itself: bool = False) -> bool:
    """Whether it is a reseller's program that may change what is that account's.

    That is every account below the reseller's and, with `itself`, its own.
    """
    token = actor.token
    if token is None or token.account_id is None or not token.may_write:
        return False
    reached = tree_of(token.account_id) if itself else below(token.account_id)
    return Account.objects.filter(reached, pk=account_id, deleted_at=None).exists()


def _role_of_token(token: ApiToken, scope: Scope | None) -> Role:
    """What concerns people and money stays with people: a token is never an owner."""
    return Role.ADMIN if may_change(token, scope) else Role.READER
