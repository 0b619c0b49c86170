"""What a reseller's program does with the accounts and projects below its own.

The way in is the token: every function asks `governs`, and to everybody else
nothing is there. What touches servers is in `servers/projects.py`.
"""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from vpspanel.accounts.models import Account, Project
from vpspanel.accounts.roles import governs
from vpspanel.accounts.telling import say_of_account, say_of_project
from vpspanel.accounts.token_services import account_suspended
from vpspanel.accounts.tree import accounts_below, projects_in
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor

CUSTOMERS_PER_RESELLER = 10_000
PROJECTS_PER_ACCOUNT = 100
ACCOUNT_NAME_LENGTH, PROJECT_NAME_LENGTH = 120, 80
MOST_SERVERS = 1_000_000


@transaction.atomic
def open_customer(actor: Actor, *, name: str, server_limit: int) -> Account:
    """A customer's account below the reseller's own, without projects. Raises `Refused`."""
    reseller = _locked(_reseller(actor).pk)
    name = _clean_name(name, ACCOUNT_NAME_LENGTH)
    limit = _clean_limit(server_limit, reseller)
    if Account.objects.filter(parent=reseller, deleted_at=None).count() >= CUSTOMERS_PER_RESELLER:
        message = f"A reseller may have {CUSTOMERS_PER_RESELLER} customers."
        raise Refused("resource_limit_exceeded", message)
    try:
        with transaction.atomic():
            account = Account.objects.create(parent=reseller, name=name, server_limit=limit)
    except IntegrityError:
        raise _name_taken("account", name) from None
    say_of_account(
        actor, account, "account.opened", "was opened", server_limit=account.server_limit
    )
    return account


@transaction.atomic
def update_customer(
    actor: Actor, account_id: int, *, name: str | None = None, server_limit: int | None = None
) -> Account:
    """Change a customer's name or limit; None leaves it. Raises `NotFound`, `Refused`."""
    reseller = _reseller(actor)
    account = accounts_below(reseller.pk).select_related("parent").filter(pk=account_id).first()
    if account is None:
        raise NotFound("account")
    changes: dict[str, Any] = {}
    if name is not None:
        changes["name"] = _clean_name(name, ACCOUNT_NAME_LENGTH)
    if server_limit is not None:
        changes["server_limit"] = _clean_limit(server_limit, account.parent or reseller)
    if not changes:
        return account
    try:
        with transaction.atomic():
            Account.objects.filter(pk=account.pk, deleted_at=None).update(**changes)
    except IntegrityError:
        raise _name_taken("account", changes["name"]) from None
    account.refresh_from_db()
    say_of_account(actor, account, "account.changed", "was changed", **changes)
    return account


@transaction.atomic
def close_customer(actor: Actor, account_id: int) -> None:
    """Delete a customer's account, which must be empty. Its row is kept for what it had.

    Raises `NotFound`, `Refused`.
    """
    account = accounts_below(_reseller(actor).pk).filter(pk=account_id).first()
    if account is None:
        raise NotFound("account")
    # Projects and customers are made with this row locked.
    Account.objects.select_for_update().get(pk=account_id)
    if projects_in(account_id).exists():
        raise Refused("conflict", "It still has projects. Delete them first.")
    if accounts_below(account_id).exists():
        raise Refused("conflict", "It still has customers. Delete them first.")
    account.webhooks.all().delete()
    account.api_tokens.all().delete()
    if Account.objects.filter(pk=account_id, deleted_at=None).update(deleted_at=timezone.now()):
        say_of_account(actor, account, "account.deleted", "was deleted")


@transaction.atomic
def create_project(actor: Actor, *, account_id: int, name: str) -> Project:
    """A project of the reseller or of an account below. Raises `NotFound`, `Refused`."""
    _reseller(actor)
    if not governs(actor, account_id, itself=True):
        raise NotFound("account")
    name = _clean_name(name, PROJECT_NAME_LENGTH)
    account = _locked(account_id)
    if account.projects.filter(deleted_at=None).count() >= PROJECTS_PER_ACCOUNT:
        message = f"An account may have {PROJECTS_PER_ACCOUNT} projects."
        raise Refused("resource_limit_exceeded", message)
    try:
        with transaction.atomic():
            project = Project.objects.create(account=account, name=name)
    except IntegrityError:
        raise _name_taken("project", name) from None
    say_of_project(actor, project, "project.created", "was made")
    return project


@transaction.atomic
def rename_project(actor: Actor, project_id: int, *, name: str) -> Project:
    """Give a project another name. Raises `NotFound`, `Refused`."""
    project = get_project_of(actor, project_id)
    project.name = _clean_name(name, PROJECT_NAME_LENGTH)
    try:
        with transaction.atomic():
            Project.objects.filter(pk=project.pk, deleted_at=None).update(name=project.name)
    except IntegrityError:
        raise _name_taken("project", project.name) from None
    say_of_project(actor, project, "project.renamed", "was renamed")
    return project


def get_project_of(actor: Actor, project_id: int) -> Project:
    """A project that a reseller's program may change. Raises `NotFound`, `Refused`."""
    project = projects_in(_reseller(actor).pk).filter(pk=project_id).first()
    if project is None:
        raise NotFound("project")
    return project


def _locked(account_id: int) -> Account:
    """The account, for a change below it. Raises `NotFound`, and `Refused` if it is suspended."""
    account = Account.objects.select_for_update().get(pk=account_id)
    if account.deleted_at is not None:
        raise NotFound("account")
    if account.suspended_at is not None:
        raise account_suspended()
    return account


def _reseller(actor: Actor) -> Account:
    """Whose program it is. Raises `Refused` for everybody else, and while it is suspended."""
    token = actor.token
    if token is None or token.account is None or not governs(actor, token.account.pk, itself=True):
        raise Refused("forbidden", "This needs the token of a reseller, one that may write.")
    if token.account.suspended_at is not None:
        raise account_suspended()
    return token.account


def _clean_limit(limit: int, above: Account) -> int:
    if not 0 <= limit <= MOST_SERVERS:
        message = f"A limit is a number from 0 to {MOST_SERVERS}."
        raise Refused("invalid_input", message, field="server_limit")
    if limit > above.server_limit:
        message = f"{above.name} may have {above.server_limit} servers and cannot give more."
        raise Refused("resource_limit_exceeded", message, field="server_limit")
    return limit


def _clean_name(name: str, longest: int) -> str:
    name = " ".join(name.split())
    if not 0 < len(name) <= longest or not name.isprintable():
        raise Refused("invalid_input", f"A name has 1 to {longest} characters.", field="name")
    return name


def _name_taken(what: str, name: str) -> Refused:
    return Refused("uniqueness_error", f"Another {what} is called “{name}”.", field="name")
