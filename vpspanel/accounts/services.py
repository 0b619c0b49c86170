"""What may be done to accounts, projects, members and keys."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import IntegrityError, transaction
from django.db.models import F

from vpspanel.accounts.keys import ParsedKey, parse_public_key
from vpspanel.accounts.models import Account, Member, Project, Role, SSHKey, User
from vpspanel.accounts.roles import acts_as_root, role_in
from vpspanel.accounts.scopes import Scope, lacks_scope
from vpspanel.accounts.tree import upwards
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.events.services import record_event
from vpspanel.labels import check_labels

KEYS_PER_PROJECT = 100
MAY_CHANGE_KEYS = (Role.OWNER, Role.ADMIN, Role.OPERATOR)


@transaction.atomic
def open_account(*, user: User, name: str, actor: Actor) -> Project:
    """An account with a first project that `user` owns; returns the project."""
    account = Account.objects.create(name=name)
    project = Project.objects.create(account=account, name="Default")
    Member.objects.create(project=project, user=user, role=Role.OWNER)
    record_event(
        "account.opened",
        f"Account {name} was opened",
        resource=("account", account.pk),
        project_id=project.pk,
        actor=actor,
    )
    return project


@transaction.atomic
def claim_server_slot(account_id: int) -> None:
    """Count one more server, here and on the accounts above.

    Raises `Refused` at the limit of one of them, or while the account is suspended.
    """
    for pk in upwards(account_id):
        taken = Account.objects.filter(
            pk=pk, suspended_at__isnull=True, servers_used__lt=F("server_limit")
        ).update(servers_used=F("servers_used") + 1)
        if not taken:
            raise _no_slot(Account.objects.get(pk=pk), own=pk == account_id)


def _no_slot(account: Account, *, own: bool) -> Refused:
    if account.suspended_at is not None:
        return Refused("forbidden", "This account is suspended. Please contact support.")
    if not own:
        message = "The reseller of this account has no server left to give. Please contact support."
        return Refused("resource_limit_exceeded", message)
    return Refused(
        "resource_limit_exceeded",
        f"This account may have {account.server_limit} servers and has them all. "
        "Delete one, or ask support for a higher limit.",
    )


def release_server_slot(account_id: int) -> None:
    """Count one server less, here and on the accounts above."""
    for pk in upwards(account_id):
        Account.objects.filter(pk=pk, servers_used__gt=0).update(servers_used=F("servers_used") - 1)


@transaction.atomic
def add_ssh_key(
    actor: Actor,
    *,
    project: Project,
    name: str,
    public_key: str,
    labels: Mapping[str, str] | None = None,
) -> SSHKey:
    """Keep a public key under a name; without a name, its comment.

    Raises `NotFound` for strangers and `Refused` for what is not a key, is there
    already, or exceeds what a project may have.
    """
    require_key_role(actor, project)
    parsed = parse_public_key(public_key)
    name = _key_name(name, parsed)
    if project.ssh_keys.count() >= KEYS_PER_PROJECT:
        raise Refused("resource_limit_exceeded", f"A project may have {KEYS_PER_PROJECT} SSH keys.")
    _refuse_known(project, parsed)
    try:
        with transaction.atomic():
            key = SSHKey.objects.create(
                project=project,
                name=name,
                public_key=parsed.public_key,
                key_type=parsed.key_type,
                fingerprint=parsed.fingerprint_md5,
                fingerprint_sha256=parsed.fingerprint_sha256,
                labels=check_labels(labels or {}),
            )
    except IntegrityError:
        _refuse_known(project, parsed)  # the same, sent twice at once
        raise _name_taken(name) from None
    record_event(
        "ssh_key.added",
        f"SSH key {name} was added",
        resource=("ssh_key", key.pk),
        project_id=project.pk,
        actor=actor,
        fingerprint=parsed.fingerprint_sha256,
    )
    return key


def _refuse_known(project: Project, parsed: ParsedKey) -> None:
    known = project.ssh_keys.filter(fingerprint=parsed.fingerprint_md5).first()
    if known is not None:
        message = f"This key is in the project already, as “{known.name}”."
        raise Refused("uniqueness_error", message, field="public_key")


@transaction.atomic
def update_ssh_key(
    actor: Actor,
    *,
    project: Project,
    key_id: int,
    name: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> SSHKey:
    """Give a key another name or other labels; None leaves them as they are."""
    require_key_role(actor, project)
    key = project.ssh_keys.filter(pk=key_id).first()
    if key is None:
        raise NotFound("SSH key")
    if name is not None:
        key.name = _clean_key_name(name)
    if labels is not None:
        key.labels = check_labels(labels)
    try:
        with transaction.atomic():
            key.save(update_fields=["name", "labels"])
    except IntegrityError:
        raise _name_taken(key.name) from None
    record_event(
        "ssh_key.changed",
        f"SSH key {key.name} was changed",
        resource=("ssh_key", key.pk),
        project_id=project.pk,
        actor=actor,
    )
    return key


@transaction.atomic
def delete_ssh_key(actor: Actor, *, project: Project, key_id: int) -> None:
    """Forget a key. Servers that were ordered with it keep it."""
    require_key_role(actor, project)
    key = project.ssh_keys.filter(pk=key_id).first()
    if key is None:
        raise NotFound("SSH key")
    record_event(
        "ssh_key.deleted",
        f"SSH key {key.name} was deleted",
        resource=("ssh_key", key.pk),
        project_id=project.pk,
        actor=actor,
        fingerprint=key.fingerprint_sha256,
    )
    key.delete()


def require_key_role(actor: Actor, project: Project) -> None:
    """Raises `NotFound` unless the actor is a member, `Refused` unless it may change keys.

    The system itself and commands of the operator may.
    """
    if acts_as_root(actor):
        return
    role = role_in(actor, project.pk, Scope.SSH_KEYS)
    if role is None:
        raise NotFound("project")
    if role not in MAY_CHANGE_KEYS and actor.token is not None:
        raise lacks_scope(Scope.SSH_KEYS)
    if role not in MAY_CHANGE_KEYS:
        raise Refused("forbidden", "Your role in this project may not change its SSH keys.")


def _key_name(name: str, parsed: ParsedKey) -> str:
    return _clean_key_name(" ".join(name.split()) or parsed.comment or parsed.key_type)


def _clean_key_name(name: str) -> str:
    name = " ".join(name.split())
    if not 0 < len(name) <= 80:
        raise Refused("invalid_input", "A key's name has 1 to 80 characters.", field="name")
    if not name.isprintable():
        message = "A key's name may not hold control characters."
        raise Refused("invalid_input", message, field="name")
    return name


def _name_taken(name: str) -> Refused:
    message = f"Another key of the project is called “{name}”."
    return Refused("uniqueness_error", message, field="name")
