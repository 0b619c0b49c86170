"""Placement groups: which servers of a project shall not share a host."""

from __future__ import annotations

import re

from vpspanel.accounts.models import Project, Role
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.servers.access import get_project
from vpspanel.servers.models import PlacementGroup

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def named_group(actor: Actor, project: Project, name: str) -> PlacementGroup:
    """The project's group of that name, made if there is none. Raises `Refused`."""
    project = get_project(actor, project.pk, Role.ADMIN)
    clean = name.strip()
    if not _NAME.fullmatch(clean):
        raise Refused(
            "invalid_input",
            "The name of a group has 1 to 63 letters, digits, dots, hyphens and underscores.",
            field="placement_group",
        )
    group, _ = PlacementGroup.objects.get_or_create(project=project, name=clean)
    return group
