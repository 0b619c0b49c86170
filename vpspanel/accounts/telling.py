"""Events of accounts and projects: read by whoever has them, and by the resellers above."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from vpspanel.accounts.models import Account, Member, Project
from vpspanel.events.actor import Actor
from vpspanel.events.models import Event
from vpspanel.events.services import Happening, record_event, record_events

ACCOUNT = "account"  # what an event of an account names as its resource


def account_of(event: Event) -> int | None:
    """The account that an event is about, if it is of an account itself."""
    return event.resource_id if event.resource_type == ACCOUNT else None


def say_of_account(actor: Actor, account: Account, kind: str, what: str, **data: Any) -> None:
    """Leave an event of it."""
    record_event(
        kind,
        f"Account {account.name} {what}",
        resource=(ACCOUNT, account.pk),
        actor=actor,
        **data,
    )


def say_of_accounts(actor: Actor, account_ids: Collection[int], kind: str, what: str) -> None:
    """Leave the same event of each."""
    if not account_ids:
        return
    names = Account.objects.filter(pk__in=account_ids).order_by("pk").values_list("pk", "name")
    told = [Happening(f"Account {name} {what}", (ACCOUNT, pk)) for pk, name in names]
    record_events(kind, told, actor=actor)


def say_of_project(actor: Actor, project: Project, kind: str, what: str, **data: Any) -> None:
    """Leave an event of it."""
    record_event(
        kind,
        f"Project {project.name} {what}",
        resource=("project", project.pk),
        project_id=project.pk,
        actor=actor,
        **data,
    )


def say_of_member(actor: Actor, member: Member, kind: str, what: str) -> None:
    """Leave an event of its project."""
    words = f"{what}: {member.user} ({member.role})"
    say_of_project(
        actor, member.project, kind, words, user=member.user.email, role=str(member.role)
    )
