"""API tokens: made, revoked, recognised."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from vpspanel.accounts.models import Account, ApiToken, Project, Role, StoredAnswer
from vpspanel.accounts.roles import acts_as_root, acts_as_staff, governs, role_in
from vpspanel.accounts.token_fields import (
    clean_end,
    clean_name,
    clean_networks,
    clean_scopes,
    name_taken,
)
from vpspanel.accounts.tokens import RESELLER_PREFIX, digest, is_secret, new_secret
from vpspanel.accounts.tree import projects_in
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.events.services import record_event
from vpspanel.kept import kept

TOKENS_PER_PROJECT = 50
ANSWERS_KEPT = timedelta(days=1)
MAY_CHANGE_TOKENS = (Role.OWNER, Role.ADMIN)
_USE_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A new token. The secret is here and nowhere else."""

    token: ApiToken
    secret: str


@transaction.atomic
def create_token(
    actor: Actor,
    *,
    project: Project,
    name: str,
    may_write: bool,
    expires: datetime | None = None,
    networks: Iterable[str] = (),
    scopes: Iterable[str] = (),
    server_ids: Iterable[int] = (),
) -> MadeToken:
    """A token for the project, usable until `expires` and from `networks` (anywhere if empty).

    `scopes` are the only things that it may change, and let it write; `server_ids` are the only
    servers that are there for it (see `create_limited_token`, which looks them up).

    Raises `NotFound` for strangers and `Refused`.
    """
    require_token_role(actor, project)
    if project.account.suspended_at is not None:
        raise account_suspended()
    name = clean_name(name)
    ranges = clean_networks(networks)
    servers = sorted(set(server_ids))
    limits = clean_scopes(scopes, for_servers=bool(servers))
    may_write = may_write or bool(limits)
    if project.api_tokens.count() >= TOKENS_PER_PROJECT:
        message = f"A project may have {TOKENS_PER_PROJECT} API tokens."
        raise Refused("resource_limit_exceeded", message)
    may = {"may_write": may_write, "scopes": limits, "server_ids": servers, "networks": ranges}
    made = _insert(
        new_secret(),
        project=project,
        name=name,
        expires=clean_end(expires),
        created_by=actor.user,
        **may,
    )
    record_token_event(actor, made.token, "api_token.created", "was made", **may)
    return made


@transaction.atomic
def create_reseller_token(
    actor: Actor,
    *,
    account: Account,
    name: str,
    may_write: bool,
    expires: datetime | None = None,
    networks: Iterable[str] = (),
) -> MadeToken:
    """A token that acts for a reseller and all below it. Only staff make them. Raises `Refused`."""
    require_staff(actor)
    if not account.is_reseller:
        raise Refused("conflict", "This account is no reseller. Make it one first.")
    if account.suspended_at is not None:
        raise account_suspended()
    name, ranges = clean_name(name), clean_networks(networks)
    if account.api_tokens.count() >= TOKENS_PER_PROJECT:
        message = f"An account may have {TOKENS_PER_PROJECT} API tokens."
        raise Refused("resource_limit_exceeded", message)
    may = {"may_write": may_write, "networks": ranges}
    made = _insert(
        new_secret(RESELLER_PREFIX),
        account=account,
        name=name,
        expires=clean_end(expires),
        created_by=actor.user,
        **may,
    )
    record_token_event(actor, made.token, "api_token.created", "was made", **may)
    return made


def _insert(secret: str, **facts: Any) -> MadeToken:
    """A row for that secret. Raises `Refused` if there is one of that name."""
    try:
        with transaction.atomic():
            token = ApiToken.objects.create(digest=digest(secret), hint=secret[-4:], **facts)
    except IntegrityError:
        raise name_taken(facts["name"]) from None
    return MadeToken(token, secret)


@transaction.atomic
def revoke_token(actor: Actor, *, project: Project, token_id: int) -> None:
    """Forget a token: nothing keeps a copy, so its next request is refused."""
    require_token_role(actor, project)
    token = project.api_tokens.filter(pk=token_id).first()
    if token is None:
        raise NotFound("API token")
    _revoke(actor, token)


@transaction.atomic
def revoke_as_staff(actor: Actor, token: ApiToken) -> None:
    """The same for any token, a reseller's included. Raises `Refused` for everybody but staff."""
    require_staff(actor)
    _revoke(actor, token)


def _revoke(actor: Actor, token: ApiToken) -> None:
    record_token_event(
        actor, token, "api_token.revoked", "was revoked", last_used=str(token.last_used or "")
    )
    token.delete()


def find_token(secret: str) -> ApiToken | None:
    """The token of that secret, with project and account, unless it has expired or is unknown."""
    if not is_secret(secret):
        return None
    return next(iter(_tokens_of(digest=digest(secret), now=timezone.now())), None)


@kept
def _tokens_of(*, digest: str, now: datetime) -> QuerySet[ApiToken]:
    """The one token, or none."""
    return ApiToken.objects.select_related("project__account", "account").filter(
        Q(expires__isnull=True) | Q(expires__gt=now),
        Q(account__isnull=True) | Q(account__is_reseller=True, account__deleted_at=None),
        digest=digest,
    )


def act_in(token: ApiToken, project_id: int) -> None:
    """Let a token act in one project: a reseller's in any below it, another in its own.

    That is for the request in hand: the row does not change. Raises `NotFound`.
    """
    if token.account_id is None:
        found = token.project if token.project_id == project_id else None
    else:
        found = projects_in(token.account_id).filter(pk=project_id).first()
    if found is None:
        raise NotFound("project")
    token.project = found


def allows_address(token: ApiToken, ip: str | None) -> bool:
    """Whether the token may be used from there."""
    if not token.networks:
        return True
    try:
        address = ipaddress.ip_address(ip or "")
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in ipaddress.ip_network(network) for network in token.networks)


def note_use(token: ApiToken, ip: str | None) -> None:
    """Remember when and from where it was used last; at most one write a minute."""
    now = timezone.now()
    since = now - _USE_NOTED_EVERY
    if token.last_used is not None and token.last_used > since:
        return
    unnoted = ApiToken.objects.filter(Q(last_used__isnull=True) | Q(last_used__lte=since))
    unnoted.filter(pk=token.pk).update(last_used=now, last_ip=ip)


def forget_old_answers(now: datetime) -> int:
    """Forget what was answered to idempotency keys a day ago; how many were forgotten."""
    old = StoredAnswer.objects.filter(created__lt=now - ANSWERS_KEPT)
    return old.delete()[0]


def require_token_role(actor: Actor, project: Project) -> None:
    """Raises `NotFound` unless the actor is a member, `Refused` unless it may change tokens.

    A project's token makes no tokens: what is revoked would live on in its children. A reseller's
    is there to make them.
    """
    if acts_as_root(actor) or governs(actor, project.account_id, itself=True):
        return
    role = role_in(actor, project.pk)
    if role is None:
        raise NotFound("project")
    if role not in MAY_CHANGE_TOKENS or actor.token is not None:
        raise Refused("forbidden", "Your role in this project may not change its API tokens.")


def account_suspended() -> Refused:
    """The refusal of what a suspended account may not."""
    return Refused("forbidden", "The account is suspended. Please contact support.")


def require_staff(actor: Actor) -> None:
    """Raises `Refused` for everybody but staff in the admin, a command, or the system."""
    if not acts_as_staff(actor):
        raise Refused("forbidden", "Only the staff of the panel may do that.")


def record_token_event(actor: Actor, token: ApiToken, kind: str, what: str, **data: Any) -> None:
    """Add what was done with the token to the transaction in hand."""
    record_event(
        kind,
        f"API token {token.name} {what}",
        resource=("api_token", token.pk),
        project_id=token.project_id,
        actor=actor,
        **data,
    )
