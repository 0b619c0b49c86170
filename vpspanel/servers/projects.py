"""The end of a project: only an empty one, and what its servers were stays known."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from hosts.models import Image
from vpspanel.accounts.models import Account, Project
from vpspanel.accounts.resellers import get_project_of
from vpspanel.accounts.telling import say_of_project
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.servers.images import image_owner
from vpspanel.servers.models import Lifecycle


@transaction.atomic
def delete_project(actor: Actor, project_id: int) -> None:
    """End a project that has neither servers nor snapshots; keys, tokens and webhooks go with it.

    Its row is kept for the history of its servers, out of everybody's reach.
    Raises `NotFound`, `Refused`.
    """
    project = get_project_of(actor, project_id)
    # An order takes a slot of this row first, and looks at the project then.
    Account.objects.select_for_update().get(pk=project.account_id)
    if project.servers.exclude(lifecycle=Lifecycle.DELETED).exists():
        raise Refused("conflict", "It still has servers. Delete them first.")
    if Image.objects.filter(owner=image_owner(project.pk)).exists():
        raise Refused("conflict", "It still has snapshots. Delete them first.")
    if not Project.objects.filter(pk=project.pk, deleted_at=None).update(deleted_at=timezone.now()):
        raise Refused("conflict", "It was deleted at the same moment.")
    say_of_project(actor, project, "project.deleted", "was deleted")
    for things in (
        project.api_tokens,
        project.members,
        project.ssh_keys,
        project.webhooks,
        project.placement_groups,
    ):
        things.all().delete()
