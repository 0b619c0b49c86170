"""Accounts, projects and tokens, as resellers see them."""

from __future__ import annotations

from typing import TypedDict

from vpspanel.accounts.models import Account, ApiToken, Project
from vpspanel.api.shapes.plain import moment, moment_or_none


class SuspensionShape(TypedDict):
    """A suspension. `by` is `staff`, `reseller`, or `above` for one that follows its reseller's."""

    since: str
    reason: str
    by: str


class AccountShape(TypedDict):
    """A customer's account. `servers_used` counts those of the accounts below it, too."""

    id: int
    name: str
    parent: int | None
    is_reseller: bool
    server_limit: int
    servers_used: int
    suspension: SuspensionShape | None
    created: str


class ProjectShape(TypedDict):
    """A project of an account."""

    id: int
    name: str
    account: int
    created: str


class TokenShape(TypedDict):
    """A project's token. Its secret is not shown again; `hint` is how that ends."""

    id: int
    name: str
    project: int | None
    hint: str
    may_write: bool
    scopes: list[str]
    servers: list[int]
    networks: list[str]
    expires: str | None
    last_used: str | None
    created: str


def account_shape(account: Account) -> AccountShape:
    """An account."""
    return AccountShape(
        id=account.pk,
        name=account.name,
        parent=account.parent_id,
        is_reseller=account.is_reseller,
        server_limit=account.server_limit,
        servers_used=account.servers_used,
        suspension=_suspension(account),
        created=moment(account.created),
    )


def _suspension(account: Account) -> SuspensionShape | None:
    if account.suspended_at is None:
        return None
    return SuspensionShape(
        since=moment(account.suspended_at),
        reason=account.suspended_reason,
        by=account.suspender or "staff",
    )


def project_shape(project: Project) -> ProjectShape:
    """A project."""
    return ProjectShape(
        id=project.pk,
        name=project.name,
        account=project.account_id,
        created=moment(project.created),
    )


def token_shape(token: ApiToken) -> TokenShape:
    """A token."""
    return TokenShape(
        id=token.pk,
        name=token.name,
        project=token.project_id,
        hint=token.hint,
        may_write=token.may_write,
        scopes=token.scopes,
        servers=token.server_ids,
        networks=token.networks,
        expires=moment_or_none(token.expires),
        last_used=moment_or_none(token.last_used),
        created=moment(token.created),
    )
